"""Counts with their 95 % upper bound, and pass lines: what the campaigns of load and faults print."""

from __future__ import annotations

import json
import math
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from irmsia import durable

_CONFIDENCE = 0.95


def upper_bound(failures: int, tries: int) -> float:
    """Largest share of failures that fits what was seen: 3/n for none in n, else exact (Clopper and Pearson, 1934)."""
    if tries <= 0 or failures >= tries:
        return 1.0
    if failures == 0:
        return min(1.0, 3.0 / tries)
    low, high = failures / tries, 1.0
    for _ in range(60):
        middle = (low + high) / 2
        low, high = (middle, high) if _at_most(failures, tries, middle) > 1 - _CONFIDENCE else (low, middle)
    return high


def _at_most(failures: int, tries: int, share: float) -> float:
    """Probability of at most so many failures (binomial), by logarithms."""
    terms = (
        math.lgamma(tries + 1) - math.lgamma(k + 1) - math.lgamma(tries - k + 1)
        + k * math.log(share) + (tries - k) * math.log1p(-share)
        for k in range(failures + 1)
    )  # fmt: skip
    return math.fsum(map(math.exp, terms))


def told(failures: int, tries: int) -> str:
    """``0 of 5000 (at most 0.06 %)``."""
    return f"{failures} of {tries} (at most {100 * upper_bound(failures, tries):.3g} %)"


@dataclass
class Lines:
    """The pass lines of one run: printed as they come, kept for the JSON and the exit code."""

    figures: dict[str, Any] = field(default_factory=dict)
    lines: list[dict[str, Any]] = field(default_factory=list)

    def check(self, what: str, seen: str, *, good: bool) -> None:
        """One row of the table: the line, what was seen, whether it is met."""
        print(f"| {what} | {seen} | {'met' if good else '**missed**'} |", flush=True)
        self.lines.append({"line": what, "seen": seen, "met": good})

    def head(self) -> None:
        """The head of the table."""
        print("\n| line | seen | |\n|---|---|---|", flush=True)

    def end(self, out: Path | None, **more: Any) -> int:
        """Write the JSON where asked, and give the exit code: 1 when a line was missed."""
        if out is not None:
            write_json(out, {"figures": self.figures, "lines": self.lines, **more})
        return 0 if all(line["met"] for line in self.lines) else 1


def write_json(path: Path, report: Mapping[str, Any]) -> None:
    """One report, written whole or not at all."""
    durable.write_bytes(path, json.dumps(report, indent=1).encode())


def percentile(values: list[float], share: float) -> float:
    """The smallest value that at least ``share`` of all do not exceed; 0 where there are none."""
    ordered = sorted(values)
    return ordered[max(0, math.ceil(share * len(ordered)) - 1)] if ordered else 0.0
