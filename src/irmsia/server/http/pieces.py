"""Pieces of HTML that the pages share."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from html import escape


def code(text: str) -> str:
    """Text as code."""
    return f"<code>{escape(text)}</code>"


def prose(text: str) -> str:
    """A sentence in which `names` stand between backticks."""
    parts = text.split("`")
    return "".join(code(part) if number % 2 else escape(part) for number, part in enumerate(parts))


def table(names: Sequence[str], rows: Iterable[Sequence[str]]) -> str:
    """A table; ``rows`` are markup already."""
    head = "".join(f'<th scope="col">{escape(name)}</th>' for name in names)
    body = "".join(f"<tr>{''.join(f'<td>{cell}</td>' for cell in row)}</tr>" for row in rows)
    return f'<div class="scroll"><table><thead><tr>{head}</tr></thead><tbody>{body}</tbody></table></div>'
