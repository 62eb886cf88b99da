"""Evaluates a bundle on a part of the collected sets, or a table of anybody's predictions.

No torch: what is measured is the bundle as it serves (its graph on the runtime at fp32, its thresholds, its decisions).
"""

from __future__ import annotations

import datetime
import hashlib
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import Literal, Protocol, TypeVar

import numpy as np
from numpy.typing import NDArray

from irmsia import __version__
from irmsia.bundles.load import Bundle, load_bundle
from irmsia.bundles.signing import read_trust
from irmsia.bundles.store import BundleStore
from irmsia.datasets.opening import record_opening
from irmsia.datasets.parts import PartSample, sealed_part, validation_part
from irmsia.datasets.sealed import SealedSample, parse_sealed
from irmsia.evaluation.answered import AnsweredImage, split_by_region
from irmsia.evaluation.measure import Figure, RegionReport, measure, measure_routing
from irmsia.evaluation.prediction_table import parse_predictions, read_table
from irmsia.evaluation.report import Evaluation
from irmsia.findings.calibration import apply_calibration
from irmsia.findings.conformal import conformal_terms
from irmsia.findings.decision import NetworkOutputs, Verdict, decide
from irmsia.findings.refusal import RefusalScores
from irmsia.findings.rules import ModelRules
from irmsia.findings.types import State
from irmsia.findings.vocabulary import PHANTOM_REGION
from irmsia.imaging.phantoms import Phantom, qa_set
from irmsia.imaging.preprocess import Prepared, PreprocessSpec
from irmsia.imaging.read import read_image
from irmsia.imaging.types import Image
from irmsia.inference.model import make_model, network_outputs
from irmsia.inference.pipeline import make_facts
from irmsia.settings.limits import ReadLimits
from irmsia.settings.tree import Settings

ACTIVE = "active"
PartName = Literal["test", "validation"]
Item = TypeVar("Item")

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


class Progress(Protocol):
    """Gives items back one by one and may count them where people see it."""

    def __call__(self, items: Sequence[Item], word: str) -> Iterable[Item]:
        """The ``items``; ``word`` says what is done with them."""
        ...


def silent(items: Sequence[Item], word: str) -> Iterable[Item]:
    """No progress is shown."""
    return items


@dataclass(frozen=True, slots=True)
class Answered:
    """An evaluation with the images that a bundle answered for it; none where a table was given."""

    evaluation: Evaluation
    images: tuple[AnsweredImage, ...]


def evaluate_bundle(
    settings: Settings, name: str, data: Path, *, part: PartName, command: str, progress: Progress = silent
) -> Answered:
    """Answer a part of the starter's sets with a bundle, and measure it. Phantoms are measured beside it.

    Opening the test part is entered in ``IRMSIA_HOME/seal.jsonl`` before its first image is answered.

    Args:
        settings: the tree.
        name: folder of a bundle, ``active``, or a name or id as `BundleStore.load` takes it.
        data: folder that holds the collected sets.
        part: ``test`` (sealed) or ``validation``.
        command: as given, for the report.
        progress: where it is shown.

    Raises:
        ModelNotFoundError, BundleRejectedError: there is no such bundle, or it is not to be trusted.
        InvalidRequestError: the folder does not hold the part, or the log of openings was changed.
        InputError: an image cannot be read.
    """
    bundle = find_bundle(settings.home, name)
    sealed = parse_sealed(bundle.sealed().decode("utf-8"))
    if part == "test":
        samples = sealed_part(data, sealed, partial(progress, word="finding the sealed part"))
        opened = log_opening(settings.home, bundle.sealed(), bundle.id)
    else:
        seed, track = bundle.manifest.how_made.seed, partial(progress, word="finding the validation part")
        samples, opened = validation_part(data, sealed, seed=seed, read=_read, track=track), None
    model = make_model(bundle)
    judge = Judge(model.rules, model.scorer, bundle.manifest.preprocessing, model.compiled.open_session().infer)
    images = answer_part(judge, data, samples, progress) + answer_phantoms(judge, qa_set())
    manifest = bundle.manifest
    facts = (
        ("command", f"`{command}`"),
        ("bundle", f"{manifest.name} {manifest.version}, `{bundle.id}`"),
        ("computed by", f"irmsia {__version__}, {model.runtime} at {model.precision.value}"),
        ("part", _part_fact(part, samples, sealed)),
        ("data digest", f"`{data_digest(samples)}`"),
        ("date", _now()),
        *((("opened", f"the sealed part has now been opened {opened} time(s) on this machine"),) if opened else ()),
    )
    title = f"{manifest.name} {manifest.version} on its {'sealed test' if part == 'test' else part} part"
    return Answered(_evaluate(title, facts, images, limitations=manifest.limitations, references=True), tuple(images))


def evaluate_table(path: Path, *, command: str) -> Answered:
    """Measure a table of predictions (`irmsia.evaluation.prediction_table`), whoever made them.

    Raises:
        InputError, InvalidRequestError: as `read_table` and `parse_predictions`; predictions that make no sense.
    """
    content = read_table(path)
    images = parse_predictions(content)
    facts = (
        ("command", f"`{command}`"),
        ("computed by", f"irmsia {__version__}"),
        ("table", f"{len(images)} rows, `{hashlib.sha256(content).hexdigest()}`"),
        ("date", _now()),
    )
    return Answered(_evaluate("Predictions of a table", facts, images), ())


def find_bundle(home: Path, name: str) -> Bundle:
    """The bundle of a folder, ``active``, or a name or id.

    Raises:
        ModelNotFoundError, BundleRejectedError: there is none, or it is not to be trusted.
    """
    if name != ACTIVE and Path(name).is_dir():
        return load_bundle(Path(name), read_trust(home))
    return BundleStore(home).load(None if name == ACTIVE else name)


def answered(judge: Judge, content: bytes, *, region: str, term: str, group: str, name: str = "") -> AnsweredImage:
    """What evaluation needs of one image; the true region's probabilities and set are given on a refusal, too."""
    judgement = judge.judge(content)
    rules, verdict = judge.rules, judgement.verdict
    own = rules.group(region)
    probabilities = apply_calibration(judgement.outputs.logits[region], own.calibration, own.kind)
    return AnsweredImage(
        region=region,
        term=term,
        group=group,
        probabilities=dict(zip(own.terms, probabilities.tolist(), strict=True)),
        id=name,
        routed=rules.router.regions[int(np.argmax(judgement.outputs.router))],
        decision=verdict.decision.value,
        reason=None if verdict.reason is None else verdict.reason.value,
        present=any(finding.state is State.PRESENT for finding in verdict.findings),
        conformal_set=conformal_terms(own, probabilities),
    )


def answer_part(
    judge: Judge, data: Path, samples: Sequence[PartSample], progress: Progress = silent
) -> list[AnsweredImage]:
    """Answer every sample's file; an image is named by its file's SHA-256.

    Raises:
        InputError: a file cannot be read as an image.
    """
    return [
        answered(
            judge,
            (data / row.sample.path).read_bytes(),
            region=row.sample.region,
            term=row.sample.term,
            group=row.group,
            name=row.file_sha256,
        )
        for row in progress(samples, word="answering")
    ]


def answer_phantoms(judge: Judge, phantoms: Sequence[Phantom]) -> list[AnsweredImage]:
    """Answer phantoms, each its own group."""
    return [
        answered(
            judge,
            phantom.data,
            region=PHANTOM_REGION,
            term=phantom.truth.expected_term,
            group=phantom.name,
            name=phantom.name,
        )
        for phantom in phantoms
    ]


def measure_sealed(judge: Judge, data: Path, sealed: Sequence[SealedSample]) -> list[Figure]:
    """Return the figures of the sealed test part, the router's first, with intervals by patient or cluster.

    Raises:
        InvalidRequestError: no sealed file lies under ``data``.
    """
    return _evaluate("", (), answer_part(judge, data, sealed_part(data, sealed))).figures()


def measure_phantoms(judge: Judge, phantoms: Sequence[Phantom]) -> list[Figure]:
    """Return the figures of phantoms; they are told by their tags, so the router's accuracy is none of them."""
    return [figure for report in _reports(answer_phantoms(judge, phantoms)) for figure in report.figures]


def log_opening(home: Path, sealed: bytes, bundle: str) -> int:
    """Enter in this machine's log that ``bundle`` is measured on the part that ``sealed`` lists; how often it was now.

    Raises:
        InvalidRequestError: the log's chain is broken.
    """
    digest = hashlib.sha256(sealed).hexdigest()
    return record_opening(home / "seal.jsonl", sealed_digest=digest, bundle=bundle, when=_now())


def data_digest(samples: Sequence[PartSample]) -> str:
    """SHA-256 over the sorted lines ``file digest, region, term, group`` of a part."""
    lines = sorted(f"{row.file_sha256} {row.sample.region} {row.sample.term} {row.group}" for row in samples)
    return hashlib.sha256("\n".join(lines).encode()).hexdigest()


def _evaluate(
    title: str,
    facts: tuple[tuple[str, str], ...],
    images: Sequence[AnsweredImage],
    *,
    limitations: tuple[str, ...] = (),
    references: bool = False,
) -> Evaluation:
    real = [image for image in images if image.region != PHANTOM_REGION]
    return Evaluation(
        title=title,
        facts=facts,
        regions=tuple(_reports(images)),
        routing=measure_routing(split_by_region(real)) if real else None,
        limitations=limitations,
        references=references,
    )


def _reports(images: Sequence[AnsweredImage]) -> list[RegionReport]:
    return [measure(predictions) for predictions in split_by_region(images)]


def _part_fact(part: PartName, samples: Sequence[PartSample], sealed: Sequence[SealedSample]) -> str:
    if part == "test":
        return f"test, sealed before training: {len(samples)} of {len(sealed)} listed images are at hand"
    return (
        f"validation: {len(samples)} images; calibration and thresholds were fixed on them, so this flatters the model"
    )


def _now() -> str:
    return datetime.datetime.now(datetime.UTC).isoformat(timespec="seconds")


_read = partial(read_image, limits=ReadLimits())
