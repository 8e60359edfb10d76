# ruff: noqa: E501 - a row of these tables is one line
"""Names of copies: tables of what servers send, and what holds whatever they send."""

from __future__ import annotations

import re
import time
import unicodedata

import pytest
from hypothesis import example, given, settings
from hypothesis import strategies as st

from ckanext.archiver.engine import filenames, media_types

URL = "http://data.example/files/fallback.dat"


def as_header(text: str) -> str:
    """What http.client makes of the bytes of a header."""
    return text.encode("utf-8").decode("latin-1")


DISPOSITIONS = [
    # -- RFC 6266 §4, §5 ---------------------------------------------------------------------------------------
    ('attachment; filename="a.csv"', "a.csv"),
    ("attachment; filename=a.csv", "a.csv"),
    ("Attachment; Filename=a.csv", "a.csv"),
    ("inline; filename=a.csv", "a.csv"),
    ('attachment;filename="a.csv";', "a.csv"),
    ('attachment ; filename = "a.csv" ; size=1', "a.csv"),
    ('attachment; filename="the \\"best\\" data.csv"', "the _best_ data.csv"),
    ('attachment; filename="a;b.csv"', "a;b.csv"),
    ('attachment; filename="it\'s.csv"', "it's.csv"),
    ('attachment; name="x; filename=evil.exe"; filename=a.csv', "a.csv"),
    ('attachment; foo="\\"\\\\"; filename=a.csv', "a.csv"),
    ('attachment; xfilename="b.csv"; filename="a.csv"', "a.csv"),
    ("attachment; filename=A.CSV; filename=b.csv", "A.CSV"),  # twice is an error; the first, as browsers do
    ("attachment", "fallback.dat"),
    ("attachment; filename=", "fallback.dat"),
    ('attachment; filename=""', "fallback.dat"),
    ('attachment; filename="   "', "fallback.dat"),
    ("", "fallback.dat"),
    # -- RFC 8187 ----------------------------------------------------------------------------------------------
    ("attachment; filename*=UTF-8''%e2%82%ac%20rates.csv", "€ rates.csv"),
    ("attachment; filename*=utf-8'en'a%20b.csv", "a b.csv"),
    ("attachment; filename*=ISO-8859-1''%A3.csv", "£.csv"),
    ("attachment; filename=\"EURO.csv\"; filename*=UTF-8''%e2%82%ac.csv", "€.csv"),
    ("attachment; filename*=UTF-8''%e2%82%ac.csv; filename=\"EURO.csv\"", "€.csv"),  # whichever comes last
    ("attachment; filename*=UTF-8''%FF.csv; filename=a.csv", "a.csv"),  # not UTF-8
    ("attachment; filename*=Shift_JIS''a.csv; filename=b.csv", "a.csv"),  # as browsers do
    ("attachment; filename*=a.csv; filename=b.csv", "b.csv"),
    ("attachment; filename*=UTF-8''; filename=b.csv", "b.csv"),
    ("attachment; filename*=\"UTF-8''a%20b.csv\"", "a b.csv"),  # quoted, which is wrong and common
    ("attachment; filename*=UTF-8''a%2fb%5cc.csv", "c.csv"),
    ("attachment; filename*=UTF-8''%e2%80%aegpj.exe", "gpj.exe"),
    # -- what servers send all the same ---------------------------------------------------------------------------
    ("attachment; filename=foo bar.csv", "foo bar.csv"),
    ("filename=a.csv", "a.csv"),
    ('attachment; filename="a.csv', "a.csv"),
    (as_header("attachment; filename=données.csv"), "données.csv"),
    (as_header('attachment; filename="données.csv"'), "données.csv"),
    ('attachment; filename="donn\xe9es.csv"', "données.csv"),
    ('attachment; filename="a%20b.csv"', "a b.csv"),
    ('attachment; filename="100%.csv"', "100%.csv"),
    ('attachment; filename="=?UTF-8?B?w6QuY3N2?="', "ä.csv"),
    ('attachment; filename="=?ISO-8859-1?Q?=E4.csv?="', "ä.csv"),
    ('attachment; filename="=?nonsense?B?w6QuY3N2?="', "=_nonsense_B_w6QuY3N2_="),
    ('attachment; filename="C:\\data\\a.csv"', "a.csv"),
    ('attachment; filename="\\\\server\\share\\a.csv"', "a.csv"),
    ("attachment; filename=/etc/passwd", "passwd"),
    ('attachment; filename="../../a.csv"', "a.csv"),
    ('attachment; filename="a.csv/"', "a.csv"),
    ('attachment; filename=".."', "fallback.dat"),
    ('attachment; filename="."', "fallback.dat"),
    ('attachment; filename="a\x00b.csv"', "ab.csv"),
    ('attachment; filename="a.csv"\r\nX: y', "a.csv"),
    ('attachment; filename="shell.php.csv"', "shell_php.csv"),
    ('attachment; filename=".htaccess"', "htaccess"),
    ("attachment; filename*=Shift_JIS''%83f%81%5B%83%5E.csv", "データ.csv"),
    ("attachment; filename*=unicode_escape''a.csv; filename=b.csv", "b.csv"),
    ("attachment; filename*=utf8''%e2%82%ac.csv", "€.csv"),
    ('attachment; filename="=?UTF-8?Q?a?= =?UTF-8?Q?b.csv?="', "ab.csv"),
    ('attachment; filename="=?UTF-8?Q?a?=.csv"', "a.csv"),
]

URLS = [
    ("http://data.example/a/b.csv", None, "b.csv"),
    ("http://data.example/a/b%20c.csv?x=y.z#f", None, "b c.csv"),
    ("http://data.example/donn%C3%A9es.csv", None, "données.csv"),
    ("http://data.example/données.csv", None, "données.csv"),
    ("http://data.example/donn%E9es.csv", None, "données.csv"),
    ("http://data.example/a+b.csv", None, "a+b.csv"),
    ("http://data.example/a.csv/", "text/csv", "resource.csv"),
    ("http://data.example/", "text/csv", "resource.csv"),
    ("http://data.example", "application/pdf", "resource.pdf"),
    ("http://data.example/", "application/vnd.openxmlformats-officedocument.spreadsheetml.sheet", "resource.xlsx"),
    ("http://data.example/", "application/xml; charset=utf-8", "resource.xml"),
    ("http://data.example/", "text/xml", "resource.xml"),
    ("http://data.example/", "image/jpeg", "resource.jpg"),
    ("http://data.example/", "application/gzip", "resource.gz"),
    ("http://data.example/", "audio/x-wav", "resource.wav"),
    ("http://data.example/", "application/octet-stream", "resource"),
    ("http://data.example/", "nonsense", "resource"),
    ("http://data.example/", None, "resource"),
    ("http://data.example/export", "text/csv", "export.csv"),
    ("http://data.example/export", None, "export"),
    ("http://data.example/export.php?format=csv", "text/csv", "export.csv"),
    ("http://data.example/export.php", None, "export.bin"),
    ("http://data.example/Data.ASPX", "application/json", "Data.json"),
    ("http://data.example/index.jsp", "text/html", "index.html"),
    ("http://data.example/shell.php.csv", "text/csv", "shell_php.csv"),
    ("http://data.example/shell.PhP5.xyz", None, "shell_PhP5.xyz"),
    ("http://data.example/shell.asp;.csv", "text/csv", "shell_asp;.csv"),
    ("http://data.example/a.phtml.jsp.zip", "application/zip", "a_phtml_jsp.zip"),
    ("http://data.example/a.php.php", None, "a_php.bin"),
    ("http://data.example/a.php.", "text/csv", "a.csv"),
    ("http://data.example/a.php.5", "text/csv", "a_php.5.csv"),
    ("http://data.example/a.pht", "text/csv", "a.csv"),
    ("http://data.example/web.config", "text/xml", "web_config.xml"),
    ("http://data.example/Web.Config", None, "Web_Config"),
    ("http://data.example/my.web.config", "text/xml", "my.web.config"),
    ("http://data.example/phps.csv", None, "phps.csv"),
    ("http://data.example/data.dot.csv", None, "data.dot.csv"),
    ("http://data.example/report.v2", "text/csv", "report.v2"),
    ("http://data.example/stock-1.2", "text/csv", "stock-1.2.csv"),
    ("http://data.example/data.2024", "text/csv", "data.2024.csv"),
    ("http://data.example/data.tar.gz", "application/gzip", "data.tar.gz"),
    ("http://data.example/a.csv", "text/html", "a.csv"),
    ("http://data.example/..%2f..%2fetc%2fpasswd", "text/plain", "passwd.txt"),
    ("http://data.example/%2e%2e", None, "resource"),
    ("http://data.example/.htaccess", None, "htaccess"),
    ("http://data.example/-rf", None, "rf"),
    ("http://data.example/~root", None, "root"),
    ("http://data.example/a%00b.csv", None, "ab.csv"),
    ("http://data.example/a%0Ab.csv", None, "a b.csv"),
    ("http://data.example/%E2%80%AEvsc.exe", None, "vsc.exe"),
    ("http://data.example/a.csv%20.%20.", None, "a.csv"),
    ("http://data.example/con", None, "_con"),
    ("http://data.example/NUL.csv", None, "_NUL.csv"),
    ("http://data.example/com1.tar.gz", None, "_com1.tar.gz"),
    ("http://data.example/COM%C2%B9.csv", None, "_COM¹.csv"),
    ("http://data.example/aux .csv", None, "_aux .csv"),
    ("http://data.example/console.csv", None, "console.csv"),
    ("http://data.example/CONIN$", None, "_CONIN$"),
    ("http://data.example/a%3Cb%3E%3A%22%7C%3F%2A.csv", None, "a_b______.csv"),
    ("http://data.example/e%CC%81.csv", None, "é.csv"),
    ("not a url", "text/csv", "resource.csv"),
    ("", None, "resource"),
]


@pytest.mark.parametrize(("header", "expected"), DISPOSITIONS)
def test_names_from_content_disposition(header: str, expected: str) -> None:
    assert filenames.filename(header, URL) == expected


@pytest.mark.parametrize(("url", "mimetype", "expected"), URLS)
def test_names_from_the_url_or_the_media_type(url: str, mimetype: str | None, expected: str) -> None:
    assert filenames.filename(None, url, mimetype) == expected


@pytest.mark.parametrize("letter", ["a", "é", "漢", "\U0001f4be", "e\u0301\u0323"])
@pytest.mark.parametrize("extension", [".csv", ".geojson", "", ".andsomethingverylong" * 3])
def test_long_names_are_cut_between_letters(letter: str, extension: str) -> None:
    name = filenames.safe(letter * 300 + extension)
    assert 180 < len(name.encode()) <= filenames.MAX_NAME_BYTES
    if extension in (".csv", ".geojson"):
        assert name.endswith(extension)
        name = name[: -len(extension)]
    assert set(unicodedata.normalize("NFD", name)) <= set(unicodedata.normalize("NFD", letter))
    whole = unicodedata.normalize("NFC", letter)
    assert name == whole * (len(name) // len(whole))


def is_safe(name: str) -> None:
    assert name
    assert len(name.encode("utf-8")) <= filenames.MAX_NAME_BYTES
    assert not set(name) & set('/\\<>:"|?*\0\r\n\t')
    assert name not in (".", "..")
    assert name[0] not in ".- ~"
    assert name[-1] not in ". "
    assert all(unicodedata.category(char) not in ("Cc", "Cf", "Cs") for char in name)
    assert not re.match(r"(?i)(con|prn|aux|nul|com\d|lpt\d)(\.|$)", name)
    assert not re.search(r"(?i)\.(php\d?|phtml|pht|cgi|aspx?|jspx?)(?:$|[.;])", name)
    assert name.lower() not in (".htaccess", "web.config")


strings = st.text(st.characters(codec=None, categories=None), max_size=80)
parts = st.lists(
    st.sampled_from(
        [
            "attachment",
            ";",
            "filename",
            "filename*",
            "=",
            '"',
            "\\",
            "'",
            "UTF-8",
            "%e2%82%ac",
            "%ff",
            "%",
            "..",
            "/",
        ]
        + [
            ".csv",
            ".php",
            "CON",
            " ",
            "\t",
            "=?utf-8?b?",
            "?=",
            "é",
            "\xe9",
            "\u202e",
            "~",
            "-",
            "x" * 90,
            "a\u0301" * 70,
        ]
    ),
    max_size=15,
).map("".join)
kinds = st.sampled_from([None, "", "text/csv", "text/html", "application/octet-stream", "a/b", "x"]) | strings


@settings(max_examples=1000, deadline=None)
@given(st.none() | strings | parts, strings | parts | parts.map("http://data.example/".__add__), kinds)
@example(None, "HTTP://0/0 \x1b .:", None)
def test_names_are_safe_whatever_is_sent(header: str | None, url: str, kind: str | None) -> None:
    name = filenames.filename(header, url, kind)
    is_safe(name)
    assert filenames.safe(name) == name


@pytest.mark.parametrize("unit", ["; ", ";filename=", '"', "\\", "a=", "'", "=?a?b?", "%", ";\n", "\u0301", ' = "'])
def test_the_longest_headers_take_no_time(unit: str) -> None:
    text = unit * 100_000
    begin = time.thread_time()
    filenames.filename("attachment; filename" + text, "http://data.example/" + text)
    filenames.filename("attachment; filename=" + text, URL)
    filenames.filename('attachment; filename="' + text, URL)
    filenames.safe(text)
    media_types.mimetype(text, text.encode(), text)
    assert time.thread_time() - begin < 3
