"""Prove an answer offline: these are its file and its pixels, its bundle is signed, and asked again it says the same.

No server takes part. What nothing can prove (the name of the input, times) is printed as NOT CHECKED.
"""

from __future__ import annotations

import hashlib
import re
from collections.abc import Callable, Iterator, Sequence
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass, replace
from pathlib import Path

import numpy as np

from irmsia.app.answer_checks import (
    AnswerReport,
    Check,
    Made,
    check_file,
    check_form,
    check_pixels,
    check_pseudonyms,
    check_software,
    made_by,
    spell_differences,
)
from irmsia.app.answers import GivenAnswer
from irmsia.app.compose import open_pool
from irmsia.app.inputs import InputFile
from irmsia.app.same import TOLERANCES, list_differences
from irmsia.bundles.load import Bundle, load_bundle
from irmsia.bundles.signing import read_trust
from irmsia.bundles.store import BundleStore
from irmsia.errors import BundleRejectedError, InvalidRequestError, IrmsiaError, ModelNotFoundError, NotFoundError
from irmsia.findings.types import Diagnosis, Evidence, Explanation, State
from irmsia.imaging.guard import DecoderPool
from irmsia.inference.engine import Engine
from irmsia.inference.model import ReadyModel, make_model
from irmsia.inference.protocol import DiagnoseRequest
from irmsia.inference.runtimes.protocol import Precision
from irmsia.inference.runtimes.registry import installed_runtimes
from irmsia.inference.verify import Status
from irmsia.settings.tree import Settings

_ID = re.compile(r"[0-9a-f]{64}")
_LEVELS = 2  # grey levels that rounding may move an overlay
_OVERLAY_SPAN = 400.0  # levels that a contribution of full strength moves a colour, rounded up


def verify_answers(
    settings: Settings,
    answers: Sequence[GivenAnswer],
    files: Sequence[InputFile],
    *,
    bundle: Path | None = None,
    precision: str | None = None,
) -> Iterator[AnswerReport]:
    """Yield the report of each answer.

    Args:
        settings: the tree; `IRMSIA_HOME` holds the trusted keys and the bundles of this machine.
        answers: as `read_answers` gives them.
        files: where their images may be; each answer is held against the one whose digest it names, else against the
            one it calls its input, else against the only one.
        bundle: folder of the bundle; null: the one of that id on this machine, or the packaged one.
        precision: what the answers were computed in: f32, bf16 or int8; null: what each says of itself. They are
            computed again in it where this machine can, and numbers agree within its tolerance.

    Raises:
        InvalidRequestError, UnsafeSettingsError: as `irmsia.app.compose.open_pool`.
    """
    find = _finder(files, several=len(answers) > 1 or len(files) > 1)
    with open_pool(settings, 1) as pool, ExitStack() as stack:
        verifier = _Verifier(settings, pool, stack, bundle, precision)
        for given in answers:
            yield verifier.report(given, find(given.answer))


def _finder(files: Sequence[InputFile], *, several: bool) -> Callable[[Diagnosis], InputFile | None]:
    digests = {_digest(file.path): file for file in files} if several else {}
    names = {file.name: file for file in files} | {str(file.path): file for file in files}

    def find(answer: Diagnosis) -> InputFile | None:
        named = answer.evidence.input_sha256 if answer.evidence is not None else None
        only = files[0] if len(files) == 1 else None
        return digests.get(named or "") or names.get(answer.input or "") or only

    return find


def _digest(path: Path) -> str:
    try:
        with path.open("rb") as file:
            return hashlib.file_digest(file, "sha256").hexdigest()
    except (OSError, ValueError):
        return ""


@dataclass(frozen=True, slots=True)
class _Seen:
    """What this machine makes of the file: its digests, and its own answer where it could be asked."""

    evidence: Evidence
    answer: Diagnosis | None
    why_not: str = ""


class _Verifier:
    def __init__(
        self, settings: Settings, pool: DecoderPool, stack: ExitStack, bundle: Path | None, precision: str | None
    ) -> None:
        self._settings = settings
        self._store = BundleStore(settings.home)
        self._pool = pool
        self._stack = stack
        self._folder = bundle
        self._precision = precision
        self._engines: dict[tuple[str, Made], Engine] = {}
        self._loaded: dict[str | None, Bundle | BundleRejectedError] = {}
        self._last: tuple[object, _Seen] | None = None

    def report(self, given: GivenAnswer, file: InputFile | None) -> AnswerReport:
        answer = given.answer
        found, bundle_check = self._find_bundle(answer)
        checks = [check_form(given)]
        if file is None:
            checks.append(Check("file", Status.FAIL, "none of the files has the digest that the answer names"))
            checks += [Check("pixels", Status.NOT_CHECKED, "no file"), bundle_check]
            checks.append(Check("answer", Status.NOT_CHECKED, "no file"))
        else:
            seen = self._see(answer, file.path, found)
            digests = check_file(answer, seen.evidence), check_pixels(answer, seen.evidence)
            same_picture = any(check.status is not Status.FAIL for check in digests)
            checks += [*digests, bundle_check, self._check_answer(answer, seen, same_picture)]
            checks += self._check_origin(answer, seen, same_picture)
        unproven = Check("name, times", Status.NOT_CHECKED, "nothing proves input and timings_ms")
        name = file.name if file is not None else None
        return AnswerReport(given.place, answer.input, name, (*checks, unproven))

    def _find_bundle(self, answer: Diagnosis) -> tuple[Bundle | None, Check]:
        try:
            bundle, found = self._load(answer)
        except BundleRejectedError as error:
            return None, Check("bundle", Status.FAIL, error.message)
        return bundle, Check("bundle", Status.NOT_CHECKED if answer.error is not None else Status.PASS, found)

    def _load(self, answer: Diagnosis) -> tuple[Bundle | None, str]:
        """The bundle that the answer names; `BundleRejectedError` with the reason why it proves nothing."""
        named = answer.evidence.bundle if answer.evidence is not None else None
        if answer.error is not None and named is None:
            return self._bundle(None), "a failure names no bundle; asked again with the active one"
        if named is None or not _ID.fullmatch(named):
            raise BundleRejectedError("the answer names no bundle")
        if answer.model is None or answer.model.id != named:
            raise BundleRejectedError("evidence.bundle and model.id of the answer differ")
        bundle = self._bundle(named)
        if bundle.id != named:
            raise BundleRejectedError(f"another bundle: it is {bundle.id[:12]}, the answer names {named[:12]}")
        return bundle, f"{bundle.manifest.name} {bundle.manifest.version}, whole, signed by a trusted key"

    def _bundle(self, named: str | None) -> Bundle:
        """The bundle of --bundle, else that of the id, null for the active one; each is checked once a run."""
        if named not in self._loaded:
            try:
                self._loaded[named] = self._load_own(named) if self._folder is None else self._load_folder(self._folder)
            except BundleRejectedError as error:
                self._loaded[named] = error
        found = self._loaded[named]
        if isinstance(found, BundleRejectedError):
            raise found
        return found

    def _load_folder(self, folder: Path) -> Bundle:
        try:
            return load_bundle(folder, read_trust(self._settings.home))
        except NotFoundError:
            raise BundleRejectedError("there is no bundle in the folder of --bundle") from None

    def _load_own(self, identity: str | None) -> Bundle:
        try:
            return self._store.load(identity)
        except ModelNotFoundError:
            broken = [f"; {entry.name[:12]} here: {entry.problem}" for entry in self._store.list() if entry.problem]
            missing = f"the bundle {(identity or 'active')[:12]} is not on this machine; name its folder with --bundle"
            raise BundleRejectedError(missing + "".join(broken)) from None

    def _see(self, answer: Diagnosis, path: Path, bundle: Bundle | None) -> _Seen:
        """Read the file, and answer it again with ``bundle``; answers of one file in a row share one reading."""
        request, made = _request_again(answer, path), self._made(answer)
        key = (request, made, bundle and bundle.id)
        if self._last is None or self._last[0] != key:
            self._last = key, self._look(request, path, bundle, made)
        return self._last[1]

    def _made(self, answer: Diagnosis) -> Made:
        """By what the answer was computed: as it says of itself, unless the caller knows better."""
        said = made_by(answer)
        return Made(said.runtime, self._precision or said.precision)

    def _tolerance(self, answer: Diagnosis) -> float:
        return TOLERANCES[self._made(answer).precision]

    def _look(self, request: DiagnoseRequest, path: Path, bundle: Bundle | None, made: Made) -> _Seen:
        if bundle is None:
            return self._inspect(path, "its bundle is not proven")
        try:
            again = self._engine(bundle, made).submit(request).result()
        except IrmsiaError as error:
            return self._inspect(path, f"{error.code}: {error.message}")
        if again.evidence is None or again.evidence.input_sha256 is None:
            return replace(self._inspect(path, ""), answer=again)
        return _Seen(again.evidence, again)

    def _inspect(self, path: Path, why_not: str) -> _Seen:
        info = self._pool.inspect(path)
        return _Seen(Evidence(info.input_sha256, info.frame_sha256, info.decoder), None, why_not)

    def _engine(self, bundle: Bundle, made: Made) -> Engine:
        key = (bundle.id, made)
        if key not in self._engines:
            self._engines[key] = self._stack.enter_context(self._open_engine(bundle, made))
        return self._engines[key]

    @contextmanager
    def _open_engine(self, bundle: Bundle, made: Made) -> Iterator[Engine]:
        settings = self._settings.engine.model_copy(update={"workers": 1})
        engine = Engine(self._pool, lambda: bundle, settings, make=lambda bundle: self._make(bundle, made))
        try:
            engine.start(warm=False)
            engine.wait_ready()
            yield engine
        except BaseException:
            self._pool.close()  # so that no worker waits for an answer that nobody wants any more
            raise
        finally:
            engine.close(timeout=0)

    def _make(self, bundle: Bundle, made: Made) -> ReadyModel:
        """The network by the runtime and in the precision of the answer, else as this machine computes exactly."""
        own = self._settings.engine.runtime
        runtime = made.runtime if made.runtime in installed_runtimes() else own
        try:
            return make_model(bundle, runtime=runtime, precision=Precision(made.precision))
        except (InvalidRequestError, BundleRejectedError):
            return make_model(bundle, runtime=own)

    def _check_answer(self, answer: Diagnosis, seen: _Seen, same_picture: bool) -> Check:
        if not same_picture:
            return Check("answer", Status.NOT_CHECKED, "it is of another picture")
        if seen.answer is None:
            return Check("answer", Status.NOT_CHECKED, seen.why_not)
        if (seen.answer.error is None) != (answer.error is None):
            found = f"it says {_outcome(answer)}, asked again this machine says {_outcome(seen.answer)}"
            return Check("answer", Status.FAIL, found)
        differing = self._differences(answer, seen.answer, self._tolerance(answer))
        if differing:
            found = spell_differences(differing, answer, seen.answer)
            return Check("answer", Status.FAIL, found + self._hint(answer, seen.answer))
        return Check(
            "answer", Status.PASS, f"asked again it says the same (numbers within {self._tolerance(answer):g})"
        )

    def _hint(self, answer: Diagnosis, again: Diagnosis) -> str:
        coarse = TOLERANCES["bf16"]
        if self._tolerance(answer) >= coarse or self._differences(answer, again, coarse):
            return ""
        return "; this may come from another precision: say --precision bf16 or int8 where the answer was made in it"

    def _differences(self, answer: Diagnosis, again: Diagnosis, tolerance: float) -> list[str]:
        """Keys that differ, but for those that have a check of their own."""
        left, right = (_without_own_checks(one) for one in (answer, again))
        if _overlays_agree(self._pool, left.explanation, right.explanation, tolerance):
            left, right = (_without_overlay(one) for one in (left, right))
        return list(list_differences(left, right, tolerance=tolerance))

    def _check_origin(self, answer: Diagnosis, seen: _Seen, same_picture: bool) -> Iterator[Check]:
        if seen.answer is None or not same_picture or (seen.answer.error is None) != (answer.error is None):
            why = seen.why_not or "it is not answered alike"
            yield from (Check(name, Status.NOT_CHECKED, why) for name in ("software", "pseudonyms"))
            return
        yield check_software(answer.evidence or Evidence(), seen.answer.evidence or Evidence())
        yield check_pseudonyms(answer, seen.answer)


def _outcome(answer: Diagnosis) -> str:
    return str(answer.decision) if answer.error is None else f"{answer.error.code}: {answer.error.message}"[:80]


def _request_again(answer: Diagnosis, path: Path) -> DiagnoseRequest:
    """What must have been asked to get this answer."""
    shown = answer.explanation
    warnings = {warning.code: warning.text for warning in answer.warnings}
    unexplained = warnings.get("NO_EXPLANATION", "").rpartition(" ")[2] or None
    rows = [
        *answer.findings,
        *(row for item in (answer.frames.items if answer.frames else ()) for row in item.findings),
    ]
    return DiagnoseRequest(
        input=None,
        source=path,
        heatmap=shown is not None or unexplained is not None,
        overlay=shown is not None and shown.overlay_png is not None,
        term=shown.term if shown is not None else unexplained,
        segmentation=answer.segmentation is not None or "NO_SEGMENTATION" in warnings,
        all_findings=any(row.state is State.NOT_ASSESSED for row in rows),
    )


def _without_own_checks(answer: Diagnosis) -> Diagnosis:
    source = answer.source and replace(answer.source, patient_pseudonym=None, study_pseudonym=None)
    return replace(answer, evidence=None, source=source)


def _without_overlay(answer: Diagnosis) -> Diagnosis:
    return replace(answer, explanation=answer.explanation and replace(answer.explanation, overlay_png=None))


def _overlays_agree(pool: DecoderPool, left: Explanation | None, right: Explanation | None, tolerance: float) -> bool:
    """Whether two overlays show the same, also where another library packed the PNG."""
    if left is None or right is None or left.overlay_png is None or right.overlay_png is None:
        return False
    if left.overlay_png == right.overlay_png:
        return True
    try:
        a, b = (pool.render(one.overlay_png).pixels for one in (left, right) if one.overlay_png is not None)
    except IrmsiaError:
        return False
    strongest = float(np.abs(np.frombuffer(right.map, "<f4")).max(initial=0.0)) or 1.0
    most = _LEVELS + _OVERLAY_SPAN * tolerance / strongest
    return a.shape == b.shape and int(np.abs(a.astype(np.int16) - b.astype(np.int16)).max()) <= most
