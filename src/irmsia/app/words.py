"""Words for people, English and French: those of a study's page, and what the codes of the contract mean."""

from __future__ import annotations

from collections.abc import Sequence

from irmsia import DISCLAIMER

# Each row: key, English, French. Keys in capitals are codes of the contract.
Table = Sequence[tuple[str, str, str]]
"""Rows of a key and its words in English and in French."""

_TABLE: Table = (
    ("title", "Study report", "Compte rendu d'étude"),
    ("disclaimer", DISCLAIMER, "Pour la recherche uniquement. N'est pas un dispositif médical."),
    ("model", "Model", "Modèle"),
    ("images", "images", "images"),
    ("image_1", "image", "image"),
    ("study", "Study", "Étude"),
    ("series", "Series", "Série"),
    ("no_study", "Images that name no study", "Images sans étude"),
    ("no_series", "Images that name no series", "Images sans série"),
    ("patient", "patient (pseudonym)", "patient (pseudonyme)"),
    ("most_severe", "Most severe", "Le plus grave"),
    ("overview", "Overview", "Vue d'ensemble"),
    ("attention", "Attention", "Attention"),
    ("limits", "Limits of the model", "Limites du modèle"),
    ("image", "Image", "Image"),
    ("instance", "Instance", "Instance"),
    ("decision", "Decision", "Décision"),
    ("why", "Why", "Motif"),
    ("risk", "Risk", "Risque"),
    ("abnormal_p", "p(abnormal)", "p(anormal)"),
    ("urgency", "Urgency", "Urgence"),
    ("present", "Present", "Présent"),
    ("nothing_present", "nothing found present", "rien de présent"),
    ("no_map", "No picture", "Pas d'image"),
    ("map_of", "map of", "carte de"),
    ("frame", "frame", "coupe"),
    ("frames", "{analysed} of {total} frames analysed", "{analysed} coupes analysées sur {total}"),
    (
        "legend",
        "Maps: red speaks for the term named, blue against it. "
        "They show what moved the network, not where a lesion ends.",
        "Cartes : le rouge plaide pour le terme nommé, le bleu contre lui. "
        "Elles montrent ce qui a influencé le réseau, pas les limites d'une lésion.",
    ),
    (
        "order",
        "Studies, series and images: highest risk first; refused and failed images after them.",
        "Études, séries et images : le risque le plus élevé d'abord ; les images refusées ou en échec ensuite.",
    ),
    (
        "capped",
        "Pictures are shown for the {shown} images of highest risk, of {total} that have one.",
        "Les cartes sont montrées pour les {shown} images au risque le plus élevé, sur {total}.",
    ),
    (
        "doubled",
        "Several images with different pixels carry the SOP Instance UID",
        "Plusieurs images aux pixels différents portent l'identifiant d'instance SOP",
    ),
    ("copies", "{count} further files are copies of images listed here.", "{count} autres fichiers sont des copies."),
    ("ACCEPT", "ACCEPT", "ACCEPTÉ"),
    ("REFER", "REFER", "À RELIRE"),
    ("REFUSE", "REFUSE", "REFUSÉ"),
    ("FAILED", "FAILED", "ÉCHEC"),
    ("BLANK", "the picture is blank", "l'image est vide"),
    ("QC_SUBJECT", "a test object that is not one of ours", "un objet de contrôle qui n'est pas des nôtres"),
    ("WRONG_MODALITY", "the model is not meant for this kind of image", "modalité non prévue pour ce modèle"),
    ("WRONG_REGION", "the model is not meant for this part of the body", "région non prévue pour ce modèle"),
    (
        "UNKNOWN_REGION",
        "the picture looks like none of the regions the model knows",
        "l'image ne ressemble à aucune région connue du modèle",
    ),
    (
        "REGION_CONFLICT",
        "the header names another region than the picture shows",
        "l'en-tête nomme une autre région que celle de l'image",
    ),
    (
        "OUT_OF_DISTRIBUTION",
        "the picture is unlike those the model learnt from",
        "l'image ne ressemble pas à celles de l'apprentissage",
    ),
    (
        "OUTSIDE_POPULATION",
        "the age is outside the population the model was measured on",
        "l'âge est hors de la population étudiée",
    ),
    ("AMBIGUOUS", "more than one answer fits, or none does", "plusieurs réponses conviennent, ou aucune"),
    ("INCONSISTENT", "the signs contradict each other", "les indices se contredisent"),
    ("BORDERLINE", "too close to the threshold", "trop près du seuil"),
    ("normal", "normal", "normal"),
    ("probably_normal", "probably normal", "probablement normal"),
    ("uncertain", "uncertain", "incertain"),
    ("probably_abnormal", "probably abnormal", "probablement anormal"),
    ("abnormal", "abnormal", "anormal"),
    ("VERY_LOW", "very low", "très faible"),
    ("LOW", "low", "faible"),
    ("MODERATE", "moderate", "modéré"),
    ("HIGH", "high", "élevé"),
    ("CRITICAL", "critical", "critique"),
    ("ROUTINE", "routine", "routine"),
    ("URGENT", "urgent", "urgent"),
    ("EMERGENCY", "emergency", "immédiate"),
)
_COLUMNS = {"en": 1, "fr": 2}


class Words:
    """The words of one language, by key."""

    def __init__(self, language: str, table: Table = _TABLE) -> None:
        self.language = language
        self._words = {row[0]: row[_COLUMNS[language]] for row in table}

    def __getitem__(self, key: str) -> str:
        """The word; a code that the table lacks is its own word."""
        return self._words.get(key, key)

    def number(self, value: float) -> str:
        """One decimal, as the language writes it."""
        text = f"{value:.1f}"
        return text.replace(".", ",") if self.language == "fr" else text

    def percent(self, share: float) -> str:
        """A share 0..1."""
        return self.number(100 * share) + ("\N{NARROW NO-BREAK SPACE}%" if self.language == "fr" else "%")


def word_keys() -> tuple[str, ...]:
    """Every key, in order."""
    return tuple(row[0] for row in _TABLE)
