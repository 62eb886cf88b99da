"""The gRPC contract for other people's programs: where its file is, and code made from it in their language."""

from __future__ import annotations

import importlib.util
import re
import shutil
import subprocess
import sys
import tempfile
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from functools import cache
from pathlib import Path

from irmsia.errors import InvalidRequestError, from_system

PYTHON = "python"
BUILT_IN = ("cpp", "csharp", "java", "kotlin", "objc", "php", "pyi", PYTHON, "ruby", "rust")
"""What a protoc of today writes by itself; for any other language it asks the program ``protoc-gen-LANGUAGE``."""

PYTHON_PACKAGE = "irmsia_v1"
"""The Python stubs are a package of this name: `irmsia` is this platform's own."""

_CONTRACT = "irmsia/v1/diagnosis.proto"
_CALLS = {
    "cpp": "grpc_cpp_plugin",
    "csharp": "grpc_csharp_plugin",
    "objc": "grpc_objective_c_plugin",
    "php": "grpc_php_plugin",
    "ruby": "grpc_ruby_plugin",
    "java": "protoc-gen-grpc-java",
    "kotlin": "protoc-gen-grpc-kotlin",
    "go": "protoc-gen-go-grpc",
}
"""The program that writes the calls, where protoc itself or the language's plugin writes the messages alone."""

_LANGUAGE = re.compile("[a-z][a-z0-9_-]{0,30}")


@dataclass(frozen=True, slots=True)
class Stubs:
    """The ``files`` that were written; ``missing``: the program that would have written the calls as well."""

    files: tuple[Path, ...]
    missing: str | None


@dataclass(frozen=True, slots=True)
class Language:
    """One language: whether stubs can be written here, and what it takes."""

    name: str
    ready: bool
    needs: str


def find_contract() -> Path:
    """The .proto file: beside the generated code of the installed package, or in the checkout.

    Raises:
        InvalidRequestError: it is in neither place.
    """
    package = Path(__file__).resolve().parent.parent
    for root in (package / "_proto", package.parent.parent / "proto"):
        if (root / _CONTRACT).is_file():
            return root / _CONTRACT
    raise InvalidRequestError("the contract is not in this installation; install irmsia again")


def list_languages() -> Iterator[Language]:
    """Every language whose stubs can be written, or could be if what it needs were installed."""
    plugins = {"go", *_plugins_here()} - set(BUILT_IN)
    for name in sorted({*BUILT_IN, *plugins}):
        try:
            _commands(name, Path(), Path())
        except InvalidRequestError as error:
            yield Language(name, False, error.message)
        else:
            yield Language(name, True, _what(name))


def _what(language: str) -> str:
    if missing := _missing(language):
        return f"messages; for the calls install {missing}"
    return "messages and calls" if language == PYTHON or language in _CALLS else "messages"


def write_stubs(out: Path, language: str = PYTHON) -> Stubs:
    """Write the stubs of the contract below ``out``; files that are there are replaced.

    Python's are the package `irmsia_v1`; other languages follow protoc's own habits.

    Raises:
        InvalidRequestError: there is no such language, what writes it is not installed, or ``out`` cannot be written.
        StorageFullError: there is no room.
    """
    if not _LANGUAGE.fullmatch(language):
        raise InvalidRequestError("a language is named in lower case, such as python, go or java")
    try:
        out.mkdir(parents=True, exist_ok=True)
        with tempfile.TemporaryDirectory(prefix=".stubs.", dir=out) as folder:
            made = Path(folder)
            for command in _commands(language, find_contract(), made):
                _run(command, language)
            if language == PYTHON:
                _finish_package(made / PYTHON_PACKAGE)
            names = sorted(path.relative_to(made) for path in made.rglob("*") if path.is_file())
            shutil.copytree(made, out, dirs_exist_ok=True)
    except OSError as error:
        raise from_system(error, "the stubs cannot be written", InvalidRequestError) from None
    return Stubs(tuple(out / name for name in names), _missing(language))


def _commands(language: str, contract: Path, out: Path) -> list[list[str]]:
    """What to run. Raises InvalidRequestError when something is missing, and says what to install."""
    if language == PYTHON:
        if not _tools_here():
            raise InvalidRequestError("Python's stubs need the package grpcio-tools: pip install grpcio-tools")
        source = [f"-I{PYTHON_PACKAGE}={contract.parent}", f"{PYTHON_PACKAGE}/{contract.name}"]
        return [[*_TOOLS, *(f"--{kind}_out={out}" for kind in ("python", "pyi", "grpc_python")), *source]]
    compiler = _compiler(language)
    source = [f"-I{contract.parent.parent.parent}", _CONTRACT]
    # Kotlin's messages are a layer on Java's.
    kinds = ["java", language] if language == "kotlin" else [language]
    return [[*compiler, *(f"--{kind}_out={out}" for kind in kinds), *_options(language, out), *source]]


_TOOLS = (sys.executable, "-m", "grpc_tools.protoc")


def _compiler(language: str) -> Sequence[str]:
    protoc = shutil.which("protoc")
    if protoc is None and language in BUILT_IN:
        raise InvalidRequestError("protoc is not on the PATH; install the protocol buffers compiler")
    if protoc is not None and language in _written_by(protoc):
        return (protoc,)
    if shutil.which(f"protoc-gen-{language}") is None:
        raise InvalidRequestError(f"protoc-gen-{language} is not on the PATH; install protoc's plugin for {language}")
    if protoc is None and not _tools_here():
        raise InvalidRequestError("protoc is not on the PATH; install it, or grpcio-tools: pip install grpcio-tools")
    return _TOOLS if protoc is None else (protoc,)


@cache
def _written_by(protoc: str) -> frozenset[str]:
    """The languages that this protoc writes by itself: its help has an option for each."""
    told = subprocess.run([protoc, "--help"], check=False, capture_output=True, text=True, stdin=subprocess.DEVNULL)
    return frozenset(re.findall(r"--([a-z]+)_out=OUT_DIR", told.stdout))


def _options(language: str, out: Path) -> list[str]:
    options = {
        "go": [f"--go_opt=M{_CONTRACT}=irmsia/v1;irmsiav1", "--go_opt=paths=source_relative"],
        "rust": ["--rust_opt=experimental-codegen=enabled,kernel=upb"],
    }.get(language, [])
    calls = shutil.which(_CALLS.get(language, ""))
    if calls is None:
        return options
    if language == "go":
        return [*options, f"--go-grpc_out={out}", *(option.replace("--go_", "--go-grpc_") for option in options)]
    return [*options, f"--plugin=protoc-gen-grpc={calls}", f"--grpc_out={out}"]


def _missing(language: str) -> str | None:
    program = _CALLS.get(language)
    return program if program is not None and shutil.which(program) is None else None


def _run(command: list[str], language: str) -> None:
    """Run protoc; what it says goes to standard error as it is."""
    if subprocess.run(command, check=False, stdin=subprocess.DEVNULL, stdout=sys.stderr.fileno()).returncode != 0:
        raise InvalidRequestError(f"protoc could not write stubs for {language}")


def _finish_package(package: Path) -> None:
    text = '"""The gRPC contract of IRMSIA, version 1, in Python. Made by `irmsia proto`."""\n'
    (package / "__init__.py").write_text(text, encoding="utf-8")


def _tools_here() -> bool:
    return importlib.util.find_spec("grpc_tools") is not None


def _plugins_here() -> set[str]:
    """Languages of the plugins on the PATH, those for calls alone left out."""
    found = (shutil.which(f"protoc-gen-{name}") and name for name in ("dart", "swift", "js", "ts", "prost", "doc"))
    return {name for name in found if name}
