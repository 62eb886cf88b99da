"""Bundles in memory, signed by a key of this test run."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence

import onnx
import pytest

from irmsia.bundles.golden import GoldenRecord
from irmsia.bundles.load import Bundle, open_bundle
from irmsia.bundles.pack import pack_bundle
from irmsia.bundles.signing import Trust, key_id, make_key
from irmsia.inference.engine import Decoder, Engine
from irmsia.inference.observer import Observer
from irmsia.settings.tree import EngineSettings
from tests.bundles.tiny import make_fields, make_files
from tests.inference.reading import InProcessDecoder

KEY = make_key()
TRUST = Trust({key_id(KEY.public_key()): KEY.public_key()})


def seal(
    network: onnx.ModelProto | None = None,
    records: Sequence[GoldenRecord] = (),
    more: dict[str, bytes] | None = None,
    **fields: object,
) -> Bundle:
    """Pack and open a tiny bundle as a folder would be."""
    return open_bundle(pack_bundle(make_fields(**fields), make_files(network, records) | (more or {}), KEY)[1], TRUST)


@pytest.fixture(scope="session")
def bundle() -> Bundle:
    """Return a tiny bundle without golden records."""
    return seal()


@pytest.fixture
def engines() -> Iterator[Callable[..., Engine]]:
    """Return a maker of started engines that are closed after the test."""
    made: list[Engine] = []

    def make(
        bundle: Bundle | Callable[[], Bundle],
        decoder: Decoder | None = None,
        *,
        observer: Observer | None = None,
        **settings: int | str,
    ) -> Engine:
        load = bundle if callable(bundle) else lambda: bundle
        given = EngineSettings.model_validate({"workers": 2, "queue": 16, "batch": 1} | settings)
        made.append(Engine(decoder or InProcessDecoder(), load, given, observer=observer))
        made[-1].start()
        return made[-1]

    yield make
    for engine in made:
        engine.close()
