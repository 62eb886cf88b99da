"""`irmsia verify`: an answer is proven, or what is wrong with it is named."""

from __future__ import annotations

import copy
import io
import json
import shutil
from collections.abc import Iterator
from contextlib import nullcontext
from dataclasses import replace
from pathlib import Path
from typing import Any

import cv2
import numpy as np
import pytest

from irmsia.app import verify_answer
from irmsia.app.answer_checks import AnswerReport
from irmsia.app.answers import GivenAnswer, read_answers
from irmsia.app.compose import open_engine, open_pool
from irmsia.app.inputs import InputFile
from irmsia.app.verify_answer import verify_answers
from irmsia.bundles.signing import machine_key
from irmsia.bundles.store import BundleStore
from irmsia.errors import InvalidRequestError
from irmsia.findings.types import Diagnosis
from irmsia.imaging.guard import DecoderPool
from irmsia.inference.protocol import DiagnoseRequest
from irmsia.settings.tree import EngineSettings, Settings
from irmsia.wire.json import diagnosis_from_json, diagnosis_to_json, diagnosis_to_line
from tests.bundles.tiny import make_fields, make_files
from tests.imaging.stacks import BLANK, make_stack

UNPROVEN = ("input", "timings_ms")
OWN_CHECKS = {
    "evidence.input_sha256": "file",
    "evidence.frame_sha256": "pixels",
    "evidence.bundle": "bundle",
    "model.id": "bundle",
    "evidence.decoder": "software",
    "evidence.software": "software",
    "source.patient_pseudonym": "pseudonyms",
    "source.study_pseudonym": "pseudonyms",
}


@pytest.fixture(scope="module")
def settings(tmp_path_factory: pytest.TempPathFactory) -> Settings:
    """A home whose active model is the tiny bundle of the tests."""
    home = tmp_path_factory.mktemp("home")
    home.chmod(0o700)
    store = BundleStore(home)
    store.activate(store.add(make_fields(), make_files(), machine_key(home)))
    return Settings(home=home, engine=EngineSettings(workers=1))


@pytest.fixture(scope="module")
def pool(settings: Settings) -> Iterator[DecoderPool]:
    """One decoder child for all tests of this file."""
    with open_pool(settings, 1) as pool:
        yield pool


@pytest.fixture(autouse=True)
def _one_pool(monkeypatch: pytest.MonkeyPatch, pool: DecoderPool) -> None:
    monkeypatch.setattr(verify_answer, "open_pool", lambda settings, workers: nullcontext(pool))


@pytest.fixture(scope="module")
def image(tmp_path_factory: pytest.TempPathFactory) -> InputFile:
    """Two good frames and a blank one."""
    path = tmp_path_factory.mktemp("image") / "stack.dcm"
    path.write_bytes(make_stack(("bright", BLANK, "none")))
    return InputFile("stack.dcm", path)


@pytest.fixture(scope="module")
def answer(settings: Settings, pool: DecoderPool, image: InputFile) -> Diagnosis:
    """The true answer, with a map, its overlay, the unassessed and a warning."""
    return ask(settings, pool, image, heatmap=True, overlay=True, all_findings=True, segmentation=True)


def ask(settings: Settings, pool: DecoderPool, file: InputFile, **options: Any) -> Diagnosis:
    """Answer one file in this process."""
    with open_engine(settings, pool, 1) as service:
        return service.submit(DiagnoseRequest(file.name, file.path, **options)).result(60)


def verify(settings: Settings, answers: list[Diagnosis], *files: InputFile, **options: Any) -> list[AnswerReport]:
    """Verify answers against files."""
    given = [GivenAnswer(f"line {number}", one) for number, one in enumerate(answers, 1)]
    return list(verify_answers(settings, given, files, **options))


def failed(report: AnswerReport) -> dict[str, str]:
    """The checks that failed, with what they found."""
    return {check.name: check.found for check in report.checks if check.status == "FAIL"}


def statuses(report: AnswerReport) -> dict[str, str]:
    """Every check with its status."""
    return {check.name: check.status.value for check in report.checks}


def test_a_true_answer_is_verified(settings: Settings, pool: DecoderPool, answer: Diagnosis, image: InputFile) -> None:
    """Every check passes but that of what nothing proves; also under another name, and asked for less."""
    moved = replace(answer, input="elsewhere.dcm")
    plain = ask(settings, pool, image)
    for report in verify(settings, [answer, moved, plain], image):
        assert report.ok
        assert set(statuses(report).values()) == {"PASS", "NOT_CHECKED"}
        assert [name for name, status in statuses(report).items() if status != "PASS"] == ["name, times"]


def _leaves(data: Any, path: tuple[Any, ...] = ()) -> Iterator[tuple[Any, ...]]:
    items = data.items() if isinstance(data, dict) else enumerate(data) if isinstance(data, list) else ()
    for key, value in items:
        if isinstance(value, dict | list) and value:
            yield from _leaves(value, (*path, key))
        else:
            yield (*path, key)


def _other_values(value: Any) -> list[Any]:
    """What the value may be replaced by; the first one that an answer can hold is taken."""
    if isinstance(value, bool):
        return [not value]
    if isinstance(value, int):
        return [value + 1]
    if isinstance(value, float):
        return [value + 0.011, value + 1]
    if isinstance(value, str) and len(value) > 1000:
        return [value[:200] + ("A" if value[200] != "A" else "B") + value[201:]]
    words = ["x", "0" * 64, "ACCEPT", "REFER", "BLANK", "BORDERLINE", "ABSENT", "PRESENT", "MODEL", "URGENT", "ROUTINE"]
    others: list[Any] = [*words, 1, 1.5, True, ["x"], [1.0, 1.0, 1.0]]
    if value is None:
        others += [{"score": 1.0, "level": "LOW", "basis": "RULE"}, {"code": "TIMED_OUT", "message": "x"}]
        others += [{"label": "T1", "basis": "GUESS", "derived_from": ["ImageType"]}]
        others += [{"coverage": 0.5, "terms": []}, {"term": "x", "shape": [1, 1], "mask": "AA=="}]
        others += [{"label": "normal", "probability": 0.1, "basis": "RULE"}, {"level": "mild", "basis": "RULE"}]
        return others
    if value == []:
        row = {"name": "x", "value": 1.0, "unit": "mm", "pixels": None, "reason": None}
        return [[row], [{"code": "glioma", "label": "x", "state": "PRESENT", "probability": 1.0}]]
    return [other for other in others if other != value]


def _tampered(data: dict[str, Any], path: tuple[Any, ...]) -> tuple[dict[str, Any], Diagnosis]:
    """The JSON with one leaf changed to a value that still makes an answer."""
    place: Any = data
    for key in path[:-1]:
        place = place[key]
    for other in _other_values(place[path[-1]]):
        changed = copy.deepcopy(data)
        target: Any = changed
        for key in path[:-1]:
            target = target[key]
        target[path[-1]] = other
        try:
            return changed, diagnosis_from_json(changed)
        except InvalidRequestError:
            continue
    raise AssertionError(f"no other value for {path}")


def test_every_changed_leaf_is_named(settings: Settings, answer: Diagnosis, image: InputFile) -> None:
    """Any leaf of a real answer but name and times, changed so that it still reads: its check fails by its key."""
    data = diagnosis_to_json(answer)
    paths = [path for path in _leaves(data) if path[0] not in UNPROVEN]
    assert len(paths) > 150
    answers = [_tampered(data, path)[1] for path in paths]
    for path, report in zip(paths, verify(settings, answers, image), strict=True):
        key = ".".join(map(str, path))
        assert not report.ok, key
        own = next((check for prefix, check in OWN_CHECKS.items() if key.startswith(prefix)), None)
        found = failed(report)
        if own is not None:
            assert own in found, (key, found)
        else:
            assert path[0] in found.get("answer", "") + found.get("form", "") or "asked again" in found["answer"], (
                key,
                found,
            )


def test_rows_taken_away_or_put_in_are_named(settings: Settings, answer: Diagnosis, image: InputFile) -> None:
    """A finding, a frame, a warning, a frame digest or the map left out or doubled."""
    assert answer.frames is not None and answer.evidence is not None
    frames, evidence = answer.frames, answer.evidence
    changed = {
        "findings": replace(answer, findings=answer.findings[1:]),
        "frames": replace(answer, frames=replace(frames, items=frames.items[:-1])),
        "warnings": replace(answer, warnings=answer.warnings[:-1]),
        "pixels": replace(answer, evidence=replace(evidence, frame_sha256=evidence.frame_sha256[::-1])),
        "more pixels": replace(answer, evidence=replace(evidence, frame_sha256=evidence.frame_sha256 * 2)),
        "no frames": replace(answer, frames=None),
        "no evidence": replace(answer, evidence=None),
        "no model": replace(answer, model=None),
        "an error": replace(answer, error=None, decision=None),
    }
    for name, report in zip(changed, verify(settings, list(changed.values()), image), strict=True):
        assert not report.ok and failed(report), name


def test_small_numbers_within_the_tolerance_pass(settings: Settings, answer: Diagnosis, image: InputFile) -> None:
    """5e-5 is another machine; 5e-3 is another precision and passes only where that was said."""
    assert answer.primary is not None
    near, far = (
        replace(answer, primary=replace(answer.primary, probability=answer.primary.probability - step))
        for step in (5e-5, 4e-3)
    )
    passing, failing = verify(settings, [near, far], image)
    assert passing.ok and not failing.ok
    assert "primary.probability is" in failed(failing)["answer"]
    assert "--precision bf16" in failed(failing)["answer"]
    (at_bf16,) = verify(settings, [far], image, precision="bf16")
    assert "primary.probability" not in failed(at_bf16).get("answer", "")


def test_an_answer_is_computed_again_as_it_says(
    settings: Settings, pool: DecoderPool, answer: Diagnosis, image: InputFile
) -> None:
    """By the runtime that it names; where this machine lacks it by its own, and that is said."""
    runtime = settings.model_copy(update={"engine": EngineSettings(workers=1, runtime="onnxruntime")})
    other = ask(runtime, pool, image)
    assert other.evidence is not None and answer.evidence is not None
    assert "onnxruntime" in str(other.evidence.software)
    absent = replace(answer.evidence, software=f"{str(answer.evidence.software).partition(',')[0]}, other 1.0 at f32")
    same, elsewhere = verify(settings, [other, replace(answer, evidence=absent)], image)
    assert same.ok and statuses(same)["software"] == "PASS"
    assert elsewhere.ok and statuses(elsewhere)["software"] == "NOT_CHECKED"


def test_another_file_is_named(settings: Settings, answer: Diagnosis, tmp_path: Path) -> None:
    """Other bytes of the same picture: FILE alone. Another picture: FILE and PIXELS. No image: both."""
    same, other, none = (tmp_path / name for name in ("same.dcm", "other.dcm", "none.txt"))
    data = make_stack(("bright", BLANK, "none"))
    same.write_bytes(b"irmsia" + data[6:])
    other.write_bytes(make_stack(("dark", BLANK, "none")))
    none.write_text("nothing")
    reports = [verify(settings, [answer], InputFile(path.name, path))[0] for path in (same, other, none)]
    assert [set(failed(report)) for report in reports] == [{"file"}, {"file", "pixels"}, {"file", "pixels"}]
    assert statuses(reports[0])["answer"] == "PASS" and statuses(reports[1])["answer"] == "NOT_CHECKED"
    (gone,) = verify(settings, [answer], InputFile("gone", tmp_path / "gone"))
    assert set(failed(gone)) == {"file", "pixels"} and not gone.ok


def test_bundles_that_do_not_prove_anything_are_named(
    settings: Settings, answer: Diagnosis, image: InputFile, tmp_path: Path
) -> None:
    """Another bundle, a tampered one, one signed by a foreign key, none: each is named; the right one passes."""
    assert answer.evidence is not None and answer.evidence.bundle is not None
    own = settings.home / "bundles" / answer.evidence.bundle
    tampered, foreign = tmp_path / "tampered", tmp_path / "foreign"
    shutil.copytree(own, tampered)
    (tampered / "docs" / "MODEL_CARD.md").write_text("better than it was")
    stranger = BundleStore(tmp_path / "stranger")
    identity = stranger.add(make_fields(), make_files(), machine_key(tmp_path / "stranger"))
    shutil.copytree(stranger.home / "bundles" / identity, foreign)
    other = BundleStore(settings.home).add(make_fields(version="9.9.9"), make_files(), machine_key(settings.home))
    expected = {
        own: None,
        tampered: "is not the file that was signed",
        foreign: "not trusted",
        settings.home / "bundles" / other: "another bundle",
        tmp_path / "nothing": "no bundle in the folder",
    }
    for folder, words in expected.items():
        (report,) = verify(settings, [answer], image, bundle=folder)
        assert report.ok is (words is None), folder
        assert (words or "") in failed(report).get("bundle", ""), folder
        assert statuses(report)["answer"] == ("PASS" if words is None else "NOT_CHECKED")


def test_a_bundle_that_is_not_here_is_said(settings: Settings, answer: Diagnosis, image: InputFile) -> None:
    """The id that the answer names is on no shelf of this machine."""
    assert answer.evidence is not None and answer.model is not None
    absent = replace(
        answer, evidence=replace(answer.evidence, bundle="0" * 64), model=replace(answer.model, id="0" * 64)
    )
    (report,) = verify(settings, [absent], image)
    assert "not on this machine" in failed(report)["bundle"]


def test_another_machine_s_pseudonyms_are_not_checked(settings: Settings, answer: Diagnosis, image: InputFile) -> None:
    """Both of another key: nothing can be said and nothing fails. One of them ours: named."""
    assert answer.source is not None
    both = replace(answer.source, patient_pseudonym="a" * 16, study_pseudonym="b" * 16)
    one = replace(answer.source, patient_pseudonym="a" * 16)
    foreign, mixed = verify(settings, [replace(answer, source=both), replace(answer, source=one)], image)
    assert foreign.ok and statuses(foreign)["pseudonyms"] == "NOT_CHECKED"
    assert set(failed(mixed)) == {"pseudonyms"}


def test_an_overlay_packed_by_another_library_is_the_same(
    settings: Settings, answer: Diagnosis, image: InputFile
) -> None:
    """The pixels count, not the bytes of the PNG; other pixels are named."""
    shown = answer.explanation
    assert shown is not None and shown.overlay_png is not None
    pixels = cv2.imdecode(np.frombuffer(shown.overlay_png, np.uint8), cv2.IMREAD_COLOR)
    packed = cv2.imencode(".png", pixels, [cv2.IMWRITE_PNG_COMPRESSION, 0])[1].tobytes()
    painted = cv2.imencode(".png", cv2.circle(pixels.copy(), (20, 20), 9, (0, 0, 255), -1))[1].tobytes()
    assert packed != shown.overlay_png
    same, other, broken = verify(
        settings,
        [replace(answer, explanation=replace(shown, overlay_png=png)) for png in (packed, painted, b"no picture")],
        image,
    )
    assert same.ok
    assert "explanation.overlay_png" in failed(other)["answer"]
    assert "explanation.overlay_png" in failed(broken)["answer"]


def test_a_failure_is_an_answer_too(settings: Settings, pool: DecoderPool, image: InputFile, tmp_path: Path) -> None:
    """It is proven by failing again; a failure claimed of a good file is named, and so is another message."""
    cut = tmp_path / "cut.dcm"
    cut.write_bytes(image.path.read_bytes()[:-900])
    file = InputFile("cut.dcm", cut)
    failure = ask(settings, pool, file)
    assert failure.error is not None
    (true,) = verify(settings, [failure], file)
    (false,) = verify(settings, [failure], image)
    (message,) = verify(settings, [replace(failure, error=replace(failure.error, message="x"))], file)
    assert true.ok, true
    assert statuses(true)["bundle"] == "NOT_CHECKED"
    assert "it says TRUNCATED" in failed(false)["answer"] and "error.message" in failed(message)["answer"]


def test_several_answers_find_their_files(
    settings: Settings, pool: DecoderPool, answer: Diagnosis, image: InputFile, tmp_path: Path
) -> None:
    """By digest, whatever the names; a tampered digest by the name; an answer without a file is named."""
    second = InputFile("b.dcm", tmp_path / "b.dcm")
    second.path.write_bytes(make_stack(("none", "dark")))
    third = ask(settings, pool, second)
    assert third.evidence is not None and answer.evidence is not None
    answers = [
        replace(third, input="x"),
        replace(answer, input="x"),
        replace(third, evidence=replace(third.evidence, input_sha256="0" * 64)),
        replace(third, input="x", evidence=replace(third.evidence, input_sha256="0" * 64)),
    ]
    reports = verify(settings, answers, image, second)
    assert [report.file for report in reports] == ["b.dcm", "stack.dcm", "b.dcm", None]
    assert [report.ok for report in reports] == [True, True, False, False]
    assert set(failed(reports[2])) == set(failed(reports[3])) == {"file"}


def test_the_json_of_the_command_goes_round(
    settings: Settings, answer: Diagnosis, image: InputFile, tmp_path: Path
) -> None:
    """What `diagnose --json` prints is what `verify` reads; an unknown key fails the form."""
    path = tmp_path / "a.jsonl"
    path.write_text(diagnosis_to_line(answer) + "\n")
    (report,) = verify_answers(settings, list(read_answers(path)), [image])
    assert report.ok
    data = json.loads(path.read_text()) | {"approved": True}
    path.write_text(json.dumps(data, indent=1))
    (report,) = verify_answers(settings, list(read_answers(path)), [image])
    assert "approved" in failed(report)["form"]
    assert not report.ok
    assert io.StringIO(path.read_text()).readline() == "{\n"
