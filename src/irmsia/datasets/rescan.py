"""What has changed since the last scan of a dataset, and what stays of what was known before. No file is read here."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Collection, Iterable, Mapping, Set
from dataclasses import dataclass, field, replace

from irmsia.datasets.label_sheet import LabelSheet
from irmsia.datasets.labelling import Classes, find_classes, label_record
from irmsia.datasets.masks import Pairing, as_mask, pair_masks, with_masks
from irmsia.datasets.naming import name_of
from irmsia.datasets.record import LabelSource, PatientSource, Record, Told
from irmsia.datasets.walk import Stamp, Walked

_CORRECTED = "corrected"
_TOLD = ("modality", "region", "anomaly", "sequence")


@dataclass(frozen=True, slots=True)
class Comparison:
    """The files of a folder against those that are catalogued.

    Attributes:
        to_read: new ones and those whose size or time differs, with their stamps.
        same: how many are as they were.
        gone: catalogued ones that are not there any more; not those in a folder that could not be listed.
    """

    to_read: Mapping[str, Stamp]
    same: int
    gone: tuple[str, ...]


def compare(walked: Walked, known: Mapping[str, Stamp], *, full: bool = False) -> Comparison:
    """Compare what is there with what is known. ``full``: everything is to be read."""
    found = walked.files
    to_read = dict(found) if full else {path: stamp for path, stamp in found.items() if known.get(path) != stamp}
    closed = tuple(walked.closed)
    gone = tuple(path for path in known if path not in found and not (closed and path.startswith(closed)))
    return Comparison(to_read, len(found) - len(to_read), gone)


@dataclass(frozen=True, slots=True)
class Layout:
    """What the names of all files of a dataset say together."""

    classes: Classes
    pairing: Pairing


def read_layout(
    paths: Collection[str], *, spelled: Mapping[str, str] | None = None, labels: Mapping[str, int] | None = None
) -> Layout:
    """The layout of a dataset from the paths of all its images and masks. Others as `find_classes` takes them."""
    pairing = pair_masks(paths)
    images = [path for path in paths if path not in pairing.masks] if pairing.masks else paths
    return Layout(find_classes(images, spelled=spelled, labels=labels), pairing)


def affected(before: Layout, after: Layout, paths: Iterable[str], changed: Set[str]) -> set[str]:
    """Which of the unchanged ``paths`` are to be settled again, because of what has changed beside them.

    Their masks are others, or were read again; or the class of their folder is another.
    """
    masks_before, masks_after = before.pairing.of_image, after.pairing.of_image
    images = {
        path for path in masks_before.keys() | masks_after.keys() if masks_before.get(path) != masks_after.get(path)
    }
    images |= {path for path, masks in masks_after.items() if not changed.isdisjoint(masks)}
    folders = before.classes.folders.keys() | after.classes.folders.keys()
    if any(before.classes.folders.get(folder) != after.classes.folders.get(folder) for folder in folders):
        images |= {path for path in paths if before.classes.label_of(path) != after.classes.label_of(path)}
    return images - changed


@dataclass(slots=True)
class Settler:
    """Makes catalogue records of what was read: patient, masks, label, and what people said before.

    Attributes:
        source: name of the set, where the record has none yet.
        layout: what names say.
        patients: found by the user's pattern, by path.
        sheet: the user's table of labels.
        masks: records of masks, by path.
        before: what was catalogued at the same path.
        gone: records of files that are not there any more, by digest.
        moved: from old to new path, as far as records have been settled.
    """

    source: str
    layout: Layout
    patients: Mapping[str, str] = field(default_factory=dict)
    sheet: LabelSheet | None = None
    masks: Mapping[str, Record] = field(default_factory=dict)
    before: Mapping[str, Record] = field(default_factory=dict)
    gone: Mapping[str, list[Record]] = field(default_factory=dict)
    moved: dict[str, str] = field(default_factory=dict)

    def settle(self, read: Record) -> Record:
        """The record of a file that was read just now, or that stays as it was read."""
        if read.path in self.layout.pairing.masks:
            return as_mask(replace(read, source=read.source or self.source))
        old = self.before.get(read.path) or self._found_again(read)
        record = replace(read, source=read.source or self.source)
        if old is not None:
            record = keep_what_was_said(record, old)
        record = self._with_patient(record)
        masks = self.layout.pairing.of_image.get(record.path, ())
        if masks or record.masks:
            record = with_masks(record, masks, self.masks)
        return label_record(record, self.layout.classes, self.sheet)

    def _found_again(self, read: Record) -> Record | None:
        """The record of a file that is gone and had the same content: it was moved; the same name counts first."""
        waiting = [record for record in self.gone.get(read.sha256, ()) if record.path not in self.moved]
        if not waiting:
            return None
        name = read.path.rpartition("/")[2]
        old = next((record for record in waiting if record.path.rpartition("/")[2] == name), waiting[0])
        self.moved[old.path] = read.path
        return old

    def _with_patient(self, record: Record) -> Record:
        """A pattern of the user's wins over a header, and a header over the names of public sets."""
        if record.path in self.patients:
            return replace(record, patient=self.patients[record.path], patient_source=PatientSource.PATTERN)
        if record.patient_source is PatientSource.TAG:
            return record
        if record.patient_source is PatientSource.FILE and self.sheet is None:
            return record
        named = name_of(record.path)
        if named is None:
            return replace(record, patient=None, patient_source=None)
        return replace(
            record, patient=named.patient, patient_source=PatientSource.NAME, study=record.study or named.study
        )


def by_digest(records: Iterable[Record]) -> dict[str, list[Record]]:
    """Records by the digest of their files."""
    found: dict[str, list[Record]] = defaultdict(list)
    for record in records:
        found[record.sha256].append(record)
    return found


def keep_what_was_said(read: Record, old: Record) -> Record:
    """The record as read, with what the catalogue knew and a file does not say.

    Labels by hand stay whatever the file now holds, and those of a label file until it is read again. What was
    corrected by a person stays; what else was inferred stays while the content is the same and the header says nothing.
    """
    kept: dict[str, Told | None] = {}
    for name in _TOLD:
        before: Told | None = getattr(old, name)
        if before is not None and (
            before.reason.startswith(_CORRECTED) or (getattr(read, name) is None and read.sha256 == old.sha256)
        ):
            kept[name] = before
    record = replace(read, source=old.source or read.source, **kept)  # type: ignore[arg-type]
    if old.label_source in (LabelSource.HAND, LabelSource.FILE):
        record = replace(record, label=old.label, label_source=old.label_source)
    if old.patient_source is PatientSource.FILE:
        record = replace(record, patient=old.patient, patient_source=old.patient_source)
    return record


def hides_header(record: Record) -> bool:
    """Whether the patient that a header names was replaced, so that only reading the file again tells it."""
    return record.format == "DICOM" and record.patient_source in (PatientSource.PATTERN, PatientSource.FILE)
