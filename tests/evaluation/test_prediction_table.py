"""Tables of predictions: what goes out comes back, and hostile ones end in one typed sentence."""

from __future__ import annotations

import os
import time
from dataclasses import replace
from pathlib import Path

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from irmsia.errors import InvalidRequestError, IrmsiaError, LimitExceededError, NotFoundError, NotReadableError
from irmsia.evaluation import prediction_table
from irmsia.evaluation.prediction_table import (
    MAX_BYTES,
    MAX_TERMS,
    ONLY_REGION,
    format_predictions,
    parse_predictions,
    read_table,
)
from tests.evaluation.made import make_images

GOOD = "id,group,truth,p_a,p_b,decision,set\n1,g,a,0.75,0.25,ACCEPT,a\n2,g,b,2.5e-1,.75,REFER,a|b\n"
SECRET = "Mustermann^Erika"


@settings(max_examples=30)
@given(st.integers(1, 20), st.integers(0, 99), st.booleans())
def test_a_written_table_reads_as_the_same_images(count: int, seed: int, bare: bool) -> None:
    """Every digit of every probability, with and without the columns that may be missing."""
    images = make_images(count, seed=seed)
    if bare:
        images = [
            replace(image, routed=None, decision=None, reason=None, present=None, conformal_set=None)
            for image in images
        ]
    assert parse_predictions(format_predictions(images).encode()) == images


def test_regions_share_a_table() -> None:
    """Each has the terms whose cells its rows fill."""
    other = [
        replace(image, region="chest", id=f"c{image.id}", routed="chest") for image in make_images(3, terms=("x", "y"))
    ]
    images = make_images(4) + other
    text = format_predictions(images)
    assert ",,," in text
    assert parse_predictions(text.encode()) == images


def test_a_plain_table_of_somebody_else() -> None:
    """Byte order mark, Windows line ends, spaces, quotes and empty lines are no trouble."""
    text = "\ufeff" + GOOD.replace("\n", "\r\n").replace("1,g,a", '"1", g ,"a"') + "\r\n"
    first, second = parse_predictions(text.encode())
    assert (first.id, first.group, first.term, first.region) == ("1", "g", "a", ONLY_REGION)
    assert first.probabilities == {"a": 0.75, "b": 0.25}
    assert (second.decision, second.conformal_set, second.present) == ("REFER", ("a", "b"), None)


HOSTILE = {
    "empty": b"",
    "header alone": b"id,group,truth,p_a,p_b\n",
    "no header": b"1,g,a,0.5,0.5\n",
    "binary": bytes(range(256)) * 40,
    "zero bytes": GOOD.encode().replace(b"ACCEPT", b"AC\0EPT"),
    "utf-16": GOOD.encode("utf-16"),
    "open quote": GOOD.encode() + b'3,"g,a,0.5,0.5\n',
    "a cell too many": GOOD.encode() + b"3,g,a,0.5,0.5,ACCEPT,a,more\n",
    "a cell too few": GOOD.encode() + b"3,g,a\n",
    "one probability": b"id,group,truth,p_a\n1,g,a,1\n",
    "one name twice": b"id,group,truth,p_a,p_a\n1,g,a,1,0\n",
    "unknown column": b"id,group,truth,p_a,p_b,patient_name\n1,g,a,1,0,x\n",
    "term with markup": b"id,group,truth,p_<script>,p_b\n1,g,b,0,1\n",
    "id twice": GOOD.encode() + b"1,g,a,0.5,0.5,ACCEPT,a\n",
    "no group": GOOD.encode().replace(b"1,g,", b"1,,"),
    "long id": GOOD.encode().replace(b"1,g,", b"1" * 2000 + b",g,"),
    "huge cell": GOOD.encode().replace(b"1,g,", b"1" * 200_000 + b",g,"),
    "nan": GOOD.encode().replace(b"0.75", b"nan"),
    "infinity": GOOD.encode().replace(b"0.75", b"1e999"),
    "underscore": GOOD.encode().replace(b"0.75", b"0_1"),
    "other digits": GOOD.replace("0.75", "٠.٧٥").encode(),
    "negative": GOOD.encode().replace(b"0.75", b"-0.75"),
    "above one": GOOD.encode().replace(b"0.75", b"75"),
    "formula": GOOD.encode().replace(b"0.75", b"=1+1"),
    "decision": GOOD.encode().replace(b"REFER", b"MAYBE"),
    "set with a term twice": GOOD.encode().replace(b"a|b", b"a|a"),
    "region with markup": GOOD.encode().replace(b"set", b"region").replace(b"a|b", b"<b>"),
    "present": GOOD.encode().replace(b"set", b"present").replace(b"a|b", b"yes"),
}


@pytest.mark.parametrize("content", HOSTILE.values(), ids=HOSTILE.keys())
def test_a_hostile_table_is_one_typed_sentence(content: bytes) -> None:
    """Nothing of the file's own text stands in it."""
    with pytest.raises(IrmsiaError) as caught:
        parse_predictions(content)
    assert isinstance(caught.value, InvalidRequestError)
    assert len(caught.value.message) < 200


@pytest.mark.parametrize("place", ["header", "cell", "truth", "group"])
def test_a_message_holds_no_patient(place: str) -> None:
    """Neither a name in the header nor one in a cell comes back."""
    bad = {
        "header": GOOD.replace("decision", SECRET),
        "cell": GOOD.replace("0.75", SECRET),
        "truth": GOOD.replace("1,g,a", f"1,g,{SECRET}"),
        "group": GOOD.replace("1,g,a,", f"1,{SECRET}" * 200 + ",a,"),
    }[place]
    try:
        from irmsia.evaluation.answered import make_predictions

        make_predictions(parse_predictions(bad.encode()))
        pytest.fail("it was taken")
    except IrmsiaError as error:
        assert SECRET not in error.message


@settings(max_examples=200)
@given(st.binary(max_size=300))
def test_any_bytes_are_read_or_refused(content: bytes) -> None:
    """Never another exception."""
    for text in (content, b"id,group,truth,p_a,p_b\n" + content):
        try:
            assert parse_predictions(text)
        except IrmsiaError as error:
            assert error.message


def test_files_that_are_not_there_or_no_files(tmp_path: Path) -> None:
    """Typed; a pipe that nobody writes to blocks nobody."""
    with pytest.raises(NotFoundError):
        read_table(tmp_path / "gone.csv")
    os.mkfifo(tmp_path / "pipe")
    for path in (tmp_path, tmp_path / "pipe", Path("/dev/zero")):
        with pytest.raises(NotReadableError):
            read_table(path)


def test_limits_hold_at_ten_times_their_size(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """A sparse file of ten times the bytes, ten times the (here fewer) rows, ten times the terms: refused at once."""
    monkeypatch.setattr(prediction_table, "MAX_ROWS", 1000)
    start = time.process_time()
    large = tmp_path / "large.csv"
    with large.open("wb") as file:
        file.truncate(10 * MAX_BYTES)
    with pytest.raises(LimitExceededError, match="bytes"):
        read_table(large)
    rows = "".join(f"{row},g,a,1,0\n" for row in range(10 * 1000))
    with pytest.raises(LimitExceededError, match="rows"):
        parse_predictions(f"id,group,truth,p_a,p_b\n{rows}".encode())
    with pytest.raises(LimitExceededError, match="terms"):
        parse_predictions(("id,group,truth," + ",".join(f"p_{n}" for n in range(10 * MAX_TERMS))).encode())
    assert time.process_time() - start < 20
