# ruff: noqa: E501 - a row of the table is one line
"""Firewalls and bot walls: pages that stand in front of a file and demand a browser, as a table of signatures.

Such a page says nothing about the file behind it, and neither does its status (several products send 200), so the link is
blocked: neither ok nor broken, and the page is never kept as a copy.

The rows are narrow on purpose. An article about bots, a form with a captcha, a CSV with such words in it and an
ordinary page behind the same firewall must not match. So:

* markup counts only in pages, and only where a person sees next to nothing else: a wall has no content of its own;
* a row asks for what only the wall itself has (its script, its form, its number of the incident), never for the mere
  name of a product, and never for what the product adds to ordinary pages.

The facts come from the sources that each row names with the date at which they were read; the patterns are our own.
"""

from __future__ import annotations

import re
from dataclasses import dataclass

from . import pages
from .wire import Head

MAX_VISIBLE_TEXT = 1_200
"""Characters that a wall may show. The longest known (Cloudflare's and Sucuri's block pages) have about 1,000."""

_WAFW00F = ("github.com/EnableSecurity/wafw00f acf6104", "2026-01-26")
_IS_ANTIBOT = ("github.com/microlinkhq/is-antibot 07b1b37", "2026-11-26")
_REPORTS = ("markup quoted in public bug reports", "2026-11-26")
# Not compared with a page or a document: the first report of a real one should confirm or correct these.
_UNCONFIRMED = ("names that the product uses, unconfirmed", "2026-11-26")


@dataclass(frozen=True)
class Wall:
    """One signature; every part that is given must match.

    :ivar product: whose wall it is
    :ivar source: where its facts are from, and the date
    :ivar header: name and pattern of a header
    :ivar cookie: pattern of the start of a ``Set-Cookie``
    :ivar markup: pattern in the markup of a page
    :ivar statuses: empty for any
    :ivar max_text: characters that the page may show, where the markup alone would match ordinary pages too
    """

    product: str
    source: tuple[str, str]
    header: tuple[str, str] | None = None
    cookie: str = ""
    markup: str = ""
    statuses: tuple[int, ...] = ()
    max_text: int = MAX_VISIBLE_TEXT


# One line for each: what only the wall itself has.
# fmt: off
WALLS: tuple[Wall, ...] = (
    # By a header alone: the server itself says that this is a challenge or a block.
    Wall("Cloudflare", _IS_ANTIBOT, header=("cf-mitigated", r"challenge")),
    Wall("AWS WAF", _IS_ANTIBOT, header=("x-amzn-waf-action", r"challenge|captcha")),
    Wall("AWS WAF", _WAFW00F, header=("x-blocked-by-waf", r"blocked_by_custom_response")),
    Wall("Vercel", _IS_ANTIBOT, header=("x-vercel-mitigated", r"challenge|deny")),
    Wall("SiteGround", _REPORTS, header=("sg-captcha", r"challenge")),
    Wall("DataDome", _IS_ANTIBOT, header=("x-dd-b", r"[12]$"), statuses=(401, 403, 405, 429)),
    Wall("Kasada", _IS_ANTIBOT, header=("x-kasada-challenge", r".")),
    Wall("Sucuri", _WAFW00F, header=("x-sucuri-block", r".")),
    Wall("dotDefender", _WAFW00F, header=("x-dotdefender-denied", r".")),
    Wall("DynamicWeb", _WAFW00F, header=("x-403-status-by", r"dw.inj.check")),
    Wall("aeSecure", _WAFW00F, header=("aesecure-code", r".")),
    Wall("CacheWall", _WAFW00F, header=("x-cachewall-action", r"(?!pass|allow|none)."), statuses=(403, 429, 503)),
    Wall("NAXSI", _WAFW00F, header=("x-data-origin", r"naxsi[/_-]"), statuses=(403, 418, 503)),
    Wall("Shieldon", _WAFW00F, header=("x-protected-by", r"shieldon\.io"), markup=r"shieldon_captcha|status-user-info"),
    # Challenges: scripts, forms and frames of the wall.
    Wall("Anubis", _IS_ANTIBOT, markup=r"<script\b[^>]{0,300}\bid=[\"']?anubis_(?:challenge|version|base_prefix)\b"),
    Wall("Anubis", _IS_ANTIBOT, markup=r"(?:src|href)=[\"']?[^\"'>]{0,300}/\.within\.website/x/(?:cmd/anubis|xess)/"),
    Wall("go-away", _REPORTS, markup=r"(?:src|href|action|url)=[\"']?[^\"'>]{0,300}/\.well-known/\.[^\"'>]{0,300}/cmd/go-away/"),
    Wall("Cloudflare", _REPORTS, markup=r"\b_cf_chl_opt\b"),
    Wall("Cloudflare", _REPORTS, markup=r"/cdn-cgi/(?:challenge-platform/h/\w/(?:orchestrate|cv)/|l/chk_(?:jschl|captcha))"),
    Wall("Cloudflare", _REPORTS, markup=r"/cdn-cgi/challenge-platform/(?!(?:h/\w/)?scripts/jsd)", statuses=(403, 429, 503)),
    Wall("Cloudflare", _REPORTS, markup=r"\bid=[\"']?cf-(?:error-details|please-wait|browser-verification|challenge-running)\b",
         header=("server", r"cloudflare"), statuses=(403, 429, 503)),
    Wall("Cloudflare", _REPORTS, markup=r"<title>\s*(?:Attention Required! \| Cloudflare|Waiting Room powered by Cloudflare)"),
    Wall("Imperva", _IS_ANTIBOT, markup=r"<iframe\b[^>]{0,300}\bsrc=[\"']?/_Incapsula_Resource\?"),
    Wall("Imperva", _WAFW00F, markup=r"\bIncapsula incident ID:?\s*\d[\d-]{9,}|/_Incapsula_Resource\?CWUDNSAI="),
    Wall("Imperva", _REPORTS, markup=r"<script\b[^>]{0,300}\bsrc=[\"']?/_Incapsula_Resource\?", max_text=60),
    Wall("Imperva SecureSphere", _WAFW00F, markup=r"This page can'?t be displayed\.[\s\S]{0,200}?The incident ID is:? ?\S"),
    Wall("Distil", _WAFW00F, markup=r"\bdistil(?:CaptchaForm|CallbackGuard|_r_captcha|_r_blocked)|distilnetworks\.com/images/anomaly"),
    Wall("Distil", _REPORTS, markup=r"<title>\s*Pardon Our Interruption"),
    Wall("F5 BIG-IP ASM", _WAFW00F, markup=r"requested url was rejected[\s\S]{0,300}?support id(?: is)?:?\s*<?"),
    Wall("F5 BIG-IP ASM", _REPORTS, markup=r"(?:reject|denied|blocked|enable javascript)[\s\S]{0,300}?\bsupport ID(?: is)?:?\s*(?:&lt;|<)?\s*\d"),
    Wall("F5 Distributed Cloud", _REPORTS, markup=r"\bbobcmn\b|(?:src|href)=[\"']?/TSPD/"),
    Wall("Akamai", _REPORTS, markup=r"\bid=[\"']?sec-(?:if-)?cpt-(?:container|if)\b|/_sec/cp_challenge/"),
    Wall("Akamai", _REPORTS, markup=r"<h1>\s*Access Denied\s*</h1>[\s\S]{0,500}?Reference\s*(?:#|&#35;|&#x23;)\s*\d"),
    Wall("DataDome", _REPORTS, markup=r"(?:src=[\"']?https?:|['\"]host['\"]\s*:\s*['\"])(?://)?(?:geo|ct|c|interstitial)?\.?captcha-delivery\.com"),
    Wall("HUMAN (PerimeterX)", _IS_ANTIBOT, markup=r"\bid=[\"']?px-captcha\b|perimeterx\.(?:com|net)/whywasiblocked"),
    Wall("Kasada", _REPORTS, markup=r"\bwindow\.KPSDK\s*=|/149e9513-01fa-4fb0-aad4-566afd725d1b/"),
    Wall("AWS WAF", _REPORTS, markup=r"\bwindow\.gokuProps\s*="),
    Wall("Azure WAF", _UNCONFIRMED, markup=r"\bazwaf[_-]?(?:js)?(?:challenge|clearance)|/\.azwaf/"),
    Wall("Azure Application Gateway", _WAFW00F, markup=r"<center>Microsoft-Azure-Application-Gateway/v2</center>", statuses=(403,)),
    Wall("Fastly", _REPORTS, markup=r"(?:src|href|action)=[\"']?[^\"'>]{0,300}/_fs-ch-\w+/"),
    Wall("Vercel", _WAFW00F, markup=r"<title>\s*Vercel Security Checkpoint"),
    Wall("Sucuri", _WAFW00F, markup=r"\bsucuri_cloudproxy_js\b|<title>\s*Sucuri WebSite Firewall|sucuri[-_]firewall[-_]block\.css"),
    Wall("SiteGround", _REPORTS, markup=r"/\.well-known/s?g?captcha/\?"),
    Wall("SiteGround", _WAFW00F, markup=r"Our system thinks you might be a robot!"),
    Wall("Wordfence", _WAFW00F, markup=r"Generated by Wordfence at|broke one of (?:the )?Wordfence|access to this (?:site|service) has been limited"),
    Wall("Imunify360", _WAFW00F, markup=r"\b(?:protected|powered) by\W{0,10}imunify360|imunify360.preloader|\bimunify360-webshield"),
    Wall("BitNinja", _WAFW00F, markup=r"<title>[^<]{0,60}BitNinja|Security check by BitNinja|Visitor anti-robot validation"),
    Wall("DDoS-Guard", _REPORTS, markup=r"(?:src|href)=[\"']?[^\"'>]{0,300}/\.well-known/ddos-guard/(?:js-challenge|ddg-captcha-page)/"),
    Wall("DDoS-Guard", _REPORTS, markup=r"<title>\s*DDOS-GUARD\s*</title>"),
    Wall("Qrator", _REPORTS, markup=r"\bsrc=[\"']?[^\"'>]{0,300}/__qrator/"),
    Wall("Radware Bot Manager", _REPORTS, markup=r"<title>\s*(?:Radware (?:Captcha|Bot Manager|Page)|ShieldSquare)|(?:validate|captcha)\.perfdrive\.com"),
    Wall("Radware AppWall", _WAFW00F, markup=r"<title>\s*Unauthorized Request Blocked"),
    Wall("Reblaze", _WAFW00F, markup=r"\bwindow\.rbzns\s*=|access denied \(\d{3}\)[\s\S]{0,600}?current session has been terminated"),
    Wall("StackPath", _WAFW00F, markup=r"<title>\s*StackPath[^<]*</title>|is using a security service for protection against online attacks"),
    Wall("FortiWeb", _WAFW00F, markup=r"\bfgd_icon\b|<title>\s*Web (?:Page|Filter) (?:Blocked|Violation)|globalurl\.fortinet\.net"),
    Wall("Barracuda", _WAFW00F, markup=r"The requested page cannot be displayed[\s\S]{0,400}?Barracuda|Barracuda Networks[\s\S]{0,200}?Event ID"),
    Wall("Citrix NetScaler", _WAFW00F, markup=r"\b(?:NS Transaction|AppFW Session) id\b|Violation Category\W{0,5}APPFW_"),
    Wall("ModSecurity", _WAFW00F, markup=r"This error was generated by Mod.?Security|\bmod.security rules triggered|/modsecurity[-_]errorpage/"),
    Wall("Comodo cWatch", _WAFW00F, header=("server", r"protected by comodo waf"), statuses=(403, 405, 503)),
    Wall("Alibaba Cloud", _REPORTS, markup=r"\bvar\s+arg1\s*=\s*['\"][0-9a-f]{20,}|\bacw_sc__v[23]\b|\baliyun_waf_\w"),
    Wall("Alibaba Cloud", _WAFW00F, markup=r"(?:src|href)=[\"']?[^\"'>]{0,300}errors?\.aliyun(?:dun)?\.(?:com|net)", statuses=(405,)),
    Wall("Alibaba Cloud", _IS_ANTIBOT, markup=r"/_____tmd_____/punish\b|\bx5secdata="),
    Wall("Tencent Cloud", _WAFW00F, markup=r"waf\.tencent(?:-?cloud)?\.com/(?:403|501)?"),
    Wall("Baidu Yunjiasu", _WAFW00F, markup=r"(?:src|href)=[\"']?/\.well-known/yunjiasu-cgi/|document\.cookie=['\"]yjs_use_ob"),
    Wall("Huawei Cloud", _WAFW00F, markup=r"\bhws_security@|hwclouds\.com", statuses=(403, 405, 418)),
    Wall("Jiasule", _REPORTS, markup=r"\b__jsl_clearance(?:_s)?\b|document\.cookie=\('_'\)\+\('_'\)\+\('j'\)"),
    Wall("Jiasule", _WAFW00F, cookie=r"__jsluid(?:_[hs])?=", statuses=(512, 521)),
    Wall("360 WangZhanBao", _WAFW00F, markup=r"\bwzws-waf-cgi/|/WZWSRELw"),
    Wall("360 WangZhanBao", _WAFW00F, statuses=(493,)),
    Wall("SafeLine", _REPORTS, markup=r"(?:src|href)=[\"']?[^\"'>]{0,300}/\.safeline/|\bSafeLineChallenge\b"),
    Wall("SafeLine", _REPORTS, statuses=(468,)),
    Wall("Safedog", _WAFW00F, markup=r"404\.safedog\.cn/|safedogsite/bro?wser_logo"),
    Wall("Yunsuo", _WAFW00F, markup=r"class=[\"']?yunsuologo|\byunsuo_session_verify\b"),
    Wall("Yundun", _WAFW00F, markup=r"Blocked by YUNDUN Cloud WAF|yundun\.com/yd[-_]http[-_]error/"),
    Wall("Grey Wizard", _WAFW00F, markup=r"<(?:title|h\d)>\s*Grey Wizard"),
    Wall("GoDaddy", _WAFW00F, markup=r"<title>[^<]{0,40}GoDaddy (?:Security|Website Firewall)"),
    Wall("SiteLock", _WAFW00F, markup=r"\bSiteLock (?:will remember you|incident ID)|sitelock[_-]shield[_-]logo"),
    Wall("Cloudbric", _WAFW00F, markup=r"<title>\s*Cloudbric\W{0,5}ERROR|Your request was blocked by Cloudbric"),
    Wall("Zenedge", _WAFW00F, markup=r"(?:src|href|action)=[\"']?/__zenedge/"),
    Wall("Airlock", _WAFW00F, markup=r"server detected a syntax error in your request"),
    Wall("WP Cerber", _WAFW00F, markup=r"request looks suspicious or similar to automated"),
    Wall("Solid Security (iThemes)", _WAFW00F, markup=r"<title>\s*403 Forbidden[^<]*</title>[\s\S]{0,1500}?You have been locked out\."),
    Wall("NinjaFirewall", _WAFW00F, markup=r"<title>\s*NinjaFirewall\W{0,10}\d{3} Forbidden"),
    Wall("MalCare", _WAFW00F, markup=r"blocked because of malicious activities|firewall\W{0,15}powered\Wby\W{0,15}malcare"),
    Wall("Shield Security", _WAFW00F, markup=r"You were blocked by the Shield|remaining transgression\(s\) against this site"),
    Wall("SecuPress", _WAFW00F, markup=r"<(?:title|h\d)>\s*SecuPress"),
    Wall("Astra", _WAFW00F, markup=r"\bcz_astra_\w+|www\.getastra\.com/assets/images"),
    Wall("Nemesida", _WAFW00F, markup=r"Suspicious activity detected\W{0,10}Access to the site is blocked"),
    Wall("Janusec", _WAFW00F, markup=r"\bjanusec application gateway"),
    Wall("WatchGuard", _WAFW00F, markup=r"Request denied by WatchGuard"),
    Wall("WebKnight", _WAFW00F, markup=r"WebKnight Application Firewall Alert"),
    Wall("URLScan", _WAFW00F, markup=r"\bRejected[-_]By[-_]UrlScan"),
    Wall("Nexusguard", _WAFW00F, markup=r"\bPowered by Nexusguard|nexusguard\.com/wafpage/"),
    Wall("IndusGuard", _WAFW00F, markup=r"secured against online attacks\. Your request was blocked"),
    Wall("Sophos UTM", _WAFW00F, markup=r"Access to the requested URL was blocked[\s\S]{0,400}?log identifier|Powered by\W?(?:Sophos )?UTM Web Protection"),
    Wall("Zscaler", _WAFW00F, markup=r"Internet Security by Zscaler|Zscaler to protect you from internet threats"),
    Wall("Palo Alto", _WAFW00F, markup=r"Palo Alto Next Generation Security Platform|Download of virus.spyware blocked"),
    Wall("ArvanCloud", _REPORTS, markup=r"\b__arcsj?s?\b[\s\S]{0,300}?document\.cookie|document\.cookie[\s\S]{0,300}?\b__arcsjs?"),
    Wall("Google", _REPORTS, markup=r"<title>\s*https?://[^<]*</title>[\s\S]{0,1500}?(?:unusual traffic from your computer network|/sorry/)"),
    Wall("Queue-it", _UNCONFIRMED, markup=r"\bqueue-it\.net/|\bwindow\.queueViewModel\b|\bdata-queueit-"),
    Wall("CrowdSec", _UNCONFIRMED, markup=r"<title>\s*CrowdSec (?:Captcha|Ban|Access Forbidden)"),
    Wall("BunkerWeb", _UNCONFIRMED, markup=r"<title>\s*(?:Bot Detection|BunkerWeb)\b[\s\S]{0,1500}?bunkerweb"),
)
# fmt: on

# Walls without a signature of their own: a page that shows nothing but asks the browser to come again with a cookie, and
# pages with the titles that walls of all makers have, together with a script or a refresh.
_GENERIC_TITLE = re.compile(
    r"(?:just a moment|one moment,? please|checking (?:if the site connection is secure|your browser)|verif(?:y|ying) (?:that )?"
    r"you are (?:a )?human|are you (?:a )?(?:human|robot)|(?:bot|human|browser|security) (?:verification|check|challenge)"
    r"|ddos[- ]?(?:protection|guard)|making sure you'?re not a bot|access to this page has been denied|request rejected"
    r"|please wait\W+(?:checking|verifying)|security checkpoint|client challenge|human verification required"
    r"|oh noes!|einen moment,? bitte|un instant|un momento|nur einen moment|sicherheitsprüfung|vérification de sécurité)"
    r"[\s.…!?|:-]{0,9}(?:\|.*|- .*)?",
    re.IGNORECASE,
)
_ASKS_FOR_BROWSER = re.compile(
    rb"<script\b|<noscript\b|<meta\b[^>]{0,300}http-equiv=[\"']?refresh|captcha|<iframe\b|support id", re.IGNORECASE
)
_SETS_COOKIE = re.compile(rb"\bdocument\s*\.\s*cookie\s*=|\bdocument\s*\[\s*['\"]cookie['\"]\s*\]\s*=")
_COMES_AGAIN = re.compile(
    rb"\blocation\s*\.\s*(?:reload|replace|assign)\b|\blocation(?:\s*\.\s*href)?\s*=|http-equiv=[\"']?refresh",
    re.IGNORECASE,
)
MAX_TEXT_OF_SCRIPT_WALL = 250
"""Characters that a page of the generic kind may show: "Please enable JavaScript and cookies", nothing more."""

MAX_LINKS_OF_WALL = 4
"""Links on a page of the generic kind: to the maker, to help, to a privacy policy. A site's own pages have more."""


@dataclass(frozen=True)
class _Pattern:
    wall: Wall
    header: re.Pattern[str] | None
    cookie: re.Pattern[str] | None
    markup: re.Pattern[bytes] | None


def _compiled(wall: Wall) -> _Pattern:
    return _Pattern(
        wall,
        re.compile(wall.header[1], re.IGNORECASE) if wall.header else None,
        re.compile(wall.cookie) if wall.cookie else None,
        re.compile(wall.markup.encode(), re.IGNORECASE) if wall.markup else None,
    )


_PATTERNS = tuple(_compiled(wall) for wall in WALLS)
_BY_HEAD = tuple(pattern for pattern in _PATTERNS if pattern.markup is None)
_NAMES_WITH_200 = frozenset(p.wall.header[0] for p in _BY_HEAD if p.wall.header and not p.wall.statuses)
_BY_MARKUP = tuple(pattern for pattern in _PATTERNS if pattern.markup is not None)


def by_head(head: Head) -> Wall | None:
    """The wall that a head alone shows, None if it shows none."""
    if head.status == 200 and _NAMES_WITH_200.isdisjoint(head.every):
        return None
    return next((pattern.wall for pattern in _BY_HEAD if _head_matches(pattern, head)), None)


def by_page(head: Head, page: bytes) -> str | None:
    """The product whose wall a page is, None if it is none; ``"unknown"`` for a wall without a signature.

    :param page: the beginning of the body, which is HTML
    """
    text = pages.visible_text(page)
    if len(text) > MAX_VISIBLE_TEXT:
        return None
    for pattern in _BY_MARKUP:
        if len(text) <= pattern.wall.max_text and _head_matches(pattern, head) and _markup_matches(pattern, page):
            return pattern.wall.product
    return "unknown" if _is_generic(page, text) else None


def _markup_matches(pattern: _Pattern, page: bytes) -> bool:
    return pattern.markup is not None and pattern.markup.search(page) is not None


def _head_matches(pattern: _Pattern, head: Head) -> bool:
    wall = pattern.wall
    if wall.statuses and head.status not in wall.statuses:
        return False
    if pattern.header and wall.header and not pattern.header.match(head.get(wall.header[0])):
        return False
    return pattern.cookie is None or any(map(pattern.cookie.match, head.every.get("set-cookie", [])))


def _is_generic(page: bytes, text: str) -> bool:
    if len(text) <= MAX_TEXT_OF_SCRIPT_WALL and _SETS_COOKIE.search(page) and _COMES_AGAIN.search(page):
        return True
    if not _ASKS_FOR_BROWSER.search(page) or page.lower().count(b"<a ") > MAX_LINKS_OF_WALL:
        return False
    return any(map(_GENERIC_TITLE.fullmatch, pages.titles(page)))
