"""bf16 serves only where it passed the gate on this machine, and nobody can say so but the gate."""

from __future__ import annotations

import json
import logging
from collections.abc import Callable
from pathlib import Path

import pytest

from irmsia.bundles.canonical import canonical_bytes
from irmsia.bundles.machine import MachineSeal
from irmsia.errors import InvalidRequestError
from irmsia.inference import gate
from irmsia.inference.gate import GateRecords, choose_precision
from irmsia.inference.processor import identity_of, processor_identity
from irmsia.inference.runtimes.protocol import Precision
from irmsia.inference.verify import RecordResult, Status, VerificationReport

BUNDLE = "b" * 64
BF16 = ("openvino", Precision.BF16)


def report(*, ok: bool = True, bundle: str = BUNDLE) -> VerificationReport:
    """Two records at bf16 on OpenVINO."""
    status = Status.PASS if ok else Status.FAIL
    results = tuple(RecordResult(name, True, status, () if ok else ("why",), 0.001) for name in "ab")
    return VerificationReport(bundle, *BF16, results, ())


def records_of(home: Path) -> GateRecords:
    """The records of one machine."""
    return GateRecords(home / "gates", lambda: MachineSeal(home, "gate"))


@pytest.fixture
def home(tmp_path: Path) -> Path:
    """Return a home where bf16 passed."""
    records_of(tmp_path).write(report())
    return tmp_path


def only_file(home: Path) -> Path:
    """Return the one record."""
    (path,) = (home / "gates").iterdir()
    return path


def test_bf16_needs_a_record(tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    """Without one it is f32 whatever is asked; who asked for bf16 is told. No key is made just to look."""
    records = records_of(tmp_path)
    with caplog.at_level(logging.WARNING):
        assert choose_precision("auto", BUNDLE, "auto", records) is Precision.F32
        assert caplog.records == []
        assert choose_precision("bf16", BUNDLE, "auto", records) is Precision.F32
    assert "not proven" in caplog.text
    assert list(tmp_path.iterdir()) == []


def test_bf16_is_taken_where_it_passed(home: Path) -> None:
    """By auto and by name; never where f32 is asked, on another runtime or for another bundle."""
    records = records_of(home)
    assert choose_precision("auto", BUNDLE, "auto", records) is Precision.BF16
    assert choose_precision("bf16", BUNDLE, "openvino", records) is Precision.BF16
    assert choose_precision("f32", BUNDLE, "auto", records) is Precision.F32
    assert choose_precision("auto", BUNDLE, "onnxruntime", records) is Precision.F32
    assert choose_precision("auto", "c" * 64, "auto", records) is Precision.F32
    with pytest.raises(InvalidRequestError):
        choose_precision("auto", BUNDLE, "tensorflow", records)


def test_a_gate_that_failed_since_takes_the_record_away(home: Path) -> None:
    """And a first failure leaves none."""
    records_of(home).write(report(ok=False))
    records_of(home).write(report(ok=False, bundle="c" * 64))
    assert list((home / "gates").iterdir()) == []
    assert not records_of(home).passed(BUNDLE, *BF16)


@pytest.mark.parametrize(
    ("name", "value"),
    [
        ("__version__", "9.9"),
        ("processor_identity", lambda: "another processor"),
        ("library_version", lambda runtime: "openvino 1999.1"),
    ],
)
def test_another_machine_or_library_needs_its_own(
    home: Path, monkeypatch: pytest.MonkeyPatch, name: str, value: object
) -> None:
    """Software, processor and library are part of what passed."""
    monkeypatch.setattr(gate, name, value)
    assert not records_of(home).passed(BUNDLE, *BF16)


def _flag(text: bytes) -> bytes:
    return text.replace(b'"precision":"bf16"', b'"precision":"int8"')


def _forged(text: bytes) -> bytes:
    """A record for another bundle, sealed by a key that everybody knows."""
    record = json.loads(text)["record"] | {"bundle": "c" * 64}
    return canonical_bytes({"record": record, "seal": "0" * 64})


@pytest.mark.parametrize(
    "change",
    [
        _flag,
        _forged,
        lambda text: text[:-20],
        lambda text: b"",
        lambda text: b"[]",
        lambda text: b'{"record": 1, "seal": 2}',
        lambda text: text.replace(b'"seal":"', b'"seal":"zz'),
        lambda text: text.replace(b'"flips":0', b'"flips":NaN'),
    ],
)
def test_what_was_changed_says_nothing(home: Path, change: Callable[[bytes], bytes]) -> None:
    """Every byte stands under the seal, and no broken file is an error."""
    path = only_file(home)
    original = path.read_bytes()
    path.write_bytes(change(original))
    assert not records_of(home).passed(BUNDLE, *BF16)
    for precision, bundle in ((Precision.INT8, BUNDLE), (Precision.BF16, "c" * 64)):
        path.rename(home / "gates" / f"{bundle}-openvino-{precision}.json")
        path = only_file(home)
        assert not records_of(home).passed(bundle, "openvino", precision)
    path.rename(home / "gates" / f"{BUNDLE}-openvino-bf16.json")
    only_file(home).write_bytes(original)
    assert records_of(home).passed(BUNDLE, *BF16)


def test_a_record_of_another_machine_says_nothing(home: Path, tmp_path_factory: pytest.TempPathFactory) -> None:
    """Copied whole: the key is another one."""
    other = tmp_path_factory.mktemp("other")
    records_of(other).write(report(bundle="c" * 64))
    target = other / "gates" / only_file(home).name
    target.write_bytes(only_file(home).read_bytes())
    assert not records_of(other).passed(BUNDLE, *BF16)


def test_seals_of_two_purposes_differ(tmp_path: Path) -> None:
    """A blob that was sealed for the cache is no gate record; and where one part ends is part of the seal."""
    one, other = MachineSeal(tmp_path, "gate"), MachineSeal(tmp_path, "compiled")
    assert one.digest(b"x") == MachineSeal(tmp_path, "gate").digest(b"x")
    assert not other.fits(one.digest(b"x"), b"x")
    assert not one.fits(one.digest(b"ab", b"c"), b"a", b"bc")


def test_a_processor_is_its_name_and_its_instructions() -> None:
    """One flag less is another processor; the order of flags and what changes by the second is not."""
    text = "processor\t: 0\nmodel name\t: X\ncpu MHz\t: {}\nflags\t: {}\n\nprocessor\t: 1\nmodel name\t: Y\n"
    same = identity_of(text.format(2000, "avx2 amx_bf16"))
    assert same == identity_of(text.format(2400, "amx_bf16 avx2"))
    assert same != identity_of(text.format(2000, "avx2"))
    assert same.startswith("X ")
    assert processor_identity()
