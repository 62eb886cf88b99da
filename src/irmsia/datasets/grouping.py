"""Fills in the groups: patients where names tell them, clusters of near-duplicates where not."""

from collections.abc import Callable, Sequence
from dataclasses import replace

from irmsia.datasets.duplicates import DuplicateRule, Grey, near_duplicate_groups
from irmsia.datasets.samples import Sample


def group_samples(
    samples: Sequence[Sample], read_grey: Callable[[Sample], Grey], rule: DuplicateRule | None = None
) -> list[Sample]:
    """Return the samples with ``group`` filled, in their order.

    Near-duplicates are looked for within a source, over all its classes: one picture under two labels is one group.

    Args:
        samples: those with a group (a patient) keep it.
        read_grey: gives a sample's grey picture (H, W) uint8; called for samples without a group only.
        rule: when two pictures count as near-duplicates.
    """
    grouped = list(samples)
    for source in sorted({sample.source for sample in samples}):
        open_ = [index for index, sample in enumerate(samples) if sample.source == source and not sample.group]
        clusters = near_duplicate_groups([read_grey(samples[index]) for index in open_], rule)
        for index, cluster in zip(open_, clusters, strict=True):
            grouped[index] = replace(samples[index], group=samples[open_[cluster]].path)
    return grouped
