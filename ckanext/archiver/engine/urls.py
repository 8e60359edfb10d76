"""The meaning of a link: one string in, one :class:`Target` or one :class:`BadUrl` out, never an exception.

Links are typed by people into forms, so they are read as browsers read them (the WHATWG URL standard) where that makes
a link work for a person. They are written as RFC 3986 and RFC 9110 require, because that is what servers understand.
Where the two differ, the choice made here and its reason are:

* Nothing is encoded twice and nothing is decoded: an escape stays as its author wrote it, including the case of its
  hex digits (signed URLs compare bytes). Everything outside the grammar of RFC 3986 §3.3 and §3.4 is escaped as UTF-8,
  also ``|``, ``[``, ``]``, ``^``, ``{`` and ``}``, which browsers send raw in places: some servers answer 400 to them
  raw, none to the escape. A ``%`` that starts no escape is a percent sign, hence ``%25`` (RFC 3986 §2.4).
* The host is percent-decoded, mapped by UTS 46 and read as an IPv4 address if its last label is a number, all as in
  WHATWG. So ``0x7f.1``, ``①②⑦.1`` and ``2130706433`` are recognised as addresses.
* ``http:/x``, ``http:x`` and ``http:///x`` are refused: RFC 9110 §4.2.1 requires it for an empty host, and the meaning
  of the first two in a browser depends on the page that contains the link.
"""

from __future__ import annotations

import functools
import ipaddress
import re
import string
from collections.abc import Mapping
from dataclasses import dataclass, field
from urllib.parse import unquote_to_bytes

import idna

from .bad_ports import BAD_PORTS
from .outcome import Cause

CACHED_LENGTH = 2_000
"""Characters; longer links are not cached."""

MAX_LENGTH = 65_536
"""Characters. RFC 9110 §4.1 asks for 8000 octets at least; no server is known to accept more than this."""

DEFAULT_PORTS = {"http": 80, "https": 443, "ftp": 21}

# Stripped at both ends: what str.strip() strips, the C0 controls (WHATWG) and the invisible marks that are copied along
# with a link from a document.
_EDGES = (
    "".join(chr(c) for c in range(0x21))
    + "\x7f\x85\xa0\u1680\u2028\u2029\u202f\u205f\u3000\ufeff"
    + ("".join(chr(c) for c in range(0x2000, 0x2010)))
)
_INSIDE = str.maketrans("", "", "\t\r\n")  # WHATWG removes these wherever they are

_SCHEME = re.compile(r"([A-Za-z][A-Za-z0-9+.\-]*):")
_AUTHORITY_END = re.compile(r"[/\\?#]")
_PCHARS = re.escape(string.ascii_letters + string.digits + "-._~!$&'()*+,;=:@/")
_NOT_PATH = re.compile(rf"%(?![0-9A-Fa-f]{{2}})|[^{_PCHARS}%]+")
_NOT_QUERY = re.compile(rf"%(?![0-9A-Fa-f]{{2}})|[^{_PCHARS}?%]+")
# Letters, digits and hyphen (RFC 1123 §2.1) and the underscore, which real host names have.
_LABEL = re.compile(r"[a-z0-9_-]{1,63}")
_HOST_AND_PORT = re.compile(r"(?:\[[0-9A-Fa-f:.]*\]|[^:\[\]]*)(?::[0-9]*)?")
_ZONE = re.compile(r"[A-Za-z0-9\-._~%]+")
# Schemes that may be followed by a space and still begin a link, not prose ("Note: ...").
_SPACED_SCHEMES = frozenset({"javascript", "mailto", "data", "tel", "sms", "urn", "file", "about", "blob"})


@dataclass(frozen=True)
class Target:
    """A link that can be followed.

    :ivar scheme: ``http``, ``https`` or ``ftp``
    :ivar host: lower-case ASCII (IDNA) without brackets, zone or final dot; an IP address in its shortest form
    :ivar port: 1 to 65535, the scheme's default where the link has none
    :ivar host_header: host and port for the header ``Host`` (RFC 9110 §7.2): with brackets, without the default port,
        with a final dot, as browsers send it
    :ivar request_target: path and query, ASCII, starts with ``/``
    :ivar username: percent-decoded; never shown
    :ivar password: percent-decoded; never shown
    """

    scheme: str
    host: str
    port: int
    host_header: str
    request_target: str
    username: str = field(default="", repr=False)
    password: str = field(default="", repr=False)

    @property
    def url(self) -> str:
        """The whole link as it is requested: ASCII, without credentials and fragment. Safe to show."""
        return f"{self.scheme}://{self.host_header}{self.request_target}"

    @property
    def has_credentials(self) -> bool:
        return bool(self.username or self.password)


@dataclass(frozen=True)
class BadUrl:
    """A link that cannot or may not be followed: a cause, and a key of ``reasons.REASONS`` with its facts."""

    cause: Cause
    detail: str
    facts: Mapping[str, str | int] = field(default_factory=dict)


class _Bad(Exception):
    def __init__(self, detail: str, cause: Cause = Cause.BAD_URL, **facts: str | int) -> None:
        super().__init__(detail)
        self.bad_url = BadUrl(cause, detail, facts)


def normalise(url: str) -> Target | BadUrl:
    """Read a link. Never raises, for any string; takes time linear in its length.

    :param url: as a person typed it or a server sent it
    """
    return _normalise_cached(url) if len(url) <= CACHED_LENGTH else _normalise(url)


def _normalise(url: str) -> Target | BadUrl:
    try:
        return _read(url)
    except _Bad as bad:
        return bad.bad_url


# One fetch reads the same few links several times: to request them, to name the file, to show them.
_normalise_cached = functools.lru_cache(maxsize=1024)(_normalise)


def host_of(url: str) -> str:
    """The host of a link as in :attr:`Target.host`, ``""`` if the link cannot be followed. Never raises."""
    target = normalise(url)
    return target.host if isinstance(target, Target) else ""


def _read(url: str) -> Target:
    if len(url) > MAX_LENGTH:
        raise _Bad("url-too-long", length=len(url), limit=MAX_LENGTH)
    if "\0" in url:
        raise _Bad("url-nul")
    if not url.isascii() and any("\ud800" <= char <= "\udfff" for char in url):
        raise _Bad("url-surrogate")
    text = url.strip(_EDGES)
    if not text:
        raise _Bad("url-empty")
    scheme, rest = _read_scheme(text)
    slashes = re.match(r"[/\\]*", rest)
    if not slashes or len(slashes[0]) != 2:
        raise _Bad("url-no-host")
    authority, tail = _cut(rest[2:], _AUTHORITY_END)
    userinfo, _, hostport = authority.rpartition("@")
    host, dot, port = _read_hostport(hostport, scheme)
    username, _, password = userinfo.partition(":")
    shown = f"[{host}]" if ":" in host else host + dot
    return Target(
        scheme=scheme,
        host=host,
        port=port,
        host_header=shown if port == DEFAULT_PORTS[scheme] else f"{shown}:{port}",
        request_target=_request_target(tail),
        username=_decoded(username, "replace"),
        password=_decoded(password, "replace"),
    )


def _cut(text: str, at: re.Pattern[str]) -> tuple[str, str]:
    found = at.search(text)
    return (text[: found.start()], text[found.start() :]) if found else (text, "")


def _read_scheme(text: str) -> tuple[str, str]:
    """The scheme in lower case and what follows its colon, tabs and line breaks removed."""
    plain = text.translate(_INSIDE)
    match = _SCHEME.match(plain)
    if not match:
        raise _Bad("url-prose" if any(char.isspace() for char in text) else "url-no-scheme")
    scheme, rest = match[1].lower(), plain[match.end() :]
    if scheme in DEFAULT_PORTS:
        return scheme, rest
    if _is_host_and_port(scheme, rest):
        raise _Bad("url-no-scheme")
    if len(scheme) == 1:
        raise _Bad("url-local-path")  # a drive letter; no scheme has one letter
    if rest[:1].isspace() and scheme not in _SPACED_SCHEMES:
        raise _Bad("url-prose")
    raise _Bad("scheme-refused", Cause.REFUSED_BY_POLICY, scheme=scheme[:40])


def _is_host_and_port(scheme: str, rest: str) -> bool:
    """``data.example:8080/x`` has a scheme by the grammar, but is meant as host and port."""
    return ("." in scheme or scheme == "localhost") and re.match(r"\d{1,5}(?:[/\\?#]|$)", rest) is not None


def _read_hostport(hostport: str, scheme: str) -> tuple[str, str, int]:
    """Host, final dot (or nothing) and port."""
    if hostport.startswith("["):
        inner, bracket, after = hostport[1:].partition("]")
        if not bracket or (after and not after.startswith(":")):
            raise _Bad("url-bad-brackets")
        port = _read_port(after[1:], scheme)
        return _ipv6(inner), "", port
    name, _, port_text = hostport.partition(":")
    if not name:
        raise _Bad("url-no-host")
    if "[" in name or "]" in name:
        raise _Bad("url-bad-brackets")
    port = _read_port(port_text, scheme)
    host, dot = _read_name(name)
    return host, dot, port


def _read_port(text: str, scheme: str) -> int:
    """The failures do not quote the text: it may be half of a password."""
    if not text:
        return DEFAULT_PORTS[scheme]
    digits = text.lstrip("0")
    if not re.fullmatch(r"[0-9]+", text) or len(digits) > 5 or not 0 < int(digits or "0") < 65536:
        raise _Bad("url-bad-port")
    port = int(digits)
    if port in BAD_PORTS and not (scheme == "ftp" and port == DEFAULT_PORTS["ftp"]):
        raise _Bad("port-refused", Cause.REFUSED_BY_POLICY, port=port)
    return port


def _read_name(name: str) -> tuple[str, str]:
    """A host name or IPv4 address as WHATWG's host parser sees it, and its final dot."""
    if len(name) > 4096:
        raise _Bad("url-host-too-long")
    try:
        decoded = _decoded(name, "strict")
    except UnicodeDecodeError:
        raise _Bad("url-bad-host", host=name[:60]) from None
    ascii_name = _to_ascii(decoded)
    host, dot = (ascii_name[:-1], ".") if ascii_name.endswith(".") else (ascii_name, "")
    if not host:
        raise _Bad("url-no-host")
    address = _ipv4(host)
    if address:
        return address, ""
    labels = host.split(".")
    if len(host) > 253 or any(len(label) > 63 for label in labels):
        raise _Bad("url-host-too-long")
    if not all(_LABEL.fullmatch(label) for label in labels):
        raise _Bad("url-bad-host", host=decoded[:60])
    return host, dot


def _decoded(text: str, errors: str) -> str:
    return unquote_to_bytes(text).decode("utf-8", errors) if "%" in text else text


def _to_ascii(name: str) -> str:
    """UTS 46, non-transitional, without the STD3 rules (underscores) and without the additional bans of IDNA 2008:
    browsers open ☃.net, and whether a name exists is for the DNS to say.
    """
    if name.isascii():
        return name.lower()
    try:
        mapped = idna.uts46_remap(name, std3_rules=False)
        labels = mapped.split(".")
        if any(len(label) > 63 for label in labels):
            raise _Bad("url-host-too-long")
        return ".".join(x if x.isascii() else "xn--" + x.encode("punycode").decode("ascii") for x in labels)
    except (idna.IDNAError, UnicodeError):
        raise _Bad("url-bad-host", host=name[:60]) from None


def _ipv4(host: str) -> str | None:
    """The dotted address if the last label is a number (WHATWG "ends in a number"), None if it is not."""
    parts = host.split(".")
    if not re.fullmatch(r"[0-9]+|0x[0-9a-f]*", parts[-1]):
        return None
    if len(host) > 253 or len(parts) > 4:
        raise _Bad("url-bad-host", host=host[:60])
    try:
        numbers = [_number(part) for part in parts]
    except ValueError:
        raise _Bad("url-bad-host", host=host[:60]) from None
    if any(number > 255 for number in numbers[:-1]) or numbers[-1] >= 256 ** (5 - len(numbers)):
        raise _Bad("url-bad-host", host=host[:60])
    value = numbers[-1] + sum(number << (24 - 8 * place) for place, number in enumerate(numbers[:-1]))
    return str(ipaddress.IPv4Address(value))


def _number(part: str) -> int:
    """One part of an IPv4 address: decimal, ``0…`` octal or ``0x…`` hex (``0x`` alone is 0).

    :raises ValueError: it is not a number
    """
    if part == "0x":
        return 0
    if not re.fullmatch(r"[0-9]+|0x[0-9a-f]+", part):
        raise ValueError(part)
    if part.startswith("0x"):
        return int(part, 16)
    return int(part, 8 if len(part) > 1 and part.startswith("0") else 10)


def _ipv6(text: str) -> str:
    address, percent, zone = text.partition("%")
    try:
        parsed = ipaddress.IPv6Address(address)
    except ValueError:
        raise _Bad("url-bad-brackets") from None
    if percent:
        # WHATWG has no zones; RFC 6874 has. An address that needs one means something else on each machine.
        if not _ZONE.fullmatch(zone):
            raise _Bad("url-bad-brackets")
        raise _Bad("address-refused", Cause.REFUSED_BY_POLICY)
    return _shortest(parsed)


def _shortest(address: ipaddress.IPv6Address) -> str:
    """RFC 5952 §4 without its §5: Python 3.13 writes an IPv4-mapped address with dots, older ones do not."""
    packed = address.packed
    groups = [f"{packed[place] << 8 | packed[place + 1]:x}" for place in range(0, 16, 2)]
    runs = re.finditer(r"(?:(?<=:)|^)0(?::0)+(?=:|$)", ":".join(groups))
    longest = max(runs, key=lambda run: len(run[0]), default=None)
    if longest is None:
        return ":".join(groups)
    whole = ":".join(groups)
    return whole[: longest.start()].rstrip(":") + "::" + whole[longest.end() :].lstrip(":")


def _request_target(tail: str) -> str:
    """Path and query of what follows the authority; the fragment is never sent (RFC 9110 §4.2.5)."""
    tail = tail.partition("#")[0]
    path, question, query = tail.partition("?")
    path = _NOT_PATH.sub(_escape, path.replace("\\", "/"))  # WHATWG: a backslash is a slash, but not in the query
    return _without_dots(path) + question + _NOT_QUERY.sub(_escape, query)


def _escape(found: re.Match[str]) -> str:
    return "".join(f"%{byte:02X}" for byte in found[0].encode("utf-8"))


def _without_dots(path: str) -> str:
    """RFC 3986 §5.2.4; ``%2e`` is a dot too, as in WHATWG."""
    segments = path[1:].split("/")
    kept: list[str] = []
    for place, segment in enumerate(segments):
        plain = segment.lower().replace("%2e", ".") if len(segment) <= 6 else segment
        if plain == ".." and kept:
            kept.pop()
        if plain not in (".", ".."):
            kept.append(segment)
        elif place == len(segments) - 1:
            kept.append("")
    return "/" + "/".join(kept)


def join(base: str, location: str) -> str:
    """The link that a ``Location`` means (RFC 3986 §5.2, read as browsers read it). Never raises.

    :param base: the link whose response has the header
    :param location: the header as ``http.client`` gives it, that is, bytes read as ISO-8859-1; valid UTF-8 is read as
        UTF-8, other bytes are escaped one by one
    :returns: a link for :func:`normalise`
    """
    if len(location) > MAX_LENGTH:
        return location
    location = _location_text(location).strip(_EDGES).translate(_INSIDE)
    scheme, prefix, path, query = _parts(base)
    match = _SCHEME.match(location)
    if match:
        named, rest = match[1].lower(), location[match.end() :]
        slashes = len(rest) - len(rest.lstrip("/\\"))
        if named in DEFAULT_PORTS and (slashes > 2 or (slashes < 2 and named != scheme)):
            # WHATWG: any number of slashes stands before the host, as in "http:///data.example/x".
            return f"{named}://{rest[slashes:]}"
        if named != scheme or slashes == 2:
            return location
        location = rest  # WHATWG: the same scheme without slashes is a relative link
    slashes = len(location) - len(location.lstrip("/\\"))
    if slashes >= 2:
        return f"{scheme}://{location[slashes:]}"
    if location[:1] in ("/", "\\"):
        return prefix + location
    if not location or location[0] == "#":
        return prefix + path + query
    if location[0] == "?":
        return prefix + path + location
    return prefix + path[: path.rfind("/") + 1] + location


def _parts(base: str) -> tuple[str, str, str, str]:
    """Scheme, everything before the path, path, query with its question mark."""
    target = normalise(base)
    if isinstance(target, BadUrl):
        return "", "", "/", ""
    path, question, query = target.request_target.partition("?")
    return target.scheme, f"{target.scheme}://{target.host_header}", path, question + query


def _location_text(location: str) -> str:
    if location.isascii():
        return location
    try:
        raw = location.encode("latin-1")
    except UnicodeEncodeError:
        return location  # it is text already
    try:
        return raw.decode("utf-8")
    except UnicodeDecodeError:
        return "".join(chr(byte) if byte < 0x80 else f"%{byte:02X}" for byte in raw)


def redact(url: str) -> str:
    """The link with ``***`` for user name and password, to be shown and logged. Never raises; linear time.

    Works on strings that are not proper links as well; where in doubt it hides more rather than less.
    """
    plain = url.translate(_INSIDE)
    start = re.match(r"(?:[^:/\\?#@]*:)?[/\\]+|", plain)
    head = start[0] if start else ""
    rest = plain[len(head) :]
    authority, tail = _cut(rest, _AUTHORITY_END)
    userinfo, at, host = authority.rpartition("@")
    if "@" in tail and ":" in host and not _HOST_AND_PORT.fullmatch(host):
        # "user:pass/word@host": the password is not escaped, so what looks like a port is half of it
        return f"{head}***@{rest.rpartition('@')[2]}"
    if at and (head or (":" in userinfo and not plain.lower().startswith("mailto:"))):
        return f"{head}***@{host}{tail}"
    return url
