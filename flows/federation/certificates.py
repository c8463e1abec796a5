"""Keys and certificates of a federation on this machine; a real one brings its own."""

from datetime import UTC, datetime, timedelta
from ipaddress import IPv4Address
from pathlib import Path

from cryptography import x509
from cryptography.hazmat.primitives import hashes, serialization
from cryptography.hazmat.primitives.asymmetric import ec

DAYS = 30
ISSUER = "MetaEM loopback"


def issue_certificates(folder: Path) -> None:
    """``ca.crt``, and ``server.pem`` with ``server.key`` for 127.0.0.1 and localhost."""
    authority, server = _new_key(), _new_key()
    names = [x509.DNSName("localhost"), x509.IPAddress(IPv4Address("127.0.0.1"))]
    root = x509.BasicConstraints(ca=True, path_length=0)
    (folder / "ca.crt").write_bytes(_certificate(ISSUER, authority, root, authority))
    leaf = x509.SubjectAlternativeName(names)
    (folder / "server.pem").write_bytes(_certificate("localhost", server, leaf, authority))
    _write_private(folder / "server.key", server, serialization.PrivateFormat.PKCS8)


def issue_node_key(path: Path) -> None:
    """A SuperNode's key pair: ``path``, and ``path`` with ``.pub``."""
    key = _new_key()
    _write_private(path, key, serialization.PrivateFormat.OpenSSH)
    public = key.public_key().public_bytes(
        serialization.Encoding.OpenSSH, serialization.PublicFormat.OpenSSH
    )
    path.with_name(f"{path.name}.pub").write_bytes(public)


def _new_key() -> ec.EllipticCurvePrivateKey:
    return ec.generate_private_key(ec.SECP384R1())


def _certificate(
    name: str,
    key: ec.EllipticCurvePrivateKey,
    extension: x509.BasicConstraints | x509.SubjectAlternativeName,
    authority: ec.EllipticCurvePrivateKey,
) -> bytes:
    """PEM of the authority's certificate that ``key`` is the key of ``name``."""
    now = datetime.now(UTC)
    signed = (
        x509.CertificateBuilder()
        .subject_name(x509.Name([x509.NameAttribute(x509.NameOID.COMMON_NAME, name)]))
        .issuer_name(x509.Name([x509.NameAttribute(x509.NameOID.COMMON_NAME, ISSUER)]))
        .public_key(key.public_key())
        .serial_number(x509.random_serial_number())
        .not_valid_before(now - timedelta(minutes=5))
        .not_valid_after(now + timedelta(days=DAYS))
        .add_extension(extension, critical=isinstance(extension, x509.BasicConstraints))
        .sign(authority, hashes.SHA256())
    )
    return signed.public_bytes(serialization.Encoding.PEM)


def _write_private(
    path: Path, key: ec.EllipticCurvePrivateKey, form: serialization.PrivateFormat
) -> None:
    path.touch(mode=0o600)
    path.write_bytes(
        key.private_bytes(serialization.Encoding.PEM, form, serialization.NoEncryption())
    )
