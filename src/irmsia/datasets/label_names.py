"""Class names that mean the same: `NORMAL`, `notumor` and `healthy`; the misspelt `begin` and `benign`.

``label_names.csv`` lists a class and its other names. Names are compared without case, spaces and signs.
"""

from __future__ import annotations

import csv
from collections.abc import Mapping
from functools import cache, lru_cache
from importlib import resources

NORMAL = "normal"


@lru_cache(maxsize=65_536)
def normal_form(name: str) -> str:
    """A class name as names are compared: case folded, letters and digits alone; "tumour" as "tumor"."""
    return "".join(character for character in name.casefold() if character.isalnum()).replace("tumour", "tumor")


def find_class(name: str) -> str | None:
    """The class of the table that ``name`` means; null where the table does not know it."""
    return _classes().get(normal_form(name))


@lru_cache(maxsize=65_536)
def is_normal(name: str) -> bool:
    """Whether a class name says that nothing was found: normal, no_tumor, healthy ..."""
    return find_class(name) == NORMAL


@cache
def _classes() -> Mapping[str, str]:
    text = resources.files(__package__).joinpath("label_names.csv").read_text("utf-8")
    return {
        normal_form(name): row["class"]
        for row in csv.DictReader(text.splitlines())
        for name in (row["class"], *row["other_names"].split("|"))
    }
