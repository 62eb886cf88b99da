"""A study is answered once: one row an instance, whatever ends a run; nothing that no longer holds is taken over."""

from __future__ import annotations

import json
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path

import pytest

from irmsia.app.diagnose import DiagnoseOptions
from irmsia.app.study import StudyOptions
from irmsia.app.study_result import DUPLICATE, result_to_json
from irmsia.errors import InvalidRequestError, UnavailableError
from irmsia.inference.protocol import Priority
from irmsia.wire.json import diagnosis_from_json
from tests.app.studies import StudyService, read_lines, run, write_folder, write_image
from tests.server.scripted import MODEL, MODEL_INFO

KINDS = ("jsonl", "csv", "html")


@pytest.fixture
def service() -> Iterator[StudyService]:
    """What answers the files of a test."""
    service = StudyService()
    yield service
    service.close()


def _uids(path: Path) -> list[str]:
    return [line["source"]["sop_instance_uid"] for line in read_lines(path)]


def test_one_line_an_instance_and_nothing_else(service: StudyService, tmp_path: Path) -> None:
    """Every line of the .jsonl is an answer as `--json` prints it, in the order of the files."""
    out = tmp_path / "r.jsonl"
    result = run(service, write_folder(tmp_path / "in", 5), out)
    assert _uids(out) == [f"1.9.{number}" for number in range(5)]
    assert [diagnosis_from_json(line).input for line in read_lines(out)] == [row.answer.input for row in result.rows]


def test_the_summary_counts_by_study_and_series(service: StudyService, tmp_path: Path) -> None:
    """Each series has its own most severe image, by its number among the rows."""
    folder = write_folder(tmp_path / "in", 5)
    write_image(folder / "bad.dcm", "1", fails="TRUNCATED")
    result = run(service, folder, tmp_path / "r.jsonl")
    known, unknown = result.summary.studies
    assert [(part.counts.total, part.most_severe and part.most_severe.index) for part in known.series] == [
        (3, 4),
        (2, 3),
    ]
    assert (unknown.study_instance_uid, unknown.counts.failed) == (None, 1)
    told = result_to_json(result)
    assert (told["model"]["id"], told["counts"]["total"], told["warnings"]) == (MODEL.id, 6, [])


@pytest.mark.parametrize("kind", KINDS)
def test_a_run_that_was_cut_off_goes_on(service: StudyService, tmp_path: Path, kind: str) -> None:
    """Only what has no answer yet is asked, and the file is the same, byte by byte, as that of an unbroken run."""
    folder, whole, out = write_folder(tmp_path / "in", 30), tmp_path / f"whole.{kind}", tmp_path / f"r.{kind}"
    run(service, folder, whole)
    service.failing = {"021.dcm": "UNAVAILABLE"}
    with pytest.raises(UnavailableError, match="goes on"):
        run(service, folder, out)
    service.failing, service.requests = {}, []
    result = run(service, folder, out)
    assert service.asked == [f"{number:03}.dcm" for number in range(21, 30)]
    assert (result.reused, len(result.rows)) == (21, 30)
    assert out.read_bytes() == whole.read_bytes()


@pytest.mark.parametrize("kind", KINDS[1:])
def test_a_table_and_a_page_are_whole_or_not_there(service: StudyService, tmp_path: Path, kind: str) -> None:
    """While answers come, they are kept beside it; at the end nothing else is left."""
    folder, out = write_folder(tmp_path / "in", 30), tmp_path / "out" / f"r.{kind}"
    out.parent.mkdir()
    service.failing = {"025.dcm": "UNAVAILABLE"}
    with pytest.raises(UnavailableError):
        run(service, folder, out)
    assert {path.name for path in out.parent.iterdir()} == {f"{out.name}.partial.jsonl", f"{out.name}.run.json"}
    service.failing = {}
    run(service, folder, out)
    assert [path.name for path in out.parent.iterdir()] == [out.name]


def test_the_same_command_again_asks_nothing(service: StudyService, tmp_path: Path) -> None:
    """A finished .jsonl stays as it is; a new file is added in its place."""
    folder, out = write_folder(tmp_path / "in", 4), tmp_path / "r.jsonl"
    run(service, folder, out)
    before, service.requests = out.stat(), []
    run(service, folder, out)
    assert (service.asked, out.stat().st_mtime_ns, out.stat().st_ino) == ([], before.st_mtime_ns, before.st_ino)
    write_image(folder / "001b.dcm", "1.9.1.1")
    run(service, folder, out)
    assert (service.asked, _uids(out)) == (["001b.dcm"], ["1.9.0", "1.9.1", "1.9.1.1", "1.9.2", "1.9.3"])


def test_a_changed_file_is_answered_anew_and_a_removed_one_is_gone(service: StudyService, tmp_path: Path) -> None:
    """Nothing stands in the results that was said of other bytes; a renamed file keeps its answer."""
    folder, out = write_folder(tmp_path / "in", 4), tmp_path / "r.jsonl"
    run(service, folder, out)
    write_image(folder / "001.dcm", "1.9.1", risk=77.0)
    (folder / "002.dcm").unlink()
    (folder / "003.dcm").rename(folder / "renamed.dcm")
    service.requests = []
    run(service, folder, out)
    assert service.asked == ["001.dcm"]
    assert [(Path(line["input"]).name, line["risk"]["score"]) for line in read_lines(out)] == [
        ("000.dcm", 0.0),
        ("001.dcm", 77.0),
        ("renamed.dcm", 3.0),
    ]


def test_an_instance_stands_once_and_its_double_is_told(service: StudyService, tmp_path: Path) -> None:
    """Copies and other encodings of one picture are one row; one UID with two pictures is two rows and a warning."""
    folder, out = tmp_path / "in", tmp_path / "r.jsonl"
    for name, uid, pixels in (
        ("a", "1.1", "A"),
        ("b", "1.1", "A"),
        ("c", "1.1", "C"),
        ("d", None, "A"),
        ("e", None, "A"),
    ):
        write_image(folder / f"{name}.dcm", uid, pixels=pixels)
    write_image(folder / "f.dcm", "1.1", pixels="A", risk=10.5)
    result = run(service, folder, out)
    assert [Path(line["input"]).name for line in read_lines(out)] == ["a.dcm", "c.dcm", "d.dcm"]
    assert result.copies == 3
    assert [warning.code for warning in result.warnings] == [DUPLICATE]
    assert "1.1" in result.warnings[0].text


def test_another_model_does_not_go_on(service: StudyService, tmp_path: Path) -> None:
    """Two models in one file would be no study; `--restart` begins anew."""
    folder, out = write_folder(tmp_path / "in", 3), tmp_path / "r.jsonl"
    run(service, folder, out)
    service.model = replace(MODEL_INFO, id="cd" * 32)
    with pytest.raises(InvalidRequestError, match=r"otherwise \(model\); choose another file, or --restart"):
        run(service, folder, out)
    service.requests = []
    run(service, folder, out, restart=True)
    assert len(service.asked) == 3


def test_other_options_and_other_paths_do_not_go_on(service: StudyService, tmp_path: Path) -> None:
    """The rows of one file were all asked the same."""
    folder, out = write_folder(tmp_path / "in", 3), tmp_path / "r.jsonl"
    run(service, folder, out)
    with pytest.raises(InvalidRequestError, match="all_findings"):
        run(service, folder, out, asked=DiagnoseOptions(all_findings=True))
    with pytest.raises(InvalidRequestError, match="inputs"):
        run(service, write_folder(tmp_path / "other", 3), out)


def test_every_image_is_asked_of_one_model_and_lets_others_go_first(service: StudyService, tmp_path: Path) -> None:
    """A model that becomes active meanwhile changes nothing; somebody who waits for one image overtakes a study."""
    run(service, write_folder(tmp_path / "in", 3), tmp_path / "r.html")
    assert {(request.model, request.priority, request.heatmap, request.overlay) for request in service.requests} == {
        (MODEL.id, Priority.BATCH, True, True)
    }


def test_a_failure_of_the_platform_is_tried_again_one_of_the_file_is_not(service: StudyService, tmp_path: Path) -> None:
    """A run that goes on does not take over what says nothing of the file."""
    folder, out = write_folder(tmp_path / "in", 3), tmp_path / "r.jsonl"
    service.failing = {"000.dcm": "TIMED_OUT", "001.dcm": "TRUNCATED"}
    assert run(service, folder, out).summary.counts.failed == 2
    service.failing, service.requests = {}, []
    assert run(service, folder, out).summary.counts.failed == 1
    assert service.asked == ["000.dcm"]
    assert len(read_lines(out)) == 3


def test_what_is_no_image_is_skipped_in_a_walk(service: StudyService, tmp_path: Path) -> None:
    """So are the results themselves, where they lie in the folder."""
    folder = write_folder(tmp_path / "in", 2)
    (folder / "notes.txt").write_text("no image")
    out = folder / "r.jsonl"
    for _ in range(2):
        assert len(run(service, folder, out).rows) == 2
    assert "r.jsonl" not in service.asked
    assert "r.jsonl.run.json" not in service.asked


@pytest.mark.parametrize("name", ["r.txt", "r", "folder.csv"])
def test_a_file_that_cannot_be_written_is_told_before_any_work(tmp_path: Path, name: str) -> None:
    """Nobody waits an hour for it."""
    (tmp_path / "folder.csv").mkdir()
    with pytest.raises(InvalidRequestError):
        StudyOptions(tmp_path / name, DiagnoseOptions())


@pytest.mark.parametrize(("name", "language"), [("r.csv", "fr"), ("r.html", "de")])
def test_a_language_is_one_of_two_and_for_a_page(tmp_path: Path, name: str, language: str) -> None:
    """A table has codes, no words."""
    with pytest.raises(InvalidRequestError, match="language"):
        StudyOptions(tmp_path / name, DiagnoseOptions(), language=language)


def test_a_folder_that_is_not_there_is_a_clear_error(service: StudyService, tmp_path: Path) -> None:
    """Before anything is asked, without a path in the message."""
    with pytest.raises(InvalidRequestError, match="cannot be written") as caught:
        run(service, write_folder(tmp_path / "in", 2), tmp_path / "no" / "r.csv")
    assert str(tmp_path) not in caught.value.message
    assert service.asked == []


def test_a_term_that_the_model_lacks_is_told_before_any_work(service: StudyService, tmp_path: Path) -> None:
    """Every image would fail alike."""
    with pytest.raises(InvalidRequestError, match="glioma"):
        run(service, write_folder(tmp_path / "in", 2), tmp_path / "r.csv", asked=DiagnoseOptions(term="glioma"))
    assert service.asked == []


def test_the_header_names_what_was_asked(service: StudyService, tmp_path: Path) -> None:
    """Whoever finds the file can read what its answers were asked with."""
    folder = write_folder(tmp_path / "in", 1)
    run(service, folder, tmp_path / "r.jsonl")
    header = json.loads((tmp_path / "r.jsonl.run.json").read_text("ascii"))
    assert (header["model"], header["inputs"], header["maps"]) == (MODEL.id, [str(folder)], False)
