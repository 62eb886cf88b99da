"""Phantoms: DICOM test objects with analytic truth, made from a seed (contract section 6)."""

from irmsia.imaging.phantoms.dicom import PRIVATE_CREATOR, PRIVATE_GROUP, VERSION_ELEMENT
from irmsia.imaging.phantoms.make import (
    FIRST_TRAINING_SEED,
    GOLDEN_SEEDS,
    QA_SEEDS,
    make_phantom,
    phantom_training_stream,
    qa_set,
)
from irmsia.imaging.phantoms.truth import (
    KINDS,
    LESIONS,
    PHANTOM_VERSION,
    Geometry,
    Lesion,
    LesionKind,
    Phantom,
    PhantomKind,
    Truth,
)

__all__ = [
    "FIRST_TRAINING_SEED",
    "GOLDEN_SEEDS",
    "KINDS",
    "LESIONS",
    "PHANTOM_VERSION",
    "PRIVATE_CREATOR",
    "PRIVATE_GROUP",
    "QA_SEEDS",
    "VERSION_ELEMENT",
    "Geometry",
    "Lesion",
    "LesionKind",
    "Phantom",
    "PhantomKind",
    "Truth",
    "make_phantom",
    "phantom_training_stream",
    "qa_set",
]
