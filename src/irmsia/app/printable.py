"""Text from outside, made safe to show."""

from __future__ import annotations

import unicodedata


def printable(text: str) -> str:
    """Replace control, bidirectional and other invisible characters, so that text cannot steer what shows it."""
    return "".join(
        "?" if unicodedata.category(character) in {"Cc", "Cf", "Cs", "Co", "Cn"} else character for character in text
    )
