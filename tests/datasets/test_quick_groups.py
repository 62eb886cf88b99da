"""Who belongs together at a first look: patients, equal files, look-alikes within a source."""

import numpy as np

from irmsia.datasets.duplicates import Grey
from irmsia.datasets.quick_groups import quick_groups
from irmsia.datasets.record import Record


def _picture(seed: int) -> Grey:
    coarse = np.random.default_rng(seed).integers(0, 255, (8, 8))
    return np.kron(coarse, np.ones((8, 8))).astype(np.uint8)


def test_patients_copies_and_look_alikes_are_one_group() -> None:
    """Files of a patient, equal bytes, equal pixels and near-duplicates share a group; the others have their own."""
    records = [
        Record("a.png", 1, 1, "01", patient="p1", source="x"),
        Record("b.png", 1, 1, "02", patient="p1", source="x"),
        Record("c.png", 1, 1, "02", source="x"),
        Record("d.png", 1, 1, "04", pixels_sha256="ff", source="x"),
        Record("e.png", 1, 1, "05", pixels_sha256="ff", source="y"),
        Record("f.png", 1, 1, "06", source="x"),
        Record("g.png", 1, 1, "07", source="x"),
        Record("h.png", 1, 1, "08", source="x"),
    ]
    pictures = {
        "f.png": _picture(1),
        "g.png": np.clip(_picture(1) * 0.9, 0, 255).astype(np.uint8),
        "h.png": _picture(2),
    }
    groups = quick_groups(records, pictures)
    assert groups == quick_groups(records[::-1], pictures)
    together = [{path for path, group in groups.items() if group == name} for name in dict.fromkeys(groups.values())]
    assert sorted(map(sorted, together)) == [
        ["a.png", "b.png", "c.png"],
        ["d.png", "e.png"],
        ["f.png", "g.png"],
        ["h.png"],
    ]


def test_look_alikes_of_two_sources_stay_apart() -> None:
    """Pictures of two sources are compared by their digests alone: so many pairs take more than a first look."""
    records = [Record("a.png", 1, 1, "01", source="x"), Record("b.png", 1, 1, "02", source="y")]
    assert len(set(quick_groups(records, {"a.png": _picture(1), "b.png": _picture(1)}).values())) == 2
