"""Answer many files: several at once, given back in the order asked for; maps written as files."""

from __future__ import annotations

import io
from collections.abc import Callable, Iterable, Iterator
from dataclasses import dataclass
from functools import partial
from pathlib import Path

import numpy as np

from irmsia import durable
from irmsia.app.inputs import InputFile
from irmsia.app.ordered import run_ordered
from irmsia.errors import InvalidRequestError, from_system
from irmsia.findings.types import Diagnosis, Explanation
from irmsia.findings.vocabulary import list_terms
from irmsia.inference.protocol import DiagnoseRequest, InferenceService, Priority, Stage

Watch = Callable[[InputFile, Stage, float], None]
"""Hears of each file the stage and the percentage; called on threads of the service, must not block."""


@dataclass(frozen=True, slots=True)
class DiagnoseOptions:
    """What is asked for every file. ``maps``: the explanation and its picture; ``term``: the one to explain.

    ``priority``: whether somebody waits for each answer, or for all of them.
    """

    maps: bool = False
    term: str | None = None
    model: str | None = None
    all_findings: bool = False
    priority: Priority = Priority.SINGLE

    def __post_init__(self) -> None:
        if self.term is not None and self.term not in {term.code for term in list_terms()}:
            raise InvalidRequestError(f"there is no term {self.term[:40]!r}")


def diagnose_files(
    service: InferenceService,
    files: Iterable[InputFile],
    options: DiagnoseOptions,
    *,
    ahead: int = 16,
    watch: Watch | None = None,
) -> Iterator[tuple[InputFile, Diagnosis]]:
    """Yield each file with its answer, in order, while up to ``ahead`` files are being worked on.

    ``watch`` hears how far each is; a server then gets it in chunks.
    """
    return run_ordered(files, lambda file: service.submit(_request(file, options, watch)), ahead=ahead)


def write_maps(folder: Path, answer: Diagnosis) -> list[Path]:
    """Write the map (``.npy``, float32, signed contributions) and the overlay (``.png``) of one answer, if it has any.

    The names are made of the input's name and the start of its digest, so that equal names do not meet.

    Raises:
        InvalidRequestError, StorageFullError: the folder cannot be written.
    """
    shown = answer.explanation
    if shown is None:
        return []
    stem = ".".join([Path(answer.input or "image").name or "image", _short_digest(answer), shown.term])
    contents = {f"{stem}.npy": _npy(shown), f"{stem}.png": shown.overlay_png}
    written = []
    try:
        folder.mkdir(parents=True, exist_ok=True)
        for name, data in contents.items():
            if data is not None:
                durable.write_bytes(folder / name, data)
                written.append(folder / name)
    except (OSError, MemoryError) as error:
        raise from_system(error, "the maps cannot be written", InvalidRequestError) from None
    return written


def _short_digest(answer: Diagnosis) -> str:
    return ((answer.evidence and answer.evidence.input_sha256) or "")[:8]


def _request(file: InputFile, options: DiagnoseOptions, watch: Watch | None) -> DiagnoseRequest:
    return DiagnoseRequest(
        input=file.name,
        source=file.path,
        heatmap=options.maps,
        overlay=options.maps,
        term=options.term,
        model=options.model,
        all_findings=options.all_findings,
        priority=options.priority,
        progress=None if watch is None else partial(watch, file),
    )


def _npy(shown: Explanation) -> bytes:
    buffer = io.BytesIO()
    np.save(buffer, np.frombuffer(shown.map, "<f4").reshape(shown.shape), allow_pickle=False)
    return buffer.getvalue()
