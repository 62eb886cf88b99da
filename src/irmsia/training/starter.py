"""The starter's recipe, intended use and limitations: what `make starter` trains."""

from irmsia.findings.rules import IntendedUse
from irmsia.imaging.preprocess import PreprocessSpec, ResizeSpec
from irmsia.training.recipe import Augmentation, ForeignRecipe, Plan, Recipe, RegionTerms

NAME = "starter"
VERSION = "1.1.0"
LICENCE = "CC-BY-4.0"

PHANTOMS = {"train": 1200, "validation": 180, "test": 180}
"""How many phantoms of each part; any twelve in a row hold every kind with every lesion."""

RECIPE = Recipe(
    backbone="resnet18d_w32",
    size=160,
    regions=(
        RegionTerms(region="chest", terms=("normal", "pneumonia"), share=0.26, coverage=0.99),
        RegionTerms(
            region="brain", terms=("normal", "glioma", "meningioma", "pituitary_tumor"), share=0.44, mirror=True
        ),
        RegionTerms(
            region="breast",
            terms=("normal", "breast_benign_lesion", "breast_malignant_lesion"),
            share=0.22,
            mirror=True,
        ),
        RegionTerms(region="phantom", terms=("normal", "phantom_lesion_bright", "phantom_lesion_dark"), share=0.08),
    ),
    epochs=80,
    cooldown_epochs=28,
    steps_per_epoch=125,
    learning_rate=3e-3,
    dropout=0.3,
    label_smoothing=0.05,
    lesion_weight=0.5,
    patience=30,
)

FINISH = RECIPE.model_copy(
    update={
        "epochs": 20,
        "cooldown_epochs": 15,
        "patience": 99,
        "learning_rate": 1.5e-3,
        "mixup": 0.4,
        "augmentation": Augmentation(curve=0.5),
    }
)
"""The idea that was kept: docs/starter.md, `python -m benchmarks.ideas`."""

PLAN = Plan(base=RECIPE, finish=FINISH, foreign=ForeignRecipe())

INTENDED_USE = (
    IntendedUse(modalities=("CR", "DX"), region="chest", age_min=0, age_max=17),
    IntendedUse(modalities=("MR",), region="brain"),
    IntendedUse(modalities=("US",), region="breast"),
)

LIMITATIONS = (
    "Research use only: trained on three public collections, measured on other images of the same collections.",
    "Chest: children aged 1 to 5 of one hospital; normal against pneumonia only.",
    "Brain: the normal slices come from another source and mostly other sequences than the tumour slices, so normal "
    "against tumour is confounded with the sequence; no patient ids, parts are separated by near-duplicate cluster.",
    "Breast: 623 ultrasound images of one collection, some with callipers and text burnt in; intervals are wide.",
    "Probabilities hold at the class ratio of the collections (the stored prior), which is no hospital's.",
    "Phantom answers show that the chain works; they say nothing about patients.",
)


def starter_spec(size: int) -> PreprocessSpec:
    """Return the starter's preprocessing: grey, aspect kept, z-score without the padding."""
    return PreprocessSpec(resize=ResizeSpec(size=size))
