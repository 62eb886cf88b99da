"""Certificates of the doors, read again when their files change: a renewed one is taken without a restart.

Whoever replaces the files replaces certificate and key one after the other, so for a moment they may not fit. What does
not fit is passed over, and what was read last stays.
"""

from __future__ import annotations

import contextlib
import logging
import os
import ssl
import stat
import threading
from dataclasses import dataclass
from pathlib import Path

from cryptography import x509
from cryptography.hazmat.primitives.serialization import Encoding, PublicFormat, load_pem_private_key

from irmsia import telemetry
from irmsia.errors import UnsafeSettingsError

_log = telemetry.get_logger(__name__)

_Stamp = tuple[tuple[int, int, int], ...]


@dataclass(frozen=True, slots=True)
class TlsFiles:
    """PEM files. ``certificate``: the server's, its chain after it; ``key``: its private key, without a password, for
    this user alone. ``client_ca``: with it every client must show a certificate that one of these signed.
    """

    certificate: Path
    key: Path
    client_ca: Path | None = None


@dataclass(frozen=True, slots=True)
class TlsContent:
    """What the files hold: certificate and key that fit each other."""

    certificate: bytes
    key: bytes
    client_ca: bytes | None


def tls_files(certificate: Path | None, key: Path | None, client_ca: Path | None) -> TlsFiles | None:
    """The files of three settings; null without any.

    Raises:
        UnsafeSettingsError: one is given without those that it needs.
    """
    if certificate is not None and key is not None:
        return TlsFiles(certificate, key, client_ca)
    if certificate is None and key is None and client_ca is None:
        return None
    raise UnsafeSettingsError("TLS needs server.tls_certificate and server.tls_key together")


def read_tls(files: TlsFiles) -> TlsContent:
    """Read and check the files.

    Raises:
        UnsafeSettingsError: one cannot be read or is no PEM, others may read the key, or the key is another's.
    """
    try:
        _require_private(files.key)
        content = TlsContent(
            files.certificate.read_bytes(),
            files.key.read_bytes(),
            None if files.client_ca is None else files.client_ca.read_bytes(),
        )
    except OSError as error:
        raise UnsafeSettingsError(f"a TLS file cannot be read: {os.strerror(error.errno or 0)}") from None
    _check(content)
    return content


class TlsCertificates:
    """The files as they are now. Safe to ask from any thread."""

    def __init__(self, files: TlsFiles) -> None:
        """Raise UnsafeSettingsError as `read_tls` does."""
        self._files = files
        self._lock = threading.Lock()
        self._stamp = _stamp_of(files)
        self._content = read_tls(files)
        self._context: ssl.SSLContext | None = None
        self._context_content: TlsContent | None = None

    def content(self) -> TlsContent:
        """What the files held when they last fitted."""
        with self._lock:
            self._refresh()
            return self._content

    def server_context(self) -> ssl.SSLContext:
        """A context for servers on `ssl`, asyncio's among them; each new connection gets the files as they are then.

        Raises:
            UnsafeSettingsError: OpenSSL does not take them.
        """
        try:
            context = self._make_context(self._content)
        except OSError:  # ssl.SSLError is one
            raise UnsafeSettingsError("the TLS files are not taken by OpenSSL") from None
        context.sni_callback = self._choose  # called for every handshake, whether it names a server or not
        return context

    def _choose(self, connection: ssl.SSLObject, name: str | None, first: ssl.SSLContext) -> None:
        with self._lock:
            self._refresh()
            if self._context_content is not self._content:
                self._context_content = self._content
                with contextlib.suppress(OSError):  # replaced once more in this moment: the one before still serves
                    self._context = self._make_context(self._content)
            connection.context = self._context or first

    def _make_context(self, content: TlsContent) -> ssl.SSLContext:
        context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
        context.minimum_version = ssl.TLSVersion.TLSv1_2
        context.load_cert_chain(self._files.certificate, self._files.key)
        if content.client_ca is not None:
            context.verify_mode = ssl.CERT_REQUIRED
            # Bundles name their authorities in comments, which need not be ASCII; PEM itself is.
            context.load_verify_locations(cadata=content.client_ca.decode("ascii", "ignore"))
        return context

    def _refresh(self) -> None:
        stamp = _stamp_of(self._files)
        if stamp == self._stamp:
            return
        self._stamp = stamp
        try:
            self._content = read_tls(self._files)
        except UnsafeSettingsError as error:
            telemetry.log_event(_log, logging.WARNING, "changed certificate passed over", why=error.message)
        else:
            telemetry.log_event(_log, logging.INFO, "certificate read again")


def _stamp_of(files: TlsFiles) -> _Stamp:
    """What tells that a file was replaced or written to."""
    return tuple(_file_stamp(path) for path in (files.certificate, files.key, files.client_ca) if path is not None)


def _file_stamp(path: Path) -> tuple[int, int, int]:
    try:
        status = path.stat()
    except OSError:
        return 0, 0, 0
    return status.st_ino, status.st_mtime_ns, status.st_size


def _require_private(path: Path) -> None:
    if os.name == "posix" and stat.S_IMODE(path.stat().st_mode) & 0o077:
        raise UnsafeSettingsError("other users may read the file of server.tls_key; chmod 600 it")


def _check(content: TlsContent) -> None:
    try:
        shown = x509.load_pem_x509_certificates(content.certificate)[0].public_key()
        held = load_pem_private_key(content.key, password=None).public_key()
        if content.client_ca is not None:
            x509.load_pem_x509_certificates(content.client_ca)
    except (ValueError, TypeError):  # TypeError: the key has a password
        raise UnsafeSettingsError("a TLS file is no PEM, or its key has a password") from None
    kind = Encoding.DER, PublicFormat.SubjectPublicKeyInfo
    if shown.public_bytes(*kind) != held.public_bytes(*kind):
        raise UnsafeSettingsError("the key of server.tls_key is not that of server.tls_certificate")
