"""TLS to a server, and an explanation for people when its certificate is not in order.

``ssl`` verifies; when it refuses, it does not show what the server sent. So the chain is read once more with pyOpenSSL,
unverified, over a second connection that goes through the same guard and is used for nothing else.
"""

from __future__ import annotations

import functools
import logging
import socket
import ssl
from collections.abc import Sequence
from datetime import datetime, timedelta, timezone

import certifi
from cryptography import x509
from cryptography.x509.oid import AuthorityInformationAccessOID, NameOID
from OpenSSL import SSL

from .failure import Failure, unreachable
from .outcome import Cause, Certificate, Policy
from .stream import Deadline, Stream

log = logging.getLogger(__name__)

EXPIRES_SOON = timedelta(days=14)
MAX_NAME = 100
"""Characters of a name from a certificate that are shown."""

_OP_LEGACY_SERVER_CONNECT = 0x4  # ssl.OP_LEGACY_SERVER_CONNECT, which has a name only from Python 3.12
_HANDSHAKE_READS = 100

# What cryptography raises for malformed certificates.
_UNREADABLE = (ValueError, x509.DuplicateExtension, x509.InvalidVersion, x509.UnsupportedGeneralNameType)

# X509_V_ERR_* of openssl/x509_vfy.h, as SSLCertVerificationError.verify_code has them.
_NOT_YET_VALID = 9
_EXPIRED = 10
_SELF_SIGNED = 18
_UNKNOWN_ISSUER = frozenset({2, 19, 20, 21})
_WRONG_HOST = frozenset({62, 64})


def context_of(policy: Policy) -> ssl.SSLContext:
    """:raises Failure: the operator's bundle cannot be read"""
    try:
        return context(policy.verify_https, policy.ca_bundle)
    except OSError as e:
        log.warning("The CA bundle %s cannot be read: %s", policy.ca_bundle, e)
        raise Failure(Cause.OWN_FAULT, "bad-ca-bundle") from e


@functools.lru_cache(maxsize=8)
def context(verify: bool, ca_bundle: str | None) -> ssl.SSLContext:
    """The context for verification: it accepts what a browser accepts. Cached: reading the authorities takes 20 ms.

    Trusted are the authorities of certifi (Mozilla's list), those of the operating system, and ``ca_bundle``. Servers
    that cannot renegotiate safely (RFC 5746) and keys of security level 1 are accepted, as in browsers: refusing them
    would call links broken that work for everybody.

    :raises OSError: the bundle cannot be read (ssl.SSLError: it holds no certificate)
    """
    made = ssl.create_default_context()
    made.load_verify_locations(certifi.where())
    if ca_bundle:
        made.load_verify_locations(ca_bundle)
    # Python 3.13 is stricter with chains than browsers are (RFC 5280 to the letter).
    made.verify_flags &= ~ssl.VerifyFlags.VERIFY_X509_STRICT
    made.options |= _OP_LEGACY_SERVER_CONNECT
    made.set_ciphers("DEFAULT:@SECLEVEL=1")
    made.minimum_version = ssl.TLSVersion.TLSv1_2
    made.hostname_checks_common_name = False  # browsers stopped checking it in 2017
    if not verify:
        made.check_hostname = False
        made.verify_mode = ssl.CERT_NONE
    return made


def wrap(sock: socket.socket, made: ssl.SSLContext, host: str, deadline: Deadline) -> ssl.SSLSocket:
    """Do the handshake within the connect timeout (one deadline for all of it, not one per read).

    :returns: a non-blocking socket
    :raises ssl.SSLCertVerificationError: the certificate is not in order (see :func:`explain`)
    :raises Failure: for every other error
    """
    sock.settimeout(deadline.remaining(deadline.limits.connect_timeout))
    try:
        secured = made.wrap_socket(sock, server_hostname=host)
    except ssl.SSLCertVerificationError:
        raise
    except TimeoutError:
        deadline.remaining(1)
        raise unreachable("tls-timeout", seconds=f"{deadline.limits.connect_timeout:g}") from None
    except ssl.SSLEOFError as e:
        raise unreachable("tls-closed") from e
    except ssl.SSLError as e:
        raise unreachable(_alert(e)) from e
    except OSError as e:
        raise unreachable("reset") from e
    secured.setblocking(False)
    return secured


def _alert(error: ssl.SSLError) -> str:
    reason = error.reason or ""
    if reason in ("WRONG_VERSION_NUMBER", "RECORD_LAYER_FAILURE", "HTTP_REQUEST", "UNKNOWN_PROTOCOL"):
        return "tls-not-spoken"
    if reason in ("UNSUPPORTED_PROTOCOL", "TLSV1_ALERT_PROTOCOL_VERSION"):
        return "tls-too-old"
    return "tls-alert"


def certificate(sock: ssl.SSLSocket) -> Certificate | None:
    """The certificate that a server presented, verified or not; None when it cannot be read."""
    shown = sock.getpeercert(binary_form=True)
    try:
        return described(x509.load_der_x509_certificate(shown)) if shown else None
    except _UNREADABLE as e:
        log.debug("A certificate cannot be read: %s", e)
        return None


def described(leaf: x509.Certificate) -> Certificate | None:
    """A certificate as a :class:`Certificate`; None when it is malformed (verification does not always reject that)."""
    try:
        not_after = leaf.not_valid_after_utc
        return Certificate(
            subject=_name(leaf.subject),
            issuer=_name(leaf.issuer),
            not_before=leaf.not_valid_before_utc,
            not_after=not_after,
            names=tuple(_names(leaf)),
            expires_soon=timedelta(0) <= not_after - datetime.now(timezone.utc) < EXPIRES_SOON,
        )
    except _UNREADABLE as e:
        log.debug("A certificate cannot be read: %s", e)
        return None


# -- a certificate that was refused ------------------------------------------------------------------------


def read_chain(sock: socket.socket, host: str, deadline: Deadline) -> list[x509.Certificate]:
    """The certificates that the server sends, the leaf first; empty if the handshake does not get that far.

    The handshake is done in memory and its bytes go through a :class:`Stream`, so all limits apply.
    """
    asked = SSL.Context(SSL.TLS_CLIENT_METHOD)
    asked.set_verify(SSL.VERIFY_NONE)
    asked.set_cipher_list(b"DEFAULT:@SECLEVEL=0")
    asked.set_options(_OP_LEGACY_SERVER_CONNECT)
    connection = SSL.Connection(asked, None)
    connection.set_connect_state()
    connection.set_tlsext_host_name(host.encode("ascii"))
    try:
        _shake_hands(connection, Stream(sock, deadline))
        chain = connection.get_peer_cert_chain() or []
        return [shown.to_cryptography() for shown in chain]
    except (SSL.Error, Failure, *_UNREADABLE) as e:
        log.debug("The chain of %s cannot be read: %r", host, e)
        return []


def _shake_hands(connection: SSL.Connection, stream: Stream) -> None:
    """:raises SSL.Error, Failure: the handshake failed"""
    for _ in range(_HANDSHAKE_READS):
        try:
            connection.do_handshake()
        except SSL.WantReadError:
            _flush(connection, stream)
            data = stream.receive()
            stream.progress(len(data))
            if not data:
                return
            connection.bio_write(data)
        else:
            return


def _flush(connection: SSL.Connection, stream: Stream) -> None:
    try:
        stream.send(connection.bio_read(65_536))
    except SSL.WantReadError:
        return  # nothing to send


def explain(error: ssl.SSLCertVerificationError, chain: Sequence[x509.Certificate], host: str) -> Failure:
    """The problem of a certificate, told so that a person knows what to do.

    :param chain: the certificates that the server sends, the leaf first; may be empty
    """
    failure = _explained(error.verify_code, chain, host)
    if failure is None:
        problem = _plain(error.verify_message or "unknown problem")
        failure = Failure(Cause.TLS, "tls-other", host=host, problem=problem)
    failure.certificate = described(chain[0]) if chain else None
    return failure


def _explained(code: int, chain: Sequence[x509.Certificate], host: str) -> Failure | None:
    if not chain:
        return None
    leaf = chain[0]
    if code == _EXPIRED:
        return _expired(chain, host)
    if code == _NOT_YET_VALID:
        return Failure(Cause.TLS, "tls-not-yet-valid", host=host, date=_date(leaf.not_valid_before_utc))
    if code == _SELF_SIGNED:
        return Failure(Cause.TLS, "tls-self-signed", host=host)
    if code in _WRONG_HOST:
        names = _names(leaf) or [_name(leaf.subject)]
        shown = ", ".join(names[:3]) + (", …" if len(names) > 3 else "")
        return Failure(Cause.TLS, "tls-wrong-host", host=host, names=shown or "nobody")
    if code in _UNKNOWN_ISSUER:
        return _unknown_issuer(chain, host)
    return None


def _expired(chain: Sequence[x509.Certificate], host: str) -> Failure | None:
    now = datetime.now(timezone.utc)
    for place, shown in enumerate(chain):
        if shown.not_valid_after_utc < now:
            date = _date(shown.not_valid_after_utc)
            if place == 0:
                return Failure(Cause.TLS, "tls-expired", host=host, date=date)
            return Failure(Cause.TLS, "tls-expired-issuer", host=host, date=date, issuer=_name(shown.subject))
    return None


def _unknown_issuer(chain: Sequence[x509.Certificate], host: str) -> Failure:
    """Either a certificate of the chain is missing or its end is not trusted.

    A certificate with the URL of its issuer's certificate (all public authorities set it) has a public chain, so an
    intermediate certificate is missing. Without the URL the two cases look the same, and the sentence names both.
    """
    top = _top(chain)
    if top.issuer == top.subject:
        return Failure(Cause.TLS, "tls-unknown-issuer", host=host, issuer=_name(top.subject))
    issuer = _name(top.issuer)
    if _names_issuer_url(top):
        return Failure(Cause.TLS, "tls-incomplete-chain", host=host, issuer=issuer)
    if top is chain[0]:
        return Failure(Cause.TLS, "tls-incomplete-or-unknown", host=host, issuer=issuer)
    return Failure(Cause.TLS, "tls-unknown-issuer", host=host, issuer=issuer)


def _top(chain: Sequence[x509.Certificate]) -> x509.Certificate:
    """The last certificate that the issuer names reach from the leaf."""
    by_subject = {shown.subject: shown for shown in chain}
    top = chain[0]
    for _ in chain:
        above = by_subject.get(top.issuer)
        if above is None or above is top:
            break
        top = above
    return top


def _names_issuer_url(shown: x509.Certificate) -> bool:
    try:
        found = shown.extensions.get_extension_for_class(x509.AuthorityInformationAccess)
    except (x509.ExtensionNotFound, *_UNREADABLE):
        return False
    return any(entry.access_method == AuthorityInformationAccessOID.CA_ISSUERS for entry in found.value)


def _names(leaf: x509.Certificate) -> list[str]:
    try:
        found = leaf.extensions.get_extension_for_class(x509.SubjectAlternativeName).value
    except (x509.ExtensionNotFound, *_UNREADABLE):
        return []
    names = found.get_values_for_type(x509.DNSName)
    return [_plain(name) for name in (*names, *map(str, found.get_values_for_type(x509.IPAddress)))]


def _name(name: x509.Name) -> str:
    """The common name, else the organisation, else the whole name."""
    for kind in (NameOID.COMMON_NAME, NameOID.ORGANIZATIONAL_UNIT_NAME, NameOID.ORGANIZATION_NAME):
        for found in name.get_attributes_for_oid(kind):
            return _plain(str(found.value))
    return _plain(name.rfc4514_string())


def _plain(text: str) -> str:
    """One line of visible characters: it is the remote's text."""
    return "".join(char if char.isprintable() else " " for char in text[:MAX_NAME]).strip()


def _date(when: datetime) -> str:
    return when.date().isoformat()
