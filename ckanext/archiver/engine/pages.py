"""HTML as far as judging a response needs it: whether text is a page, its titles, and how much a person sees of it.

Every function here takes time linear in the size of the data, also for hostile data.
"""

from __future__ import annotations

import html
import re

MAX_TEXT = 200
"""Characters of the remote's own words that are shown."""

# Byte order mark, blanks, comments, processing instructions. Each matches in one way only: with ".*?" a thousand
# comments would match in 2**1000 ways, and a server that sends them would hold a worker for ever.
PROLOGUE = rb"(?:\xef\xbb\xbf)?(?:\s|<!--(?:(?!-->).)*-->|<\?(?:(?!\?>).)*\?>)*"

_HTML_START = re.compile(
    PROLOGUE + rb"<(?:!doctype\s+html\b|html[\s>]|head[\s>]|body[\s>]|title[\s>])",
    re.IGNORECASE | re.DOTALL,
)
_DOCUMENT_START = re.compile(PROLOGUE + rb"<(?:!doctype\s+html\b|html[\s>])", re.IGNORECASE | re.DOTALL)
# The elements with which a fragment of a page begins. XML has elements with some of these names as well, so a fragment
# counts only where no XML is promised, or where the element is not a likely root of XML.
_FRAGMENT_START = re.compile(
    PROLOGUE
    + rb"</?(?P<name>meta|link|base|script|style|noscript|iframe|frameset|template|main|header|footer|nav|section"
    rb"|article|aside|div|p|span|a|b|i|u|em|strong|small|font|center|big|br|hr|h[1-6]|pre|code|blockquote"
    rb"|table|tr|td|th"
    rb"|tbody|thead|caption|ul|ol|li|dl|dt|dd|img|picture|figure|video|audio|object|embed|form|fieldset|input|button"
    rb"|select|label|textarea)(?:\s[^<>]*)?/?>",
    re.IGNORECASE | re.DOTALL,
)
_NEVER_XML_ROOTS = frozenset(
    [
        b"meta",
        b"script",
        b"style",
        b"noscript",
        b"iframe",
        b"frameset",
        b"div",
        b"p",
        b"span",
        b"font",
        b"center",
        b"br",
    ]
    + [b"hr", b"h1", b"h2", b"h3", b"h4", b"h5", b"h6", b"strong", b"em", b"img", b"input"]
)
_XML_DECLARATION = re.compile(rb"(?:\xef\xbb\xbf)?\s*<\?xml\b", re.IGNORECASE)
_TITLE = re.compile(rb"<(title|h1)\b[^>]{0,300}>(.{0,300}?)</\1\s{0,9}>", re.IGNORECASE | re.DOTALL)
_WIDE_ENCODINGS = (
    (b"\xff\xfe\0\0", "utf-32"),
    (b"\0\0\xfe\xff", "utf-32"),
    (b"\xff\xfe", "utf-16"),
    (b"\xfe\xff", "utf-16"),
    (b"<\0", "utf-16-le"),
    (b"\0<", "utf-16-be"),
)
_TAG = re.compile(r"<[^>]*>")
_WITHOUT_TEXT = re.compile(rb"<(script|style|noscript|svg|!--)", re.IGNORECASE)


def utf8(first: bytes) -> bytes:
    """Text in UTF-16 or UTF-32 as UTF-8, recognised by its byte order mark or its first tag; anything else"
    " unchanged."""
    for mark, encoding in _WIDE_ENCODINGS:
        if first.startswith(mark):
            return first.decode(encoding, "ignore").encode("utf-8", "ignore")
    return first


def looks_like_html(first: bytes, *, xml_promised: bool = False) -> bool:
    """Whether data is the beginning of a page, by its own tags (a Content-Type is often a default).

    :param xml_promised: a title, a head or a body may be the root of XML
    """
    return (_DOCUMENT_START if xml_promised else _HTML_START).match(first) is not None


def looks_like_fragment(first: bytes, *, xml_promised: bool) -> bool:
    """Whether data begins with an element of HTML, as pieces of pages and the messages of scripts do.

    :param xml_promised: XML may have a root of the same name, so only names that are no roots count
    """
    match = _FRAGMENT_START.match(first)
    if match is None or _XML_DECLARATION.match(first):
        return False
    return not xml_promised or match["name"].lower() in _NEVER_XML_ROOTS


def titles(first: bytes) -> list[str]:
    """The texts of the title and the main headings."""
    return [plain(text) for _, text in _TITLE.findall(first)]


def visible_text(first: bytes) -> str:
    """What a person reads of a page: without scripts, styles, comments and tags, blanks collapsed."""
    kept = []
    at = 0
    while match := _WITHOUT_TEXT.search(first, at):
        kept.append(first[at : match.start()])
        name = match[1].lower()
        end = first.find(b"-->" if name == b"!--" else b"</", match.end())
        while end >= 0 and name != b"!--" and first[end + 2 : end + 2 + len(name)].lower() != name:
            end = first.find(b"</", end + 2)
        if end < 0:
            at = len(first)
            break
        at = end + (3 if name == b"!--" else 2)
    kept.append(first[at:])
    before, *pieces = b" ".join(kept).decode("utf-8", "replace").split("<")
    # Not by a pattern: "<" without ">" a thousand times would be searched to the end a thousand times.
    text = " ".join((before, *(piece.partition(">")[2] for piece in pieces)))
    return " ".join(html.unescape(text).split())


def plain(markup: bytes) -> str:
    """The text of a piece of markup; it is cut first, because the patterns are not linear."""
    return shown(html.unescape(_TAG.sub(" ", markup[: 10 * MAX_TEXT].decode("utf-8", "replace"))))


def shown(text: str) -> str:
    """One line of visible characters, not too long."""
    line = " ".join("".join(char if char.isprintable() else " " for char in text[: 10 * MAX_TEXT]).split())
    return line if len(line) <= MAX_TEXT else line[: MAX_TEXT - 1] + "…"
