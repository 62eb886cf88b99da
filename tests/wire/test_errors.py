from __future__ import annotations

import pytest
from google.rpc import code_pb2
from hypothesis import given, settings
from hypothesis import strategies as st

from irmsia import errors
from irmsia.errors import IrmsiaError, OverloadedError, iter_leaves
from irmsia.findings.types import Diagnosis, Evidence, Problem
from irmsia.wire.errors import TABLE, exit_code, http_status, row_of
from irmsia.wire.status import MAX_ANSWER_BYTES, answer_of, error_of, status_from_bytes, status_of

LEAVES = iter_leaves()
CONTRACT_HTTP = {400, 404, 410, 413, 415, 422, 429, 500, 503, 504, 507}


def test_no_leaf_is_missing() -> None:
    """Every leaf of the tree has its row on every door, and the table names nothing else."""
    assert set(TABLE) == set(LEAVES)


@pytest.mark.parametrize("leaf", LEAVES, ids=lambda leaf: leaf.code)
def test_rows_use_the_words_of_the_doors(leaf: type[IrmsiaError]) -> None:
    """Each row names a status of google.rpc.Code, an HTTP status and an exit code of contract section 4."""
    row = TABLE[leaf]
    assert code_pb2.Code.Value(row.grpc) != code_pb2.OK
    assert row.http in CONTRACT_HTTP
    assert row.exit in {1, 2, 3, 78, 130}


@pytest.mark.parametrize("leaf", LEAVES, ids=lambda leaf: leaf.code)
def test_errors_round_trip(leaf: type[IrmsiaError]) -> None:
    """A typed error comes back from its status as the same class with the same message."""
    status = status_from_bytes(status_of(leaf("what happened")).SerializeToString())
    assert status is not None
    error = error_of(status)
    assert type(error) is leaf
    assert error is not None and error.message == "what happened"


def test_contract_pairs() -> None:
    """Oversize and overload share a gRPC status, not an HTTP one; unsafe settings end with 78."""
    assert row_of(errors.LimitExceededError).grpc == row_of(errors.OverloadedError).grpc == "RESOURCE_EXHAUSTED"
    assert (http_status(errors.LimitExceededError("")), http_status(errors.OverloadedError(""))) == (413, 429)
    assert exit_code(errors.UnsafeSettingsError("")) == 78
    assert http_status(errors.InvalidRequestError("")) == 400


def test_an_unlisted_error_is_internal() -> None:
    """A branch of the tree counts as INTERNAL, a subclass of a leaf as the leaf."""

    class Narrow(OverloadedError):
        code = ""

    assert row_of(IrmsiaError("x")) == TABLE[errors.InternalError]
    assert row_of(Narrow("x")) == TABLE[OverloadedError]


@settings(deadline=None)
@given(st.floats(0, 3600))
def test_overload_says_when_to_come_back(seconds: float) -> None:
    """RetryInfo carries the delay to the nanosecond."""
    error = error_of(status_of(OverloadedError("full", seconds)))
    assert isinstance(error, OverloadedError)
    assert error.retry_after_s == pytest.approx(seconds, abs=1e-8)


def test_a_failed_items_answer_travels_when_it_is_small() -> None:
    """What is known of a failed image reaches the client; what would burst the trailers stays behind."""
    small = Diagnosis(evidence=Evidence(input_sha256="0" * 64), error=Problem("TRUNCATED", "ends early"))
    assert answer_of(status_of(errors.TruncatedError("ends early"), small)) == small
    large = Diagnosis(evidence=Evidence(frame_sha256=("0" * 64,) * 100))
    status = status_of(errors.TruncatedError("ends early"), large)
    assert answer_of(status) is None
    assert len(status.SerializeToString()) < MAX_ANSWER_BYTES


def test_long_and_odd_messages_are_cut() -> None:
    """A message never bursts the trailers and is always text."""
    assert len(status_of(errors.InternalError("é\udcff" * 5000)).message) <= 500


def test_foreign_statuses_have_no_typed_error() -> None:
    """A status without our ErrorInfo, or bytes that are none, give nothing."""
    status = status_of(errors.InternalError("x"))
    del status.details[:]
    assert error_of(status) is None
    assert status_from_bytes(b"\xff\xff") is None
