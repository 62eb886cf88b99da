"""Words in names: what a file, a folder or a label says by the words it is made of.

A table row gives a value and the phrases that mean it. A name is cut into words (at punctuation, at changes of case,
before numbers), spelling differences that mean nothing are dropped, and the longest phrase at each place counts.
"""

from __future__ import annotations

import re
import unicodedata
from collections.abc import Iterable
from dataclasses import dataclass

NEGATIONS = frozenset({"no", "not", "non", "without", "sans", "pas"})

_CASE = re.compile(r"(?<=[a-z0-9])(?=[A-Z])|(?<=[A-Z])(?=[A-Z][a-z])")
_WORD = re.compile(r"[a-z0-9]+")
_NUMBERED = re.compile(r"([a-z]{3,})[0-9]+")
_LONGEST_NAME = 1024
_SHORTEST_PLURAL = 5


@dataclass(frozen=True, slots=True)
class Meaning:
    """What a phrase means. ``confidence`` 0..1: how sure the phrase alone makes one."""

    value: str
    phrase: str
    confidence: float


@dataclass(frozen=True, slots=True)
class Found:
    """A phrase that stands in a name; ``negated``: behind a "no", "not", "without"."""

    meaning: Meaning
    negated: bool


class Phrases:
    """A table of phrases. The same phrase twice is a mistake of the table: `ValueError`."""

    def __init__(self, meanings: Iterable[Meaning]) -> None:
        self._meanings: dict[tuple[str, ...], Meaning] = {}
        for meaning in meanings:
            words = cut_words(meaning.phrase)
            if not words or words in self._meanings:
                raise ValueError(f"the phrase {meaning.phrase!r} is empty or stands twice in a table")
            self._meanings[words] = meaning
        self._longest = max(map(len, self._meanings), default=0)

    def find(self, name: str) -> list[Found]:
        """The phrases in ``name``, from left to right; where several begin, the longest."""
        words = cut_words(name)
        found: list[Found] = []
        start = 0
        while start < len(words):
            length, meaning = self._at(words, start)
            if meaning is not None:
                found.append(Found(meaning, start > 0 and words[start - 1] in NEGATIONS))
            start += length
        return found

    def _at(self, words: tuple[str, ...], start: int) -> tuple[int, Meaning | None]:
        for length in range(min(self._longest, len(words) - start), 0, -1):
            meaning = self._meanings.get(words[start : start + length])
            if meaning is not None:
                return length, meaning
        return 1, None


def cut_words(name: str) -> tuple[str, ...]:
    """The words of a name: ``LungOpacity-2.png`` -> lung, opacity, 2, png; ``Têtes`` -> tete."""
    plain = unicodedata.normalize("NFKD", name[:_LONGEST_NAME]).encode("ascii", "ignore").decode()
    return tuple(_base(word) for word in _WORD.findall(_CASE.sub(" ", plain).lower()))


def _base(word: str) -> str:
    """Without a number behind it and without the plural."""
    numbered = _NUMBERED.fullmatch(word)
    word = numbered.group(1) if numbered else word
    if word.endswith("sses"):
        return word[:-2]
    if len(word) >= _SHORTEST_PLURAL and word.endswith("s") and not word.endswith(("ss", "is", "us", "ax")):
        return word[:-1]
    return word
