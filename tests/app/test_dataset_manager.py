"""The names that users of data pipelines know reach the same services."""

from __future__ import annotations

from pathlib import Path

import cv2
import numpy as np

from irmsia.app.dataset_manager import DatasetManager
from irmsia.app.datasets import open_catalogue
from irmsia.settings.tree import Settings


def _write_set(root: Path, seed: int) -> None:
    """Twelve unlike pictures in two classes."""
    random = np.random.default_rng(seed)
    for label in ("benign", "malignant"):
        (root / label).mkdir(parents=True)
        for number in range(6):
            coarse = random.integers(0, 255, (6, 6), dtype=np.uint8)
            picture = cv2.resize(coarse, (96, 80), interpolation=cv2.INTER_CUBIC)
            cv2.imwrite(str(root / label / f"{number}.png"), picture)


def test_scan_split_merge_and_statistics(tmp_path: Path) -> None:
    """Each call does what its command does, and what it made is in the catalogue."""
    settings = Settings(home=tmp_path / "home")
    manager = DatasetManager(settings)
    for seed, name in enumerate(("first", "second")):
        _write_set(tmp_path / name, seed)
        assert manager.scan_directory(tmp_path / name, name).tally.samples == 12
    split = manager.create_train_val_test_split("first", train_ratio=0.5, val_ratio=0.25, test_ratio=0.25)
    assert sorted(split.parts) == sorted(f"{label}/{n}.png" for label in ("benign", "malignant") for n in range(6))
    assert list(split.parts.values()).count("train") == 6
    merged = manager.merge_datasets(["first", "second"], "both")
    statistics = manager.get_dataset_statistics("both")
    with open_catalogue(settings) as catalogue:
        assert {one.name for one in catalogue.list()} == {"first", "second", "both"}
        assert catalogue.get("both").state == merged.state
        assert catalogue.split("first") is not None
    assert "24" in str(statistics)
