"""The texts of a bundle that are generated, never written by hand: its model card and its MONAI metadata."""

from __future__ import annotations

from collections.abc import Iterable, Sequence

from irmsia import DISCLAIMER
from irmsia.bundles.claim import claim_rows
from irmsia.bundles.manifest import ManifestFields, Metric
from irmsia.findings.rules import IntendedUse, LabelGroup, OperatingPoint, Refusal, conformal_space


def make_card(fields: ManifestFields) -> str:
    """The model card in Markdown. It never holds the bundle's id, which depends on it."""
    sections = (
        ("Purpose", _purpose(fields)),
        ("Intended use", _table(("modalities", "region", "age, years"), map(_use_row, fields.rules.intended_use))),
        ("Limitations", "\n".join(f"- {text}" for text in fields.limitations) or "None stated."),
        ("How it was made", _how_made(fields)),
        ("Data", _data(fields)),
        ("Measured", _measured(fields)),
        ("Terms", "\n\n".join(map(_group, fields.rules.groups))),
        ("Thresholds", _thresholds(fields)),
        ("What the numbers mean", _meaning()),
        ("CLAIM 2024", _claim(fields)),
    )
    body = "\n\n".join(f"## {title}\n\n{text}" for title, text in sections)
    return f"# {fields.name} {fields.version}\n\n**{DISCLAIMER}**\n\n{body}\n"


def make_metadata(fields: ManifestFields) -> dict[str, object]:
    """Content of configs/metadata.json, which makes the folder a MONAI bundle as well."""
    size, channels = fields.preprocessing.resize.size, fields.preprocessing.channels
    image = {
        "type": "image",
        "format": "magnitude",
        "num_channels": channels,
        "spatial_shape": [size, size],
        "dtype": "float32",
        "value_range": [],
        "is_patch_data": False,
        "channel_def": {str(index): "image" for index in range(channels)},
    }
    libraries = fields.how_made.libraries
    return {
        "version": fields.version,
        "changelog": {fields.version: "first release under this version"},
        "name": fields.name,
        "task": fields.task,
        "description": _purpose(fields),
        "authors": "IRMSIA contributors",
        "copyright": fields.licence,
        "intended_use": DISCLAIMER,
        "monai_version": libraries.get("monai", "none"),
        "pytorch_version": libraries.get("torch", "none"),
        "numpy_version": libraries.get("numpy", "none"),
        "required_packages_version": dict(libraries),
        "network_data_format": {
            "inputs": {"image": image},
            "outputs": {name: _output(terms) for name, terms in _output_terms(fields).items()},
        },
    }


def _output_terms(fields: ManifestFields) -> dict[str, tuple[str, ...]]:
    groups = {f"logits_{group.region}": group.terms for group in fields.rules.groups}
    return {"router": fields.rules.router.regions, **groups}


def _output(terms: tuple[str, ...]) -> dict[str, object]:
    return {
        "type": "probabilities",
        "format": "classes",
        "num_channels": len(terms),
        "spatial_shape": [],
        "dtype": "float32",
        "value_range": [],
        "is_patch_data": False,
        "channel_def": {str(index): term for index, term in enumerate(terms)},
    }


def _purpose(fields: ManifestFields) -> str:
    regions = ", ".join(group.region for group in fields.rules.groups)
    return (
        f"A {fields.task} network for research: it routes one image to a region ({regions}) and gives calibrated "
        "probabilities of that region's terms, or refuses."
    )


def _use_row(row: IntendedUse) -> tuple[str, ...]:
    low, high = ("any" if age is None else f"{age:g}" for age in (row.age_min, row.age_max))
    return ", ".join(row.modalities) or "none", row.region, f"{low} to {high}"


def _how_made(fields: ManifestFields) -> str:
    made = fields.how_made
    libraries = ", ".join(f"{name} {version}" for name, version in sorted(made.libraries.items()))
    return (
        f"{made.architecture}, {made.parameters:,} parameters, from scratch with seed {made.seed}: "
        f"{made.samples_seen:,} samples seen. Made {fields.created} by {made.software} with "
        f"{libraries or 'no library'}. Licence: {fields.licence}."
    )


def _data(fields: ManifestFields) -> str:
    made = fields.how_made
    digests = (
        f"Digest of the data: `{made.data_digest}`. The test part was sealed before training; digest of its "
        f"list (`sealed.jsonl`): `{made.sealed_digest}`."
    )
    rows = [(row.region, row.term, row.part, str(row.images), str(row.groups)) for row in made.parts]
    return f"{digests}\n\n{_table(('region', 'term', 'part', 'images', 'groups'), rows)}" if rows else digests


def _measured(fields: ManifestFields) -> str:
    if not fields.metrics:
        return "Nothing was measured."
    regions = dict.fromkeys(metric.region for metric in fields.metrics if metric.region is not None)
    others = [metric for metric in fields.metrics if metric.region is None]
    blocks = ["Intervals are 95 %, by patient or by cluster of near-duplicates."]
    blocks += [_figures(others)] if others else []
    blocks += [block for region in regions for block in _of_region(fields, region)]
    return "\n\n".join(blocks)


def _of_region(fields: ManifestFields, region: str) -> Iterable[str]:
    """Two tables: one column a term, then what concerns all terms."""
    own = [metric for metric in fields.metrics if metric.region == region]
    terms = list(dict.fromkeys(metric.term for metric in own if metric.term is not None))
    yield f"### {region}, measured"
    if terms:
        yield "One class against the others: value, interval, images/groups that take part."
        yield _by_term(own, terms)
    if overall := [metric for metric in own if metric.term is None]:
        yield _figures(overall)


def _by_term(metrics: Sequence[Metric], terms: Sequence[str]) -> str:
    cells = {(metric.name, metric.term): _cell(metric) for metric in metrics}
    names = dict.fromkeys(metric.name for metric in metrics if metric.term is not None)
    return _table(("", *terms), ((name, *(cells.get((name, term), "not defined") for term in terms)) for name in names))


def _cell(metric: Metric) -> str:
    return f"{metric.value:.3f} [{metric.low:.3f}, {metric.high:.3f}]; {metric.n}/{metric.groups}"


def _figures(metrics: Iterable[Metric]) -> str:
    return _table(("metric", "part", "value", "interval", "images", "groups"), map(_metric_row, metrics))


def _metric_row(metric: Metric) -> tuple[str, ...]:
    interval = f"{metric.low:.4g} to {metric.high:.4g}"
    return metric.name, metric.part, f"{metric.value:.4g}", interval, str(metric.n), str(metric.groups)


def _claim(fields: ManifestFields) -> str:
    return (
        "Items of the Checklist for Artificial Intelligence in Medical Imaging, in this project's words. This table is "
        f"generated: what the manifest does not hold is said to be missing.\n\n"
        f"{_table(('item', 'asks for', 'here'), claim_rows(fields))}"
    )


def _group(group: LabelGroup) -> str:
    kind = "one term holds" if group.kind == "exclusive" else "each term holds or not"
    shares, biases = (f"{share:.3f}" for share in group.prior), (f"{bias:+.3f}" for bias in group.calibration.bias)
    terms = _table(("term", "prior", "calibration bias"), zip(group.terms, shares, biases, strict=True))
    return (
        f"### {group.region} ({kind})\n\nTemperature {group.calibration.temperature:.4f}.\n\n{terms}\n\n"
        f"Conformal sets at {group.conformal.coverage:.0%} coverage:\n\n{_conformal(group)}"
    )


def _conformal(group: LabelGroup) -> str:
    conformal = group.conformal
    rows = zip(
        conformal_space(group.terms, group.kind),
        (f"{quantile:.4f}" for quantile in conformal.quantiles),
        ("pooled" if pooled else "own" for pooled in conformal.pooled),
        map(str, conformal.n),
        strict=True,
    )
    return _table(("term", "quantile", "of which cases", "calibration groups"), rows)


def _thresholds(fields: ManifestFields) -> str:
    rules = fields.rules
    points = [row for group in rules.groups for row in _point_rows(group)]
    refusals = [
        (statistic.name, region, f"{threshold:.6g}")
        for statistic in rules.refusal.statistics
        for region, threshold in sorted(statistic.thresholds.items())
    ]
    return (
        "Fixed on validation data. At or above `point` a term counts as present; between `low` and `high` the answer "
        f"is referred.\n\n{_table(('region', 'on', 'low', 'high', 'point', 'separable'), points)}\n\n"
        f"The router refuses below {rules.router.threshold:.4f}. An image is out of distribution above:\n\n"
        f"{_table(('statistic', 'region', 'threshold'), refusals)}\n\n{_refused_share(rules.refusal)}"
    )


def _refused_share(refusal: Refusal) -> str:
    rows = [
        (region, str(share.n), f"{share.refused} ({share.refused / max(share.n, 1):.2%})")
        for region, share in sorted(refusal.validation.items())
    ]
    table = _table(("region", "validation images", "refused"), rows) if rows else "not stated."
    return f"Refused wrongly, by router and statistics together:\n\n{table}"


def _point_rows(group: LabelGroup) -> Iterable[tuple[str, ...]]:
    names = ("p(abnormal)",) if group.kind == "exclusive" else group.terms
    return (_point_row(group.region, name, point) for name, point in zip(names, group.operating_points, strict=False))


def _point_row(region: str, name: str, point: OperatingPoint) -> tuple[str, ...]:
    return (
        region,
        name,
        f"{point.low:.4f}",
        f"{point.high:.4f}",
        f"{point.point:.4f}",
        "yes" if point.separable else "no",
    )


def _meaning() -> str:
    return (
        "Probabilities, risk and calibration hold at the stated prior only, which is the class ratio of the validation "
        "data and no hospital's.\n\nThe cuts that turn probabilities into the words of primary, severity, risk and "
        "urgency are conventions, not medicine. Conformal coverage is nominal: it holds for one image, not for the "
        "largest of several frames."
    )


def _table(head: tuple[str, ...], rows: Iterable[tuple[str, ...]]) -> str:
    lines = [head, tuple("---" for _ in head), *rows]
    return "\n".join("| " + " | ".join(cell.replace("|", "\\|") for cell in line) + " |" for line in lines)
