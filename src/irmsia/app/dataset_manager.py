"""Datasets under the names that users of data pipelines know, for programs and notebooks: thin, the same services.

from irmsia.app.dataset_manager import DatasetManager
manager = DatasetManager()
manager.scan_directory("chest_xray", "chest")
manager.create_train_val_test_split("chest")
"""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import Any

from irmsia.app.configure import read_settings
from irmsia.app.data_scan import ScanReport, scan
from irmsia.app.data_split import Asked, split_dataset
from irmsia.app.data_stats import MergeOutcome, describe_dataset, merge_datasets
from irmsia.datasets.partition import Split
from irmsia.datasets.statistics import to_json
from irmsia.settings.tree import Settings


class DatasetManager:
    """The datasets of this machine.

    Args:
        settings: of the environment unless told.
    """

    def __init__(self, settings: Settings | None = None) -> None:
        self._settings = settings or read_settings()

    def scan_directory(self, directory: str | Path, dataset_name: str) -> ScanReport:
        """Bring a dataset to what lies below a folder now; raises as `irmsia.app.data_scan.scan`."""
        return scan(self._settings, Path(directory), dataset_name)

    def create_train_val_test_split(
        self,
        dataset_name: str,
        train_ratio: float = 0.7,
        val_ratio: float = 0.15,
        test_ratio: float = 0.15,
        *,
        seed: int = 0,
    ) -> Split:
        """Split by patients, studies and near-duplicates; raises as `irmsia.app.data_split.split_dataset`.

        Raises:
            LeakingSplitError: the split would leak.
        """
        ratios = "/".join(f"{100 * ratio:g}" for ratio in (train_ratio, val_ratio, test_ratio))
        outcome = split_dataset(self._settings, dataset_name, Asked(ratios=ratios, seed=seed))
        outcome.check()
        return outcome.split

    def merge_datasets(self, dataset_names: Sequence[str], output_name: str) -> MergeOutcome:
        """Make one dataset of several; raises as `irmsia.app.data_stats.merge_datasets`."""
        return merge_datasets(self._settings, list(dataset_names), output_name)

    def get_dataset_statistics(self, name: str) -> dict[str, Any]:
        """What a dataset holds, as `irmsia data stats NAME --json` tells it."""
        return to_json(describe_dataset(self._settings, name).figures)
