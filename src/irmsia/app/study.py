"""A study as a unit: every instance of some folders answered once and written down; a run that was cut off goes on."""

from __future__ import annotations

from collections import deque
from collections.abc import Callable, Iterable, Iterator, Sequence
from contextlib import suppress
from dataclasses import dataclass, replace
from pathlib import Path

from irmsia import durable
from irmsia.app.diagnose import DiagnoseOptions, diagnose_files
from irmsia.app.inputs import InputFile, Skipped
from irmsia.app.study_journal import Journal, RunHeader, StudyRow, open_journal, written
from irmsia.app.study_page import make_page, shrink_overlay
from irmsia.app.study_result import StudyResult, make_result
from irmsia.app.study_table import make_table
from irmsia.errors import (
    CancelledError,
    DecodeFailedError,
    InconsistentHeaderError,
    InvalidRequestError,
    ModelNotFoundError,
    NoPixelDataError,
    NotAnImageError,
    TruncatedError,
    UnavailableError,
    UnsupportedError,
    from_code,
)
from irmsia.findings.naming import find_model
from irmsia.findings.service import ModelInfo
from irmsia.findings.types import Diagnosis
from irmsia.findings.vocabulary import LANGUAGES
from irmsia.imaging.decode_input import digest_input
from irmsia.imaging.limits import ReadLimits
from irmsia.inference.protocol import InferenceService, Priority

JSONL, CSV, HTML = ".jsonl", ".csv", ".html"

_ENDS_THE_RUN = frozenset({UnavailableError.code, CancelledError.code, ModelNotFoundError.code})
"""What every image after it would meet as well."""

_LASTING = frozenset(
    leaf.code
    for leaf in (
        NotAnImageError,
        NoPixelDataError,
        TruncatedError,
        InconsistentHeaderError,
        UnsupportedError,
        DecodeFailedError,
    )
)
"""Failures that lie in the bytes alone: the same bytes fail again. All others are tried anew by the next run."""


@dataclass(frozen=True, slots=True)
class StudyOptions:
    """Where the results go and what is asked. ``out``: .jsonl, .csv or .html; ``language`` is that of the page.

    ``restart``: what an earlier run left is dropped.

    Raises:
        InvalidRequestError: another kind of file, another language, or a language for what has none.
    """

    out: Path
    asked: DiagnoseOptions
    restart: bool = False
    language: str | None = None

    def __post_init__(self) -> None:
        if self.kind not in {JSONL, CSV, HTML}:
            raise InvalidRequestError("results are written as .jsonl, .csv or .html")
        if self.language is not None and self.kind != HTML:
            raise InvalidRequestError("a language is for a page (.html)")
        if self.language not in {None, *LANGUAGES}:
            raise InvalidRequestError(f"the language is one of {', '.join(LANGUAGES)}")
        if self.out.is_dir():
            raise InvalidRequestError("the results are one file, and a folder has that name")

    @property
    def kind(self) -> str:
        """The end of the file's name."""
        return self.out.suffix.lower()

    @property
    def journal(self) -> Path:
        """Where answers are kept as they come: the results themselves, or a file beside them."""
        return self.out if self.kind == JSONL else self.out.with_name(f"{self.out.name}.partial.jsonl")

    @property
    def header(self) -> Path:
        """What the answers of the journal were asked with."""
        return self.out.with_name(f"{self.out.name}.run.json")


@dataclass(frozen=True, slots=True)
class Hooks:
    """Who wants to know: ``advance`` after each file, ``keep`` with each new answer before it is written down."""

    advance: Callable[[], None] = lambda: None
    keep: Callable[[Diagnosis], object] = lambda answer: None


def run_study(
    service: InferenceService,
    paths: Sequence[str],
    files: Sequence[InputFile],
    *,
    options: StudyOptions,
    skipped: Skipped,
    limits: ReadLimits,
    hooks: Hooks | None = None,
) -> StudyResult:
    """Answer ``files`` and write the results; whatever ends this, the next call goes on after the last answer.

    An answer of an earlier run stands as long as the file has the bytes that it was given for.

    Args:
        service: what answers.
        paths: what was asked for, as given.
        files: what `irmsia.app.inputs.list_inputs` made of ``paths``.
        options: where to and what.
        skipped: counts what a walk leaves out.
        limits: what one input may cost.
        hooks: who wants to know.

    Raises:
        UnavailableError, CancelledError, ModelNotFoundError: nothing answers any more; what was answered is kept.
        InvalidRequestError: the file there holds something else, or cannot be written; StorageFullError: no room.
    """
    model = _choose_model(service, options.asked)
    maps = options.kind == HTML or options.asked.maps
    asked = replace(options.asked, model=model.id, maps=maps, priority=Priority.BATCH)
    header = RunHeader(model.id, tuple(paths), maps, asked.term, asked.all_findings)
    with open_journal(options.journal, options.header, header, restart=options.restart) as journal:
        run = _Run(journal, skipped, limits, hooks=hooks or Hooks(), small=options.kind == HTML)
        rows = run.answer(service, _without_own(files, options), asked)
        result = make_result(model, rows, run.reused)
        _write(journal, result, options)
    return result


class _Run:
    """The answers of one run: those that stand in the journal already, and those that are asked for."""

    def __init__(self, journal: Journal, skipped: Skipped, limits: ReadLimits, *, hooks: Hooks, small: bool) -> None:
        self.reused = 0
        self._journal = journal
        self._skipped = skipped
        self._limits = limits
        self._hooks = hooks
        self._small = small
        self._stood = {digest: row for row in journal.found if (digest := _lasting_digest(row.answer)) is not None}

    def answer(self, service: InferenceService, files: Iterable[InputFile], asked: DiagnoseOptions) -> list[StudyRow]:
        """A row for each file that is not skipped, in the order of the files."""
        rows: dict[int, StudyRow] = {}
        asking: deque[int] = deque()

        def unanswered() -> Iterator[InputFile]:
            for index, file in enumerate(files):
                row = self._reuse(file)
                if row is None:
                    asking.append(index)
                    yield file
                    continue
                if not self._skipped.takes(file, _code(row.answer)):  # named then, walked now
                    rows[index] = row
                self._hooks.advance()

        for file, answer in diagnose_files(service, unanswered(), asked):
            index, row = asking.popleft(), self._keep(file, answer)
            if row is not None:
                rows[index] = row
            self._hooks.advance()
        return [rows[index] for index in sorted(rows)]

    def _reuse(self, file: InputFile) -> StudyRow | None:
        """The answer that stands for the bytes of ``file``, under its name of now."""
        row = self._stood.get(digest_input(file.path, self._limits) or "") if self._stood else None
        if row is None:
            return None
        self.reused += 1
        return row.named(file.name)

    def _keep(self, file: InputFile, answer: Diagnosis) -> StudyRow | None:
        code = _code(answer)
        if code in _ENDS_THE_RUN:
            raise from_code(code or "", "no more answers come; those that came are kept, and the same command goes on")
        if self._skipped.takes(file, code):
            return None
        self._hooks.keep(answer)
        return self._journal.append(shrink_overlay(answer) if self._small else answer)


def _code(answer: Diagnosis) -> str | None:
    return answer.error.code if answer.error is not None else None


def _lasting_digest(answer: Diagnosis) -> str | None:
    """The digest of the file whose answer this is and stays."""
    if answer.evidence is None or _code(answer) not in {None, *_LASTING}:
        return None
    return answer.evidence.input_sha256


def _choose_model(service: InferenceService, asked: DiagnoseOptions) -> ModelInfo:
    """The one model that answers all images, even if another becomes active meanwhile."""
    models = service.models()
    if not models:
        raise ModelNotFoundError("no model is ready")
    model = models[0] if asked.model is None else find_model(asked.model, models)
    terms = list(dict.fromkeys(term for group in model.groups for term in group.terms))
    if asked.term is not None and asked.term not in terms:
        raise InvalidRequestError(f"the model has no term {asked.term[:64]!r}; it has: {', '.join(terms)}")
    return model


def _without_own(files: Iterable[InputFile], options: StudyOptions) -> list[InputFile]:
    """The files without the results themselves, which may lie in a folder that is walked."""
    own = {path.name: path.resolve() for path in (options.out, options.journal, options.header)}
    return [file for file in files if not (file.walked and _is_own(file.path, own))]


def _is_own(path: Path, own: dict[str, Path]) -> bool:
    return path.name in own and path.resolve() == own[path.name]


def _write(journal: Journal, result: StudyResult, options: StudyOptions) -> None:
    """Write the file that was asked for, whole. A journal beside it has then done its work."""
    with written():
        if options.kind == JSONL:
            journal.settle(result.rows)
            return
        if options.kind == CSV:
            durable.write_parts(options.out, make_table(result))
        else:
            durable.write_parts(options.out, make_page(result, journal.read, options.language or LANGUAGES[0]))
        for path in (options.journal, options.header):
            with suppress(FileNotFoundError):
                path.unlink()
