"""A bundle on data: the sealed part and its log, data that are not the bundle's, what is left on disk."""

from __future__ import annotations

import errno
import hashlib
import json
from pathlib import Path

import cv2
import numpy as np
import pytest

from irmsia import durable
from irmsia.app.evaluate import Answered, evaluate_bundle, evaluate_table, find_bundle
from irmsia.app.results import write_page, write_results
from irmsia.bundles.pack import pack_bundle, write_folder
from irmsia.bundles.signing import machine_key
from irmsia.datasets.parts import list_sources
from irmsia.datasets.sealed import SealedSample, format_sealed, group_digest
from irmsia.errors import InvalidRequestError, ModelNotFoundError
from irmsia.evaluation.measure import RegionReport
from irmsia.evaluation.prediction_table import format_predictions, parse_predictions
from irmsia.settings.tree import Settings
from tests.bundles.tiny import make_fields, make_files
from tests.evaluation.made import make_images

CHEST = ("normal", "pneumonia")


@pytest.fixture(scope="module")
def data(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Sets in small: 12 chests a class that differ in grey, one image of every other class."""
    folder, noise = tmp_path_factory.mktemp("sets"), np.random.default_rng(3)
    names = {
        "chest_xray_pneumonia/NORMAL": [f"IM-{n // 2}-{n}.png" for n in range(12)],
        "chest_xray_pneumonia/PNEUMONIA": [f"person{n // 2}_virus_{n}.png" for n in range(12)],
        **{f"brain_mri_tumor/{name}": ["1.png"] for name in ("notumor", "glioma", "meningioma", "pituitary")},
        **{f"breast_ultrasound_busi/{name}": ["1.png"] for name in ("normal", "benign", "malignant")},
    }
    for place, files in names.items():
        (folder / place).mkdir(parents=True)
        for name in files:
            picture = noise.integers(0, 120 if "NORMAL" in place else 255, (40, 40)).astype(np.uint8)
            (folder / place / name).write_bytes(cv2.imencode(".png", picture)[1].tobytes())
    return folder


@pytest.fixture(scope="module")
def settings(tmp_path_factory: pytest.TempPathFactory) -> Settings:
    """A home of its own."""
    home = tmp_path_factory.mktemp("home")
    home.chmod(0o700)
    return Settings(home=home)


@pytest.fixture(scope="module")
def bundle(data: Path, settings: Settings, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The tiny bundle, sealed over the chests."""
    rows = [
        SealedSample(
            file_sha256=hashlib.sha256((data / sample.path).read_bytes()).hexdigest(),
            frame_sha256=(),
            perceptual_hash="0" * 16,
            difference_hash="0" * 64,
            group=group_digest(sample.source, sample.group),
        )
        for sample in list_sources(data)
        if sample.region == "chest"
    ]
    files = make_files() | {"sealed.jsonl": format_sealed(rows).encode()}
    folder = tmp_path_factory.mktemp("bundle") / "tiny"
    write_folder(folder, pack_bundle(make_fields(), files, machine_key(settings.home))[1])
    return folder


@pytest.fixture(scope="module")
def answered(data: Path, settings: Settings, bundle: Path) -> Answered:
    """The evaluation on the sealed part."""
    return evaluate_bundle(settings, str(bundle), data, part="test", command="irmsia evaluate --data DIR")


def _chest(answered: Answered) -> RegionReport:
    return next(report for report in answered.evaluation.regions if report.region == "chest")


def test_the_sealed_images_and_no_others_are_answered(answered: Answered) -> None:
    """24 chests of 12 patients, told by digest; phantoms beside them, without a part in the router's figure."""
    report = _chest(answered)
    assert (report.n, report.groups, report.terms) == (24, 12, CHEST)
    assert {report.region for report in answered.evaluation.regions} == {"chest", "phantom"}
    assert answered.evaluation.routing is not None
    assert answered.evaluation.routing.estimate.n == 24
    ids = {image.id for image in answered.images if image.region == "chest"}
    assert len(ids) == 24
    assert all(len(name) == 64 for name in ids)


def test_an_opening_is_logged_before_an_image_is_answered(
    data: Path, settings: Settings, bundle: Path, answered: Answered, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A run that breaks off has opened the part all the same; the next one says how often it was."""
    log = settings.home / "seal.jsonl"
    before = len(log.read_text().splitlines())

    def interrupt(*given: object, **named: object) -> None:
        raise KeyboardInterrupt

    with monkeypatch.context() as patch:
        patch.setattr("irmsia.app.evaluate.answer_part", interrupt)
        with pytest.raises(KeyboardInterrupt):
            evaluate_bundle(settings, str(bundle), data, part="test", command="c")
    assert len(log.read_text().splitlines()) == before + 1
    again = evaluate_bundle(settings, str(bundle), data, part="test", command="c")
    assert f"opened {before + 2} time(s)" in dict(again.evaluation.facts)["opened"]
    assert dict(again.evaluation.facts)["data digest"] == dict(answered.evaluation.facts)["data digest"]


def test_data_that_are_not_the_bundle_s_open_nothing(
    settings: Settings, bundle: Path, data: Path, tmp_path: Path
) -> None:
    """No sealed file is there: no log line. Another split: the validation part cannot be told."""
    log = settings.home / "seal.jsonl"
    before = log.read_text() if log.exists() else ""
    for place in {path.parent.relative_to(data) for path in data.rglob("*.png")}:
        (tmp_path / place).mkdir(parents=True)
        name = "IM-1-1.png" if "chest" in str(place) else "1.png"
        (tmp_path / place / name).write_bytes(cv2.imencode(".png", np.eye(40, dtype=np.uint8))[1].tobytes())
    with pytest.raises(InvalidRequestError, match="no file of the sealed list"):
        evaluate_bundle(settings, str(bundle), tmp_path, part="test", command="c")
    with pytest.raises(InvalidRequestError, match="other images"):
        evaluate_bundle(settings, str(bundle), tmp_path, part="validation", command="c")
    assert (log.read_text() if log.exists() else "") == before


def test_predictions_judged_again_as_a_table_give_the_same_figures(answered: Answered, tmp_path: Path) -> None:
    """What a bundle's run leaves can be given to `irmsia evaluate` as anybody's predictions."""
    table = tmp_path / "predictions.csv"
    table.write_text(format_predictions(answered.images))
    again = evaluate_table(table, command="c")
    assert [figure.estimate for figure in again.evaluation.regions[0].figures] == [
        figure.estimate for figure in _chest(answered).figures
    ]
    assert again.images == ()


def test_what_is_left_on_disk(answered: Answered, tmp_path: Path) -> None:
    """Page, figures, numbers without NaN, predictions; a page elsewhere has its figures beside it, named after it."""
    written = write_results(answered, tmp_path / "out")
    names = {path.name for path in written}
    assert names == {"report.md", "report-chest.svg", "metrics.json", "predictions.csv"}
    assert {path.name for path in (tmp_path / "out").iterdir()} == names
    metrics = json.loads((tmp_path / "out" / "metrics.json").read_text(), parse_constant=pytest.fail)
    assert metrics["regions"]["chest"]["overall"]["accuracy"]["groups"] == 12
    assert parse_predictions((tmp_path / "out" / "predictions.csv").read_bytes()) == list(answered.images)
    write_page(answered, tmp_path / "docs" / "tiny.md")
    assert "(tiny-chest.svg)" in (tmp_path / "docs" / "tiny.md").read_text()
    assert (tmp_path / "docs" / "tiny-chest.svg").read_text().startswith("<svg")


def test_a_disk_that_fails_leaves_no_half_file(
    answered: Answered, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The write of each file fails in turn: typed, and what stands is whole; the page comes last."""
    real = durable.write_text
    for fails_at in range(4):
        folder = tmp_path / str(fails_at)
        calls: list[Path] = []

        def write(path: Path, text: str, fails_at: int = fails_at, calls: list[Path] = calls) -> None:
            calls.append(path)
            if len(calls) > fails_at:
                raise OSError(errno.ENOSPC, "No space left on device")
            real(path, text)

        with monkeypatch.context() as patch:
            patch.setattr(durable, "write_text", write)
            with pytest.raises(InvalidRequestError, match="No space left"):
                write_results(answered, folder)
        assert sorted(path.name for path in folder.iterdir()) == sorted(path.name for path in calls[:-1])
        assert not (folder / "report.md").exists()


def test_a_bundle_is_found_by_folder_or_name(settings: Settings, bundle: Path) -> None:
    """A name that nobody has is a typed error."""
    assert find_bundle(settings.home, str(bundle)).manifest.name == "tiny"
    with pytest.raises(ModelNotFoundError):
        find_bundle(settings.home, "nothing")


def test_a_table_of_anybody(tmp_path: Path) -> None:
    """Facts name its digest and its rows."""
    table = tmp_path / "t.csv"
    table.write_text(format_predictions(make_images(30)))
    facts = dict(evaluate_table(table, command="c").evaluation.facts)
    assert facts["table"] == f"30 rows, `{hashlib.sha256(table.read_bytes()).hexdigest()}`"
