"""Other people's programs get the contract and code for it."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

import pytest

from irmsia.app.stubs import find_contract, list_languages, write_stubs
from irmsia.errors import InvalidRequestError
from tests.server.scripted import MODEL, open_door

ROOT = Path(__file__).resolve().parent.parent.parent

CALLER = """
import sys
import grpc
from irmsia_v1 import diagnosis_pb2 as pb
from irmsia_v1 import diagnosis_pb2_grpc as calls

assert not any(name == "irmsia" or name.startswith("irmsia.") for name in sys.modules)
with grpc.insecure_channel(sys.argv[1]) as channel:
    service = calls.DicomDiagnosticServiceStub(channel)
    assert service.HealthCheck(pb.HealthCheckRequest()).ready
    answer = service.DiagnoseDicom(pb.DiagnoseDicomRequest(content=b"image", heatmap=True))
    print(pb.Decision.Name(answer.decision), answer.model.id)
"""

PLUGIN = """#!{python}
import sys
from google.protobuf.compiler import plugin_pb2

request = plugin_pb2.CodeGeneratorRequest.FromString(sys.stdin.buffer.read())
reply = plugin_pb2.CodeGeneratorResponse(supported_features=1)  # optional fields
reply.file.add(name="toy.txt", content=" ".join(request.file_to_generate))
sys.stdout.buffer.write(reply.SerializeToString())
"""


def _program(folder: Path, name: str, text: str) -> None:
    (folder / name).write_text(text)
    (folder / name).chmod(0o755)


@pytest.fixture
def programs(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A folder that alone is the PATH."""
    folder = tmp_path / "programs"
    folder.mkdir()
    monkeypatch.setenv("PATH", str(folder))
    return folder


def test_the_contract_is_in_the_package() -> None:
    """What is shipped is the contract of the source tree."""
    assert find_contract().read_bytes() == (ROOT / "proto/irmsia/v1/diagnosis.proto").read_bytes()


def test_python_stubs_ask_a_real_server(tmp_path: Path) -> None:
    """A program with the written package, and nothing of this platform, gets an answer."""
    stubs = write_stubs(tmp_path / "stubs")
    assert stubs.missing is None
    assert tmp_path / "stubs/irmsia_v1/diagnosis_pb2_grpc.py" in stubs.files
    assert all(path.is_file() for path in stubs.files)
    write_stubs(tmp_path / "stubs")  # what is there is replaced
    caller = tmp_path / "caller.py"
    caller.write_text(CALLER)
    with open_door() as door:
        told = subprocess.run(
            [sys.executable, str(caller), door.target],
            env={**os.environ, "PYTHONPATH": str(tmp_path / "stubs")},
            capture_output=True,
            text=True,
            check=False,
        )
    assert told.stderr == ""
    assert told.stdout.split() == ["DECISION_ACCEPT", MODEL.id]


def test_any_language_that_protoc_knows(tmp_path: Path, programs: Path) -> None:
    """The protoc on the PATH writes what it knows by itself, and asks the plugin of any other language."""
    _program(programs, "protoc", f'#!/bin/sh\nexec {sys.executable} -m grpc_tools.protoc "$@"\n')
    assert [path.name for path in write_stubs(tmp_path / "a", "pyi").files] == ["diagnosis_pb2.pyi"]
    _program(programs, "protoc-gen-toy", PLUGIN.format(python=sys.executable))
    stubs = write_stubs(tmp_path / "b", "toy")
    assert [path.read_text() for path in stubs.files] == ["irmsia/v1/diagnosis.proto"]


def test_what_is_missing_is_named(tmp_path: Path, programs: Path) -> None:
    """Without the program that a language needs, it is said what to install, and nothing is left behind."""
    for language, needed in (("java", "protoc"), ("go", "protoc-gen-go"), ("haskell", "protoc-gen-haskell")):
        with pytest.raises(InvalidRequestError, match=needed):
            write_stubs(tmp_path / "out", language)
    for wrong in ("", "Go", "../x", "-x", "a b"):
        with pytest.raises(InvalidRequestError):
            write_stubs(tmp_path / "out", wrong)
    assert list((tmp_path / "out").iterdir()) == []
    ready = {language.name: language.ready for language in list_languages()}
    assert not ready["java"]
    assert "go" in ready


def test_without_grpcio_tools(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Python's stubs say which package writes them."""
    monkeypatch.setattr("irmsia.app.stubs._tools_here", lambda: False)
    with pytest.raises(InvalidRequestError, match="pip install grpcio-tools"):
        write_stubs(tmp_path)


def test_a_compiler_that_fails(tmp_path: Path, programs: Path) -> None:
    """The failure is ours to tell, and half of the stubs are not left."""
    _program(programs, "protoc", "#!/bin/sh\nexit 1\n")
    with pytest.raises(InvalidRequestError, match="java"):
        write_stubs(tmp_path / "out", "java")
    assert list((tmp_path / "out").iterdir()) == []


def test_every_language_that_is_ready_is_written(tmp_path: Path) -> None:
    """What the list calls ready on this machine is."""
    for language in list_languages():
        if language.ready:
            assert write_stubs(tmp_path / language.name, language.name).files
