"""What passed the golden gate on this machine, and the precision that may be used because of it.

One file a bundle, runtime and precision, sealed with this machine's key: a changed flag, a copy from another machine,
another processor, library or software version, and it says nothing.
"""

from __future__ import annotations

import logging
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

from irmsia import __version__, durable
from irmsia.bundles.canonical import canonical_bytes, parse_json
from irmsia.bundles.machine import MachineSeal
from irmsia.errors import IrmsiaError
from irmsia.inference.processor import processor_identity
from irmsia.inference.runtimes.protocol import Precision
from irmsia.inference.runtimes.registry import library_version, resolve_runtime
from irmsia.inference.verify import Status, VerificationReport
from irmsia.telemetry import get_logger, log_event

_MOST_BYTES = 64 * 1024

_log = get_logger(__name__)


class GateRecords:
    """The records in one folder.

    Args:
        folder: made with the first record.
        seal: this machine's keyed digest; asked for only where there is a record to write or to check.
    """

    def __init__(self, folder: Path, seal: Callable[[], MachineSeal]) -> None:
        self._folder = folder
        self._seal = seal

    def write(self, report: VerificationReport) -> None:
        """Keep that ``report`` passed; one that failed removes what was kept before.

        Raises:
            OSError: what the file system says.
            UnsafeSettingsError: others may read this machine's key.
        """
        path = self._path(report.bundle, report.runtime, report.precision)
        if not report.ok:
            path.unlink(missing_ok=True)
            return
        record = _terms(report.bundle, report.runtime, report.precision) | {
            "passed": report.count(Status.PASS),
            "not_checked": report.count(Status.NOT_CHECKED),
            "flips": report.flips,
            "max_dp": report.max_dp,
        }
        sealed = {"record": record, "seal": self._seal().digest(canonical_bytes(record)).hex()}
        self._folder.mkdir(mode=0o700, parents=True, exist_ok=True)
        durable.write_bytes(path, canonical_bytes(sealed) + b"\n", mode=0o600)

    def passed(self, bundle: str, runtime: str, precision: Precision) -> bool:
        """Whether the bundle of this id passed the gate here, with what is installed now."""
        try:
            with self._path(bundle, runtime, precision).open("rb") as file:
                sealed = parse_json(file.read(_MOST_BYTES))
            return self._holds(sealed, _terms(bundle, runtime, precision))
        except FileNotFoundError:
            return False
        except (OSError, ValueError, IrmsiaError) as error:
            log_event(_log, logging.WARNING, "gate record not used", error=type(error).__name__)
            return False

    def _holds(self, sealed: Any, terms: Mapping[str, Any]) -> bool:
        record, seal = (sealed.get("record"), sealed.get("seal")) if isinstance(sealed, dict) else (None, None)
        if not isinstance(record, dict) or not isinstance(seal, str):
            return False
        return self._seal().fits(bytes.fromhex(seal), canonical_bytes(record)) and terms.items() <= record.items()

    def _path(self, bundle: str, runtime: str, precision: Precision) -> Path:
        return self._folder / f"{bundle}-{runtime}-{precision}.json"


def choose_precision(setting: str, bundle: str, runtime: str, records: GateRecords) -> Precision:
    """What to compute in: ``auto`` and ``bf16`` give bf16 where the bundle of this id passed the gate here, else f32.

    Raises:
        InvalidRequestError: there is no such runtime.
    """
    if setting != Precision.F32 and records.passed(bundle, resolve_runtime(runtime), Precision.BF16):
        return Precision.BF16
    if setting == Precision.BF16:
        log_event(_log, logging.WARNING, "bf16 is not proven on this machine, so f32 is used: irmsia models verify")
    return Precision.F32


def _terms(bundle: str, runtime: str, precision: Precision) -> dict[str, Any]:
    """What a record holds for."""
    return {
        "bundle": bundle,
        "runtime": runtime,
        "library": library_version(runtime),
        "precision": precision.value,
        "processor": processor_identity(),
        "software": __version__,
    }
