"""Functional groups of enhanced multi-frame objects (PS3.3 C.7.6.16): per frame first, shared second."""

from __future__ import annotations

from typing import Any

from pydicom.dataset import Dataset

from irmsia.imaging.formats.header import DicomDataset, DicomHeader, values_of

_SHARED, _PER_FRAME = "SharedFunctionalGroupsSequence", "PerFrameFunctionalGroupsSequence"


def groups_of(dataset: DicomDataset) -> tuple[Any, ...]:
    """The items of PerFrameFunctionalGroupsSequence, one a frame; () where there are none."""
    return values_of(dataset, _PER_FRAME)


def group_of_frame(item: DicomDataset | None, keyword: str) -> DicomDataset | None:
    """The first item of the functional group ``keyword`` within one item of a functional groups sequence."""
    if item is None:
        return None
    found = values_of(item, keyword)
    return found[0] if found and isinstance(found[0], Dataset) else None


def shared_group(dataset: DicomDataset, keyword: str) -> DicomDataset | None:
    """The functional group that holds for all frames, or None."""
    items = values_of(dataset, _SHARED) if _has_groups(dataset) else ()
    return group_of_frame(items[0], keyword) if items else None


def first_group(dataset: DicomDataset, keyword: str) -> DicomDataset | None:
    """The functional group as frame 0 sees it."""
    if not _has_groups(dataset):
        return None
    frames = groups_of(dataset)
    own = group_of_frame(frames[0], keyword) if frames else None
    return own if own is not None else shared_group(dataset, keyword)


def _has_groups(dataset: DicomDataset) -> bool:
    """Nearly no file has any: worth asking once and not group by group."""
    return not isinstance(dataset, DicomHeader) or dataset.holds_any(_SHARED, _PER_FRAME)
