"""Mutants of image files against the decoder pool: ``python -m benchmarks.fuzz 20000 [--seed 1]``; exit 1 on any fault.

Every mutant must end in pixels or in a typed error: no crash, no hang, no untyped error, none over 2 s of processor
time, no decoder child over 512 MiB (safety.md I11). A mutant is made again from the seed and its
number: ``--only NUMBER --out FILE``.
"""

from __future__ import annotations

import argparse
import json
import os
import sys
import time
from collections.abc import Iterator, Sequence
from pathlib import Path

from irmsia.imaging.guard import DecoderPool
from irmsia.imaging.limits import MIB, ReadLimits
from tests.faults.campaign import MOST_BYTES, MOST_SECONDS, Outcome, count_codes, run_mutants, served_spec
from tests.faults.mutants import FORMATS, TURNS, Corpus, make_mutant, read_corpus

FAULTS = {
    "crash": "crashes of a decoder child",
    "hang": "hangs ended at the frame limit",
    "untyped": "untyped errors",
    "slow": f"over {MOST_SECONDS:g} s of processor time",
    "large": f"over {MOST_BYTES // MIB} MiB in a child",
}
_SHOWN = 20


def main() -> int:
    """Run one campaign and print it."""
    asked = _arguments()
    corpus = read_corpus(_data_folder())
    turns = [name for name in TURNS if name in asked.formats]
    if asked.out is not None and asked.only is not None:
        asked.out.write_bytes(make_mutant(corpus, asked.seed, asked.only, turns).data)
    began = time.monotonic()
    numbers = range(asked.count) if asked.only is None else [asked.only]
    outcomes = list(_campaign(corpus, asked.seed, numbers, turns))
    report = _report(outcomes, corpus, seed=asked.seed, seconds=time.monotonic() - began)
    print(json.dumps(report)) if asked.json else _print(report)
    return 1 if report["failures"] else 0


def _campaign(corpus: Corpus, seed: int, numbers: Sequence[int], turns: Sequence[str]) -> Iterator[Outcome]:
    spec = served_spec()
    with DecoderPool(1, ReadLimits(), pseudonym_key=bytes(32)) as pool:
        pool.warm()
        mutants = (make_mutant(corpus, seed, number, turns) for number in numbers)
        for done, outcome in enumerate(run_mutants(pool, mutants, spec), 1):
            if outcome.fault is not None:
                print(f"{outcome.fault}: {_where(outcome)}", file=sys.stderr, flush=True)
            if done % 1000 == 0:
                print(f"{done} of {len(numbers)}", file=sys.stderr, flush=True)
            yield outcome


def _report(outcomes: Sequence[Outcome], corpus: Corpus, *, seed: int, seconds: float) -> dict[str, object]:
    total = len(outcomes)
    failed = [outcome for outcome in outcomes if outcome.fault is not None]
    return {
        "mutants": total,
        "seed": seed,
        "seeds": {name: len(files) for name, files in corpus.items()},
        "seconds": round(seconds, 1),
        "codes": {name: dict(codes.most_common()) for name, codes in count_codes(outcomes).items()},
        "faults": {fault: sum(outcome.fault == fault for outcome in failed) for fault in FAULTS},
        "bound_95": 3 / total if total else 1.0,
        "caught_at_the_edge": sum(outcome.at_the_edge for outcome in outcomes),
        "slowest_s": round(max((outcome.seconds for outcome in outcomes), default=0.0), 3),
        "largest_mib": max((outcome.peak_bytes for outcome in outcomes), default=0) // MIB,
        "failures": [f"{outcome.fault}: {_where(outcome)}" for outcome in failed],
    }


def _where(outcome: Outcome) -> str:
    mutant = outcome.mutant
    end = f"{outcome.code or 'no code'}, {outcome.seconds:.2f} s, {outcome.peak_bytes // MIB} MiB"
    return f"number {mutant.number} ({mutant.format}, {mutant.origin}, {mutant.changes}): {end}"


def _print(report: dict[str, object]) -> None:
    codes: dict[str, dict[str, int]] = report["codes"]  # type: ignore[assignment] - the values differ in type
    names = sorted({code for counts in codes.values() for code in counts}, key=lambda code: (code != "OK", code))
    print(f"{report['mutants']} mutants, seed {report['seed']}, {report['seconds']} s")
    print(f"files to start from: {report['seeds']}\n")
    print(f"{'outcome':<24}" + "".join(f"{name:>9}" for name in codes))
    for code in names:
        print(f"{code or '(no code)':<24}" + "".join(f"{counts.get(code, 0):>9}" for counts in codes.values()))
    print()
    faults: dict[str, int] = report["faults"]  # type: ignore[assignment] - as above
    for fault, words in FAULTS.items():
        bound = f"(at most {report['bound_95']:.1e} at 95 %)" if not faults[fault] else ""
        print(f"{faults[fault]:>7}  {words} {bound}".rstrip())
    print(f"slowest {report['slowest_s']} s, largest child {report['largest_mib']} MiB, ", end="")
    print(f"{report['caught_at_the_edge']} answered by the catch-all DECODE_FAILED")
    failures: list[str] = report["failures"]  # type: ignore[assignment] - as above
    for line in failures[:_SHOWN]:
        print(line)


def _arguments() -> argparse.Namespace:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("count", type=int, help="how many mutants")
    parser.add_argument("--seed", type=int, default=1, help="of the campaign")
    parser.add_argument("--formats", nargs="+", choices=FORMATS, default=list(FORMATS))
    parser.add_argument("--only", type=int, help="run this number alone")
    parser.add_argument("--out", type=Path, help="with --only: write the mutant here")
    parser.add_argument("--json", action="store_true", help="one JSON object on standard output")
    return parser.parse_args()


def _data_folder() -> Path | None:
    folder = Path(os.environ.get("IRMSIA_TEST_DATA", Path(__file__).resolve().parents[2] / "shared" / "data"))
    return folder if (folder / "README.md").is_file() else None


if __name__ == "__main__":
    sys.exit(main())
