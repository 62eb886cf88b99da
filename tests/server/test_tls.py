from __future__ import annotations

import os
import socket
import ssl
import subprocess
import sys
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import replace
from pathlib import Path

import grpc
import pytest

from irmsia._proto.irmsia.v1 import diagnosis_pb2 as pb
from irmsia.errors import UnsafeSettingsError
from irmsia.server.grpc.config import GrpcServerConfig
from irmsia.server.tls import TlsCertificates, TlsFiles, read_tls, tls_files
from irmsia.wire import SERVICE
from tests.server.certificates import Signed, make_certificate, write_tls
from tests.server.scripted import Door, open_door

ROOT = Path(__file__).resolve().parents[2]


@pytest.fixture(scope="module")
def authority() -> Signed:
    """Signs the server's and the clients' certificates."""
    return make_certificate("authority")


def ask(door: Door, trusted: Signed, client: Signed | None = None) -> int:
    """One image over a connection of its own; the rule of its answer."""
    credentials = grpc.ssl_channel_credentials(
        trusted.pem, *((client.key, client.pem) if client is not None else (None, None))
    )
    options = [("grpc.enable_http_proxy", 0), ("grpc.use_local_subchannel_pool", 1)]
    with grpc.secure_channel(door.target, credentials, options=options) as channel:
        call = channel.unary_unary(f"/{SERVICE}/DiagnoseDicom", response_deserializer=pb.Diagnosis.FromString)
        return int(call(pb.DiagnoseDicomRequest(content=b"image").SerializeToString(), timeout=30).rule)


def is_refused(door: Door, trusted: Signed, client: Signed | None = None) -> bool:
    """Whether no connection comes about."""
    with pytest.raises(grpc.RpcError) as caught:
        ask(door, trusted, client)
    return bool(caught.value.code() is grpc.StatusCode.UNAVAILABLE)


def test_tls(tmp_path: Path, authority: Signed) -> None:
    """With a certificate the door speaks TLS alone: who trusts another authority, or speaks none, gets nothing."""
    files = write_tls(tmp_path, authority.sign("server"))
    with open_door(config=GrpcServerConfig(port=0, tls=files)) as door:
        assert ask(door, authority) == 8
        assert is_refused(door, make_certificate("stranger"))
        with grpc.insecure_channel(door.target) as channel, pytest.raises(grpc.RpcError):
            channel.unary_unary(f"/{SERVICE}/HealthCheck")(b"", timeout=30)


def test_mutual_tls(tmp_path: Path, authority: Signed) -> None:
    """Who shows no certificate, or one of another authority, is refused; who shows one of ours is answered."""
    files = write_tls(tmp_path, authority.sign("server"), authority)
    stranger = make_certificate("stranger")
    with open_door(config=GrpcServerConfig(port=0, tls=files)) as door:
        assert is_refused(door, authority)
        assert is_refused(door, authority, stranger.sign("client"))
        assert is_refused(door, authority, stranger)
        assert ask(door, authority, authority.sign("client")) == 8
        assert len(door.service.requests) == 1


def test_replaced_files_are_taken(tmp_path: Path, authority: Signed) -> None:
    """A new certificate and new client authorities hold for the next connection; half a pair changes nothing."""
    files = write_tls(tmp_path, authority.sign("server"), authority)
    other = make_certificate("other")
    with open_door(config=GrpcServerConfig(port=0, tls=files)) as door:
        assert ask(door, authority, authority.sign("client")) == 8
        files.certificate.write_bytes(other.sign("server").pem)  # its key is not there yet
        assert ask(door, authority, authority.sign("client")) == 8
        files.certificate.write_bytes(b"-----BEGIN nothing")
        assert ask(door, authority, authority.sign("client")) == 8
        write_tls(tmp_path, other.sign("server"), other)
        assert is_refused(door, authority, authority.sign("client"))
        assert ask(door, other, other.sign("client")) == 8
        assert is_refused(door, other, authority.sign("client"))


def test_an_open_key_is_unsafe(tmp_path: Path, authority: Signed) -> None:
    """A5: a key that others may read is refused, at the start and when it is replaced; the message names no path."""
    files = write_tls(tmp_path, authority.sign("server"))
    held = TlsCertificates(files)
    before = held.content()
    write_tls(tmp_path, authority.sign("server"))
    files.key.chmod(0o640)
    with pytest.raises(UnsafeSettingsError, match="chmod 600") as caught:
        read_tls(files)
    assert str(tmp_path) not in caught.value.message
    assert held.content() is before


def test_bad_files(tmp_path: Path, authority: Signed) -> None:
    """What is missing, no PEM, or another's key is one typed error without a path."""
    files = write_tls(tmp_path, authority.sign("server"), authority)
    (tmp_path / "text").write_text("text")
    (tmp_path / "text").chmod(0o600)
    (tmp_path / "other.key").write_bytes(authority.key)
    (tmp_path / "other.key").chmod(0o600)
    for bad in (
        replace(files, certificate=tmp_path / "none"),
        replace(files, key=tmp_path / "none"),
        replace(files, certificate=tmp_path / "text"),
        replace(files, key=tmp_path / "text"),
        replace(files, key=tmp_path / "other.key"),
        replace(files, client_ca=tmp_path / "text"),
    ):
        with pytest.raises(UnsafeSettingsError) as caught:
            TlsCertificates(bad)
        assert str(tmp_path) not in caught.value.message


def test_settings_that_belong_together() -> None:
    """A certificate without its key, a key without a certificate, authorities without both: each would not do."""
    one, two, three = Path("c"), Path("k"), Path("a")
    assert tls_files(None, None, None) is None
    assert tls_files(one, two, three) == TlsFiles(one, two, three)
    for given in ((one, None, None), (None, two, None), (None, None, three), (one, None, three)):
        with pytest.raises(UnsafeSettingsError):
            tls_files(*given)


@contextmanager
def plain_server(context: ssl.SSLContext) -> Iterator[tuple[str, int]]:
    """A server on `ssl` that says hello to each connection."""
    with socket.create_server(("127.0.0.1", 0)) as listener:
        stopping = threading.Event()

        def serve() -> None:
            while not stopping.is_set():
                try:
                    raw, _ = listener.accept()
                    with raw, context.wrap_socket(raw, server_side=True) as connection:
                        connection.sendall(b"hello")
                except OSError:
                    continue

        thread = threading.Thread(target=serve)
        thread.start()
        yield listener.getsockname()[:2]
        stopping.set()
        with socket.create_connection(listener.getsockname()[:2]):
            pass
        thread.join()


def is_greeted(address: tuple[str, int], trusted: Signed, folder: Path, client: Signed | None = None) -> bool:
    """Whether a connection of its own comes about, without a server name."""
    context = ssl.create_default_context(cadata=trusted.pem.decode())
    context.check_hostname = False
    if client is not None:
        (folder / "client.pem").write_bytes(client.pem + client.key)
        context.load_cert_chain(folder / "client.pem")
    try:
        with socket.create_connection(address) as raw, context.wrap_socket(raw) as connection:
            return connection.recv(5) == b"hello"
    except OSError:
        return False


def test_the_same_for_servers_on_ssl(tmp_path: Path, authority: Signed) -> None:
    """The context for the other door holds to the same files: mutual TLS, and replaced files for new connections."""
    files = write_tls(tmp_path, authority.sign("server"), authority)
    other = make_certificate("other")
    with plain_server(TlsCertificates(files).server_context()) as address:
        assert is_greeted(address, authority, tmp_path, authority.sign("client"))
        assert not is_greeted(address, authority, tmp_path)
        assert not is_greeted(address, authority, tmp_path, other.sign("client"))
        write_tls(tmp_path, other.sign("server"), other)
        assert is_greeted(address, other, tmp_path, other.sign("client"))
        assert not is_greeted(address, other, tmp_path, authority.sign("client"))
        assert not is_greeted(address, authority, tmp_path, authority.sign("client"))


def test_authorities_with_comments(tmp_path: Path, authority: Signed) -> None:
    """A bundle of authorities may name them in any language between the certificates."""
    files = write_tls(tmp_path, authority.sign("server"), authority)
    assert files.client_ca is not None
    files.client_ca.write_bytes("# Autorité de l'hôpital\n".encode() + authority.pem)
    with plain_server(TlsCertificates(files).server_context()) as address:
        assert is_greeted(address, authority, tmp_path, authority.sign("client"))
        assert not is_greeted(address, authority, tmp_path)


@pytest.mark.parametrize("mutual", [False, True])
def test_another_address_needs_mutual_tls(tmp_path: Path, authority: Signed, mutual: bool) -> None:
    """A5: 0.0.0.0 with TLS alone ends with 78 and one line why; with client certificates it serves."""
    files = write_tls(tmp_path, authority.sign("server"), authority)
    environment = {
        **os.environ, "IRMSIA_HOME": str(tmp_path), "HOST": "0.0.0.0", "TLS_CERTIFICATE": str(files.certificate),
        "TLS_KEY": str(files.key), "PYTHONPATH": os.pathsep.join([str(ROOT / "src"), str(ROOT)]),
        **({"TLS_CLIENT_CA": str(files.client_ca)} if mutual else {}),
    }  # fmt: skip
    command = [sys.executable, "-m", "tests.server.program", "0"]
    with subprocess.Popen(
        command, env=environment, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True
    ) as process:
        assert process.stdout is not None and process.stderr is not None
        if mutual:
            ready = process.stdout.readline()
            process.terminate()
            assert process.wait(30) == 0
            assert ready.startswith("ready 127.0.0.1:")  # where clients of this machine find it
        else:
            assert process.wait(30) == 78
            assert len(process.stderr.read().splitlines()) == 1
