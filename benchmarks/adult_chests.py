"""What a starter that saw only children says of adults' chests: ``python -m benchmarks.adult_chests --data DIR``.

The images are of another hospital, all of patients with a positive COVID-19 test, so sensitivity alone can be measured.
Each is asked as the JPEG file, as a DICOM CR without an age and as one with an adult's age (the set states none).
"""

from __future__ import annotations

import csv
import io
import sys
from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import pydicom
from numpy.typing import NDArray
from pydicom.dataset import FileDataset, FileMetaDataset
from pydicom.uid import ComputedRadiographyImageStorage, ExplicitVRLittleEndian, generate_uid

from benchmarks.study import Bounds, Page, Study, Table, bar, read, run_study, share_of
from irmsia.errors import InvalidRequestError
from irmsia.findings.calibration import apply_calibration
from irmsia.findings.operating import abnormal_probability
from irmsia.findings.types import Decision, State
from irmsia.imaging.render import render_grey

FOLDER = "chest_xray_covid_hannover"
REGION = "chest"
ADULT_AGE = "060Y"
COMMAND = ".venv/bin/python -m benchmarks.adult_chests --data ../shared/data --write docs/results/adult_chests.md"

JPEG, NO_AGE, WITH_AGE = "JPEG, no tags", "DICOM CR, no age", f"DICOM CR, age {int(ADULT_AGE[:3])}"
LEAST_ANSWERED = 0.95
"""Share of adults that must not be refused, and least sensitivity among them, before the ages could be widened."""


@dataclass(frozen=True)
class Radiograph:
    """One image of the set with its patient and projection (ap, pa)."""

    path: Path
    patient: str
    projection: str


@dataclass(frozen=True)
class AdultAnswer:
    """What was said of one image asked ``way``; ``above``: p(abnormal) reaches the operating point, refused or not."""

    way: str
    patient: str
    projection: str
    decision: str
    reason: str | None
    present: bool
    above: bool


def list_radiographs(folder: Path) -> list[Radiograph]:
    """Return the images that ``data.csv`` names and that are there.

    Raises:
        InvalidRequestError: the folder holds none.
    """
    if not (folder / "data.csv").is_file():
        raise InvalidRequestError(f"the data folder holds no {FOLDER}")
    with (folder / "data.csv").open(encoding="utf-8") as file:
        rows = list(csv.DictReader(file))
    found = [
        Radiograph(path, row["patient_id"], row["projection"])
        for row in rows
        if (path := folder / "images" / f"{row['image_id']}.jpg").is_file()
    ]
    if not found:
        raise InvalidRequestError(f"{FOLDER} holds no image")
    return found


def as_dicom(pixels: NDArray[np.uint8], age: str | None) -> bytes:
    """Return an 8-bit computed radiograph of a chest (rows, columns), ``age`` as DICOM writes it or absent."""
    meta = FileMetaDataset()
    meta.MediaStorageSOPClassUID = ComputedRadiographyImageStorage
    meta.MediaStorageSOPInstanceUID = generate_uid(entropy_srcs=[str(age)])
    meta.TransferSyntaxUID = ExplicitVRLittleEndian
    made = FileDataset("", {}, file_meta=meta, preamble=b"\0" * 128)
    made.SOPClassUID, made.SOPInstanceUID = meta.MediaStorageSOPClassUID, meta.MediaStorageSOPInstanceUID
    made.Modality, made.BodyPartExamined = "CR", "CHEST"
    if age is not None:
        made.PatientAge = age
    made.Rows, made.Columns = pixels.shape
    made.SamplesPerPixel, made.PhotometricInterpretation = 1, "MONOCHROME2"
    made.BitsAllocated, made.BitsStored, made.HighBit, made.PixelRepresentation = 8, 8, 7, 0
    made.PixelData = pixels.tobytes() + b"\0" * (pixels.size % 2)
    file = io.BytesIO()
    pydicom.dcmwrite(file, made, enforce_file_format=True)
    return file.getvalue()


def answer_all(study: Study) -> list[AdultAnswer]:
    """Ask for every image in every way."""
    answers = []
    for one in bar(list_radiographs(study.data / FOLDER), "adult chests"):
        content = one.path.read_bytes()
        image = read(content)
        pixels = render_grey(image, image.indices[0])
        ways = {JPEG: content, NO_AGE: as_dicom(pixels, None), WITH_AGE: as_dicom(pixels, ADULT_AGE)}
        answers.extend(_answer(study, one, way, file) for way, file in ways.items())
    return answers


def _answer(study: Study, one: Radiograph, way: str, content: bytes) -> AdultAnswer:
    judgement = study.judge.judge(content)
    verdict, group = judgement.verdict, study.judge.rules.group(REGION)
    probabilities = apply_calibration(judgement.outputs.logits[REGION], group.calibration, group.kind)
    abnormal = float(abnormal_probability(probabilities, group.terms, group.kind))
    return AdultAnswer(
        way=way,
        patient=one.patient,
        projection=one.projection,
        decision=verdict.decision.value,
        reason=None if verdict.reason is None else verdict.reason.value,
        present=any(finding.state is State.PRESENT for finding in verdict.findings),
        above=abnormal >= group.operating_points[0].point,
    )


def decision_table(answers: Sequence[AdultAnswer]) -> Table:
    """ACCEPT, REFER and REFUSE shares of each way."""
    table = Table("Decisions", ("asked as", "n", "patients", "ACCEPT", "REFER", "REFUSE", "reasons"))
    for way in dict.fromkeys(one.way for one in answers):
        chosen = [one for one in answers if one.way == way]
        shares = [decided(chosen, decision) for decision in Decision]
        table.rows.append((way, len(chosen), shares[0].groups, *shares, _reasons(chosen)))
    return table


def decided(answers: Sequence[AdultAnswer], decision: Decision) -> Bounds:
    """Share of one decision, by patient."""
    return share_of([one.patient for one in answers], [one.decision == decision.value for one in answers])


def _reasons(answers: Sequence[AdultAnswer]) -> str:
    counted = Counter(one.reason for one in answers if one.reason is not None)
    return ", ".join(f"{reason} {count}" for reason, count in counted.most_common()) or "-"


def sensitivity_table(answers: Sequence[AdultAnswer]) -> Table:
    """Sensitivity by image and by patient, of all and of those not refused."""
    table = Table(
        "Sensitivity for pneumonia (every image is of a COVID-19 patient)",
        ("images", "by image", "n", "patients", "by patient, any image"),
        note="A positive test is no proof that the image shows pneumonia: these are lower bounds.",
    )
    alone = [one for one in answers if one.way == JPEG]
    kept = [one for one in alone if one.decision != Decision.REFUSE.value]
    rows = [("all, as if nothing were refused", alone, [one.above for one in alone])]
    rows += [("answered (not refused)", kept, [one.present for one in kept])]
    for projection in sorted({one.projection for one in alone}):
        chosen = [one for one in alone if one.projection == projection]
        rows.append((f"projection {projection}, as if nothing were refused", chosen, [one.above for one in chosen]))
    for name, chosen, found in rows:
        image = share_of([one.patient for one in chosen], found)
        patients = by_patient(chosen, found)
        table.rows.append((name, image, image.n, image.groups, share_of(list(patients), list(patients.values()))))
    return table


def by_patient(answers: Sequence[AdultAnswer], found: Sequence[bool]) -> dict[str, bool]:
    """Whether any image of each patient was found."""
    patients: dict[str, bool] = {}
    for one, hit in zip(answers, found, strict=True):
        patients[one.patient] = patients.get(one.patient, False) or hit
    return patients


def recommend(answers: Sequence[AdultAnswer]) -> list[str]:
    """Return the sentence for the model card and what it rests on."""
    alone = [one for one in answers if one.way == JPEG]
    kept = [one for one in alone if one.decision != Decision.REFUSE.value]
    refused = decided(alone, Decision.REFUSE)
    accepted = decided(alone, Decision.ACCEPT)
    found = share_of([one.patient for one in kept], [one.present for one in kept])
    answered = 1 - (refused.value or 0.0)
    good = answered >= LEAST_ANSWERED and (found.low or 0.0) >= LEAST_ANSWERED
    verdict = "would carry a wider row" if good else "do not carry a wider row"
    return [
        "Intended use of the chest row: **keep 0 to 17 years.** Whatever the sensitivity, this set has no adult "
        "without disease, so specificity in adults cannot be measured; and the figures "
        f"{verdict} (wanted: {LEAST_ANSWERED:.0%} answered and a sensitivity of at least {LEAST_ANSWERED} at its lower "
        f"end; seen: {answered:.0%} answered, sensitivity {found}).",
        f'For the model card: "Adults: of {refused.n} chest radiographs of {refused.groups} adults of another '
        f"hospital, all with COVID-19, {_percent(refused)} are refused and {_percent(accepted)} accepted when the file "
        f"states no age; among the answered, pneumonia is found in {_percent(found)}. Specificity in adults is not "
        "measured. A file that states an adult's age is never accepted.\"",
        "A file without an age cannot be told from a child's by the tags: what is accepted there is accepted outside "
        "the population.",
    ]


def _percent(share: Bounds) -> str:
    if share.value is None or share.low is None or share.high is None:
        return str(share)
    return f"{share.value:.1%} [{share.low:.1%}, {share.high:.1%}]"


def measure(study: Study) -> Page:
    """Ask for all and lay out the page."""
    answers = answer_all(study)
    return Page(
        title="Adult chests: outside the population that the starter saw",
        command=COMMAND,
        bundle=study.bundle.id,
        intro=(
            "COVID-19 Image Repository, Hannover Medical School (CC BY 3.0). Intervals are 95 %, over patients. No "
            "image of it was used in training, and no threshold was chosen by it."
        ),
        tables=[decision_table(answers), sensitivity_table(answers)],
        notes=recommend(answers),
    )


def main(arguments: Sequence[str] | None = None) -> int:
    """Run the study."""
    return run_study(measure, name="adult_chests", says=__doc__, arguments=arguments)


if __name__ == "__main__":
    sys.exit(main())
