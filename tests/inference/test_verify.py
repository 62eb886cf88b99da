"""Golden verification passes what is equal and catches each fault that the contract names."""

from __future__ import annotations

import dataclasses
from collections.abc import Callable

import cv2
import numpy as np
import pytest
from onnx import numpy_helper
from safetensors.numpy import load, save

from irmsia.bundles.golden import GoldenRecord, read_records
from irmsia.bundles.load import Bundle
from irmsia.errors import BundleRejectedError, InvalidRequestError
from irmsia.findings.flips import Flip
from irmsia.findings.types import Decision
from irmsia.imaging.preprocess import NormaliseSpec, PreprocessSpec
from irmsia.imaging.types import Image
from irmsia.inference import verify
from irmsia.inference.model import make_model
from irmsia.inference.runtimes.protocol import Precision
from irmsia.inference.runtimes.registry import make_runtime, runtime_names
from irmsia.inference.verify import RecordResult, Status, VerificationReport, verify_bundle, verify_models
from tests.bundles.tiny import SPEC, make_files, make_group, make_network, make_rules
from tests.inference.conftest import seal
from tests.inference.golden import by_digest, make_records
from tests.inference.reading import InProcessDecoder, make_png

PHANTOMS = 4
IMAGES = by_digest(*(make_png(seed, rows=70, columns=60) for seed in range(4)))
RULES = make_rules()
OPTIONS: dict[str, object] = {}
"""The runtime of the test that runs."""


@pytest.fixture(scope="session")
def records() -> tuple[GoldenRecord, ...]:
    """Return four phantoms and four images of the tiny network."""
    return make_records(make_network(), RULES, SPEC, IMAGES, phantoms=PHANTOMS)


@pytest.fixture(scope="session")
def proven(records: tuple[GoldenRecord, ...]) -> Bundle:
    """Return the tiny bundle with its records."""
    return seal(records=records)


@pytest.fixture(autouse=True, params=runtime_names())
def runtime(request: pytest.FixtureRequest, monkeypatch: pytest.MonkeyPatch) -> str:
    """Every test of this file runs on every runtime."""
    monkeypatch.setitem(OPTIONS, "runtime", request.param)
    return str(request.param)


def check(bundle: Bundle, decoder: InProcessDecoder | None = None, **options: object) -> VerificationReport:
    """Verify with all images at hand."""
    given = {"resolve": IMAGES.get, "minimum": PHANTOMS} | OPTIONS | options
    return verify_bundle(bundle, (decoder or InProcessDecoder()).prepare, **given)


def tampered(change: Callable[[Image], Image]) -> InProcessDecoder:
    """A reader with a fault."""
    return InProcessDecoder(change)


def test_equal_is_proven(proven: Bundle, runtime: str) -> None:
    """Reading, preprocessing and the runtime at f32 give what the reference evaluation gave: every record passes."""
    report = check(proven)
    assert report.ok, [result.reasons for result in report.results]
    assert report.count(Status.PASS) == 8
    assert (report.flips, report.problems) == (0, ())
    assert report.max_dp <= 1e-5
    assert (report.bundle, report.runtime, report.precision) == (proven.id, runtime, Precision.F32)


def test_images_that_are_not_here_fail_nothing(proven: Bundle) -> None:
    """NOT_CHECKED, counted; the phantoms alone carry the verdict."""
    report = check(proven, resolve=lambda digest: None)
    assert report.ok
    assert [report.count(status) for status in Status] == [4, 0, 4]


def test_a_bundle_with_too_few_records_is_not_proven(proven: Bundle) -> None:
    """An empty list passes no one: 64 phantoms and 64 images unless told."""
    report = check(proven, minimum=64)
    assert not report.ok
    assert report.problems == (
        "holds 4 different golden phantoms, 64 are needed",
        "holds 4 different golden images, 64 are needed",
    )
    assert not verify_bundle(seal(), InProcessDecoder().prepare).ok


def test_one_picture_many_times_counts_once(records: tuple[GoldenRecord, ...]) -> None:
    """Four phantoms and four images, each repeated, are four of each, though every single record passes."""
    report = check(seal(records=records * 2), minimum=5)
    assert (report.count(Status.PASS), report.ok) == (16, False)
    assert [problem.split()[1] for problem in report.problems] == ["4", "4"]
    assert check(seal(records=records * 2), minimum=4).ok


def _lost_slope(image: Image) -> Image:
    return dataclasses.replace(
        image, interpretation=dataclasses.replace(image.interpretation, slope=1.0, intercept=0.0)
    )


def _swapped_axes(image: Image) -> Image:
    return dataclasses.replace(image, pixels=np.ascontiguousarray(image.pixels.swapaxes(1, 2)))


def _mirrored(image: Image) -> Image:
    return dataclasses.replace(image, pixels=np.ascontiguousarray(image.pixels[:, :, ::-1]))


def _not_inverted(image: Image) -> Image:
    flipped = not image.interpretation.inverted
    return dataclasses.replace(image, interpretation=dataclasses.replace(image.interpretation, inverted=flipped))


def _one_pixel(image: Image) -> Image:
    """Digests are made when the file is read, so a wrong decoder shows there."""
    wrong = ("0" * 64,)
    return dataclasses.replace(image, info=dataclasses.replace(image.info, frame_sha256=wrong))


@pytest.mark.parametrize(
    ("change", "caught"),
    [(_lost_slope, 1), (_swapped_axes, 8), (_mirrored, 8), (_not_inverted, 8), (_one_pixel, 8)],
)
def test_faults_of_reading_are_caught(proven: Bundle, change: Callable[[Image], Image], caught: int) -> None:
    """A lost rescale (where a file has one), swapped or mirrored axes, lost inversion, other pixels."""
    report = check(proven, tampered(change))
    assert not report.ok
    assert report.count(Status.FAIL) >= caught


def test_another_interpolation_is_caught(proven: Bundle, monkeypatch: pytest.MonkeyPatch) -> None:
    """Shrinking by lines instead of areas fails every record."""
    monkeypatch.setattr(cv2, "INTER_AREA", cv2.INTER_LINEAR)
    report = check(proven)
    assert report.count(Status.FAIL) == 8
    assert all("preprocessed picture" in result.reasons[0] for result in report.results)


@pytest.mark.parametrize("method", ["none", "minmax", "imagenet"])
def test_another_normalisation_is_caught(proven: Bundle, method: str) -> None:
    """Each of the other methods, applied by mistake."""

    def prepare(data: bytes, spec: PreprocessSpec) -> object:
        wrong = spec.model_copy(update={"normalise": NormaliseSpec(method=method)})
        return InProcessDecoder().prepare(data, wrong)

    report = verify_bundle(proven, prepare, resolve=IMAGES.get, minimum=PHANTOMS, **OPTIONS)
    assert report.count(Status.FAIL) == 8


@pytest.mark.parametrize("bit", [31, 30, 24])
@pytest.mark.parametrize("name", ["cells_weight", "chest_weight", "phantom_bias"])
def test_one_flipped_weight_bit_is_caught(records: tuple[GoldenRecord, ...], name: str, bit: int) -> None:
    """Sign or exponent of a single weight, in a bundle that was signed with the fault in it."""
    network = make_network()
    tensor = next(tensor for tensor in network.graph.initializer if tensor.name == name)
    words = numpy_helper.to_array(tensor).view(np.uint32).copy().ravel()
    words[0] ^= np.uint32(1 << bit)
    values = words.view(np.float32).reshape(numpy_helper.to_array(tensor).shape)
    assert np.isfinite(values).all()
    tensor.CopyFrom(numpy_helper.from_array(values, name))
    report = check(seal(network, records))
    assert not report.ok
    assert report.count(Status.FAIL) >= PHANTOMS


@pytest.mark.parametrize(
    ("part", "value"),
    [
        ("router", RULES.router.model_copy(update={"threshold": 0.0})),
        ("groups", tuple(make_group(region, quantile=1.0) for region in ("chest", "phantom"))),
        (
            "refusal",
            RULES.refusal.model_copy(
                update={"statistics": (RULES.refusal.statistics[0].model_copy(update={"thresholds": {"chest": 1e9}}),)}
            ),
        ),
    ],
)
def test_a_lost_threshold_is_caught(records: tuple[GoldenRecord, ...], part: str, value: object) -> None:
    """Even where no answer changes: the distance to each threshold is part of the record."""
    report = check(seal(records=records, rules=RULES.model_copy(update={part: value})))
    assert not report.ok
    assert any("threshold" in reason for result in report.results for reason in result.reasons)


def test_other_refusal_parameters_are_caught_by_phantoms_alone(records: tuple[GoldenRecord, ...]) -> None:
    """Phantoms skip rule 6, yet they tell of a wrong refusal score: a machine without the real images sees it."""
    arrays = load(make_files()["refusal.safetensors"])
    rolled = {key: np.ascontiguousarray(np.roll(value, 1, axis=-1)) for key, value in arrays.items()}
    report = check(seal(records=records, more={"refusal.safetensors": save(rolled)}), resolve=lambda digest: None)
    assert report.count(Status.FAIL) == PHANTOMS
    assert all("refusal score" in result.reasons[0] for result in report.results if result.phantom)


def test_another_operating_point_is_caught(records: tuple[GoldenRecord, ...]) -> None:
    """A threshold that moved across an answer is a flip that nothing excuses."""
    groups = [make_group(region).model_dump() for region in ("chest", "phantom")]
    for group in groups:
        group["operating_points"] = [{"low": 0.0, "high": 1.0, "point": 1.0, "separable": False}]
    report = check(seal(records=records, rules=make_rules(groups=tuple(groups))))
    assert report.count(Status.FAIL) == 8
    assert any("instead of" in reason for result in report.results for reason in result.reasons)


def test_swapped_channels_are_caught() -> None:
    """On an RGB spec blue for red fails every colour image."""
    spec = SPEC.model_copy(update={"channels": 3})
    images = by_digest(*(make_png(seed, colour=True) for seed in range(3)))
    network = make_network(channels=3)
    bundle = seal(network, make_records(network, RULES, spec, images, phantoms=1), preprocessing=spec)

    def swap(image: Image) -> Image:
        return dataclasses.replace(image, pixels=np.ascontiguousarray(image.pixels[..., ::-1]))

    assert check(bundle, resolve=images.get, minimum=1).ok
    report = check(bundle, tampered(swap), resolve=images.get, minimum=1)
    assert [result.status for result in report.results] == [Status.PASS, *[Status.FAIL] * 3]


def test_other_bytes_under_a_digest_are_caught(proven: Bundle) -> None:
    """`resolve` that gives another picture, or one that cannot be read."""
    other = check(proven, resolve=lambda digest: make_png(99))
    assert other.count(Status.FAIL) == 4
    assert "not those of the record" in other.results[-1].reasons[0]
    unreadable = check(proven, resolve=lambda digest: b"text")
    assert unreadable.results[-1].reasons[0].startswith("NOT_AN_IMAGE")


def test_another_phantom_generator_is_caught(proven: Bundle, monkeypatch: pytest.MonkeyPatch) -> None:
    """Phantoms of another version are other pictures: a clear reason instead of a riddle of digests."""
    monkeypatch.setattr(verify, "PHANTOM_VERSION", "2")
    report = check(proven)
    assert report.count(Status.FAIL) == PHANTOMS
    assert report.results[0].reasons == ("needs phantom generator 1, here is 2",)


def test_the_looser_table_of_bf16(proven: Bundle, runtime: str) -> None:
    """At bf16 probabilities may move; fingerprints may not, and an answer changes only where it was close."""
    if Precision.BF16 not in make_runtime(runtime).precisions:
        with pytest.raises(InvalidRequestError, match="bf16"):
            check(proven, precision=Precision.BF16)
        return
    report = check(proven, precision=Precision.BF16)
    assert report.precision is Precision.BF16
    assert report.ok, [result.reasons for result in report.results]
    assert not check(proven, tampered(_mirrored), precision=Precision.BF16).ok


def test_one_reading_serves_all_runtimes(proven: Bundle) -> None:
    """Each image is read once and answered by every one of them; a report each, in their order."""
    decoder = InProcessDecoder()
    models = [make_model(proven, runtime=name) for name in runtime_names()]
    reports = verify_models(models, decoder.prepare, resolve=IMAGES.get, minimum=PHANTOMS)
    assert [report.runtime for report in reports] == list(runtime_names())
    assert all(report.ok for report in reports)
    assert decoder.calls == 8


def _result(flip: Flip | None) -> RecordResult:
    return RecordResult("x", False, Status.PASS, flip=flip)


@pytest.mark.parametrize(
    ("precision", "records", "flips", "refused"),
    [
        ("bf16", 64, 1, False),
        ("bf16", 64, 2, True),
        ("int8", 128, 2, False),
        ("int8", 127, 2, True),
        ("f32", 64, 9, False),
    ],
)
def test_one_flip_in_64(precision: str, records: int, flips: int, refused: bool) -> None:
    """Excused flips are counted too: at most one in 64 at bf16 and INT8; at f32 what is excused is no flip."""
    excused = Flip(True, (), {"router": 0.001}, excused=True)
    results = tuple(_result(excused if index < flips else None) for index in range(records))
    assert bool(list(verify._too_many_flips(results, Precision(precision)))) == refused


def test_a_close_call_is_excused_and_a_clear_one_is_not(records: tuple[GoldenRecord, ...]) -> None:
    """A recorded ACCEPT that is REFER here passes only if the record says that it stood at the edge."""
    rules = make_rules(groups=tuple(make_group(region, quantile=0.999) for region in ("chest", "phantom")))
    strict = make_records(make_network(), rules, SPEC, IMAGES, phantoms=PHANTOMS)
    wrong = [record for record, other in zip(records, strict, strict=True) if record.decision != other.decision]
    assert wrong and all(record.decision is Decision.ACCEPT for record in wrong)
    report = check(seal(records=records, rules=rules))
    assert report.flips >= len(wrong)
    assert not any(result.flip.excused for result in report.results if result.flip)


def test_the_report_names_no_file(proven: Bundle) -> None:
    """Phantoms by what they are, images by their digest."""
    names = [result.name for result in check(proven).results]
    assert names[0].startswith("phantom ")
    assert names[-1] == "image " + read_records(proven.files["golden.jsonl"])[-1].input_sha256[:12]


def test_a_bundle_whose_network_does_not_run_is_rejected(proven: Bundle) -> None:
    """No report but BUNDLE_REJECTED: there is nothing to compare."""
    broken = dataclasses.replace(proven, files={**proven.files, "models/model.onnx": b"junk"})
    with pytest.raises(BundleRejectedError):
        check(broken)
