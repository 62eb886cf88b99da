"""Golden records survive the file, and a broken line is found."""

from __future__ import annotations

import json

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from hypothesis.extra import numpy as st_numpy

from irmsia.bundles.golden import (
    MINIMUM_RECORDS,
    GoldenFingerprint,
    GoldenRecord,
    PhantomSource,
    RealSource,
    count_distinct,
    make_record,
    read_records,
    write_records,
)
from irmsia.bundles.store import STARTER
from irmsia.errors import BundleRejectedError
from irmsia.findings.decision import NetworkOutputs, Verdict
from irmsia.findings.types import Decision, Finding, Reason, State
from irmsia.imaging.preprocess import Fingerprint

_FINITE = st.floats(-1e6, 1e6)
_SOURCES = st.builds(
    PhantomSource,
    version=st.just("1"),
    kind=st.sampled_from(["CT", "MR", "DX", "US"]),
    lesion=st.sampled_from(["none", "bright", "dark"]),
    seed=st.integers(0, 2**40),
) | st.builds(RealSource, input_sha256=st.text("0123456789abcdef", min_size=64, max_size=64))


def make(source: PhantomSource | RealSource, values: np.ndarray, number: float = 0.5) -> GoldenRecord:
    """Build a record with ``number`` in every free place."""
    return make_record(
        source,
        frame_sha256=["a" * 64],
        fingerprint=Fingerprint(values, number, abs(number)),
        outputs=NetworkOutputs(np.array([number, 1.0]), {"chest": np.array([number])}, np.array([number])),
        verdict=Verdict(
            Decision.REFER,
            Reason.BORDERLINE,
            7,
            "chest",
            findings=(
                Finding("pneumonia", "Pneumonia", State.PRESENT, 0.5),
                Finding("edema", "Edema", State.NOT_ASSESSED, None),
            ),
            margins={"router": number},
            routed="chest",
            leading_term="pneumonia",
        ),
        scores={"grid/chest": number},
    )


@settings(deadline=None)
@given(
    source=_SOURCES,
    values=st_numpy.arrays(np.float64, st.sampled_from([(1, 16, 16), (3, 16, 16)]), elements=_FINITE),
    number=_FINITE,
)
def test_write_then_read(source: PhantomSource | RealSource, values: np.ndarray, number: float) -> None:
    """Logits and margins come back exactly, fingerprints within a thousandth of what verification allows."""
    record = make(source, values, number)
    text = write_records([record, record])
    assert read_records(text) == (record, record)
    assert write_records(read_records(text)) == text
    difference = record.fingerprint.to_fingerprint().difference(Fingerprint(values, number, abs(number)))
    assert difference <= 1e-7


def test_the_verdict_of_a_record_holds_what_flips_compare() -> None:
    """Decision, reason, states (not the unassessed ones), margins, routed region and leading term."""
    verdict = make(RealSource(input_sha256="b" * 64), np.zeros((1, 16, 16))).to_verdict()
    assert (verdict.decision, verdict.reason, verdict.routed) == (Decision.REFER, Reason.BORDERLINE, "chest")
    assert [(row.code, row.state) for row in verdict.findings] == [("pneumonia", State.PRESENT)]
    assert (verdict.margins, verdict.leading_term) == ({"router": 0.5}, "pneumonia")


@pytest.mark.parametrize(
    "change",
    [
        {"phantom": {"version": "1", "kind": "CT", "lesion": "none", "seed": 1}},
        {"real": None},
        {"frame_sha256": ["x"]},
        {"decision": "MAYBE"},
        {"unknown": 1},
        {"margins": {"router": "0.5"}},
    ],
)
def test_a_broken_record_is_rejected_by_its_line(change: dict[str, object]) -> None:
    """Two sources, none, a wrong digest, decision, key or type: the line is named."""
    line = write_records([make(RealSource(input_sha256="b" * 64), np.zeros((1, 16, 16)))])
    broken = json.dumps(json.loads(line) | change).encode()
    with pytest.raises(BundleRejectedError, match="golden record 2"):
        read_records(line + broken)


def test_a_fingerprint_has_whole_channels() -> None:
    """255 cells are no 16 x 16 copy."""
    with pytest.raises(ValueError, match="16 x 16"):
        GoldenFingerprint(cells=(0.0,) * 255, mean=0.0, std=0.0)


def test_names_hold_no_file_name() -> None:
    """A report calls a record by what it is, never by where it lies."""
    phantom = PhantomSource(version="1", kind="CT", lesion="none", seed=7)
    assert make(phantom, np.zeros((1, 16, 16))).name == "phantom CT none 7"
    assert make(RealSource(input_sha256="b" * 64), np.zeros((1, 16, 16))).name == "image " + "b" * 12


def test_pictures_are_counted_once() -> None:
    """By the digests of their frames, whatever the records call them; a phantom and an image are two kinds."""
    empty = np.zeros((1, 16, 16))
    phantoms = [make(PhantomSource(version="1", kind="CT", lesion="none", seed=seed), empty) for seed in range(3)]
    images = [make(RealSource(input_sha256=digit * 64), empty) for digit in "bc"]
    other = images[0].model_copy(update={"frame_sha256": ("d" * 64,)})
    assert count_distinct([*phantoms, *images]) == (1, 1)
    assert count_distinct([*phantoms, *images, other]) == (1, 2)
    assert count_distinct([]) == (0, 0)


def test_the_packaged_starter_holds_enough_different_records() -> None:
    """At least 64 phantoms and 64 images (contract section 5)."""
    if not (STARTER / "golden.jsonl").is_file():
        pytest.skip("the package holds no starter bundle")
    assert min(count_distinct(read_records((STARTER / "golden.jsonl").read_bytes()))) >= MINIMUM_RECORDS
