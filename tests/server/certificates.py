"""Certificates made on the spot: authorities, and what they sign for this machine's loopback addresses."""

from __future__ import annotations

import ipaddress
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from pathlib import Path

from cryptography import x509
from cryptography.hazmat.primitives import hashes, serialization
from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.x509.oid import NameOID

from irmsia.server.tls import TlsFiles

_NAMES = x509.SubjectAlternativeName(
    [
        *(x509.DNSName(name) for name in ("localhost", "data.example.org")),
        *(x509.IPAddress(ipaddress.ip_address(a)) for a in ("127.0.0.1", "::1")),
    ]
)


@dataclass(frozen=True)
class Signed:
    """A certificate and its key; an authority where it may sign others."""

    certificate: x509.Certificate
    private: ec.EllipticCurvePrivateKey

    @property
    def pem(self) -> bytes:
        """The certificate."""
        return self.certificate.public_bytes(serialization.Encoding.PEM)

    @property
    def key(self) -> bytes:
        """The private key without a password."""
        return self.private.private_bytes(
            serialization.Encoding.PEM, serialization.PrivateFormat.PKCS8, serialization.NoEncryption()
        )

    def sign(self, name: str) -> Signed:
        """A new certificate of this authority."""
        return make_certificate(name, self)


def make_certificate(name: str, issuer: Signed | None = None) -> Signed:
    """A certificate for a day; without an issuer an authority that signs itself."""
    private = ec.generate_private_key(ec.SECP256R1())
    subject = x509.Name([x509.NameAttribute(NameOID.COMMON_NAME, name)])
    now = datetime.now(UTC)
    builder = (
        x509.CertificateBuilder()
        .subject_name(subject)
        .issuer_name(issuer.certificate.subject if issuer else subject)
        .public_key(private.public_key())
        .serial_number(x509.random_serial_number())
        .not_valid_before(now - timedelta(hours=1))
        .not_valid_after(now + timedelta(days=1))
        .add_extension(x509.BasicConstraints(ca=issuer is None, path_length=None), critical=True)
        .add_extension(_NAMES, critical=False)
    )
    return Signed(builder.sign(issuer.private if issuer else private, hashes.SHA256()), private)


def write_tls(folder: Path, server: Signed, client_ca: Signed | None = None) -> TlsFiles:
    """Write or replace the files of a server, the key for this user alone."""
    files = TlsFiles(folder / "server.pem", folder / "server.key", folder / "ca.pem" if client_ca else None)
    files.certificate.write_bytes(server.pem)
    files.key.write_bytes(server.key)
    files.key.chmod(0o600)
    if client_ca and files.client_ca:
        files.client_ca.write_bytes(client_ca.pem)
    return files
