# ruff: noqa: E501 - rows of a table
"""More rows of the table: responses with a good status that are not the file, and what only looks like one of them."""

from __future__ import annotations

import gzip
import zlib
from typing import Any

from .behaviours import CSV, PAGE, answer, check, good, moved, ok, row
from .server import Conversation, Serve

DATA = "http://127.0.0.1:{http}/{name}/data"
"""A link without an extension."""
KEPT: dict[str, Any] = {"kept_mimetype": "text/csv", "kept_filename": "data.csv"}


def html(text: bytes | str, *headers: str, status: str = "200 OK") -> bytes:
    body = text.encode() if isinstance(text, str) else text
    return answer(status, body, "Content-Type: text/html; charset=utf-8", *headers)


def doubt(name: str, body: bytes, detail: str, kind: str = "text/html", **more: Any) -> None:
    """A doubt: not sure, nothing kept; where there is a copy, the file is there for the caller."""
    row(
        name,
        ok(body, kind=kind),
        f"soft-404 {detail}",
        "not-sure",
        1,
        (0, len(body)),
        expect={"doubtful": True, "temp_path": None},
        **more,
    )
    more["request"] = {**more.get("request", {}), "keep_doubtful": True}
    row(
        f"{name}-kept",
        ok(body, kind=kind),
        f"soft-404 {detail}",
        "not-sure",
        1,
        len(body),
        body=body,
        expect={"doubtful": True},
        **more,
    )


# -- a page or a message instead of data -------------------------------------------------------------------------------

_PAGES = {
    "script-cookie": b"<h2>x</h2><script>var a = 1;</script>",
    "meta-refresh": b"<meta http-equiv=refresh content='5; url=/start'>",
    "heading": b"<h1>Data of the city</h1>",
    "php-error": b"<br />\n<b>Fatal error</b>:  Uncaught Error in <b>/srv/x.php</b> on line <b>3</b><br />",
    "php-warning": b"<br />\n<b>Warning</b>:  mysqli_connect(): (HY000/2002) in <b>/srv/x.php</b>",
    "asp-error": b"<font face='Arial' size=2>Microsoft OLE DB Provider for ODBC Drivers error '80004005'</font>",
    "paragraph": b"<p>The export is not available.</p>",
    "utf-16": "<html><head><title>Portal</title></head><body>Welcome</body></html>".encode("utf-16"),
    "utf-16-no-mark": "<html><head><title>Portal</title></head></html>".encode("utf-16-le"),
    "centre": b"<center><table><tr><td>Sorry</td></tr></table></center>",
    "text-first": b"Sorry, <b>no</b> file<br>today",
}
for _name, _body in _PAGES.items():
    doubt(f"page-{_name}-declared", _body, "soft-html", url=DATA, request={"format": "CSV"})
    doubt(f"page-{_name}-by-extension", _body, "soft-html", facts={"format": "csv"})
    doubt(f"page-{_name}-by-copy", _body, "soft-html", url=DATA, request=dict(KEPT))
    doubt(f"page-{_name}-zip", _body, "soft-html", url=DATA, request={"format": "ZIP"})
doubt("page-not-found-by-copy", b"<h1>Not Found</h1>", "soft-not-found-page", url=DATA, request=dict(KEPT))
doubt("page-by-name", PAGE, "soft-html", url=DATA, request={"kept_mimetype": "application/zip"})
row(
    "page-named",
    ok(PAGE, 'Content-Disposition: attachment; filename="a.xlsx"', kind="text/html"),
    "soft-404 soft-html",
    "not-sure",
    1,
    len(PAGE),
    url=DATA,
)
row(
    "page-after-redirect",
    {"/data": moved("/page-after-redirect/files/a.csv"), "/files/a.csv": html(PAGE)},
    "soft-404 soft-html",
    "not-sure",
    2,
    len(PAGE),
    url=DATA,
)
row(
    "page-gzip-csv",
    ok(gzip.compress(PAGE), "Content-Encoding: gzip", kind="text/html"),
    "soft-404 soft-html",
    "not-sure",
    1,
    len(gzip.compress(PAGE)),
)
doubt(
    "page-xhtml",
    b'<?xml version="1.0"?>\n<!DOCTYPE html PUBLIC "x" "y">\n<html xmlns="z"></html>',
    "soft-html",
    url=DATA,
    request={"format": "XML"},
)

for _name, _format, _body in (
    ("csv-json-error", "CSV", b'{"status":"pending","id":"7"}'),
    ("csv-not-found", "CSV", b"File not found"),
    ("csv-internal", "text/csv", b"Internal Server Error"),
    ("csv-trace", "CSV", b"Traceback (most recent call last):\n  File x\nKeyError: 'a'\n"),
    ("csv-oracle", "CSV", b"ORA-12541: TNS:no listener\nORA-06512: at line 1"),
    ("zip-prepared", "ZIP", b"The file is being prepared"),
    ("zip-one-line", "zip", b"Please come back tomorrow."),
    ("xlsx-text", "XLSX", b"Error generating report"),
    ("pdf-text", "PDF", b"No document"),
    ("xls-text", "XLS", b"Export failed"),
    ("zip-json", "ZIP", b'{"state":"queued"}'),
    ("zip-xml", "ZIP", b"<?xml version='1.0'?><response><state>queued</state></response>"),
    ("csv-s3", "SHP", b"<?xml version='1.0' encoding='UTF-8'?>\n<Error><Code>AccessDenied</Code></Error>"),
    ("xml-error-root", "XML", b"<?xml version='1.0'?><error>no</error>"),
    ("json-text", "JSON", b"Not Found"),
    ("png-text", "PNG", b"image missing"),
    ("utf-16-text", "ZIP", "not available".encode("utf-16")),
    ("csv-source-code", "CSV", b"<?php echo 1;"),
    ("csv-null", "CSV", b"null"),
    ("csv-empty-object", "CSV", b"{}"),
    ("csv-sqlstate", "CSV", b"Query failed: SQLSTATE[HY000] [2002] Connection refused"),
    ("csv-xml", "CSV", b"<response><error>no</error></response>"),
    ("csv-german", "CSV", b"Die Datei wird erstellt"),
    ("zip-german", "ZIP", b"Datei nicht gefunden"),
):
    doubt(f"message-{_name}", _body, "soft-message", kind="text/plain", url=DATA, request={"format": _format})
doubt(
    "message-by-copy",
    b"The file is being prepared",
    "soft-message",
    kind="text/plain",
    url=DATA,
    request={"kept_mimetype": "application/zip", "kept_filename": "a.zip"},
)
doubt(
    "message-by-extension",
    b"The file is being prepared",
    "soft-message",
    kind="text/plain",
    url="http://127.0.0.1:{http}/{name}/a.zip",
)

# What fits, although it looks odd.
for _name, _format, _body, _kind, _url in (
    ("csv-titles", "CSV", b'title,visits\n"Just a moment...",3\n"<h1>Not found</h1>",4\n', "text/csv", DATA),
    ("csv-tags-first", "CSV", b"<b>name</b>,value\n<i>x</i>,1\n", "text/html", DATA),
    ("csv-called-html-with-tags", "CSV", b"name;text\na;<p>x</p>\n", "text/html", DATA),
    ("csv-one-column", "CSV", b"missing persons\n12\n13\n", "text/csv", DATA),
    ("csv-errors", "CSV", b"error,count\nnot found,3\n", "text/csv", DATA),
    ("csv-word", "CSV", b"1", "text/csv", DATA),
    ("zip-format-csv-file", "ZIP", CSV, "text/csv", DATA),
    ("csv-format-zip-file", "CSV", b"PK\x03\x04" + bytes(60), "application/zip", DATA),
    ("xls-tsv", "XLS", b"a\tb\n1\t2\n", "application/vnd.ms-excel", DATA),
    (
        "xls-page-typed",
        "XLS",
        b"<html><body><table><tr><td>1</td></tr></table></body></html>",
        "application/vnd.ms-excel",
        DATA,
    ),
    ("xls-table", "XLS", b"<table border=1><tr><td>1</td></tr></table>", "text/html", DATA),
    (
        "json-any",
        "JSON",
        b'{"error": "Fehler", "ok": "Gut", "title": "Titel", "cancel": "Abbrechen", "more": "Mehr"}',
        "application/json",
        DATA,
    ),
    ("json-message-key", "JSON", b'{"message": "hello", "data": {"a": 1}}', "application/json", DATA),
    ("json-for-csv", "CSV", b'{"type": "FeatureCollection", "features": [{"a": 1}]}', "application/json", DATA),
    ("xml-table-root", "XML", b"<table><row>1</row></table>", "text/xml", DATA),
    ("xml-title-root", "XML", b"<?xml version='1.0'?><title>x</title>", "text/xml", DATA),
    ("rdf-turtle", "RDF", b"<http://a.example/x> <http://b.example/y> <http://c.example/z> .", "text/turtle", DATA),
    ("kml", "KML", b"<?xml version='1.0'?><kml><Document/></kml>", "text/xml", DATA),
    ("svg", "SVG", b"<svg xmlns='http://www.w3.org/2000/svg'><title>Not found</title></svg>", "image/svg+xml", DATA),
    ("html-page", "HTML", PAGE, "text/html", "http://127.0.0.1:{http}/{name}/data.csv"),
    ("api-page", "API", PAGE, "text/html", DATA),
    ("wiki-file", "", PAGE, "text/html", "http://127.0.0.1:{http}/{name}/wiki/File:Map.png"),
    ("geojson-one-line", "GeoJSON", b'{"type":"FeatureCollection","features":[]}', "application/json", DATA),
    ("ndjson", "JSON", b'{"a":1}\n{"a":2}\n', "application/x-ndjson", DATA),
    ("txt-no-data", "TXT", b"no data", "text/plain", DATA),
    ("csv-invalid", "CSV", b"Invalid votes,1\n", "text/csv", DATA),
    ("json-string", "JSON", b'"x"', "application/json", DATA),
    ("pdf-short", "PDF", b"%PDF-1.4", "text/html", DATA),
    ("svg-called-html", "SVG", b"<svg xmlns='http://www.w3.org/2000/svg'></svg>", "text/html", DATA),
    ("txt-sentence", "TXT", b"This is a short text file about errors.", "text/plain", DATA),
):
    good(f"fits-{_name}", ok(_body, kind=_kind), _body, url=_url, request={"format": _format})
good(
    "fits-copy-was-page",
    html(PAGE),
    PAGE,
    url=DATA,
    request={"kept_mimetype": "text/html", "kept_filename": "index.html"},
)
good("fits-excel-named", ok(b"<html><table></table></html>", 'Content-Disposition: attachment; filename="export.xls"', kind="text/html"),
     b"<html><table></table></html>", url=DATA, request={"format": "XLS"})  # fmt: skip

# -- walls -------------------------------------------------------------------------------------------------------------

_WALLS: dict[str, tuple[str, bytes]] = {
    "anubis": (
        "200 OK",
        b'<!doctype html><html><head><title>Making sure you&#39;re not a bot!</title><script id="anubis_challenge" type="application/json">{"rules":{}}</script></head><body><p>Loading...</p></body></html>',
    ),
    "anubis-assets": (
        "200 OK",
        b'<!doctype html><html><head><link rel="stylesheet" href="/.within.website/x/xess/xess.min.css"></head><body><img src="/.within.website/x/cmd/anubis/static/img/pensive.webp"></body></html>',
    ),
    "f5": (
        "200 OK",
        b"<html><head><title>Request Rejected</title></head><body>The requested URL was rejected. Please consult with your administrator.<br><br>Your support ID is: 123456789<br></body></html>",
    ),
    "f5-short": ("200 OK", b"<div>Request rejected. Support ID 1</div>"),
    "f5-script": (
        "200 OK",
        b'<html><head><script>window["bobcmn"] = "10111";</script><script type="text/javascript" src="/TSPD/0811?type=7"></script><noscript>Please enable JavaScript to view the page content.</noscript></head><body></body></html>',
    ),
    "imperva": (
        "200 OK",
        b'<html style="height:100%"><head><META NAME="ROBOTS" CONTENT="NOINDEX, NOFOLLOW"></head><body style="margin:0px"><iframe id="main-iframe" src="/_Incapsula_Resource?CWUDNSAI=23&xinfo=1" frameborder=0>Request unsuccessful. Incapsula incident ID: 877000080-1234</iframe></body></html>',
    ),
    "imperva-script": (
        "200 OK",
        b'<html><head><script src="/_Incapsula_Resource?SWJIYLWA=719d34d31c8e3a6e6fffd425f7e032f3"></script></head><body></body></html>',
    ),
    "cloudflare-403": (
        "403 Forbidden",
        b'<!DOCTYPE html><html><head><title>Just a moment...</title><script>window._cf_chl_opt={cvId:"3"};</script></head><body>Enable JavaScript and cookies to continue</body></html>',
    ),
    "cloudflare-503": (
        "503 Service Unavailable",
        b'<!DOCTYPE html><html><head><title>Just a moment...</title></head><body><form id="challenge-form" action="/data.csv?__cf_chl_f_tk=x"></form><script src="/cdn-cgi/challenge-platform/h/g/orchestrate/jsch/v1"></script></body></html>',
    ),
    "cloudflare-200": ("200 OK", b"<html><head><script>(function(){window._cf_chl_opt={};})()</script></head></html>"),
    "akamai-428": (
        "428 Precondition Required",
        b'<html><body><div id="sec-if-cpt-container"></div><script src="/_sec/cp_challenge/sec-4-2.js"></script></body></html>',
    ),
    "akamai-200": (
        "200 OK",
        b"<HTML><HEAD><TITLE>Access Denied</TITLE></HEAD><BODY><H1>Access Denied</H1>You don't have permission to access this on this server.<P>Reference&#32;&#35;18&#46;abc Reference #18.2c4dd</BODY></HTML>",
    ),
    "wordfence": (
        "503 Service Unavailable",
        b"<!DOCTYPE html><html><body><h1>Your access to this site has been limited by the site owner</h1><p>Generated by Wordfence at Mon, 5 Jan 2026</p></body></html>",
    ),
    "siteground": (
        "202 Accepted",
        b'<html><head><link rel="icon" href="data:;"><meta http-equiv="refresh" content="0;/.well-known/sgcaptcha/?r=%2F&y=ipr:1.2.3.4:1.2"></meta></head></html>',
    ),
    "siteground-200": (
        "200 OK",
        b'<html><head><meta http-equiv="refresh" content="0;/.well-known/captcha/?r=%2F&y=ipc:1.2.3.4:1"></head></html>',
    ),
    "datadome": (
        "200 OK",
        b"<html><head><title>data.example</title></head><body><script>var dd={'rt':'c','cid':'x','host':'geo.captcha-delivery.com'}</script><script src='https://ct.captcha-delivery.com/c.js'></script></body></html>",
    ),
    "perimeterx": (
        "200 OK",
        b'<html><head><title>Access to this page has been denied</title></head><body><div id="px-captcha"></div></body></html>',
    ),
    "kasada": (
        "500 Internal Server Error",
        b"<!DOCTYPE html><html><head></head><body><script>window.KPSDK={};KPSDK.now=1</script><script src='/149e9513-01fa-4fb0-aad4-566afd725d1b/2d206a39-8ed7-437e-a3be-862e0f06eea3/ips.js'></script></body></html>",
    ),
    "aws": (
        "405 Not Allowed",
        b'<!DOCTYPE html><html><head><script>window.awsWafCookieDomainList = [];window.gokuProps = {"key":"x"};</script></head><body></body></html>',
    ),
    "vercel": (
        "200 OK",
        b"<!DOCTYPE html><html><head><title>Vercel Security Checkpoint</title></head><body><p>We're verifying your browser</p></body></html>",
    ),
    "fastly": (
        "200 OK",
        b'<!DOCTYPE html><html><head><title>Client Challenge</title></head><body><script src="/_fs-ch-1T1wmsGaOgGaSxcX/script.js"></script></body></html>',
    ),
    "sucuri": (
        "200 OK",
        b"<html><head><script>var s={},u,c,U,r,i,l=0,a,e=eval,sucuri_cloudproxy_js='',S='dD1';</script></head></html>",
    ),
    "imunify360": (
        "200 OK",
        b"<html><head><title>One moment, please...</title></head><body><h1>Please wait while your request is being verified...</h1><script>setTimeout(function(){document.location.reload()},5000)</script></body></html>",
    ),
    "ddos-guard": (
        "200 OK",
        b'<!doctype html><html><head><title>DDoS-Guard</title><script src="/.well-known/ddos-guard/js-challenge/index.js"></script></head></html>',
    ),
    "qrator": (
        "200 OK",
        b'<!doctype html><html><head><script src="/__qrator/qauth_utm_v2.js"></script></head><body></body></html>',
    ),
    "radware": (
        "200 OK",
        b"<!DOCTYPE html><html><head><title>Radware Captcha Page</title></head><body><table></table></body></html>",
    ),
    "alibaba": (
        "200 OK",
        b"<html><script>var arg1='3000176000856006061501533003690027800375';var _0x4818=[];</script></html>",
    ),
    "jiasule": (
        "521 x",
        b"<script>document.cookie=('_')+('_')+('j')+('s')+('l');location.href=location.pathname</script>",
    ),
    "modsecurity": (
        "200 OK",
        b"<html><head><title>Not Acceptable!</title></head><body><h1>Not Acceptable!</h1><p>This error was generated by Mod_Security.</p></body></html>",
    ),
    "go-away": (
        "200 OK",
        b'<!DOCTYPE html><html><head><link rel="stylesheet" href="/.well-known/.git.gammaspectra.live/git/go-away/cmd/go-away/assets/style.css"></head><body>Checking</body></html>',
    ),
    "cookie-and-reload": ("200 OK", b"<script>document.cookie='a=1;path=/';location.reload()</script>"),
    "cookie-and-href": (
        "200 OK",
        b"<html><body onload=\"document.cookie='k=v';window.location.href='/x'\"></body></html>",
    ),
    "404-wall": (
        "404 Not Found",
        b"<html><head><title>Request Rejected</title></head><body>The requested URL was rejected. Your support ID is: 55</body></html>",
    ),
    "unknown-maker": (
        "200 OK",
        b"<html><head><title>Checking your browser before accessing data.example</title><script>x()</script></head></html>".replace(
            b" before accessing data.example", b"..."
        ),
    ),
    "unknown-maker-de": (
        "200 OK",
        b'<html><head><title>Einen Moment, bitte...</title><meta http-equiv="refresh" content="3"></head><body>Ihr Browser wird geprueft</body></html>',
    ),
    "queue-it": (
        "200 OK",
        b"<html><head><title>Queue</title><script src='//static.queue-it.net/script/queueclient.min.js'></script></head><body>You are in line</body></html>",
    ),
}
for _name, (_status, _body) in _WALLS.items():
    _what = "blocked http-blocked" if _status[:3] in ("403", "428") else "blocked challenge"
    row(
        f"wall-{_name}",
        html(_body, status=_status),
        _what,
        "not-sure",
        1,
        (0, len(_body)),
        request={"format": "CSV", **KEPT},
    )
    if _status[:3] == "200":
        row(f"wall-{_name}-page", html(_body), _what, "not-sure", 1, len(_body), url=DATA, request={"format": "HTML"})
        check(f"wall-{_name}-check", html(_body), 2, "blocked challenge", "not-sure", url=DATA)
for _name, _header in (
    ("vercel", "x-vercel-mitigated: challenge"),
    ("siteground", "sg-captcha: challenge"),
    ("sucuri", "X-Sucuri-Block: geo"),
    ("aws-custom", "X-Blocked-By-WAF: Blocked_by_custom_response_for_AWSManagedRules"),
):
    row(f"wall-header-{_name}", ok(PAGE, _header, kind="text/html"), "blocked challenge", "not-sure")
row(
    "wall-error-page-hangs",
    lambda talk: _hang_in_page(talk),
    "gone http-gone",
    "broken",
    1,
    (0, 20),
    limits={"read_timeout": 0.4, "first_byte_timeout": 0.4},
    seconds=(0.3, 2),
)


async def _hang_in_page(talk: Conversation) -> None:
    await talk.send(answer("404 x", b"<html>", "Content-Type: text/html", length=500))
    await talk.gone()


_ARTICLE = (
    "<!DOCTYPE html><html><head><title>How sites keep bots out: Anubis, Cloudflare and others</title><script src='/stats.js'></script></head><body>"
    "<nav><a href='/'>Home</a> <a href='/blog'>Blog</a> <a href='/data'>Data</a> <a href='/about'>About</a> <a href='/x'>Contact</a></nav><h1>How sites keep bots out</h1>"
    "<p>Cloudflare shows \u201cJust a moment...\u201d, F5 says \u201cThe requested URL was rejected. Please consult with your administrator. Your support ID is: 4711\u201d, "
    "and Imperva's page has an Incapsula incident ID. Anubis sends &lt;script id=\"anubis_challenge\"&gt; and loads /.within.website/x/cmd/anubis/static.</p>"
    "<pre>window._cf_chl_opt = {}; gokuProps; sucuri_cloudproxy_js</pre>" + "<p>More about firewalls and what they mean for archives of open data.</p>" * 20 + "</body></html>"
)  # fmt: skip
_SHORT_ARTICLE = '<html><head><title>What Anubis is</title></head><body><h1>What Anubis is</h1><p>A firewall that makes sure you are not a bot. It shows a page called \u201cMaking sure you\'re not a bot!\u201d and &lt;script id="anubis_challenge"&gt;.</p></body></html>'
_CONTACT = (
    "<!DOCTYPE html><html><head><title>Contact</title><script src='https://www.google.com/recaptcha/api.js' async></script></head><body><h1>Contact</h1><form method=post>"
    "<input name=email><textarea></textarea><div class='g-recaptcha' data-sitekey='x'></div><div class='h-captcha'></div><div class='cf-turnstile'></div><button>Send</button></form></body></html>"
)  # fmt: skip
_BEHIND_CLOUDFLARE = "<!DOCTYPE html><html><head><title>City</title></head><body><h1>Data of the city</h1><p>Files.</p><script>(function(){window.__CF$cv$params={r:'1'};var a=document.createElement('script');a.src='/cdn-cgi/challenge-platform/scripts/jsd/main.js';})();</script></body></html>"
_BEHIND_IMPERVA = "<html><head><title>City</title></head><body><h1>Open data of the city of Example</h1><p>Find all files of the last ten years here.</p><script src='/_Incapsula_Resource?SWJIYLWA=719d' async></script></body></html>"
_BEHIND_PX = "<html><head><title>Shop</title><script>window._pxAppId='PX1';</script></head><body><h1>Prices of last year</h1><p>All prices of last year in one table.</p></body></html>"
_LOGIN_IN_HEADER = "<html><head><title>Portal</title></head><body><form><input type=password name=p></form><h1>Data</h1><p>Files of the portal</p></body></html>"
for _name, _page, _headers in (
    ("article", _ARTICLE, ()),
    ("short-article", _SHORT_ARTICLE, ()),
    ("contact-form", _CONTACT, ()),
    ("behind-cloudflare", _BEHIND_CLOUDFLARE, ("Server: cloudflare", "CF-RAY: 1-FRA", "Set-Cookie: __cf_bm=x")),
    ("behind-imperva", _BEHIND_IMPERVA, ("X-CDN: Imperva", "X-Iinfo: 1-2", "Set-Cookie: visid_incap_1=x; path=/")),
    ("behind-akamai", _BEHIND_PX, ("Server: AkamaiGHost", "Set-Cookie: _abck=x", "Akamai-GRN: 0.1")),
    ("behind-sucuri", _BEHIND_PX, ("Server: Sucuri/Cloudproxy", "X-Sucuri-ID: 11", "X-Sucuri-Cache: HIT")),
    ("behind-datadome", _BEHIND_PX, ("Set-Cookie: datadome=x", "X-DataDome: protected")),
    ("login-in-header", _LOGIN_IN_HEADER, ()),
):
    good(f"no-wall-{_name}", html(_page, *_headers), _page.encode(), url=DATA, request={"format": "HTML"})
good("no-wall-cookie-script", html("<html><body><p>" + "Welcome to the portal. " * 30 + "</p><script>document.cookie='seen=1';if(x){location.href='/y'}</script></body></html>"),
     ("<html><body><p>" + "Welcome to the portal. " * 30 + "</p><script>document.cookie='seen=1';if(x){location.href='/y'}</script></body></html>").encode(), url=DATA)  # fmt: skip

# -- log-ins -----------------------------------------------------------------------------------------------------------

_LOGIN = b"<html><head><title>Sign in</title></head><body><form><input type='password' name='p'></form></body></html>"
for _name, _place in (
    ("return-url", "/login?ReturnUrl=%2Fdata.csv"),
    ("account", "/Account/Login?ReturnUrl=%2Fx"),
    ("service-login", "/ServiceLogin?continue=https://x"),
    ("ckan", "/user/login?came_from=%2Fdataset"),
    ("drupal", "/user/login?destination=node/1"),
    ("wordpress", "/wp-login.php?redirect_to=x"),
    ("saml", "/simplesaml/module.php/core/loginuserpass.php?AuthState=x&SAMLRequest=y"),
    ("shibboleth", "/idp/profile/SAML2/Redirect/SSO?SAMLRequest=x"),
    ("adfs", "/adfs/ls/?wa=wsignin1.0&wctx=x"),
    ("oauth", "/oauth2/authorize?client_id=x&redirect_uri=y"),
    ("keycloak", "/auth/realms/x/protocol/openid-connect/auth?client_id=x"),
    ("cas", "/cas/login?service=https://x"),
    ("sharepoint", "/_layouts/15/Authenticate.aspx?Source=%2Fx"),
    ("f5-apm", "/my.policy"),
    ("plain", "/login"),
    ("signin", "/users/sign_in"),
):
    row(
        f"login-{_name}",
        {"/data.csv": moved(f"/login-{_name}{_place}"), "*": html(_LOGIN)},
        "blocked login-wall",
        "not-sure",
        2,
        (0, len(_LOGIN)),
        request={"format": "CSV"},
    )
row(
    "login-page-link",
    {"/data": moved("/login-page-link/auth/login?next=x"), "*": html(_LOGIN)},
    "blocked login-wall",
    "not-sure",
    2,
    (0, len(_LOGIN)),
    url=DATA,
)
check(
    "login-check",
    {"/data.csv": moved("/login-check/login?next=x"), "*": html(_LOGIN)},
    4,
    "blocked login-wall",
    "not-sure",
    request={"format": "CSV"},
)
row("login-form-at-once", html(_LOGIN), "blocked login-wall", "not-sure", 1, len(_LOGIN), request={"format": "CSV"})
good(
    "login-then-file",
    {"/data.csv": moved("/login-then-file/sso?back=x"), "/sso": moved("/login-then-file/f.csv"), "/f.csv": ok()},
    requests=3,
)
good("login-is-the-link", html(_LOGIN), _LOGIN, url="http://127.0.0.1:{http}/{name}/login", request={"format": "HTML"})
good(
    "no-login-author",
    {"/data": moved("/no-login-author/authors/login-statistics"), "*": html(PAGE)},
    PAGE,
    requests=2,
    url=DATA,
)

# -- services ----------------------------------------------------------------------------------------------------------


def exception(text: str, code: str = "NoApplicableCode") -> bytes:
    return ok(
        f'<?xml version="1.0"?><ows:ExceptionReport xmlns:ows="http://www.opengis.net/ows/1.1"><ows:Exception exceptionCode="{code}">'
        f"<ows:ExceptionText>{text}</ows:ExceptionText></ows:Exception></ows:ExceptionReport>".encode(),
        kind="text/xml",
    )


_QUESTION = "http://127.0.0.1:{http}/{name}/ows?service=WFS&request=GetFeature&typename=a"
for _name, _text, _code, _what, _verdict in (
    ("pool", "connection pool exhausted", "NoApplicableCode", "soft-404 soft-service-failure", "failing"),
    ("database", "The database is not available", "NoApplicableCode", "soft-404 soft-service-failure", "failing"),
    ("internal", "Internal server error", "NoApplicableCode", "soft-404 soft-service-failure", "failing"),
    ("timeout", "Rendering time out exceeded", "NoApplicableCode", "soft-404 soft-service-failure", "failing"),
    ("unclear", "java.lang.RuntimeException", "NoApplicableCode", "soft-404 soft-service-failure", "failing"),
    ("busy", "Server too busy", "NoApplicableCode", "blocked service-busy", "not-sure"),
    ("many", "Too many requests, try again later", "NoApplicableCode", "blocked service-busy", "not-sure"),
    ("login", "Access denied: authentication required", "AuthenticationFailed", "blocked service-login", "not-sure"),
    ("layer", "x", "LayerNotDefined", "soft-404 soft-service-exception", "broken"),
    ("unknown-type", "Feature type a unknown", "InvalidParameterValue", "soft-404 soft-service-exception", "broken"),
    ("no-layer", "Could not find layer topp:roads", "NoApplicableCode", "soft-404 soft-service-exception", "broken"),
    (
        "parameter",
        "Missing mandatory parameter: typeNames",
        "MissingParameterValue",
        "soft-404 soft-service-failure",
        "failing",
    ),
):
    row(f"service-{_name}", exception(_text, _code), _what, _verdict, 1, (0, 999), url=_QUESTION)
for _name, _body, _what, _verdict in (
    ("429", b'{"error":{"code":429,"message":"Too many requests"}}', "blocked service-busy", "not-sure"),
    ("429-bare", b'{"error":{"code":429}}', "blocked service-busy", "not-sure"),
    ("503", b'{"error":{"code":503,"message":"Service not started"}}', "soft-404 soft-arcgis-failure", "failing"),
    ("timeout", b'{"error":{"code":400,"message":"Wait time-out"}}', "soft-404 soft-arcgis-failure", "failing"),
    ("403", b'{"error":{"code":403,"message":"You do not have permissions"}}', "blocked arcgis-login", "not-sure"),
    (
        "400-item",
        b'{"error":{"code":400,"message":"Item does not exist or is inaccessible."}}',
        "soft-404 soft-arcgis-error",
        "broken",
    ),
    (
        "400-unclear",
        b'{"error":{"code":400,"message":"Unable to complete operation."}}',
        "soft-404 soft-arcgis-failure",
        "failing",
    ),
):
    row(
        f"arcgis-{_name}",
        ok(_body, kind="application/json"),
        _what,
        _verdict,
        1,
        len(_body),
        url="http://127.0.0.1:{http}/{name}/rest/services/A/MapServer/0/query?f=json",
    )
for _name, _body, _what, _verdict in (
    (
        "ckan",
        b'{"help": "x", "success": false, "error": {"message": "Not found", "__type": "Not Found Error"}}',
        "soft-404 soft-service-failure",
        "failing",
    ),
    ("unclear", b'{"success":false,"error":"x"}', "soft-404 soft-message", "not-sure"),
    ("429", b'{"status":429,"message":"slow down"}', "blocked service-busy", "not-sure"),
    ("401", b'{"statusCode":401,"error":"Unauthorized","message":"x"}', "blocked service-login", "not-sure"),
    (
        "500",
        b'{"timestamp":"x","status":500,"error":"Internal Server Error","path":"/x"}',
        "soft-404 soft-service-failure",
        "failing",
    ),
):
    row(
        f"json-error-{_name}",
        ok(_body, kind="application/json"),
        _what,
        _verdict,
        1,
        len(_body),
        url=DATA,
        request={"format": "JSON"},
    )
doubt(
    "json-error-for-csv",
    b'{"success":false,"error":"no"}',
    "soft-message",
    kind="application/json",
    url=DATA,
    request={"format": "CSV"},
)

_WMS = b'<?xml version="1.0"?><WMS_Capabilities version="1.3.0"></WMS_Capabilities>'
_WMS_1_1_1 = b'<?xml version="1.0"?><!DOCTYPE WMT_MS_Capabilities SYSTEM "http://x.example/wms.dtd" []><WMT_MS_Capabilities version="1.1.1"></WMT_MS_Capabilities>'
_WFS = b'<wfs:WFS_Capabilities xmlns:wfs="http://www.opengis.net/wfs/2.0" version="2.0.0"></wfs:WFS_Capabilities>'


def bare(first: bytes, capabilities: bytes = _WMS) -> Serve:
    """A service that answers its bare address with ``first``."""

    async def serve(talk: Conversation) -> None:
        await talk.send(ok(capabilities, kind="text/xml") if "REQUEST=GetCapabilities" in talk.target else first)

    return serve


_MAPSERVER = html(
    "<HTML><HEAD><TITLE>MapServer Message</TITLE></HEAD><!-- MapServer version 7 --><BODY BGCOLOR='#FFFFFF'>msCGILoadMap(): Web application error. CGI variable \"map\" is not set.</BODY></HTML>"
)
_NO_QUERY = html("No query information to decode. QUERY_STRING is set, but empty.")
for _name, _first, _format, _path, _capabilities, _type in (
    ("geoserver-ows", exception("No service: ( )", "MissingParameterValue"), "", "geoserver/ows", _WMS, "WMS 1.3"),
    ("mapserv", answer("400 x"), "", "cgi-bin/mapserv?map=x", _WMS_1_1_1, "WMS 1.1.1"),
    ("mapserv-message", _MAPSERVER, "", "cgi-bin/mapserv?map=x", _WMS, "WMS 1.3"),
    ("mapserv-own-words", _NO_QUERY, "", "maps/x", _WMS, "WMS 1.3"),
    (
        "own-words",
        exception("Missing parameter SERVICE of WFS", "MissingParameterValue"),
        "",
        "services/x",
        _WFS,
        "WFS 2.0",
    ),
    ("format-map", answer("500 x"), "MAP", "x", _WMS, "WMS 1.3"),
    ("format-wms-wfs", answer("400 x"), "WMS/WFS", "x", _WMS, "WMS 1.3"),
    ("format-ogc", answer("400 x"), "OGC:WMS-1.3.0-http-get-map", "x", _WMS, "WMS 1.3"),
    ("format-wfs", answer("404 x"), "WFS", "x", _WFS, "WFS 2.0"),
    ("nothing", ok(b""), "WMS", "x", _WMS, "WMS 1.3"),
    ("no-content", answer("204 x", length=None), "wms_srvc", "x", _WMS, "WMS 1.3"),
    (
        "qgis",
        ok(b"<ServerException>Project file error</ServerException>", kind="text/xml"),
        "WMS",
        "cgi-bin/qgis_mapserv.fcgi",
        _WMS,
        "WMS 1.3",
    ),
):
    good(f"bare-{_name}", bare(_first, _capabilities), _capabilities, requests=2, wire=len(_first.partition(b"\r\n\r\n")[2]) + len(_capabilities),
         url=f"http://127.0.0.1:{{http}}/{{name}}/{_path}", request={"format": _format}, expect={"request_type": _type})  # fmt: skip
row(
    "bare-dead",
    bare(answer("404 x"), PAGE),
    "gone http-gone",
    "broken",
    2,
    (0, len(PAGE)),
    request={"format": "WMS"},
    expect={"temp_path": None, "http_status": 404, "request_type": "GET"},
)
check(
    "bare-check",
    bare(answer("404 x")),
    2,
    url="http://127.0.0.1:{http}/{name}/geoserver/ows",
    expect={"request_type": "WMS 1.3"},
)

# -- what we add is never held against the link ------------------------------------------------------------------------

_KNOWN = {"etag": '"v1"', "last_modified": "Mon, 05 Jan 2026 10:00:00 GMT"}


def against(header: str, bad: bytes, fine: bytes | None = None) -> Serve:
    """A server that answers a header with something bad."""

    async def serve(talk: Conversation) -> None:
        if header in talk.headers and not bad:
            talk.reset()
        else:
            await talk.send(bad if header in talk.headers else fine or ok())

    return serve


for _status in (400, 403, 405, 409, 412, 416, 428, 500, 501, 502):
    good(
        f"conditions-{_status}",
        against("if-none-match", answer(f"{_status} x")),
        requests=2,
        request=_KNOWN,
        expect={"hints": {"conditions": False}},
    )
good(
    "conditions-since",
    against("if-modified-since", answer("400 x")),
    requests=2,
    request={"last_modified": _KNOWN["last_modified"]},
)
good("conditions-reset", against("if-none-match", b""), requests=2, request=_KNOWN)
good("conditions-empty", against("if-none-match", ok(b"")), requests=2, request=_KNOWN)
good("conditions-204", against("if-none-match", answer("204 x", length=None)), requests=2, request=_KNOWN)
good("conditions-garbage", against("if-none-match", b"nonsense\r\n\r\n"), requests=2, request=_KNOWN)
good(
    "conditions-not-taken",
    against("if-none-match", answer("500 x")),
    requests=1,
    request={**_KNOWN, "hints": {"conditions": False}},
)
row("conditions-down", answer("500 x"), "server-error http-status", "failing", 2, request=_KNOWN, expect={"hints": {}})
row("conditions-404", answer("404 x"), "gone http-gone", "broken", 1, request=_KNOWN)
row("conditions-429", answer("429 x"), "blocked http-blocked", "not-sure", 1, request=_KNOWN)
good("encoding-406", against("accept-encoding", answer("406 x")), requests=2, expect={"hints": {"encoding": False}})
good("encoding-415", against("accept-encoding", answer("415 x")), requests=2)
good(
    "encoding-not-taken",
    against("accept-encoding", answer("406 x")),
    requests=1,
    request={"hints": {"encoding": False}},
)
good("encoding-and-conditions", against("accept-encoding", answer("406 x")), requests=3, request=_KNOWN)
check("encoding-check", against("accept-encoding", answer("406 x")), 4)

# -- as lenient as browsers --------------------------------------------------------------------------------------------

good(
    "location-three-slashes",
    {"/data.csv": moved("///127.0.0.1:{http}/location-three-slashes/b"), "/b": ok()},
    requests=2,
)
good(
    "location-scheme-three-slashes",
    {"/data.csv": moved("http:///127.0.0.1:{http}/location-scheme-three-slashes/b"), "/b": ok()},
    requests=2,
)
good(
    "location-backslashes",
    {"/data.csv": moved("\\\\\\127.0.0.1:{http}/location-backslashes/b"), "/b": ok()},
    requests=2,
)
_SIZE = len(CSV)
good("part-is-whole", answer("206 Partial Content", CSV, f"Content-Range: bytes 0-{_SIZE - 1}/{_SIZE}"))
row(
    "part-is-part",
    answer("206 Partial Content", CSV[:90], f"Content-Range: bytes 0-89/{_SIZE}"),
    "server-error unasked",
    "failing",
)
row(
    "part-unknown-size",
    answer("206 Partial Content", CSV, f"Content-Range: bytes 0-{_SIZE - 1}/*"),
    "server-error unasked",
    "failing",
)
check(
    "part-is-whole-check",
    answer("206 Partial Content", CSV, f"Content-Range: bytes 0-{_SIZE - 1}/{_SIZE}"),
    1,
    request={"hints": {"head": False, "ranges": False}},
    expect={"size": _SIZE},
)
check(
    "part-is-part-check",
    answer("206 Partial Content", CSV[:90], f"Content-Range: bytes 0-89/{_SIZE}"),
    1,
    "server-error unasked",
    "failing",
    request={"hints": {"head": False, "ranges": False}},
)
_GZ = gzip.compress(CSV)
good("x-gzip-file", ok(_GZ, "Content-Encoding: x-gzip"), _GZ, url="http://127.0.0.1:{http}/{name}/data.csv.gz")
good("gzip-plain-length", ok(_GZ, "Content-Encoding: gzip", length=len(CSV)), wire=len(_GZ))
good(
    "deflate-plain-length",
    ok(zlib.compress(CSV), "Content-Encoding: deflate", length=len(CSV)),
    wire=len(zlib.compress(CSV)),
)
row(
    "gzip-plain-length-cut",
    ok(_GZ[:-20], "Content-Encoding: gzip", length=len(CSV)),
    "server-error truncated",
    "failing",
    1,
    len(_GZ) - 20,
)
row("brotli-length-cut", ok(b"\x0b", "Content-Encoding: br", length=99), "ok ok-undecodable", "ok")
row(
    "gz-file-cut",
    ok(_GZ[:-20], "Content-Encoding: gzip", length=len(_GZ)),
    "server-error truncated",
    "failing",
    1,
    len(_GZ) - 20,
    url="http://127.0.0.1:{http}/{name}/data.csv.gz",
)


def _once(first: bytes, path: str = "") -> Serve:
    """``first`` for the first request to a path, then the file."""
    seen: set[str] = set()

    async def serve(talk: Conversation) -> None:
        known = talk.target in seen
        seen.add(talk.target)
        await talk.send(ok() if known else first)

    return serve


good("redirect-self-once", _once(moved("data.csv")), requests=2)
good("redirect-back-once", {"/data.csv": _once(moved("b")), "/b": moved("data.csv")}, requests=3)


async def _raw_cookie(talk: Conversation) -> None:
    known = "näme=wörld" in talk.headers.get("cookie", "").encode("latin-1").decode("utf-8", "replace")
    await talk.send(
        ok()
        if known
        else moved(
            "/cookie-utf8/data.csv", "302 Found", "Set-Cookie: " + "näme=wörld; Path=/".encode().decode("latin-1")
        )
    )


good("cookie-utf8", _raw_cookie, requests=2)
good("line-break-first", b"\r\n" + ok())
good("line-breaks-first", b"\r\n\n\r\n" + ok())
row("line-breaks-only", b"\r\n" * 20, "server-error not-http", "failing")
good("head-of-100-kb", ok(CSV, "X-Big: " + "x" * 100_000))
good("headers-250", ok(CSV, *(f"X-{n}: {n}" for n in range(250))))
row(
    "not-ready",
    answer("202 Accepted", b'{"status":"Pending"}'),
    "soft-404 soft-not-ready",
    "not-sure",
    expect={"transient": False},
)
row(
    "not-ready-page",
    html("<p>The file is being generated</p>", status="202 Accepted"),
    "soft-404 soft-not-ready",
    "not-sure",
    1,
    (0, 99),
)
for _name, _disposition, _filename in (
    ("utf8", "attachment; filename*=utf8''J%C3%A4hr.csv", "Jähr.csv"),
    ("gbk", "attachment; filename*=gbk''%CA%FD%BE%DD.csv", "数据.csv"),
    ("words", 'attachment; filename="=?UTF-8?B?SsOk?= =?UTF-8?B?aHIuY3N2?="', "Jähr.csv"),
):
    good(f"name-{_name}", ok(CSV, f"Content-Disposition: {_disposition}"), expect={"filename": _filename})
