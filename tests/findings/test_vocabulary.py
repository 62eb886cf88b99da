from __future__ import annotations

import re

import pytest

from irmsia.errors import InternalError, InvalidRequestError
from irmsia.findings.types import Urgency
from irmsia.findings.vocabulary import get_label, get_term, has_term, list_terms, parse_terms

CONTRACT = [
    "normal",
    "brain_tumor",
    "glioma",
    "meningioma",
    "pituitary_tumor",
    "stroke",
    "multiple_sclerosis",
    "lung_nodule",
    "pneumonia",
    "covid19",
    "fracture",
    "osteoarthritis",
    "kidney_stone",
    "liver_lesion",
    "aortic_aneurysm",
    "breast_benign_lesion",
    "breast_malignant_lesion",
    "tumor",
    "infection",
    "hemorrhage",
    "edema",
    "atelectasis",
    "pneumothorax",
    "consolidation",
    "other_anomaly",
    "phantom_lesion_bright",
    "phantom_lesion_dark",
]

GRAVITY = {
    "normal": 0.0,
    "breast_benign_lesion": 0.3,
    "phantom_lesion_bright": 0.5,
    "phantom_lesion_dark": 0.5,
    "meningioma": 0.6,
    "pituitary_tumor": 0.6,
    "pneumonia": 0.7,
    "glioma": 0.9,
    "breast_malignant_lesion": 0.9,
}
URGENCY = {
    "hemorrhage": Urgency.EMERGENCY,
    "pneumothorax": Urgency.EMERGENCY,
    "stroke": Urgency.EMERGENCY,
    "aortic_aneurysm": Urgency.EMERGENCY,
    "pneumonia": Urgency.URGENT,
    "glioma": Urgency.URGENT,
    "breast_malignant_lesion": Urgency.URGENT,
    "covid19": Urgency.URGENT,
    "fracture": Urgency.URGENT,
    "normal": Urgency.ROUTINE,
    "meningioma": Urgency.ROUTINE,
    "phantom_lesion_bright": Urgency.ROUTINE,
}
ROW = {
    "code": "a",
    "label_en": "a",
    "label_fr": "a",
    "region": "",
    "parent": "",
    "gravity": "0.5",
    "gravity_reason": "",
    "urgency": "ROUTINE",
    "snomed": "",
    "snomed_source": "",
}


def verhoeff(number: str) -> bool:
    """Whether the last digit is the Verhoeff check digit of the others, as in every SNOMED CT id."""
    rows = [[0, 1, 2, 3, 4, 5, 6, 7, 8, 9], [1, 5, 7, 6, 2, 8, 3, 0, 9, 4]]
    while len(rows) < 8:
        rows.append([rows[-1][digit] for digit in rows[1]])

    def product(a: int, b: int) -> int:
        if a < 5:
            return (a + b) % 5 if b < 5 else (a + b - 5) % 5 + 5
        return (a - b + 5) % 5 + 5 if b < 5 else (a - b) % 5

    check = 0
    for place, digit in enumerate(reversed(number)):
        check = product(check, rows[place % 8][int(digit)])
    return check == 0


def test_every_code_of_the_contract_is_there() -> None:
    """The vocabulary holds at least the codes that the contract names."""
    assert set(CONTRACT) <= {term.code for term in list_terms()}


@pytest.mark.parametrize("code", [term.code for term in list_terms()])
def test_every_row_is_whole(code: str) -> None:
    """A row has two labels, a gravity with a reason or from the contract, and a sourced SNOMED code or none."""
    term = get_term(code)
    assert re.fullmatch(r"[a-z][a-z0-9_]*", code)
    assert term.label_en and term.label_fr
    assert bool(term.gravity_reason) != (code in GRAVITY)
    assert term.gravity == GRAVITY.get(code, term.gravity)
    assert term.urgency is URGENCY.get(code, term.urgency)
    assert bool(term.snomed) == bool(term.snomed_source)
    assert not term.snomed or verhoeff(term.snomed)


def test_the_check_digit_is_a_check() -> None:
    """One wrong digit in a SNOMED code would be seen."""
    assert verhoeff("233604007")
    assert not verhoeff("233604017")


def test_snomed_codes_are_not_shared() -> None:
    """No two findings claim one SNOMED concept."""
    codes = [term.snomed for term in list_terms() if term.snomed]
    assert len(set(codes)) == len(codes)


def test_brain_tumour_is_the_parent_of_three() -> None:
    """The parent has exactly three children, lies between their gravities and is no more urgent than any."""
    children = [term for term in list_terms() if term.parent == "brain_tumor"]
    parent = get_term("brain_tumor")
    assert [term.code for term in children] == ["glioma", "meningioma", "pituitary_tumor"]
    assert min(t.gravity for t in children) <= parent.gravity <= max(t.gravity for t in children)
    assert parent.urgency is Urgency.ROUTINE


def test_labels_by_language() -> None:
    """Labels come in English and French; another language or code is refused with a typed error."""
    assert (get_label("pneumonia"), get_label("pneumonia", "fr")) == ("pneumonia", "pneumonie")
    with pytest.raises(InvalidRequestError, match="language"):
        get_label("pneumonia", "de")
    with pytest.raises(InvalidRequestError, match="no code"):
        get_term("nothing")
    assert not has_term("nothing")


@pytest.mark.parametrize(
    ("rows", "match"),
    [
        ([ROW, ROW], "twice"),
        ([ROW | {"parent": "b"}], "lacks 'b'"),
        ([ROW | {"gravity": "1.1"}], "0..1"),
        ([ROW | {"gravity": "nan"}], "0..1"),
    ],
)
def test_a_broken_table_is_refused(rows: list[dict[str, str]], match: str) -> None:
    """A duplicate code, an unknown parent or a gravity out of range stops the load."""
    with pytest.raises(InternalError, match=match):
        parse_terms(rows)
