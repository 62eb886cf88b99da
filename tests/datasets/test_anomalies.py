"""Ten classes with fixed indices, and the words of names that mean them."""

import csv
from importlib import resources

import pytest
from hypothesis import given
from hypothesis import strategies as st

from irmsia.datasets.anomalies import ANOMALIES, anomaly_index, anomaly_of
from irmsia.datasets.phrases import Meaning, Phrases, cut_words
from irmsia.errors import InvalidRequestError
from irmsia.findings.vocabulary import list_terms

MEANT = {
    "NORMAL": "normal",
    "No Finding": "normal",
    "notumor": "normal",
    "no_tumor": "normal",
    "non-COVID": "normal",
    "not fractured": "normal",
    "No hemorrhage": "normal",
    "Sain": "normal",
    "glioma": "tumor",
    "pituitary": "tumor",
    "malignant": "tumor",
    "begin": "tumor",
    "Tumeurs_Cérébrales": "tumor",
    "PNEUMONIA": "infection",
    "Viral Pneumonia": "infection",
    "COVID": "infection",
    "covid19": "infection",
    "Tuberculosis": "infection",
    "subdural": "hemorrhage",
    "haemorrhage": "hemorrhage",
    "Fractured": "fracture",
    "fractures": "fracture",
    "Oedème": "edema",
    "Edema": "edema",
    "Atelectasis": "atelectasis",
    "Pneumothorax": "pneumothorax",
    "Consolidation": "consolidation",
    "Lung_Opacity": "consolidation",
    "LungOpacity": "consolidation",
    "Stone": "other_anomaly",
    "Cardiomegaly": "other_anomaly",
    "multiple_sclerosis": "other_anomaly",
    "abnormal": "other_anomaly",
}


def test_the_indices_are_those_that_trained_detectors_hold() -> None:
    """The ten classes keep their order for ever: a trained detector knows them by index."""
    assert ANOMALIES == (
        "normal", "tumor", "infection", "hemorrhage", "fracture", "edema", "atelectasis", "pneumothorax",
        "consolidation", "other_anomaly",
    )  # fmt: skip
    assert [anomaly_index(name) for name in ANOMALIES] == list(range(10))
    with pytest.raises(InvalidRequestError, match="no such anomaly"):
        anomaly_index("gastritis")


def test_the_table_holds_the_class_of_every_index() -> None:
    """Every row of the data file names a class by its own index, and each class has a row."""
    text = resources.files("irmsia.datasets").joinpath("anomaly_types.csv").read_text(encoding="utf-8")
    rows = list(csv.DictReader(text.splitlines()))
    assert {(int(row["index"]), row["type"]) for row in rows} == set(enumerate(ANOMALIES))


@pytest.mark.parametrize(("label", "anomaly"), MEANT.items())
def test_labels_of_public_sets_are_understood(label: str, anomaly: str) -> None:
    """A label as public sets write it gets its class, whatever its case, accents, plural or a "no" before it."""
    told = anomaly_of(label)
    assert told is not None
    assert told.value == anomaly
    assert 0 < told.confidence <= 1


@pytest.mark.parametrize("term", [term.code for term in list_terms()])
def test_every_code_of_the_vocabulary_has_a_class(term: str) -> None:
    """Whatever a model of ours can find is one of the ten classes."""
    assert anomaly_of(term) is not None


@pytest.mark.parametrize("label", ["class3", "A", "", "0001", "grade II", "🙂", "normality"])
def test_a_word_that_is_not_known_means_nothing(label: str) -> None:
    """An unknown label gets no class instead of a guessed one."""
    assert anomaly_of(label) is None


def test_several_findings_in_one_label_are_less_sure() -> None:
    """The surest word decides; of two equally sure classes the reason says both, and the confidence is halved."""
    edema = anomaly_of("Edema|Effusion")
    both = anomaly_of("Atelectasis|Pneumothorax")
    assert edema is not None and (edema.value, edema.confidence) == ("edema", 1.0)
    assert both is not None and (both.value, both.confidence) == ("atelectasis", 0.5)
    assert "pneumothorax" in both.reason


def test_the_longest_phrase_wins_and_a_phrase_stands_once() -> None:
    """ "lung nodule" is not "lung" and "nodule"; a table with a phrase twice is refused."""
    phrases = Phrases([Meaning("a", "lung", 1), Meaning("b", "lung nodule", 1)])
    assert [found.meaning.value for found in phrases.find("Lung-Nodules_2, lung")] == ["b", "a"]
    with pytest.raises(ValueError, match="twice"):
        Phrases([Meaning("a", "tumors", 1), Meaning("b", "Tumor", 1)])


@given(st.text(max_size=3000))
def test_no_name_breaks_the_words(name: str) -> None:
    """Any text is cut into lower-case words, and asked for its meaning, without an error."""
    assert all(word == word.lower() and word.isalnum() for word in cut_words(name))
    told = anomaly_of(name)
    assert told is None or told.value in ANOMALIES
