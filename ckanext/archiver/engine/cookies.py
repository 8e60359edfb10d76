"""Cookies within one run: some sites respond to a first request with a cookie and a redirect to the same page."""

from __future__ import annotations

import email.message
import http.client
import http.cookiejar
import urllib.request
from typing import cast


class Cookies:
    """The standard library's jar, which decides which server may see a cookie; it lasts as long as the run."""

    def __init__(self) -> None:
        self._jar: http.cookiejar.CookieJar | None = None

    def take(self, url: str, values: list[str]) -> None:
        """Store the values of ``Set-Cookie`` in a response from ``url``."""
        if values:
            self._jar = self._jar or http.cookiejar.CookieJar()
            # The jar uses nothing of a response but info().
            self._jar.extract_cookies(cast("http.client.HTTPResponse", _Response(values)), _request(url))

    def header(self, url: str) -> str:
        """The value of ``Cookie`` for a request to ``url``; ``""`` for none."""
        if self._jar is None:
            return ""
        request = _request(url)
        self._jar.add_cookie_header(request)
        value = request.get_header("Cookie") or ""
        # Bytes above ASCII (mostly raw UTF-8) go back as they came; only controls could end the header.
        return value if all(" " <= char < "\x7f" or "\x80" <= char <= "\xff" for char in value) else ""


def _request(url: str) -> urllib.request.Request:
    return urllib.request.Request(url)  # noqa: S310 - it is never opened, and its URL is http(s)


class _Response:
    def __init__(self, values: list[str]) -> None:
        self._message = email.message.Message()
        for value in values:
            self._message["Set-Cookie"] = value

    def info(self) -> email.message.Message:
        return self._message
