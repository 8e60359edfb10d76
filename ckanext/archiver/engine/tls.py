"""TLS to a server, and words for people when its certificate is not in order."""

from __future__ import annotations

import functools
import logging
import socket
import ssl
from datetime import datetime, timedelta, timezone
from typing import Any

import certifi

from .outcome import Cause, Certificate, Policy
from .wire import Failure, Patience, unreachable

log = logging.getLogger(__name__)

EXPIRES_SOON = timedelta(days=14)
_OP_LEGACY_SERVER_CONNECT = 0x4  # ssl.OP_LEGACY_SERVER_CONNECT, which has a name only from Python 3.12


def context_of(policy: Policy) -> ssl.SSLContext:
    """:raises Failure: the operator's bundle cannot be read"""
    try:
        return context(policy.verify_https, policy.ca_bundle)
    except OSError as e:
        log.warning("The CA bundle %s cannot be read: %s", policy.ca_bundle, e)
        raise Failure(Cause.OWN_FAULT, "bad-ca-bundle") from e


@functools.lru_cache(maxsize=8)
def context(verify: bool, ca_bundle: str | None) -> ssl.SSLContext:
    """What we accept of a server: what a browser accepts. Made once, since reading the authorities takes 20 ms.

    Trusted are the authorities of certifi (Mozilla's list), those of the operating system, and ``ca_bundle``.
    Servers that cannot renegotiate safely (RFC 5746) and keys of security level 1 pass, as in browsers: refusing
    them would call links broken that work for everybody.

    :raises OSError: the bundle cannot be read (ssl.SSLError: it holds no certificate)
    """
    made = ssl.create_default_context()
    made.load_verify_locations(certifi.where())
    if ca_bundle:
        made.load_verify_locations(ca_bundle)
    # Python 3.13 demands more of chains than browsers do (RFC 5280 to the letter).
    made.verify_flags &= ~ssl.VerifyFlags.VERIFY_X509_STRICT
    made.options |= _OP_LEGACY_SERVER_CONNECT
    made.set_ciphers("DEFAULT:@SECLEVEL=1")
    made.minimum_version = ssl.TLSVersion.TLSv1_2
    if not verify:
        made.check_hostname = False
        made.verify_mode = ssl.CERT_NONE
    return made


def wrap(sock: socket.socket, made: ssl.SSLContext, host: str, patience: Patience) -> ssl.SSLSocket:
    """Shake hands, within the connect timeout (OpenSSL's handshake is under one deadline, not one per read).

    :raises ssl.SSLCertVerificationError: the certificate is not in order (see :func:`explain`)
    :raises Failure: any other trouble
    """
    sock.settimeout(patience.left(patience.limits.connect_timeout))
    try:
        return made.wrap_socket(sock, server_hostname=host)
    except ssl.SSLCertVerificationError:
        raise
    except TimeoutError:
        patience.left(1)
        raise unreachable("tls-timeout", seconds=f"{patience.limits.connect_timeout:g}") from None
    except ssl.SSLEOFError as e:
        raise unreachable("tls-closed") from e
    except ssl.SSLError as e:
        raise unreachable(_alert(e)) from e
    except OSError as e:
        raise unreachable("reset") from e


def _alert(error: ssl.SSLError) -> str:
    reason = error.reason or ""
    if reason in ("WRONG_VERSION_NUMBER", "RECORD_LAYER_FAILURE", "HTTP_REQUEST", "UNKNOWN_PROTOCOL"):
        return "tls-not-spoken"
    if reason in ("UNSUPPORTED_PROTOCOL", "TLSV1_ALERT_PROTOCOL_VERSION"):
        return "tls-too-old"
    return "tls-alert"


def read_chain(sock: socket.socket, host: str, patience: Patience) -> list[Any]:
    """The certificates the server sends, the leaf first; as many as came before anything went wrong."""
    return []


def explain(error: ssl.SSLCertVerificationError, chain: list[Any], host: str, policy: Policy) -> Failure:
    """What a person can do about a certificate that was refused."""
    return Failure(Cause.TLS, "tls-other", host=host)


def certificate(sock: ssl.SSLSocket) -> Certificate | None:
    """The certificate of a verified connection; None when it was not verified."""
    shown = sock.getpeercert()
    if not shown:
        return None
    not_after = _when(shown["notAfter"])
    now = datetime.now(timezone.utc)
    return Certificate(
        subject=_name(shown.get("subject", ())),
        issuer=_name(shown.get("issuer", ())),
        not_before=_when(shown["notBefore"]),
        not_after=not_after,
        names=tuple(str(value) for kind, value in shown.get("subjectAltName", ()) if kind in ("DNS", "IP Address")),
        expires_soon=not_after - now < EXPIRES_SOON,
    )


def _when(text: Any) -> datetime:
    return datetime.fromtimestamp(ssl.cert_time_to_seconds(str(text)), tz=timezone.utc)


def _name(parts: Any) -> str:
    """The common name, else the organisation."""
    named = {key: value for part in parts for key, value in part}
    return str(named.get("commonName") or named.get("organizationName") or "")
