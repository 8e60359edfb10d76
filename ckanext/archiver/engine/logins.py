"""Log-in walls: redirects that end at a sign-in page instead of the file."""

from __future__ import annotations

import re
from urllib.parse import parse_qsl, urlsplit

# Hosts that do nothing but sign people in.
_HOSTS = re.compile(
    r"(?:accounts\.google|login\.(?:microsoftonline|microsoft|windows|live|yahoo|salesforce|gov)|signin\.aws\.amazon"
    r"|auth\.atlassian|id\.atlassian)\.[a-z.]+|[\w.-]+\.(?:okta|oktapreview|auth0|onelogin|b2clogin|pingone"
    r"|duosecurity)\.com"
    r"|(?:sso|login|signin|adfs|sts|shibboleth|keycloak|openam)\d?\.[\w.-]+"
)
# Whole segments of a path by which products sign people in: ADFS, SAML, Shibboleth, CAS, OAuth, Keycloak, SharePoint,
# ASP.NET, Drupal, WordPress, CKAN, F5, Citrix, Cisco.
_PATH = re.compile(
    r"(?:^|/)(?:log[-_]?[io]n|sign[-_]?in|servicelogin|wp-login\.php|user/log(?:ged_)?in|account/log[io]n"
    r"|accounts/login"
    r"|auth(?:enticate|entication|orize)?|oauth2?|openid-connect|saml2?|simplesaml|sso|adfs/ls|idp|shibboleth\.sso"
    r"|cas/login|my\.policy|my\.logon\.php3?|vpn/index\.html|logonpoint|\+cscoe\+|webauth|anmeld(?:en|ung)|connexion"
    r"|iniciar-sesion|accedi|inloggen|logowanie)"
    r"(?:\.(?:aspx?|php|jsp|jsf|html?|do|action|cgi|xhtml))?(?:/|$)",
    re.IGNORECASE,
)
_PARAMETERS = frozenset(
    """
    returnurl return_url returnto return_to return continue redirect redirect_to redirect_uri redirecturl redirect_url
    next came_from destination service target goto relaystate samlrequest source from url back backurl back_url ru wctx
    wreply state client_id origin forward callback callbackurl referer referrer
    """.split()  # noqa: SIM905 - a table is easier to read
)
_LOGIN_TITLE = re.compile(
    r"(?:please )?(?:log|sign)[- ]?(?:in|on)\b.{0,60}|.{0,60}[-|–—:]\s*(?:log|sign)[- ]?(?:in|on)|login.{0,60}"
    r"|(?:bitte )?anmeld(?:en|ung).{0,60}|(?:se )?connexion.{0,60}|iniciar sesión.{0,60}|inloggen.{0,60}"
    r"|logowanie.{0,60}"
    r"|accedi.{0,60}|authentication required.{0,60}|authorization required.{0,60}",
    re.IGNORECASE,
)
_PASSWORD_FIELD = re.compile(rb"<input\b[^>]{0,300}\btype\s*=\s*[\"']?password\b", re.IGNORECASE)


def led_to_login(url: str, final_url: str) -> bool:
    """Whether redirects of a link ended at a sign-in page.

    A link that is to a sign-in page itself, and one that is redirected within it, does not count.

    :param url: the link, normalised
    :param final_url: where its redirects led
    """
    if url == final_url or _is_login(url):
        return False
    return _is_login(final_url)


def is_login_form(page: bytes, titles: list[str]) -> bool:
    """Whether a page is a form to log in: it asks for a password, and its title says so.

    Many ordinary pages have a small form for a password in their header, so one of the two is not enough.
    """
    return _PASSWORD_FIELD.search(page) is not None and any(map(_LOGIN_TITLE.fullmatch, titles))


def _is_login(url: str) -> bool:
    parts = urlsplit(url)
    host = (parts.hostname or "").lower()
    if _HOSTS.fullmatch(host) and (parts.path not in ("", "/") or parts.query):
        return True
    if not _PATH.search(parts.path):
        return False
    names = {name.lower() for name, _ in parse_qsl(parts.query, keep_blank_values=True)}
    # "/auth/" and "/idp/" are folders of ordinary sites as well; without a way back only the plain words count.
    return bool(names & _PARAMETERS) or _PLAIN_LOGIN.search(parts.path) is not None


_PLAIN_LOGIN = re.compile(
    r"(?:^|/)(?:log[-_]?[io]n|sign[-_]?in|servicelogin|wp-login\.php|my\.policy|adfs/ls|\+cscoe\+|logonpoint)"
    r"(?:\.\w{2,6})?(?:/[\w.+-]*)?/?$",
    re.IGNORECASE,
)
