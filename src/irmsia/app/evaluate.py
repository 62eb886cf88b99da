"""Measures a bundle on its own sealed test part and on phantoms: ``python -m irmsia.app.evaluate --data DIR``.

No torch: what is measured is the bundle as it serves (its graph on the runtime at fp32, its thresholds, its decisions).
"""

from __future__ import annotations

import argparse
import datetime
import hashlib
import math
import sys
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
from numpy.typing import NDArray
from rich.console import Console
from rich.table import Table

from irmsia.bundles.load import load_bundle
from irmsia.bundles.signing import read_trust
from irmsia.bundles.store import STARTER
from irmsia.datasets.opening import record_opening
from irmsia.datasets.samples import STARTER_SOURCES, Sample, list_samples
from irmsia.datasets.sealed import SealedSample, parse_sealed
from irmsia.errors import InvalidRequestError, IrmsiaError
from irmsia.evaluation.report import AnsweredImage, Figure, measure
from irmsia.findings.calibration import apply_calibration
from irmsia.findings.decision import NetworkOutputs, Verdict, decide
from irmsia.findings.refusal import RefusalScores
from irmsia.findings.rules import ModelRules
from irmsia.findings.types import State
from irmsia.imaging.digest import input_digest
from irmsia.imaging.phantoms import Phantom, qa_set
from irmsia.imaging.preprocess import Prepared, PreprocessSpec
from irmsia.imaging.read import read_image
from irmsia.imaging.types import Image
from irmsia.inference.model import make_model, network_outputs
from irmsia.inference.pipeline import make_facts
from irmsia.settings.limits import ReadLimits
from irmsia.settings.tree import Settings

Infer = Callable[[NDArray[np.float32]], Mapping[str, NDArray[np.float32]]]
"""From a batch (1, C, S, S) to the graph's named outputs."""


@dataclass(frozen=True, slots=True)
class Judgement:
    """Everything on the way from one file's bytes to its verdict."""

    image: Image
    prepared: Prepared
    outputs: NetworkOutputs
    verdict: Verdict


@dataclass(frozen=True, slots=True)
class Judge:
    """Answers files as the engine does, in this process, one after the other."""

    rules: ModelRules
    scorer: RefusalScores
    spec: PreprocessSpec
    infer: Infer

    def judge(self, content: bytes) -> Judgement:
        """Answer the first frame of a file.

        Raises:
            InputError: the file cannot be read as an image.
        """
        image = read_image(content, ReadLimits())
        prepared = self.spec.apply(image, image.indices[0])
        outputs = network_outputs(dict(self.infer(prepared.tensor[None])), self.rules)
        verdict = decide(self.rules, self.scorer, make_facts(image.info, prepared), outputs)
        return Judgement(image, prepared, outputs, verdict)


def answered(judge: Judge, content: bytes, *, region: str, term: str, group: str) -> AnsweredImage:
    """Return what evaluation needs of one image; probabilities of the true region are given on a refusal as well."""
    judgement = judge.judge(content)
    rules, verdict = judge.rules, judgement.verdict
    own = rules.group(region)
    probabilities = apply_calibration(judgement.outputs.logits[region], own.calibration, own.kind)
    return AnsweredImage(
        region=region,
        term=term,
        group=group,
        routed=rules.router.regions[int(np.argmax(judgement.outputs.router))],
        probabilities=dict(zip(own.terms, probabilities.tolist(), strict=True)),
        decision=verdict.decision.value,
        reason=None if verdict.reason is None else verdict.reason.value,
        present=any(finding.state is State.PRESENT for finding in verdict.findings),
    )


def sealed_images(data: Path, sealed: Sequence[SealedSample]) -> Iterator[tuple[Sample, bytes, str]]:
    """Yield (sample, content, group) of every sealed file that lies under ``data``.

    Raises:
        InvalidRequestError: not one is there.
    """
    groups = {row.file_sha256: row.group for row in sealed}
    found = False
    for sample in (sample for layout in STARTER_SOURCES for sample in list_samples(data, layout)):
        content = (data / sample.path).read_bytes()
        group = groups.get(input_digest(content))
        if group is not None:
            found = True
            yield sample, content, group
    if not found:
        raise InvalidRequestError("no file of the sealed list lies in the data folder")


def measure_sealed(judge: Judge, data: Path, sealed: Sequence[SealedSample]) -> list[Figure]:
    """Return the figures of the sealed test part, with intervals by patient or cluster."""
    return measure(
        [
            answered(judge, content, region=sample.region, term=sample.term, group=group)
            for sample, content, group in sealed_images(data, sealed)
        ]
    )


def measure_phantoms(judge: Judge, phantoms: Sequence[Phantom]) -> list[Figure]:
    """Return the figures of phantoms, each its own group; the router's share counts how many it would tell."""
    return measure(
        [
            answered(judge, phantom.data, region="phantom", term=phantom.truth.expected_term, group=phantom.name)
            for phantom in phantoms
        ]
    )[1:]  # the router's accuracy belongs to real images


def measure_bundle(path: Path, data: Path, home: Path) -> tuple[list[Figure], int]:
    """Open the sealed part for the bundle at ``path``: its figures and how often the part has been opened now.

    Raises:
        BundleRejectedError: the bundle is not whole, not signed by a trusted key or not loadable.
        InvalidRequestError: the data folder does not hold the sealed images.
    """
    bundle = load_bundle(path, read_trust(home))
    model = make_model(bundle)
    session = model.compiled.open_session()
    judge = Judge(model.rules, model.scorer, bundle.manifest.preprocessing, session.infer)
    figures = measure_sealed(judge, data, parse_sealed(bundle.sealed().decode("utf-8")))
    opened = log_opening(home, bundle.sealed(), bundle.id)
    return figures + measure_phantoms(judge, qa_set()), opened


def log_opening(home: Path, sealed: bytes, bundle: str) -> int:
    """Enter in this machine's log that ``bundle`` was measured on the part that ``sealed`` lists; how often it was now.

    Raises:
        InvalidRequestError: the log's chain is broken.
    """
    when = datetime.datetime.now(datetime.UTC).isoformat(timespec="seconds")
    digest = hashlib.sha256(sealed).hexdigest()
    return record_opening(home / "seal.jsonl", sealed_digest=digest, bundle=bundle, when=when)


def make_table(figures: Sequence[Figure]) -> Table:
    """Return the figures as a table."""
    table = Table("figure", "value", "95 % interval", "images", "groups", title="sealed test part and phantoms")
    for figure in figures:
        estimate = figure.estimate
        interval, value = f"[{estimate.low:.3f}, {estimate.high:.3f}]", f"{estimate.value:.3f}"
        if not math.isfinite(estimate.value):
            interval, value = "no such case", "-"
        table.add_row(figure.name, value, interval, str(estimate.n), str(estimate.groups))
    return table


def main(arguments: Sequence[str] | None = None) -> int:
    """Print the figures; 0 done, 1 failed."""
    parser = argparse.ArgumentParser(prog="irmsia.app.evaluate", description=__doc__)
    parser.add_argument("--data", type=Path, required=True, help="folder that holds the collected sets")
    parser.add_argument("--bundle", type=Path, default=STARTER, help="the bundle's folder (the starter)")
    given = parser.parse_args(arguments)
    try:
        figures, opened = measure_bundle(given.bundle, given.data, Settings().home)
    except IrmsiaError as error:
        print(f"{error.code}: {error.message}", file=sys.stderr)
        return 1
    Console().print(make_table(figures))
    print(f"the sealed part has been opened {opened} time(s) on this machine")
    return 0


if __name__ == "__main__":
    sys.exit(main())
