"""Several frames (contract section 4): each judged as if alone, one speaks for the file."""

from __future__ import annotations

import io
import threading
from collections.abc import Callable, Iterator
from dataclasses import replace
from pathlib import Path

import numpy as np
import pydicom
import pytest

from irmsia.bundles.load import Bundle
from irmsia.findings.types import Decision, Diagnosis, Reason
from irmsia.imaging.decode_task import PreparedInput
from irmsia.imaging.frames import EvenlySpaced, OneFrame
from irmsia.imaging.guard import DecoderPool
from irmsia.imaging.limits import ReadLimits
from irmsia.imaging.read import inspect
from irmsia.inference.engine import Engine
from irmsia.inference.protocol import DiagnoseRequest
from tests.imaging.samples import make_dataset, write
from tests.imaging.stacks import BLANK, frame_file, make_stack
from tests.inference.reading import InProcessDecoder

Engines = Callable[..., Engine]
WAIT = 60.0
MIXED = ("none", BLANK, "bright", "none", "dark", BLANK)


@pytest.fixture(scope="module")
def pool() -> Iterator[DecoderPool]:
    """One decoder child."""
    with DecoderPool(1, ReadLimits()) as pool:
        yield pool


def ask(engine: Engine, source: bytes | Path, **options: object) -> Diagnosis:
    """Wait for one answer."""
    return engine.submit(DiagnoseRequest("stack.dcm", source, **options)).result(WAIT)


def test_each_frame_is_answered_as_if_alone(engines: Engines, bundle: Bundle, pool: DecoderPool) -> None:
    """Every item equals the answer to that frame in a file of its own, and the top is one of them by the rule."""
    engine = engines(bundle, pool)
    answer = ask(engine, make_stack(MIXED))
    assert answer.error is None and answer.frames is not None
    assert (answer.frames.total, answer.frames.analysed) == (6, 6)
    assert [item.index for item in answer.frames.items] == list(range(6))
    for name, item in zip(MIXED, answer.frames.items, strict=True):
        alone = ask(engine, frame_file(name))
        assert alone.frames is None
        told = (item.decision, item.reason, item.rule, item.primary, item.risk, item.findings)
        assert told == (alone.decision, alone.reason, alone.rule, alone.primary, alone.risk, alone.findings)


def test_all_top_level_fields_come_from_the_leading_frame(engines: Engines, bundle: Bundle) -> None:
    """Rule, findings, severity, conformal set, map and its overlay are those of the frame that leads."""
    engine = engines(bundle)
    answer = ask(engine, make_stack(MIXED), heatmap=True, overlay=True)
    assert answer.frames is not None and answer.explanation is not None
    lead = answer.explanation.frame
    alone = ask(engine, frame_file(MIXED[lead]), heatmap=True, overlay=True)
    assert alone.explanation is not None
    assert answer.explanation == replace(alone.explanation, frame=lead)
    for name in ("decision", "reason", "rule", "region", "primary", "findings", "severity", "risk", "urgency"):
        assert getattr(answer, name) == getattr(alone, name)
    assert answer.conformal_set == alone.conformal_set
    scores = [item.risk.score for item in answer.frames.items if item.risk and item.decision == answer.decision]
    assert answer.risk is not None and answer.risk.score == max(scores)
    assert f"frame {lead} of 0 to 5" in {row.code: row.text for row in answer.warnings}["LEADING_FRAME"]


def test_the_source_is_where_the_leading_frame_lies(engines: Engines, bundle: Bundle) -> None:
    """Frames of two spacings: the answer tells that of the frame it is about."""
    header = pydicom.dcmread(io.BytesIO(make_stack((BLANK, "bright"))))
    groups = []
    for spacing in ("1", "2"):
        measures, group = pydicom.Dataset(), pydicom.Dataset()
        measures.PixelSpacing, measures.SliceThickness = [spacing, spacing], spacing
        group.PixelMeasuresSequence = [measures]
        groups.append(group)
    header.PerFrameFunctionalGroupsSequence = groups
    del header.PixelSpacing, header.SliceThickness
    buffer = io.BytesIO()
    header.save_as(buffer)
    source = ask(engines(bundle), buffer.getvalue()).source
    assert source is not None
    assert (source.spacing_mm.row_mm, source.slice_thickness_mm) == (2.0, 2.0)


def test_blank_frames_refuse_alone(engines: Engines, bundle: Bundle) -> None:
    """Blank frames are refused in their items; only a file of nothing else is refused as a whole, by its first."""
    engine = engines(bundle)
    some, none = ask(engine, make_stack((BLANK, "bright"))), ask(engine, make_stack((BLANK, BLANK)))
    assert some.frames is not None and none.frames is not None
    assert some.frames.items[0].reason is Reason.BLANK
    assert some.decision is not Decision.REFUSE
    assert (none.decision, none.reason, none.rule) == (Decision.REFUSE, Reason.BLANK, 2)
    assert none.timings_ms is not None and none.timings_ms.infer == 0
    assert all(item.findings == () and item.primary is None for item in none.frames.items)


def test_at_most_64_frames_are_analysed_and_every_frame_is_digested(
    engines: Engines, bundle: Bundle, pool: DecoderPool
) -> None:
    """Of 130 frames the 64 evenly spaced ones; the evidence names all 130."""
    rng = np.random.default_rng(7)
    pixels = rng.integers(0, 4000, (130, 24, 20, 1), dtype=np.int16)
    data = write(make_dataset(pixels, Modality="CR"))
    answer = ask(engines(bundle, pool), data)
    assert answer.frames is not None and answer.evidence is not None
    assert (answer.frames.total, answer.frames.analysed) == (130, 64)
    assert tuple(item.index for item in answer.frames.items) == EvenlySpaced()(130)
    assert answer.evidence.frame_sha256 == inspect(data, ReadLimits()).frame_sha256
    assert len(set(answer.evidence.frame_sha256)) == 130


def test_16384_frames_need_no_room_for_all(engines: Engines, bundle: Bundle) -> None:
    """The largest number of frames is answered by a child that may hold 48 MiB, 32 of them the file; all digested."""
    pixels = np.arange(16_384 * 32 * 32, dtype=np.uint32).astype(np.uint16).reshape(16_384, 32, 32, 1)
    data = write(make_dataset(pixels, Modality="CR"))
    with DecoderPool(1, ReadLimits(child_bytes=48 << 20)) as small:
        answer = ask(engines(bundle, small), data)
    assert answer.error is None and answer.frames is not None and answer.evidence is not None
    assert (answer.frames.total, len(answer.evidence.frame_sha256)) == (16_384, 16_384)


def test_64_large_frames_are_held_one_at_a_time(engines: Engines, bundle: Bundle, tmp_path: Path) -> None:
    """64 frames of 1.1 MiB, together 72, are analysed by a child that may hold 32 MiB."""
    ramp = np.arange(768 * 768, dtype=np.uint32).astype(np.uint16).reshape(768, 768)
    pixels = np.stack([ramp >> (index % 4) for index in range(64)])[..., None]
    path = tmp_path / "large.dcm"
    path.write_bytes(write(make_dataset(pixels, Modality="CR")))
    with DecoderPool(1, ReadLimits(child_bytes=32 << 20)) as small:
        answer = ask(engines(bundle, small), path)
    assert answer.error is None and answer.frames is not None
    assert answer.frames.analysed == 64


class _CountingGate(InProcessDecoder):
    """Tells when the first reading is over, and waits before it is given back."""

    def __init__(self) -> None:
        super().__init__()
        self.read, self.go = threading.Event(), threading.Event()

    def prepare(self, *arguments: object, **options: object) -> PreparedInput:
        """Prepare, then wait."""
        prepared = super().prepare(*arguments, **options)  # type: ignore[arg-type]
        self.read.set()
        assert self.go.wait(WAIT)
        return prepared


def test_a_caller_that_goes_away_stops_the_frames_that_are_left(engines: Engines, bundle: Bundle) -> None:
    """Cancelled while it is worked on: the answer is CANCELLED after at most one more frame, the next item is fine."""
    gate = _CountingGate()
    engine = engines(bundle, gate, workers=1)
    future = engine.submit(DiagnoseRequest("a", make_stack(("bright",) * 8)))
    assert gate.read.wait(WAIT)
    assert future.cancel() is False
    gate.go.set()
    answer = future.result(WAIT)
    assert answer.error is not None and answer.error.code == "CANCELLED"
    assert ask(engine, make_stack(("none", "bright"))).error is None


def test_a_broken_frame_fails_the_file(engines: Engines, bundle: Bundle, pool: DecoderPool) -> None:
    """Half a file is no answer: cut within the last frame it is TRUNCATED, whatever the others say."""
    data = make_stack(("bright", "none", "none"))
    answer = ask(engines(bundle, pool), data[:-5000])
    assert answer.error is not None and answer.error.code == "TRUNCATED"
    assert answer.frames is None and answer.decision is None


def test_a_file_that_changes_between_two_readings_is_not_answered(
    engines: Engines, bundle: Bundle, tmp_path: Path
) -> None:
    """The overlay lies on the picture that was judged or there is no answer."""
    path = tmp_path / "a.dcm"

    class Swapping(InProcessDecoder):
        def prepare(self, source: bytes | Path, *arguments: object, **options: object) -> PreparedInput:
            """Another file under the same name for the second reading."""
            if isinstance(options["frames"], OneFrame):
                path.write_bytes(make_stack(("dark", "dark", "dark")))
            return super().prepare(source, *arguments, **options)  # type: ignore[arg-type]

    engine = engines(bundle, Swapping())
    for order in (("none", "bright", "none"), ("bright", "none", "none")):
        path.write_bytes(make_stack(order))
        answer = ask(engine, path, overlay=True)
        if answer.error is not None:
            assert answer.error.code == "NOT_READABLE"
            break
    else:
        pytest.fail("in neither order did a later frame lead")


@pytest.mark.data
@pytest.mark.parametrize(
    ("name", "frames"),
    [
        ("dicom/misc_pydicom/emri_small.dcm", 10),
        ("dicom/misc_pydicom/emri_small_jpeg_ls_lossless.dcm", 10),
        ("dicom/misc_pydicom/SC_rgb_rle_2frame.dcm", 2),
        ("dicom/misc_pydicom/rtdose.dcm", 15),
        ("dicom/misc_pydicom/OBXXXX1A_rle_2frame.dcm", 2),
    ],
)
def test_real_files_of_several_frames(
    engines: Engines, bundle: Bundle, pool: DecoderPool, data_dir: Path, name: str, frames: int
) -> None:
    """Each is answered frame by frame, with one item a frame."""
    answer = ask(engines(bundle, pool), data_dir / name)
    assert answer.error is None and answer.frames is not None
    assert (answer.frames.total, answer.frames.analysed, len(answer.frames.items)) == (frames, frames, frames)
