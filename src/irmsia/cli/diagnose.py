"""`irmsia diagnose`: answer images, in this process or by a server."""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Collection, Sequence
from typing import TYPE_CHECKING

import typer

from irmsia.cli.consoles import fail, make_console, note
from irmsia.cli.options import (
    AllFindings,
    AsJson,
    Batch,
    Ca,
    Certificate,
    Key,
    Language,
    Maps,
    ModelName,
    Out,
    Paths,
    Restart,
    Runtime,
    Server,
    Stream,
    Term,
    tls_of,
)
from irmsia.cli.study import answer_study
from irmsia.errors import InvalidRequestError, UnavailableError

if TYPE_CHECKING:
    from irmsia.app.diagnose import DiagnoseOptions, Watch
    from irmsia.app.inputs import InputFile, Skipped
    from irmsia.cli.meter import Meter
    from irmsia.findings.types import Diagnosis
    from irmsia.inference.protocol import Stage
    from irmsia.settings.tree import Settings

EXAMPLE = """Examples:

[bold]irmsia diagnose chest.jpeg[/bold]

[bold]irmsia diagnose scans/ --json > answers.jsonl[/bold]

[bold]irmsia diagnose scan.dcm --server auto --heatmap maps/[/bold]

[bold]irmsia diagnose scans/ --batch --server one:50051 --server two:50051[/bold]

[bold]irmsia diagnose scans/ --out report.html --language fr[/bold]"""


def register(app: typer.Typer) -> None:
    """Add the command."""
    app.command(epilog=EXAMPLE)(diagnose)


def diagnose(
    paths: Paths,
    server: Server = None,
    heatmap: Maps = None,
    term: Term = None,
    model: ModelName = None,
    all_findings: AllFindings = False,
    runtime: Runtime = None,
    batch: Batch = False,
    stream: Stream = False,
    ca: Ca = None,
    certificate: Certificate = None,
    key: Key = None,
    out: Out = None,
    restart: Restart = False,
    language: Language = None,
    as_json: AsJson = False,
) -> None:
    """Answer images: findings with probabilities, a risk, a decision that may refer or refuse, the evidence.

    Works in this process unless [bold]--server[/bold] is given. Answers come in the order asked for.

    A refusal is an answer; the exit code is 1 when a file could not be read.

    With [bold]--out[/bold] they are written as a study: one row an instance, a summary by study and series.
    """
    if stream and (batch or out is not None):
        raise InvalidRequestError("--stream shows images that somebody waits for; it does not go with --batch or --out")

    from irmsia.app.configure import read_settings
    from irmsia.app.diagnose import DiagnoseOptions, write_maps
    from irmsia.app.inputs import Skipped, list_inputs
    from irmsia.inference.protocol import Priority

    wanted = heatmap is not None or term is not None
    priority = Priority.BATCH if batch else Priority.SINGLE
    options = DiagnoseOptions(maps=wanted, term=term, model=model, all_findings=all_findings, priority=priority)
    settings = read_settings(runtime=runtime, client=tls_of(ca, certificate, key))
    if out is not None:
        failed = answer_study(
            paths, out, options, server, heatmap, restart=restart, language=language, settings=settings, as_json=as_json
        )
        raise typer.Exit(_exit_code(failed))
    if restart or language is not None:
        raise InvalidRequestError("--restart and --language go with --out FILE")
    skipped = Skipped()
    files = list_inputs(paths, skipped)
    limits: dict[str, None] = {}

    def show(answer: Diagnosis, meter: Meter) -> None:
        if heatmap is not None:
            write_maps(heatmap, answer)
        limits.update(_print(answer, meter, as_json=as_json))

    failed = (
        _answer(files, options, server, skipped, show, settings=settings, stream=stream, as_json=as_json)
        if files
        else set()
    )
    _print_limits(limits)
    if sentence := skipped.sentence():
        note(sentence)
    raise typer.Exit(_exit_code(failed))


def _answer(
    files: Sequence[InputFile],
    options: DiagnoseOptions,
    server: Sequence[str] | None,
    skipped: Skipped,
    show: Callable[[Diagnosis, Meter], None],
    *,
    settings: Settings,
    stream: bool,
    as_json: bool,
) -> set[str]:
    """Show every answer but those of skipped files, and return the codes of what failed."""
    from irmsia.app.compose import open_service
    from irmsia.app.diagnose import diagnose_files
    from irmsia.cli.meter import Meter

    failed: Counter[str] = Counter()
    opened = open_service(settings, server, at_most=len(files), model=options.model)
    with opened as service, Meter(len(files), "answering", always=stream) as meter:
        watch = _watching(files, meter) if stream else None
        for file, answer in diagnose_files(service, files, options, watch=watch):
            meter.advance()
            code = answer.error.code if answer.error is not None else None
            if skipped.takes(file, code):
                continue
            failed.update([code] if code is not None else [])
            # A server that went away fails every file after it alike: one line for people says so.
            if as_json or code != UnavailableError.code:
                show(answer, meter)
    if not as_json and (lost := failed[UnavailableError.code]):
        fail(UnavailableError.code, f"the server went away: {lost} of {len(files)} files were not answered")
    return set(failed)


def _watching(files: Sequence[InputFile], meter: Meter) -> Watch:
    """Tell the meter how far the file is whose answer comes next; several are on their way at once."""

    def watch(file: InputFile, stage: Stage, percent: float) -> None:
        if meter.done < len(files) and file is files[meter.done]:
            meter.tell(f"{stage.name.lower()} {percent:3.0f} %")

    return watch


def _exit_code(failed: set[str]) -> int:
    """A server that went away is 3, a model that it let go 2; inputs that failed are 1, whatever their codes."""
    if "UNAVAILABLE" in failed:
        return 3
    return 2 if "MODEL_NOT_FOUND" in failed else 1 if failed else 0


def _print(answer: Diagnosis, meter: Meter, *, as_json: bool) -> dict[str, None]:
    """Print the line or the card, and return the limits of the model that the card leaves out."""
    if as_json:
        from irmsia.wire.json import diagnosis_to_line

        typer.echo(diagnosis_to_line(answer))
        return {}
    from irmsia.cli.card import limits_of, make_card

    meter.print(make_card(answer))
    return dict.fromkeys(limits_of(answer))


def _print_limits(limits: Collection[str]) -> None:
    if limits:
        from irmsia.cli.card import make_limits

        make_console().print(make_limits(limits))
