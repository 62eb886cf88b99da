"""`irmsia menu`: the commands to try first, by number (English or French)."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
import threading
from collections.abc import Callable, Iterator
from contextlib import closing, contextmanager, suppress
from dataclasses import dataclass
from enum import StrEnum
from pathlib import Path
from tempfile import TemporaryDirectory
from types import FrameType
from typing import IO, Annotated, Any, NoReturn

import typer

from irmsia.cli.consoles import fail, make_console, note
from irmsia.cli.prompt import read_line
from irmsia.errors import IrmsiaError

EXAMPLE = """Examples:

[bold]irmsia menu[/bold]

[bold]irmsia menu --language fr[/bold]"""


class Tongue(StrEnum):
    """The menu's language."""

    EN = "en"
    FR = "fr"


TongueOption = Annotated[
    Tongue | None, typer.Option("--language", help="English or French. [dim]Default: that of the environment[/dim]")
]
_USAGE: Any = typer.BadParameter.__base__  # UsageError, which typer does not export
_INTERRUPTED = 130
_TAKES_REQUESTS = "serving "
"""So begins what `irmsia serve` says on standard error when it takes requests."""
_GRACE_S = 40.0
"""Longer than a server takes to finish admitted work, unless its settings say otherwise."""


@dataclass(frozen=True, slots=True)
class Said:
    """A text in both languages."""

    en: str
    fr: str

    def in_(self, tongue: Tongue) -> str:
        """The text in one of them."""
        return self.fr if tongue is Tongue.FR else self.en


TITLE = Said("What do you want to try?", "Que voulez-vous essayer ?")
CHOICE = Said("Number: ", "Numéro : ")
WRONG = Said("There is no such number.", "Ce numéro n'existe pas.")
STOPPED = Said("stopped", "interrompu")
RUNS = Said("the server of this menu runs already", "le serveur de ce menu tourne déjà")
WAIT = Said("the server starts; it ends with this menu", "le serveur démarre ; il s'arrête avec ce menu")
LOST = Said("the server did not start", "le serveur n'a pas démarré")
IMAGE = Said("Image, Enter for a phantom: ", "Image, Entrée pour un fantôme : ")
IMAGES = Said("Image or folder, Enter for four phantoms: ", "Image ou dossier, Entrée pour quatre fantômes : ")
FOLDER = Said("Folder to write to, Enter for {default}: ", "Dossier de sortie, Entrée pour {default} : ")


class Menu:
    """What the entries work with: the commands, the language, a folder for phantoms, the server that was started."""

    def __init__(self, command: Callable[[list[str]], object], tongue: Tongue, folder: Path) -> None:
        self.tongue = tongue
        self.folder = folder
        self._command = command
        self._server: subprocess.Popen[str] | None = None

    def run(self, *arguments: str) -> None:
        """Run a command as if it had been typed; its failure is one line, and the menu goes on.

        Raises:
            KeyboardInterrupt: Ctrl-C ended it.
        """
        with _interrupts() as interrupted:
            try:
                if self._command(list(arguments)) == _INTERRUPTED:
                    raise KeyboardInterrupt
            except IrmsiaError as error:
                fail(error.code, error.message)
            except _USAGE as error:
                fail("INVALID_REQUEST", error.format_message())
            except (Exception, SystemExit):  # what is being imported or ended may turn Ctrl-C into an error of its own
                if interrupted.is_set():
                    raise KeyboardInterrupt from None
                raise

    def ask(self, said: Said, default: Callable[[], str]) -> str:
        """A path that a person types, or ``default`` where nothing is typed."""
        return read_line(said.in_(self.tongue)).strip() or default()

    def phantom(self) -> str:
        """A file with a phantom."""
        return self._phantoms(1)[0]

    def phantoms(self) -> str:
        """A folder with four phantoms."""
        return str(Path(self._phantoms(4)[0]).parent)

    def start_server(self) -> None:
        """Start a server as a child that ends with this process, and wait until it says that it takes requests."""
        if self._server is not None and self._server.poll() is None:
            note(RUNS.in_(self.tongue))
            return
        note(WAIT.in_(self.tongue))
        command = [sys.executable, "-m", "irmsia.cli.attached", "serve"]
        # In a session of its own, so that Ctrl-C in the terminal reaches the menu alone.
        self._server = subprocess.Popen(
            command, stdin=subprocess.PIPE, stderr=subprocess.PIPE, text=True, errors="replace", start_new_session=True
        )
        assert self._server.stderr is not None
        for line in self._server.stderr:
            _pass_on(line)
            if line.startswith(_TAKES_REQUESTS):
                threading.Thread(target=_pass_all_on, args=(self._server.stderr,), daemon=True).start()
                return
        fail("UNAVAILABLE", LOST.in_(self.tongue))

    def server(self) -> tuple[str, ...]:
        """The options that name the server that runs here; none where none runs, so that this process answers."""
        from irmsia.app.configure import AUTO, read_settings, running_target

        return () if running_target(read_settings()) is None else ("--server", AUTO)

    def close(self) -> None:
        """Stop the server, and wait for its end."""
        if self._server is None:
            return
        assert self._server.stdin is not None
        self._server.stdin.close()
        try:
            with suppress(subprocess.TimeoutExpired):
                self._server.wait(_GRACE_S)
        finally:
            self._server.kill()
            self._server.wait()

    def _phantoms(self, count: int) -> list[str]:
        from irmsia.imaging.phantoms import QA_SEEDS, make_phantom

        folder = self.folder / f"phantoms-{count}"
        folder.mkdir(exist_ok=True)
        made = [make_phantom(seed) for seed in QA_SEEDS[:count]]
        for phantom in made:
            (folder / phantom.name).write_bytes(phantom.data)
        return [str(folder / phantom.name) for phantom in made]


@contextmanager
def _interrupts() -> Iterator[threading.Event]:
    """Set at Ctrl-C, which then does what it did before."""
    interrupted, before = threading.Event(), signal.getsignal(signal.SIGINT)

    def interrupt(number: int, frame: FrameType | None) -> None:
        interrupted.set()
        if callable(before):
            before(number, frame)

    signal.signal(signal.SIGINT, interrupt)
    try:
        yield interrupted
    finally:
        signal.signal(signal.SIGINT, before)


def _pass_on(line: str) -> None:
    note(line.rstrip())


def _pass_all_on(lines: IO[str]) -> None:
    for line in lines:
        _pass_on(line)


def _simple(menu: Menu) -> None:
    menu.run("diagnose", *menu.server(), "--", menu.ask(IMAGE, menu.phantom))


def _streamed(menu: Menu) -> None:
    menu.run("diagnose", "--stream", "--server", "auto", "--", menu.ask(IMAGE, menu.phantom))


def _batch(menu: Menu) -> None:
    menu.run("diagnose", "--batch", *menu.server(), "--", menu.ask(IMAGES, menu.phantoms))


def _stubs(menu: Menu) -> None:
    asked = Said(*(text.format(default="irmsia-stubs") for text in (FOLDER.en, FOLDER.fr)))
    menu.run("proto", "--out", menu.ask(asked, lambda: "irmsia-stubs"))


@dataclass(frozen=True, slots=True)
class Entry:
    """One line of the menu; without ``act`` it is the way out."""

    said: Said
    act: Callable[[Menu], None] | None


# To add an entry, add a row: its number is its place.
ENTRIES = (
    Entry(Said("Start the gRPC server", "Démarrer le serveur gRPC"), Menu.start_server),
    Entry(Said("Health check", "État du serveur"), lambda menu: menu.run("health")),
    Entry(Said("Simple diagnosis", "Diagnostic simple"), _simple),
    Entry(Said("Streaming diagnosis", "Diagnostic en flux"), _streamed),
    Entry(Said("Batch diagnosis", "Diagnostic par lot"), _batch),
    Entry(Said("Write the proto files", "Écrire les fichiers proto"), _stubs),
    Entry(Said("Exit", "Quitter"), None),
)


def register(app: typer.Typer) -> None:
    """Add the command."""
    app.command(epilog=EXAMPLE)(menu)


def menu(context: typer.Context, language: TongueOption = None) -> None:
    """Try the commands by number: start a server, ask how it is, answer phantoms or your own images.

    A server that is started here ends with the menu. Ctrl-C ends what an entry does; at the prompt it ends the menu, as
    Ctrl-D does.
    """
    root = context.find_root().command

    def command(arguments: list[str]) -> object:
        """The exit code; typer gives back that of Ctrl-C, too, where older ones raise Abort."""
        return root.main(arguments, prog_name="irmsia", standalone_mode=False)

    tongue = language or _tongue_of_environment()
    with (
        _stoppable(),
        suppress(EOFError),
        TemporaryDirectory(prefix="irmsia-") as folder,
        closing(Menu(command, tongue, Path(folder))) as menu,
    ):
        while (act := _choose(tongue).act) is not None:
            _act(act, menu)


@contextmanager
def _stoppable() -> Iterator[None]:
    """SIGTERM, and a terminal that is closed, end the menu as Ctrl-C does: with its server and its folder."""

    def stop(number: int, frame: object) -> NoReturn:
        sys.exit(128 + number)

    before = {kind: signal.signal(kind, stop) for kind in (signal.SIGTERM, signal.SIGHUP)}
    try:
        yield
    finally:
        for kind, handler in before.items():
            signal.signal(kind, handler)


def _act(act: Callable[[Menu], None], menu: Menu) -> None:
    try:
        act(menu)
    except (KeyboardInterrupt, typer.Abort):
        note(STOPPED.in_(menu.tongue))


def _choose(tongue: Tongue) -> Entry:
    """The entry that a person picks; `EOFError` at the end of the input."""
    console = make_console()
    while True:
        console.print(f"\n[bold]{TITLE.in_(tongue)}[/bold]")
        for number, entry in enumerate(ENTRIES, 1):
            console.print(f"  [cyan]{number}[/cyan]  {entry.said.in_(tongue)}")
        given = read_line(CHOICE.in_(tongue)).strip()
        if given.isascii() and given.isdecimal() and 1 <= int(given) <= len(ENTRIES):
            return ENTRIES[int(given) - 1]
        note(WRONG.in_(tongue))


def _tongue_of_environment() -> Tongue:
    """What the environment asks for by the rules of POSIX locales."""
    named = next((os.environ[name] for name in ("LC_ALL", "LC_MESSAGES", "LANG") if os.environ.get(name)), "")
    return Tongue.FR if named.lower().startswith("fr") else Tongue.EN
