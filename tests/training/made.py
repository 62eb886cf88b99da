"""A small made-up set of cases: bright blocks left or right, so that a tiny network learns it in seconds."""

from pathlib import Path

import numpy as np

from irmsia.training.cases import Case, CaseRow, Cases, write_cases
from irmsia.training.recipe import Recipe, RegionTerms

SIZE = 32

RECIPE = Recipe(
    backbone="resnet18d_w8",
    size=SIZE,
    regions=(
        RegionTerms(region="chest", terms=("normal", "pneumonia"), share=0.5),
        RegionTerms(region="brain", terms=("normal", "glioma", "meningioma"), share=0.5, mirror=True),
    ),
    epochs=3,
    cooldown_epochs=2,
    steps_per_epoch=4,
    batch_size=8,
    warmup_steps=2,
    precision="fp32",
    patience=10,
)


def make_cases(folder: Path, count: int = 60) -> Cases:
    """Write and open ``count`` cases; a third each in train, validation and test order by group."""
    order = np.random.default_rng(7)
    pairs = [(region.region, term) for region in RECIPE.regions for term in region.terms]
    cases = []
    for number in range(count):
        region, term = pairs[number % len(pairs)]
        part = ("train", "train", "validation", "test")[(number // len(pairs)) % 4]
        cases.append(_case(number, region, term, part=part, order=order))
    write_cases(folder, cases, count=count, size=SIZE)
    return Cases.load(folder)


def _case(number: int, region: str, term: str, *, part: str, order: np.random.Generator) -> Case:
    tensor = order.normal(1.0 if region == "brain" else -1.0, 0.3, (1, SIZE, SIZE)).astype(np.float32)
    lesion = np.zeros((SIZE // 8, SIZE // 8), np.float32)
    column = {"normal": None, "pneumonia": 0, "glioma": 0, "meningioma": 2}[term]
    if column is not None:
        lesion[1:3, column : column + 2] = 1
        tensor[0, 8:24, column * 8 : column * 8 + 16] += 2
    digest = f"{number:064x}"
    row = CaseRow(
        f"{region}/{number}", region, term, part, f"s|g{number}", digest, digest, has_lesion=region == "brain"
    )
    return Case(row=row, tensor=tensor, lesion=lesion)
