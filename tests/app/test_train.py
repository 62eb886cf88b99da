"""`make starter` in small: made-up sets in, a signed bundle out that loads, is verified and can be measured."""

import hashlib
import json
import shutil
from functools import partial
from pathlib import Path

import cv2
import numpy as np
import pytest

from irmsia.app import build as build_module
from irmsia.app import train
from irmsia.app.evaluate import evaluate_bundle
from irmsia.bundles.load import Bundle, load_bundle
from irmsia.bundles.signing import read_trust
from irmsia.datasets.parts import validation_part
from irmsia.datasets.samples import STARTER_SOURCES
from irmsia.datasets.sealed import parse_sealed, read_sealed
from irmsia.errors import InvalidRequestError
from irmsia.imaging.phantoms import GOLDEN_SEEDS
from irmsia.imaging.read import read_image
from irmsia.settings.limits import ReadLimits
from irmsia.settings.tree import Settings
from irmsia.training import starter
from irmsia.training.cases import Cases
from irmsia.training.recipe import ForeignRecipe, Plan

pytestmark = [
    pytest.mark.train,
    pytest.mark.filterwarnings("ignore::FutureWarning", "ignore::DeprecationWarning"),  # torch's own exporter
]

RECIPE = starter.RECIPE.model_copy(
    update={
        "backbone": "resnet18d_w8",
        "size": 32,
        "epochs": 2,
        "steps_per_epoch": 12,
        "batch_size": 16,
        "warmup_steps": 4,
        "ema_decay": 0.8,
        "precision": "fp32",
    }
)
PLAN = Plan(
    base=RECIPE,
    finish=RECIPE.model_copy(update={"epochs": 1, "mixup": 0.4}),
    foreign=ForeignRecipe(steps=12, own=2, families=4),
)
IMAGES_A_CLASS = 40


def _write_sets(data: Path) -> None:
    """Each class has its own mean grey and its own block, so that a few steps are enough; names tell chest patients."""
    order = np.random.default_rng(11)
    for source, layout in enumerate(STARTER_SOURCES):
        for position, folder in enumerate(layout.terms):
            for number in range(IMAGES_A_CLASS):
                name = f"person{position}{number}_virus_1.png" if layout.has_patients else f"{folder} ({number}).png"
                path = data / layout.name / folder / name
                path.parent.mkdir(parents=True, exist_ok=True)
                path.write_bytes(cv2.imencode(".png", _picture(order, source, position))[1].tobytes())


def _picture(order: np.random.Generator, source: int, position: int) -> np.ndarray:
    coarse = order.uniform(0, 120, (6, 6)).astype(np.float32)
    picture = cv2.resize(coarse, (48, 40 + 4 * source), interpolation=cv2.INTER_CUBIC)
    picture[:, source * 16 : source * 16 + 8] += 60
    picture[position * 10 : position * 10 + 8] += 90
    return np.clip(picture, 0, 255).astype(np.uint8)


@pytest.fixture(scope="module")
def made(tmp_path_factory: pytest.TempPathFactory) -> tuple[Path, Path, Path]:
    """Return (data, work, bundle) after all three stages."""
    base = tmp_path_factory.mktemp("starter")
    data, work, bundle = base / "data", base / "work", base / "bundle"
    _write_sets(data)
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(train, "PHANTOMS", {"train": 24, "validation": 12, "test": 12})
        train.prepare(data, work, recipe=RECIPE, committed=None)
    train.train(work, PLAN)
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(build_module, "GOLDEN_SEEDS", GOLDEN_SEEDS[:12])
        train.build(work, data, bundle, plan=PLAN)
    shutil.copy(Settings().home / "seal.jsonl", base / "openings-of-the-build.jsonl")
    return data, work, bundle


@pytest.fixture(scope="module")
def bundle(made: tuple[Path, Path, Path]) -> Bundle:
    """Return the bundle, loaded with this machine's keys."""
    return load_bundle(made[2], read_trust(Settings().home))


def test_bundle_holds_what_the_contract_asks(bundle: Bundle) -> None:
    """It loads, knows all four groups, keeps its figures with intervals, and stays small."""
    manifest = bundle.manifest
    assert [group.region for group in manifest.rules.groups] == ["chest", "brain", "breast", "phantom"]
    assert manifest.preprocessing.resize.size == 32
    assert {metric.part for metric in manifest.metrics} == {"test"}
    assert all(metric.low <= metric.high for metric in manifest.metrics)
    assert sum(record.phantom is not None for record in bundle.golden()) == 12
    assert sum(record.real is not None for record in bundle.golden()) == 12


def test_sealed_part_is_never_learnt_from(made: tuple[Path, Path, Path], bundle: Bundle) -> None:
    """The list in the bundle is the one made before training; no listed file is in train or validation, none golden."""
    _, work, _ = made
    sealed = {row.file_sha256 for row in read_sealed(work / "sealed.jsonl")}
    assert bundle.sealed() == (work / "sealed.jsonl").read_bytes()
    rows = Cases.load(work / "cases").rows
    real = [row for row in rows if row.region != "phantom"]
    assert sealed == {row.file_sha256 for row in real if row.part == "test"}
    assert not sealed & {row.file_sha256 for row in real if row.part != "test"}
    assert not sealed & {record.input_sha256 for record in bundle.golden() if record.real is not None}


def test_served_figures_are_those_of_the_manifest(
    made: tuple[Path, Path, Path], bundle: Bundle, tmp_path: Path
) -> None:
    """The runtime reaches, on the sealed part, what the trained network reached when the bundle was built."""
    data, _, folder = made
    home = Settings().home
    openings = len((home / "seal.jsonl").read_text().splitlines())
    answered = evaluate_bundle(Settings(), str(folder), data, part="test", command="test")
    stated = {(metric.region, metric.term, metric.name): metric.value for metric in bundle.manifest.metrics}
    figures = [figure for figure in answered.evaluation.figures() if figure.estimate.whole]
    measured = {(figure.region, figure.term, figure.name): figure.estimate.value for figure in figures}
    bounded = {key for key in stated if "slope" not in key[2] and "intercept" not in key[2]}
    assert bounded <= measured.keys()
    assert all(measured[key] == pytest.approx(stated[key], abs=0.02) for key in bounded)
    assert len((home / "seal.jsonl").read_text().splitlines()) == openings + 1


def test_the_card_holds_what_was_measured(bundle: Bundle) -> None:
    """A column a term with intervals, conformal coverage, the shares of decisions, every item of CLAIM filled."""
    card = bundle.card()
    assert "| conformal coverage |" in card
    assert "| REFER share | test |" in card
    assert {(size.region, size.part) for size in bundle.manifest.how_made.parts} >= {
        ("chest", "train"),
        ("brain", "test"),
    }
    assert len([line for line in card.split("## CLAIM 2024")[1].splitlines() if line.startswith("| ")]) == 2 + 44
    assert "Not stated" not in card


def test_the_validation_part_is_found_again(made: tuple[Path, Path, Path], bundle: Bundle) -> None:
    """By grouping and splitting once more: the very files the training held back. Other data are told apart."""
    data, work, _ = made
    sealed = parse_sealed(bundle.sealed().decode())
    seed, read = bundle.manifest.how_made.seed, partial(read_image, limits=ReadLimits())
    found = validation_part(data, sealed, seed=seed, read=read)
    rows = [row for row in Cases.load(work / "cases").rows if row.part == "validation" and row.region != "phantom"]
    assert {row.file_sha256 for row in found} == {row.file_sha256 for row in rows}
    with pytest.raises(InvalidRequestError, match="other images"):
        validation_part(data, sealed[1:], seed=seed + 1, read=read)


def test_a_build_logs_that_it_opened_the_sealed_part(made: tuple[Path, Path, Path], bundle: Bundle) -> None:
    """The figures in the manifest are of the sealed part, so the build itself is an opening."""
    lines = (made[2].parent / "openings-of-the-build.jsonl").read_text().splitlines()
    assert [json.loads(line)["bundle"] for line in lines] == [bundle.id]


def test_rebuild_keeps_the_committed_list(made: tuple[Path, Path, Path], tmp_path: Path) -> None:
    """With another seed the split would change; groups of a committed list stay in the test part."""
    data, work, _ = made
    other = RECIPE.model_copy(update={"seed": 7})
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(train, "PHANTOMS", {"train": 12, "validation": 12, "test": 12})
        train.prepare(data, tmp_path, recipe=other, committed=work / "sealed.jsonl")
    kept = {row.group for row in read_sealed(work / "sealed.jsonl")}
    assert kept <= {row.group for row in read_sealed(tmp_path / "sealed.jsonl")}


def _write_resized(original: Path, resized: Path) -> None:
    """Write another file of other pixels that shows the same: resized and as JPEG."""
    picture = cv2.imread(str(original), cv2.IMREAD_GRAYSCALE)
    larger = cv2.resize(picture, None, fx=1.5, fy=1.5, interpolation=cv2.INTER_LINEAR)
    resized.write_bytes(cv2.imencode(".jpeg", larger, (cv2.IMWRITE_JPEG_QUALITY, 90))[1].tobytes())


def test_a_renamed_copy_of_a_sealed_image_stops_the_training(made: tuple[Path, Path, Path], tmp_path: Path) -> None:
    """Under another patient's name, also resized and as JPEG, it would be learnt from: named, left out when asked."""
    data, work, _ = made
    sealed = {row.file_sha256 for row in read_sealed(work / "sealed.jsonl")}
    copied = tmp_path / "data"
    shutil.copytree(data, copied)
    chest = next(layout for layout in STARTER_SOURCES if layout.has_patients)
    files = sorted((copied / chest.name).rglob("*.png"))
    original = next(path for path in files if hashlib.sha256(path.read_bytes()).hexdigest() in sealed)
    copy, resized = original.with_name("person9999_virus_1.png"), original.with_name("person9998_virus_1.jpeg")
    shutil.copy(original, copy)
    _write_resized(original, resized)
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(train, "PHANTOMS", {"train": 12, "validation": 12, "test": 12})
        with pytest.raises(InvalidRequestError, match=r"^2 copies .*person9998_virus_1.*person9999_virus_1"):
            train.prepare(copied, tmp_path / "a", recipe=RECIPE, committed=work / "sealed.jsonl")
        train.prepare(copied, tmp_path / "b", recipe=RECIPE, committed=work / "sealed.jsonl", drop_sealed=True)
    names = {row.name for row in Cases.load(tmp_path / "b" / "cases").rows}
    assert names.isdisjoint(str(path.relative_to(copied)) for path in (copy, resized))
    assert str(original.relative_to(copied)) in names


def test_golden_images_are_of_every_term(made: tuple[Path, Path, Path]) -> None:
    """Golden rows are validation images, one a group, of every term of every real region in turn."""
    rows = build_module.golden_rows(Cases.load(made[1] / "cases").rows)
    assert {row.part for row in rows} == {"validation"}
    assert len({row.group for row in rows}) == len(rows)
    assert len({(row.region, row.term) for row in rows}) == 9
