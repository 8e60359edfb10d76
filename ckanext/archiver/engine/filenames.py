"""What a copy is called on disk.

The name comes from ``Content-Disposition`` (RFC 6266, RFC 8187), else from the last segment of the URL's path, else
from the media type. A remote server sends all three, so none of them may choose a path, nor contain anything that
breaks a shell, a web server or the computer of a Windows user who downloads the copy.

The header is parsed here because no maintained library reads what servers really send: Werkzeug's parser lets
``filename`` win over ``filename*`` when it is the last, and cuts an unquoted name at its first blank or umlaut; the
packages for this header had their last releases between 2013 and 2024, or their first one weeks ago.
"""

from __future__ import annotations

import email.errors
import email.header
import functools
import re
import unicodedata
from urllib.parse import unquote_to_bytes

from . import media_types, urls

MAX_NAME_BYTES = 200
"""UTF-8 bytes of a name. Most file systems allow 255; the rest is for programs that append something."""

_PARAMETER = re.compile(r'(?:^|;)\s*([^=;\s"]+)\s*=\s*("(?:[^"\\]|\\.)*"?|[^;]*)', re.S)
_EXTENDED = re.compile(r"([A-Za-z0-9_-]+)'[^']*'(.+)", re.S)
_ENCODED_WORD = re.compile(r"=\?[^?\s]+\?[bqBQ]\?[^?]*\?=")
_ENCODED_WORDS = re.compile(rf"{_ENCODED_WORD.pattern}(?:\s*{_ENCODED_WORD.pattern})*")
# RFC 8187 §3.2.1 demands UTF-8 alone; these are the charsets that browsers decode. No codec of Python that is not one.
_CHARSETS = re.compile(
    r"utf-?8|utf-16(?:[bl]e)?|us-ascii|(?:iso[-_]?|latin-?)(?:8859[-_]?)?\d{1,2}|windows-?125\d|cp-?125\d|gbk|gb2312|gb18030"
    r"|big5(?:-hkscs)?|shift[-_]?jis|sjis|euc-?(?:jp|kr|cn)|koi8-?[ru]|tis-620",
    re.IGNORECASE,
)
_FORBIDDEN = re.compile(r'[<>:"|?*]')
# Windows gives these to devices, with any extension ("Naming Files, Paths, and Namespaces").
_DEVICES = re.compile(r"(?:CON|PRN|AUX|NUL|CONIN\$|CONOUT\$|(?:COM|LPT)[0-9¹²³])\s*(?:\.|$)", re.I)
# Extensions that say how a response was made, not what it is. A web server that serves the copies might run such files.
_SCRIPT = (
    r"(?:php\d{0,2}|phps|phtml?|pht|phar|asp|aspx|asa|asax|ascx|ashx|asmx|axd|cer|jsp|jspx|jspf|jsw|do|action|f?cgi|pl|cfm"
    r"|cfml|shtml?|stm)"
)
_SCRIPTS = re.compile(rf"\.{_SCRIPT}", re.I)
# Apache runs "shell.php.csv" where its last extension has no handler, old IIS "shell.asp;.csv".
_INNER_SCRIPT = re.compile(rf"\.(?={_SCRIPT}[.;])", re.I)
# Files by which a web server is configured; those that begin with a dot lose it.
_SERVER_CONFIGURATION = re.compile(r"(?:web|app|machine)\.config", re.I)


def filename(content_disposition: str | None, url: str, mimetype: str | None = None) -> str:
    """A name for the copy: one path segment, never empty, at most ``MAX_NAME_BYTES`` of UTF-8.

    :param content_disposition: the header as ``http.client`` gives it (bytes read as ISO-8859-1), or None
    :param url: the URL that returned the file
    :param mimetype: of the file, if known (see ``media_types.mimetype``)
    """
    extension = media_types.extension_of(mimetype or "")
    name = _proposed(content_disposition or "", url)
    return _with_extension(name, extension) if name else "resource" + extension


# A fetch asks twice: before the media type is known, because the name helps to find it, and after.
@functools.lru_cache(maxsize=32)
def _proposed(content_disposition: str, url: str) -> str:
    """The name that the server proposes, made safe; ``""`` for none."""
    return safe(disposition_name(content_disposition)) or safe(_url_name(url))


def upload_filename(name: str, mimetype: str | None = None) -> str:
    """The same for a file that was uploaded under this name."""
    extension = media_types.extension_of(mimetype or "")
    return _with_extension(safe(name) or "resource", extension)


def _with_extension(name: str, extension: str) -> str:
    """``export``, ``v1.2`` and ``export.php`` get the extension of the media type; others keep the publisher's."""
    stem, _, last = name.rpartition(".")
    if stem and _SCRIPTS.fullmatch("." + last):
        return safe(stem + (extension or ".bin"))
    return name if stem and not last.isdigit() else safe(name + extension)


def disposition_name(header: str) -> str:
    """``filename*`` if it can be read, else ``filename`` (RFC 6266 §4.3), else nothing."""
    found: dict[str, str] = {}
    for match in _PARAMETER.finditer(_header_text(header[:8192])):
        found.setdefault(match[1].lower(), match[2].strip())
    extended = _EXTENDED.fullmatch(found.get("filename*", "").strip('"'))
    if extended and _CHARSETS.fullmatch(extended[1]):
        try:
            return unquote_to_bytes(extended[2]).decode(extended[1])
        except (UnicodeDecodeError, LookupError):
            pass
    return _plain_name(found.get("filename", ""))


def _plain_name(value: str) -> str:
    if value.startswith('"'):
        # Only \" and \\ are escapes here, because old browsers and servers send C:\folder\file.csv.
        value = re.sub(r'\\(["\\])', r"\1", value[1:-1] if value.endswith('"') and len(value) > 1 else value[1:])
    # Neither encoded words nor percent escapes belong here (RFC 6266 appendix C), but servers send them and browsers
    # decode them: one word, several, or words and plain text.
    if _ENCODED_WORDS.fullmatch(value):
        return _decoded_words(value)
    if _ENCODED_WORD.search(value):
        return _ENCODED_WORD.sub(lambda word: _decoded_words(word[0]), value)
    return _unquoted(value)


def _decoded_words(words: str) -> str:
    """RFC 2047 words as text; unchanged where they cannot be decoded."""
    try:
        return str(email.header.make_header(email.header.decode_header(words)))
    except (email.errors.MessageError, LookupError, UnicodeError, ValueError):
        return words


def _url_name(url: str) -> str:
    target = urls.normalise(url)
    if isinstance(target, urls.BadUrl):
        return ""
    return _unquoted(target.request_target.partition("?")[0].rpartition("/")[2])


def _unquoted(text: str) -> str:
    """Percent-decoded, as UTF-8 if it is valid, else as ISO-8859-1."""
    raw = unquote_to_bytes(text.encode("utf-8", "replace"))
    try:
        return raw.decode("utf-8")
    except UnicodeDecodeError:
        return raw.decode("latin-1")


def _header_text(value: str) -> str:
    """The bytes of a header as text: as UTF-8 if they are valid, else as ISO-8859-1."""
    try:
        return value.encode("latin-1").decode("utf-8")
    except (UnicodeEncodeError, UnicodeDecodeError):
        return value


def safe(name: str) -> str:
    """Any text made into the name of one plain file on any system; ``""`` if nothing is left of it."""
    if not (name.isascii() and name.isprintable()):
        name = re.sub(r"\s", " ", name)
        # Invisible characters are removed first: they may stand between two spaces, or a letter and its accent.
        name = "".join(char for char in name if unicodedata.category(char) not in _INVISIBLE)
        name = unicodedata.normalize("NFC", name)
    name = re.sub(" +", " ", name)
    name = re.split(r"[/\\]", name.rstrip("/\\ "))[-1]
    name = _FORBIDDEN.sub("_", name).lstrip(".- ~").rstrip(". ")
    name = _INNER_SCRIPT.sub("_", name)
    if _SERVER_CONFIGURATION.fullmatch(name):
        name = name.replace(".", "_")
    if _DEVICES.match(name):
        name = "_" + name
    return _shortened(name)


# Controls, formatting marks (the bidi controls among them), lone surrogates, private and unassigned
# characters, line and paragraph separators.
_INVISIBLE = frozenset({"Cc", "Cf", "Cs", "Co", "Cn", "Zl", "Zp"})


def _shortened(name: str) -> str:
    """At most MAX_NAME_BYTES, the extension kept, no character cut and none separated from its accents."""
    if len(name.encode("utf-8")) <= MAX_NAME_BYTES:
        return name
    stem, dot, extension = name.rpartition(".")
    suffix = dot + extension if stem and len(extension.encode("utf-8")) <= 16 else ""
    stem = name[: len(name) - len(suffix)]
    room = MAX_NAME_BYTES - len(suffix.encode("utf-8"))
    cut = len(stem.encode("utf-8")[:room].decode("utf-8", "ignore"))
    while cut > 1 and cut < len(stem) and unicodedata.combining(stem[cut]):
        cut -= 1
    return stem[:cut].rstrip(". ") + suffix
