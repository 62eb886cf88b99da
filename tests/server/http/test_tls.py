from __future__ import annotations

import ssl
from pathlib import Path

import httpx2
import pytest

from tests.server.certificates import make_certificate, write_tls
from tests.server.http.doors import open_both

READY = "/api/v1/health/ready"
IMAGE = {"file": ("a.dcm", b"image")}


def _context(folder: Path, authority: bytes) -> ssl.SSLContext:
    (folder / "trusted.pem").write_bytes(authority)
    return ssl.create_default_context(cafile=str(folder / "trusted.pem"))


def test_https_by_the_settings_of_grpc(tmp_path: Path) -> None:
    """One pair of files serves both doors; plain HTTP gets nothing; any Host may be named; /ai-grpc/ answers too."""
    authority = make_certificate("authority")
    files = write_tls(tmp_path, authority.sign("server"))
    with open_both(tmp_path, tls=files) as doors:
        with httpx2.Client(base_url=doors.url, verify=_context(tmp_path, authority.pem), trust_env=False) as client:
            reply = client.get(READY, headers={"Host": "images.example.org"})
            assert reply.status_code == 200
            assert reply.headers["strict-transport-security"] == "max-age=31536000"
            assert "strict-transport-security" not in client.get(READY).headers  # other servers share this name
            for route in ("/api/v1/dicom/diagnose", "/api/v1/ai-grpc/diagnose"):
                assert client.post(route, files=IMAGE, headers={"Origin": doors.url}).status_code == 200, route
            assert client.post(READY, headers={"Origin": doors.url.replace("https", "http")}).status_code == 400
        with httpx2.Client(trust_env=False) as plain, pytest.raises(httpx2.TransportError):
            plain.get(f"http://127.0.0.1:{doors.port}{READY}")
        with httpx2.Client(trust_env=False) as strange, pytest.raises(httpx2.ConnectError):
            strange.get(f"{doors.url}{READY}")


def test_mutual_tls(tmp_path: Path) -> None:
    """Who shows no certificate of the authority is not answered; /ai-grpc/ needs none within the server."""
    authority = make_certificate("authority")
    files = write_tls(tmp_path, authority.sign("server"), authority)
    known = _context(tmp_path, authority.pem)
    client = authority.sign("client")
    (tmp_path / "client.pem").write_bytes(client.pem + client.key)
    known.load_cert_chain(tmp_path / "client.pem")
    with open_both(tmp_path, tls=files) as doors:
        with httpx2.Client(base_url=doors.url, verify=known, trust_env=False) as fine:
            assert fine.post("/api/v1/ai-grpc/diagnose", files=IMAGE).status_code == 200
        stranger = _context(tmp_path, authority.pem)
        with httpx2.Client(verify=stranger, trust_env=False) as refused, pytest.raises(httpx2.TransportError):
            refused.get(f"{doors.url}{READY}")
