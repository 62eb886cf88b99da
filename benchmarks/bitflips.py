"""One wrong bit in one weight: ``python -m benchmarks.bitflips [--runtime R] [--data DIR] [--out FILE]``.

A file with a wrong bit never loads: its digest is signed. Here the bit is flipped in memory, behind that check, as a
fault of memory or of a converter would: in every layer of the packaged network, in its largest weight, each bit in
turn. A few golden phantoms are run, then every golden record at hand where these see nothing; the table says which bits
the gate sees. Exit 1 when a sign or the top exponent bit passes unseen in any layer.
"""

from __future__ import annotations

import argparse
import hashlib
import json
import sys
from collections import Counter
from collections.abc import Callable, Iterator, Sequence
from contextlib import closing
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import numpy as np
import onnx
from onnx import TensorProto, numpy_helper

from irmsia import durable
from irmsia.app.verify import find_by_digest
from irmsia.bundles.golden import GoldenRecord, RealSource, write_records
from irmsia.bundles.load import GOLDEN, Bundle, load_bundle
from irmsia.bundles.signing import read_trust
from irmsia.bundles.store import STARTER
from irmsia.errors import BundleRejectedError
from irmsia.imaging.decode_task import PreparedInput
from irmsia.imaging.guard import DecoderPool
from irmsia.imaging.limits import ReadLimits
from irmsia.imaging.phantoms import make_phantom
from irmsia.imaging.preprocess import PreprocessSpec
from irmsia.inference.model import make_model
from irmsia.inference.runtimes.registry import AUTO, runtime_names
from irmsia.inference.verify import Prepare, verify_models

MUST = ("sign", "exponent 1")
"""What has to be seen in every layer."""

FEW = 6

_LAYOUT = {TensorProto.FLOAT16: (np.uint16, 5, 10), TensorProto.FLOAT: (np.uint32, 8, 23)}
"""Type of the words, bits of exponent and of mantissa."""


@dataclass(frozen=True)
class Proof:
    """A bundle with some of its golden records, read once."""

    bundle: Bundle
    prepare: Prepare
    resolve: Callable[[str], bytes | None]
    count: int

    def sees(self, network: bytes, runtime: str) -> bool:
        """Whether the gate fails for ``network`` in place of the bundle's own."""
        changed = replace(self.bundle, files={**self.bundle.files, self.bundle.manifest.model_file: network})
        try:
            model = make_model(changed, runtime=runtime)
        except BundleRejectedError:
            return True
        report = verify_models([model], self.prepare, resolve=self.resolve, minimum=0)[0]
        return not report.ok


def make_proof(bundle: Bundle, phantoms: int | None, data: Path | None = None) -> Proof:
    """Golden records of the bundle, named by digest so that no phantom has to be made again.

    ``phantoms``: so many of the phantoms and no other record; null: all of them, and the real images in ``data``.
    """
    records = [record for record in bundle.golden() if record.phantom is not None or phantoms is None]
    chosen = records if phantoms is None else records[:: max(1, len(records) // phantoms)][:phantoms]
    find = find_by_digest(data, ReadLimits().file_bytes)
    files: dict[str, bytes] = {}
    prepared: dict[bytes, PreparedInput] = {}
    named = []
    with closing(DecoderPool(1, ReadLimits())) as pool:
        for record in chosen:
            content = content_of(record, find)
            if content is None:
                continue
            digest = hashlib.sha256(content).hexdigest()
            files[digest], prepared[content] = content, pool.prepare(content, bundle.manifest.preprocessing)
            named.append(record.model_copy(update={"phantom": None, "real": RealSource(input_sha256=digest)}))
    small = replace(bundle, files={**bundle.files, GOLDEN: write_records(named)})

    def prepare(content: bytes, spec: PreprocessSpec) -> PreparedInput:
        return prepared[content]

    return Proof(small, prepare, files.get, len(named))


def content_of(record: GoldenRecord, find: Callable[[str], bytes | None]) -> bytes | None:
    """The file that a record speaks of; null where it is not at hand."""
    source = record.phantom
    if source is None:
        return find(record.input_sha256)
    return make_phantom(source.seed, source.kind, source.lesion).data


def weight_names(network: bytes) -> list[str]:
    """Every initialiser that holds weights."""
    graph = onnx.load_model_from_string(network).graph
    return [tensor.name for tensor in graph.initializer if tensor.data_type in _LAYOUT and tensor.dims]


def flip_largest(network: bytes, name: str, bit: int) -> bytes | None:
    """``network`` with one bit (0: the sign) of the largest weight of ``name`` flipped; null if that is not finite.

    What is not finite is refused when a bundle is loaded.
    """
    proto = onnx.load_model_from_string(network)
    tensor = next(tensor for tensor in proto.graph.initializer if tensor.name == name)
    words, exponent, mantissa = _LAYOUT[tensor.data_type]
    values = numpy_helper.to_array(tensor)
    flat = values.copy().reshape(-1)
    flat.view(words)[int(np.abs(flat).argmax())] ^= words(1 << (exponent + mantissa - bit))
    if not np.isfinite(flat).all():
        return None
    tensor.CopyFrom(numpy_helper.from_array(flat.reshape(values.shape), name))
    return bytes(proto.SerializeToString())


def bit_names(network: bytes, name: str) -> list[str]:
    """``sign``, ``exponent 1`` (the highest) ..., ``mantissa 1`` (the highest) ... of one initialiser."""
    graph = onnx.load_model_from_string(network).graph
    _, exponent, mantissa = _LAYOUT[next(tensor.data_type for tensor in graph.initializer if tensor.name == name)]
    return [
        "sign",
        *(f"exponent {number}" for number in range(1, exponent + 1)),
        *(f"mantissa {number}" for number in range(1, mantissa + 1)),
    ]


def sweep(proofs: Sequence[Proof], runtime: str, most_mantissa: int) -> Iterator[dict[str, Any]]:
    """One row a layer and bit: ``seen`` by one of ``proofs``, ``unseen``, or ``unfinite`` (never loads)."""
    network = proofs[0].bundle.model()
    for name in weight_names(network):
        for bit, label in enumerate(bit_names(network, name)):
            if label.startswith("mantissa") and int(label.split()[1]) > most_mantissa:
                continue
            flipped = flip_largest(network, name, bit)
            if flipped is None:
                outcome = "unfinite"
            else:
                outcome = "seen" if any(proof.sees(flipped, runtime) for proof in proofs) else "unseen"
            yield {"layer": name, "bit": label, "outcome": outcome}


def main() -> int:
    """Sweep, print, write."""
    parser = argparse.ArgumentParser(prog="benchmarks.bitflips", description=__doc__)
    parser.add_argument("--runtime", choices=(AUTO, *runtime_names()), default=AUTO)
    parser.add_argument("--data", type=Path, help="folder of the real images of the golden records")
    parser.add_argument("--quick", action="store_true", help=f"{FEW} golden phantoms alone, for a first look")
    parser.add_argument("--mantissa", type=int, default=10, help="mantissa bits from the top (default 10)")
    parser.add_argument("--out", type=Path, help="write every row as JSON here")
    given = parser.parse_args()
    bundle = load_bundle(STARTER, read_trust(None))
    proofs = [make_proof(bundle, FEW)]
    if not given.quick:
        proofs.append(make_proof(bundle, None, given.data))
    rows = []
    for row in sweep(proofs, given.runtime, given.mantissa):
        rows.append(row)
        if row["outcome"] == "unseen" and row["bit"] in MUST:
            print(f"UNSEEN  {row['layer']}  {row['bit']}", flush=True)
    if given.out is not None:
        durable.write_text(given.out, json.dumps(rows, indent=1) + "\n")
    print_table(rows, proofs[-1].count)
    return 1 if any(row["outcome"] == "unseen" and row["bit"] in MUST for row in rows) else 0


def print_table(rows: list[dict[str, Any]], records: int) -> None:
    """A line a bit: in how many layers it is seen."""
    print(f"\n{len({row['layer'] for row in rows})} layers, {records} golden records\n")
    print(f"{'bit':14} {'seen':>5} {'unseen':>7} {'never loads':>12}")
    for bit in dict.fromkeys(row["bit"] for row in rows):
        found = Counter(row["outcome"] for row in rows if row["bit"] == bit)
        print(f"{bit:14} {found['seen']:5} {found['unseen']:7} {found['unfinite']:12}")


if __name__ == "__main__":
    sys.exit(main())
