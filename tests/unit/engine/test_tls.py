"""Words about certificates, beyond what the table of the origin shows."""

from __future__ import annotations

import datetime as dt
import ssl
from pathlib import Path

import pytest

from ckanext.archiver.engine import reasons, tls
from ckanext.archiver.engine.outcome import Cause
from origin.certificates import DAY, HOST, NOW, make


def refused(code: int, message: str = "some problem") -> ssl.SSLCertVerificationError:
    error = ssl.SSLCertVerificationError()
    error.verify_code, error.verify_message = code, message
    return error


def test_without_a_chain_openssl_has_the_word() -> None:
    failure = tls.explain(refused(10, "certificate has expired"), [], HOST)
    assert (failure.cause, failure.detail) == (Cause.TLS, "tls-other")
    assert reasons.reason(failure.detail, failure.facts) == (
        f"The certificate of {HOST} cannot be verified (certificate has expired)."
    )


def test_an_unknown_code_is_told_in_openssls_words() -> None:
    failure = tls.explain(refused(26, "unsuitable certificate purpose"), [make(HOST).certificate], HOST)
    assert failure.facts["problem"] == "unsuitable certificate purpose"
    assert failure.certificate is not None


def test_names_of_strangers_are_one_short_visible_line() -> None:
    leaf = make("x", hosts=("a" * 60 + ".example", "b.example", "c.example", "d.example")).certificate
    failure = tls.explain(refused(62), [leaf], HOST)
    assert failure.facts["names"] == "a" * 60 + ".example, b.example, c.example, …"
    evil = make("evil\u202e\n<script>").certificate
    assert tls.described(evil) is not None
    failure = tls.explain(refused(62), [evil], HOST)
    assert failure.facts["names"] == "evil  <script>"


def test_the_missing_link_is_the_one_above_the_last_sent() -> None:
    root = make("Root", ca=True)
    upper = make("Upper", root, ca=True, issuer_url="http://x.example/root.crt")
    lower = make("Lower", upper, ca=True, issuer_url="http://x.example/upper.crt")
    leaf = make(HOST, lower, issuer_url="http://x.example/lower.crt")
    chain = [leaf.certificate, lower.certificate]
    failure = tls.explain(refused(20), chain, HOST)
    assert reasons.reason(failure.detail, failure.facts) == (
        f"The certificate of {HOST} cannot be verified: the server does not send the intermediate certificate Upper."
    )
    # An order that RFC 5246 forbids and servers send.
    extra = make("Somebody else").certificate
    assert tls.explain(refused(20), [leaf.certificate, extra, lower.certificate], HOST).facts["issuer"] == "Upper"


@pytest.mark.parametrize(("days", "soon"), [(13.9, True), (14.1, False), (-1, False)])
def test_expires_soon(days: float, soon: bool) -> None:
    found = tls.described(make(HOST, ends=NOW + days * DAY).certificate)
    assert found is not None
    assert found.expires_soon is soon


def test_a_context_is_made_once_and_verifies() -> None:
    made = tls.context(True, None)
    assert made is tls.context(True, None)
    assert made.verify_mode is ssl.CERT_REQUIRED
    assert made.check_hostname
    assert not made.hostname_checks_common_name
    assert made.minimum_version >= ssl.TLSVersion.TLSv1_2
    assert not tls.context(False, None).check_hostname


def test_a_bundle_adds_to_the_authorities(tmp_path: Path) -> None:
    bundle = tmp_path / "bundle.pem"
    bundle.write_bytes(make("Portal's own root", ca=True).pem())
    known = {str(found["subject"]) for found in tls.context(True, None).get_ca_certs()}
    more = {str(found["subject"]) for found in tls.context(True, str(bundle)).get_ca_certs()}
    assert known < more
    assert "Portal's own root" in "".join(more - known)


def test_dates_are_aware() -> None:
    found = tls.described(make(HOST).certificate)
    assert found is not None
    assert found.not_after.utcoffset() == dt.timedelta(0)
