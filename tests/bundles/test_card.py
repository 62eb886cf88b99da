"""The model card is generated from the manifest and says what the contract wants said."""

from __future__ import annotations

import json
from pathlib import Path

from irmsia.bundles.card import make_card, make_metadata
from irmsia.findings.rules import Conformal, RefusalShare
from tests.bundles.tiny import make_fields, make_group, make_rules


def test_the_card_says_what_it_must() -> None:
    """Purpose, research use, data, metrics with intervals, every threshold, limits, and what the cuts are."""
    fields = make_fields()
    card = make_card(fields)
    for text in (
        "# tiny 1.0",
        "Research use only. Not a medical device.",
        "## Purpose",
        "| CR, DX | chest | 0 to 17 |",
        "Made for tests",
        "0" * 64,
        "1" * 64,
        "| auroc | test | 0.5 | 0.4 to 0.6 | 64 | 32 |",
        "| chest | p(abnormal) | 0.4500 | 0.5500 | 0.5000 | no |",
        "| early | chest | 20 |",
        "router refuses below 0.5000",
        "are conventions, not medicine",
        "hold at the stated prior only",
        "Licence: MIT",
    ):
        assert text in card, text
    for group in fields.rules.groups:
        for term in group.terms:
            assert f"| {term} |" in card


def test_the_card_of_an_independent_group() -> None:
    """One operating point a term, and a conformal quantile for no finding at all."""
    chest = make_group("chest").model_dump()
    chest |= {
        "kind": "independent",
        "terms": ("pneumonia", "edema"),
        "operating_points": chest["operating_points"] * 2,
        "conformal": Conformal(coverage=0.9, quantiles=(0.1, 0.2, 0.3), pooled=(True,) * 3, n=(5,) * 3),
    }
    rules = make_rules(groups=(chest, make_group("phantom")))
    card = make_card(make_fields(rules=rules, metrics=()))
    assert "| chest | edema |" in card
    assert "| normal | 0.3000 | pooled | 5 |" in card
    assert "Nothing was measured." in card


def test_the_card_states_what_validation_lost() -> None:
    """Wrong refusals region by region, with n; without figures it says so."""
    rules = make_rules()
    share = RefusalShare(n=400, refused=8, misrouted=1, router=2, features=6)
    refusal = rules.refusal.model_copy(update={"validation": {"chest": share}})
    assert "| chest | 400 | 8 (2.00%) |" in make_card(make_fields(rules=make_rules(refusal=refusal)))
    assert "not stated" in make_card(make_fields())


def test_a_cell_cannot_break_its_table() -> None:
    """A bar in a name stays text."""
    metric = make_fields().metrics[0].model_copy(update={"name": "a|b"})
    assert "| a\\|b | test |" in make_card(make_fields(metrics=(metric,)))


def test_the_metadata_is_a_monai_bundle_s(folder: Path) -> None:
    """The keys that MONAI's metadata schema requires, with the network's real inputs and outputs."""
    metadata = json.loads((folder / "configs" / "metadata.json").read_bytes())
    assert metadata == json.loads(json.dumps(make_metadata(make_fields())))
    required = {"version", "changelog", "monai_version", "pytorch_version", "numpy_version", "task", "description"}
    assert required | {"required_packages_version", "authors", "copyright", "network_data_format"} <= set(metadata)
    assert metadata["network_data_format"]["inputs"]["image"]["spatial_shape"] == [32, 32]
    assert set(metadata["network_data_format"]["outputs"]) == {"router", "logits_chest", "logits_phantom"}
