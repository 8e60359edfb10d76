"""Certificates of every kind of disorder, made for one test run and forgotten with it."""

from __future__ import annotations

import datetime as dt
import ipaddress
import ssl
from dataclasses import dataclass
from pathlib import Path

from cryptography import x509
from cryptography.hazmat.primitives import hashes, serialization
from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.x509.oid import AuthorityInformationAccessOID, NameOID

NOW = dt.datetime.now(dt.timezone.utc)
DAY = dt.timedelta(days=1)
HOST = "data.example"
EXPIRED_ON = (NOW - 10 * DAY).date().isoformat()
VALID_FROM = (NOW + 10 * DAY).date().isoformat()


@dataclass(frozen=True)
class Pair:
    """A certificate and its key, and what stands above it (not itself)."""

    certificate: x509.Certificate
    key: ec.EllipticCurvePrivateKey
    above: tuple[x509.Certificate, ...] = ()

    def pem(self, *chain: x509.Certificate) -> bytes:
        return b"".join(c.public_bytes(serialization.Encoding.PEM) for c in (self.certificate, *chain))

    def key_pem(self) -> bytes:
        return self.key.private_bytes(
            serialization.Encoding.PEM, serialization.PrivateFormat.PKCS8, serialization.NoEncryption()
        )


def make(
    name: str,
    by: Pair | None = None,
    *,
    ca: bool = False,
    hosts: tuple[str, ...] = (),
    begins: dt.datetime = NOW - 30 * DAY,
    ends: dt.datetime = NOW + 365 * DAY,
    issuer_url: str = "",
) -> Pair:
    """A certificate, signed ``by`` another or by itself."""
    key = ec.generate_private_key(ec.SECP256R1())
    subject = x509.Name([x509.NameAttribute(NameOID.COMMON_NAME, name)])
    made = (
        x509.CertificateBuilder()
        .subject_name(subject)
        .issuer_name(by.certificate.subject if by else subject)
        .public_key(key.public_key())
        .serial_number(x509.random_serial_number())
        .not_valid_before(begins)
        .not_valid_after(ends)
        .add_extension(x509.BasicConstraints(ca=ca, path_length=None), critical=True)
    )
    if hosts:
        made = made.add_extension(x509.SubjectAlternativeName([_general_name(host) for host in hosts]), critical=False)
    if issuer_url:
        where = x509.AccessDescription(
            AuthorityInformationAccessOID.CA_ISSUERS, x509.UniformResourceIdentifier(issuer_url)
        )
        made = made.add_extension(x509.AuthorityInformationAccess([where]), critical=False)
    above = (by.certificate, *by.above) if by else ()
    return Pair(made.sign((by or Pair(None, key)).key, hashes.SHA256()), key, above)  # type: ignore[arg-type]


def _general_name(host: str) -> x509.GeneralName:
    try:
        return x509.IPAddress(ipaddress.ip_address(host))
    except ValueError:
        return x509.DNSName(host)


class Authority:
    """A test CA and server contexts by kind; ``bundle`` is what a client that trusts it needs.

    :ivar contexts: one server context for each kind of certificate
    """

    def __init__(self, directory: Path) -> None:
        self._directory = directory
        root = make("Test Root", ca=True)
        middle = make("R11", root, ca=True)
        old = make("Old R3", root, ca=True, ends=NOW - 10 * DAY)
        stranger = make("Unknown Root", ca=True)
        stranger_middle = make("Unknown R1", stranger, ca=True)
        self.bundle = directory / "bundle.pem"
        self.bundle.write_bytes(root.pem())
        hosts = (HOST, "127.0.0.1", "::1")
        self.contexts = {
            "good": self._context(make(HOST, root, hosts=hosts)),
            "chain": self._context(make(HOST, middle, hosts=hosts), middle.certificate),
            "soon": self._context(make(HOST, root, hosts=hosts, ends=NOW + 7 * DAY)),
            "expired": self._context(make(HOST, root, hosts=hosts, ends=NOW - 10 * DAY)),
            "expired-issuer": self._context(make(HOST, old, hosts=hosts), old.certificate),
            "not-yet": self._context(make(HOST, root, hosts=hosts, begins=NOW + 10 * DAY)),
            "wrong-host": self._context(make("other.example", root, hosts=("other.example", "www.other.example"))),
            "no-names": self._context(make(HOST, root)),
            "self-signed": self._context(make(HOST, hosts=hosts)),
            "unknown": self._context(make(HOST, stranger, hosts=hosts), stranger.certificate),
            "unknown-long": self._context(make(HOST, stranger_middle, hosts=hosts), stranger_middle.certificate),
            "unknown-short": self._context(make(HOST, stranger, hosts=hosts)),
            "incomplete": self._context(make(HOST, middle, hosts=hosts, issuer_url="http://r11.example/r11.crt")),
            "incomplete-unsaid": self._context(make(HOST, middle, hosts=hosts)),
        }
        self.contexts["wants-certificate"] = self._context(make(HOST, root, hosts=hosts))
        # TLS 1.3 would shake hands first and complain later.
        self.contexts["wants-certificate"].maximum_version = ssl.TLSVersion.TLSv1_2
        self.contexts["wants-certificate"].verify_mode = ssl.CERT_REQUIRED
        self.contexts["wants-certificate"].load_verify_locations(self.bundle)

    def _context(self, pair: Pair, *chain: x509.Certificate) -> ssl.SSLContext:
        made = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
        path = self._directory / f"{pair.certificate.serial_number}.pem"
        path.write_bytes(pair.key_pem() + pair.pem(*chain))
        made.load_cert_chain(path)
        return made
