"""Tiny bundles that pass the gate of activation, and copies of them that do not."""

from __future__ import annotations

import hashlib
from functools import cache
from pathlib import Path
from typing import Any

from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey

from irmsia.bundles.golden import MINIMUM_RECORDS, GoldenRecord, RealSource
from irmsia.bundles.manifest import ManifestFields
from irmsia.bundles.pack import pack_bundle, write_folder
from tests.bundles.tiny import SPEC, make_fields, make_files, make_network, make_rules
from tests.inference.golden import by_digest, make_records
from tests.inference.reading import make_png


@cache
def make_golden(seed: int) -> tuple[GoldenRecord, ...]:
    """Records of the network of ``seed``: as many phantoms, of the quickest kind, and images as a bundle must hold.

    The images' digests are made up, so that verification says NOT_CHECKED.
    """
    image = by_digest(make_png(1))
    *phantoms, real = make_records(
        make_network(seed=seed), make_rules(), SPEC, image, phantoms=MINIMUM_RECORDS, kind="MR"
    )
    digests = [hashlib.sha256(bytes([number])).hexdigest() for number in range(MINIMUM_RECORDS)]
    named = [{"real": RealSource(input_sha256=digest), "frame_sha256": (digest,)} for digest in digests]
    return (*phantoms, *(real.model_copy(update=names) for names in named))


def make_parts(seed: int = 0, **changes: Any) -> tuple[ManifestFields, dict[str, bytes]]:
    """What `pack_bundle` takes; ``changes`` replace parts of the manifest, whose golden records stay."""
    return make_fields(**changes), make_files(make_network(seed=seed), make_golden(seed))


def write_proven(folder: Path, key: Ed25519PrivateKey, *, seed: int = 0, **changes: Any) -> str:
    """Write a bundle whose golden records hold unless ``changes`` spoil them; its id."""
    identity, content = pack_bundle(*make_parts(seed, **changes), key)
    write_folder(folder, content)
    return identity
