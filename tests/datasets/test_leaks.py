"""The leak gate finds every kind of copy among pictures that are none, says which kind, and joins nothing else."""

from __future__ import annotations

import hashlib
import random
from collections import Counter
from collections.abc import Mapping
from pathlib import Path

import cv2
import numpy as np
import pytest

from irmsia.datasets.leaks import Found, Leak, LeakKind, find_leaks, groups_of, labels_disagree
from irmsia.datasets.record import Record
from irmsia.errors import NotReadableError
from tests.datasets.pictures import COPIES, Grey, as_jpeg, cropped, make_picture, resized


def _records(pictures: Mapping[str, Grey], **known: object) -> list[Record]:
    return [_record(path, picture, **known) for path, picture in pictures.items()]


def _record(path: str, picture: Grey, **known: object) -> Record:
    digest = hashlib.sha256(path.encode()).hexdigest()
    pixels = hashlib.sha256(picture.tobytes() + str(picture.shape).encode()).hexdigest()
    return Record(path, 1, 0, digest, pixels, **known)  # type: ignore[arg-type]


def _find(pictures: Mapping[str, Grey], **known: object) -> Found:
    return find_leaks(_records(pictures, **known), lambda record: pictures[record.path], workers=2)


ORIGINALS = {f"{seed:02d}.png": make_picture(seed) for seed in range(24)}


@pytest.mark.parametrize("name", COPIES)
def test_copies_are_found_and_named(name: str) -> None:
    """Six copies of a kind among 24 pictures: all are found, as copies, with their kind; nothing else is."""
    kind, make = COPIES[name]
    copies = {f"copy-{path}": make(picture) for path, picture in list(ORIGINALS.items())[:6]}
    found = _find(ORIGINALS | copies)
    assert [(leak.first, leak.second) for leak in found.leaks] == [(path[5:], path) for path in copies]
    assert {leak.kind for leak in found.leaks} == {LeakKind(kind)}
    assert all(leak.is_copy and leak.correlation and leak.correlation > 0.9 for leak in found.leaks)
    assert found.compared >= len(copies)


def test_pictures_that_are_no_copies_are_not_joined() -> None:
    """24 pictures made alike: no pair."""
    assert _find(ORIGINALS).leaks == ()


def test_what_was_kept_of_a_crop_is_told() -> None:
    """A crop that keeps 81 % says so, and so does one of a mirrored picture."""
    picture = make_picture(3)
    copies = {"a.png": picture, "b.png": cropped(picture, 0.1, 0.1, 0, 0)}
    (leak,) = _find(ORIGINALS | copies | {"03.png": make_picture(90)}).leaks
    assert leak.kind is LeakKind.CROPPED
    assert leak.kept == pytest.approx(0.81, abs=0.02)


def test_equal_files_and_equal_pixels_are_told_apart() -> None:
    """The same bytes under another name are EXACT; other bytes with the same pixels are PIXELS. No picture is asked."""
    pictures = {"a.png": make_picture(1), "b.png": make_picture(1), "c.bmp": make_picture(1)}
    records = _records(pictures)
    records[1] = Record("b.png", 1, 0, records[0].sha256, records[0].pixels_sha256)
    found = find_leaks(records, lambda record: pictures[record.path])
    assert [(leak.first, leak.second, leak.kind) for leak in found.leaks] == [
        ("a.png", "b.png", LeakKind.EXACT),
        ("a.png", "c.bmp", LeakKind.PIXELS),
    ]


def test_the_next_slice_is_alike_and_no_copy() -> None:
    """A picture whose fine structures differ, the rest being the same, is shown as alike."""
    base = make_picture(95, 256, 256).astype(np.float32)
    pictures = dict(ORIGINALS)
    for number in range(2):
        grain = np.random.default_rng(number).normal(0, 1, (256, 256)).astype(np.float32)
        pictures[f"slice-{number}.png"] = np.clip(base + 9 * cv2.GaussianBlur(grain, (0, 0), 1.2) * 3.5, 0, 255).astype(
            np.uint8
        )
    (leak,) = _find(pictures).leaks
    assert (leak.first, leak.second, leak.kind) == ("slice-0.png", "slice-1.png", LeakKind.ALIKE)
    assert not leak.is_copy


def test_order_and_workers_change_nothing() -> None:
    """The same leaks in any order of records, by one thread or two."""
    pictures = ORIGINALS | {f"copy-{name}.png": make(ORIGINALS["00.png"]) for name, (_, make) in COPIES.items()}
    records = _records(pictures)
    first = find_leaks(records, lambda record: pictures[record.path], workers=1)
    random.Random(4).shuffle(records)
    second = find_leaks(records, lambda record: pictures[record.path], workers=2)
    assert [(leak.first, leak.second, leak.kind) for leak in first.leaks] == [
        (leak.first, leak.second, leak.kind) for leak in second.leaks
    ]
    (group,) = groups_of(first.leaks)
    assert set(group) == {"00.png", *(path for path in pictures if path.startswith("copy"))}


def test_blank_odd_and_unreadable_pictures_do_no_harm() -> None:
    """Blank ones join nothing, thin ones and one pixel are read, what cannot be read is told."""
    pictures = dict(list(ORIGINALS.items())[:3]) | {
        "blank-1.png": np.full((50, 50), 90, np.uint8),
        "blank-2.png": np.full((60, 60), 90, np.uint8),
        "pixel.png": np.full((1, 1), 4, np.uint8),
        "thin.png": make_picture(70, 2, 900),
    }
    broken = _record("broken.png", make_picture(80))

    def read(record: Record) -> Grey:
        if record.path == "broken.png":
            raise NotReadableError("gone")
        return pictures[record.path]

    found = find_leaks([*_records(pictures), broken], read)
    assert found.leaks == ()
    assert found.unread == ("broken.png",)


def test_a_picture_that_goes_away_meanwhile_is_only_alike() -> None:
    """Who cannot be read the second time is not called a copy, and nothing breaks."""
    pictures = {"a.png": make_picture(1), "b.png": as_jpeg(make_picture(1))}
    asked: Counter[str] = Counter()

    def read(record: Record) -> Grey:
        asked[record.path] += 1
        if asked[record.path] > 1:
            raise NotReadableError("gone")
        return pictures[record.path]

    (leak,) = find_leaks(_records(pictures), read).leaks
    assert leak.kind is LeakKind.ALIKE


def test_masks_and_invalid_files_are_left_out() -> None:
    """Equal black masks are no leak."""
    mask = np.zeros((40, 40), np.uint8)
    records = [Record(f"{number}_mask.png", 1, 0, "same", "same", problem="MASK") for number in range(3)]
    assert find_leaks(records, lambda _: mask) == Found(())


def test_few_or_no_files() -> None:
    """Nothing, and one file, have no pairs."""
    assert _find({}) == Found(())
    assert _find({"a.png": make_picture(1)}).leaks == ()


def test_progress_is_counted() -> None:
    """Every picture is counted, then every pair."""
    seen: Counter[str] = Counter()

    def track(what, total, items):  # type: ignore[no-untyped-def]
        for item in items:
            seen[what] += 1
            yield item
        assert seen[what] == total

    pictures = {"a.png": make_picture(1), "b.png": resized(make_picture(1), 90, 90)}
    find_leaks(_records(pictures), lambda record: pictures[record.path], track=track)
    assert seen == {"reading": 2, "comparing": 1}


def test_groups_link_and_two_labels_show() -> None:
    """a-b and b-c are one group; a label that is missing does not disagree."""
    leaks = [Leak("b", "c", LeakKind.ALIKE), Leak("a", "b", LeakKind.ALIKE), Leak("x", "y", LeakKind.EXACT)]
    assert groups_of(leaks) == [("a", "b", "c"), ("x", "y")]
    assert labels_disagree("abc", {"a": "benign", "b": None, "c": "malignant"})
    assert not labels_disagree("xy", {"x": None, "y": "normal"})


def _grey(path: Path) -> Grey:
    return np.asarray(cv2.imread(str(path), cv2.IMREAD_GRAYSCALE), np.uint8)


def _scan(data: Path, folder: str) -> tuple[list[Record], dict[str, Grey]]:
    paths = sorted(path for path in (data / folder).glob("*/*.*") if "_mask" not in path.stem)
    pictures = {path.relative_to(data / folder).as_posix(): _grey(path) for path in paths}
    labels = {path: path.split("/")[0] for path in pictures}
    return [_record(path, picture, source=folder, label=labels[path]) for path, picture in pictures.items()], pictures


@pytest.mark.data
def test_the_breast_set_reports_its_duplicates_and_their_two_labels(data_dir: Path) -> None:
    """The known defect is found: pictures that are in the set twice, some of them with two labels."""
    records, pictures = _scan(data_dir, "breast_ultrasound_busi")
    found = find_leaks(records, lambda record: pictures[record.path], workers=2)
    labels = {record.path: record.label for record in records}
    groups = groups_of(found.leaks)
    two = [group for group in groups if labels_disagree(group, labels)]
    assert len(groups) >= 100
    assert max(map(len, groups)) <= 6
    assert ("benign/benign (433).png", "malignant/malignant (145).png") in two
    assert ("benign/benign (399).png", "malignant/malignant (93).png") in two
    assert len(two) >= 4
    assert sum(leak.is_copy for leak in found.leaks) / len(found.leaks) > 0.9


@pytest.mark.data
def test_slices_of_one_head_are_no_copies(data_dir: Path) -> None:
    """Of 378 pairs of different CT slices none is called a copy."""
    from irmsia.imaging.limits import ReadLimits
    from irmsia.imaging.read import read_image
    from irmsia.imaging.render import render_grey

    pictures = {}
    for path in sorted((data_dir / "dicom" / "ct_head_gantry_tilt").glob("*.dcm")):
        image = read_image(path.read_bytes(), ReadLimits())
        pictures[path.name] = render_grey(image, image.indices[0])
    assert len(pictures) == 28
    found = _find(pictures)
    assert [leak for leak in found.leaks if leak.is_copy] == []
