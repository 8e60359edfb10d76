"""Errors that services report in the body of a good status, each in its own envelope, judged by what they say.

Recognised are the exception reports of OGC services, the errors of ArcGIS, and the usual envelopes of JSON services.
A code in an envelope means what the same status would mean (429: come back later; 401: log in; 5xx: confirm first).
Certain is only that a layer, an item or a service does not exist: that, and nothing else, is said in so many words.
"""

from __future__ import annotations

import enum
import json
import re
from dataclasses import dataclass
from typing import Any

from . import http_status, pages
from .failure import Failure
from .outcome import Cause

# OGC: WMS 1.1.1 annex A.3 (ServiceExceptionReport), OWS Common 06-121r9 §8 (ExceptionReport); older servers send a bare
# ServiceException, QGIS server a ServerException. Certain: no data begins like this.
_EXCEPTION_ROOT = re.compile(
    pages.PROLOGUE + rb"(?:<!DOCTYPE[^>\[]*(?:\[[^\]]*\]\s*)?>" + pages.PROLOGUE + rb")?"
    rb"<(?:[A-Za-z_][\w.-]*:)?(?:ServiceExceptionReport|ExceptionReport|ServiceException|ServerException)\b",
    re.DOTALL,
)
_EXCEPTION_TEXT = re.compile(
    rb"<(?:[\w.-]{1,40}:)?(?:ServiceException|ExceptionText|ServerException)\b[^>]{0,300}>"
    rb"(?:\s{0,99}<!\[CDATA\[)?(.{0,1000}?)(?:\]\]>\s{0,99})?</",
    re.DOTALL,
)
_EXCEPTION_CODE = re.compile(rb"\b(?:exceptionCode|code)\s*=\s*[\"']([^\"']*)[\"']")

# ArcGIS REST API, "Handling errors": {"error": {"code": 400, "message": ..., "details": [...]}}, always with status
# 200.
_ERROR_OBJECT = re.compile(rb"(?:\xef\xbb\xbf)?\s*\{\s*\"error\"\s*:\s*\{")
_CODE = re.compile(rb"\"code\"\s*:\s*\"?(-?\d{1,6})")
_MESSAGE = re.compile(rb"\"message\"\s*:\s*\"((?:[^\"\\]|\\.)*)\"")

# MapServer reports in plain text or on a page that it lacks a query or its map file.
_MAPSERVER = re.compile(
    r"(?:MapServer Message\s*)?(?:No query information to decode\. QUERY_STRING|(?:ms[A-Z]\w{2,30}|loadMap"
    r"|mapserv)\(\)\s?:)"
)

_LOGIN_CODES = frozenset({401, 403, 498, 499})  # ArcGIS: 498 invalid token, 499 token required
_BUSY = re.compile(
    r"too (?:many|busy)|rate.?limit|quota|throttl|try again later|overload|slow down|retry later"
    r"|server (?:is )?(?:too )?busy",
    re.IGNORECASE,
)
_LOGIN = re.compile(
    r"token (?:required|expired)|invalid token|not authori[sz]ed|unauthori[sz]ed|(?:authorization"
    r"|authentication) (?:error|required"
    r"|failed)|permission|forbidden|access (?:is )?denied|log ?in\b|must be logged",
    re.IGNORECASE,
)
_ILL = re.compile(
    r"internal|time(?:d)?[ -]?out|pool|database|connection|unavailable|maintenance|temporar|memory|exhausted"
    r"|unexpected|refused"
    r"|unable to (?:open|connect|access|perform|complete)|failed to (?:open|connect|load|start)"
    r"|could not (?:open|connect|start)"
    r"|error performing|not (?:started|running|ready)|stopped|null ?pointer|stack ?trace|disk",
    re.IGNORECASE,
)
_THING = (
    r"(?:layers?|feature ?types?|type ?names?|types?|coverages?|styles?|services?|items?|datasets?"
    r"|resources?|files?|maps?"
)
_THING += r"|records?|objects?|capabilit\w+|documents?|tables?|couches?|ebenen?|capas?|dienst|url)"
_ABSENT = re.compile(
    rf"^\W*not found\b|\bno such\b|\b{_THING}\b.{{0,120}}?\b(?:(?:was|is|are|were|could|can)(?: ?not"
    rf"|n.?t)(?: be)? (?:found"
    rf"|defined|exist|there|known"
    r"|recogni[sz]ed|available|published)|not (?:found|defined|exist)|(?:does|do|did)(?: ?not|n.?t) exist"
    r"|no longer exists?"
    r"|unknown|undefined|n.existe pas|nicht gefunden|existiert nicht|no existe)"
    rf"|\b(?:unknown|undefined|nonexist\w+|missing|invalid)\W{{1,3}}(?:\w+\W{{1,3}})?{_THING}\b"
    rf"|\binvalid\W{{1,4}}url\b"
    rf"|\b(?:could|can) ?not find\W{{1,3}}(?:\w+\W{{1,3}}){{0,3}}{_THING}\b|\bnot found error\b"
    rf"|\bhas no {_THING}\b|\bdoes not (?:have|contain) .{{0,60}}{_THING}\b",
    re.IGNORECASE,
)
_ABSENT_CODES = frozenset(
    ("layernotdefined", "coveragenotdefined", "nosuchcoverage", "typenamenotdefined", "layernotqueryable")
    + ("stylenotdefined", "tilematrixsetnotdefined", "nosuchprocess")
)
# The service wants parameters that the link does not have: nothing is said about the data.
_LACKS_PARAMETERS = re.compile(
    r"missing\w*(?:\W+\w+){0,4}?\W+param|param\w*(?:\W+\w+){0,6}?\W+(?:missing|required|mandatory|not (?:set"
    r"|given|specified|found))"
    r"|(?:request|service|version|operation)\W+(?:param\w*\W+)?(?:is )?(?:missing|required|mandatory"
    r"|not (?:set|given|specified)"
    r"|undefined|unspecified)|\bno (?:service|request|operation|query)\b|must (?:specify|provide|supply)"
    r"|unsupported (?:service"
    r"|request|operation)|service\W+(?:is )?(?:unknown|not recogni[sz]ed)|unknown\W+(?:service|request"
    r"|operation)\b|empty request"
    r"|could not determine (?:ows|get)|query_string|unable to determine (?:service|request)",
    re.IGNORECASE,
)
_PARAMETER_CODES = frozenset({"missingparametervalue", "operationnotsupported", "versionnegotiationfailed"})


class Meaning(enum.Enum):
    """What an error says about the link."""

    ABSENT = "what the link names does not exist"
    LACKS_PARAMETERS = "the service wants a complete request"
    LOGIN = "the service asks for a log-in"
    BUSY = "the service asks to come back later"
    ILL = "the service does not work, or the error is not clear"


@dataclass(frozen=True)
class ServiceError:
    """An error in an envelope.

    :ivar service: "ogc", "arcgis", "mapserver" or "json"
    :ivar code: as in the statuses of HTTP, None where the envelope has none
    :ivar name: the word for the error, lower-case
    """

    service: str
    message: str
    code: int | None = None
    name: str = ""

    @property
    def meaning(self) -> Meaning:
        if self.code in _LOGIN_CODES:
            return Meaning.LOGIN
        if self.code == 429 or _BUSY.search(self.message):
            return Meaning.BUSY
        if self.code is not None and self.code >= 500:
            return Meaning.ILL
        if self.name in _PARAMETER_CODES or _LACKS_PARAMETERS.search(self.message):
            return Meaning.LACKS_PARAMETERS
        if self.name in _ABSENT_CODES or self.code in http_status.GONE or self._says_absent():
            return Meaning.ABSENT
        return Meaning.LOGIN if _LOGIN.search(self.message) and not _ILL.search(self.message) else Meaning.ILL

    def _says_absent(self) -> bool:
        return _ABSENT.search(self.message) is not None and not _ILL.search(self.message)


def find(first: bytes, whole: bool, *, json_promised: bool) -> ServiceError | None:
    """The error that a body reports, None if it reports none.

    :param whole: ``first`` is the whole body
    :param json_promised: JSON is expected, so only what is clearly an error counts as one
    """
    return (
        _of_ogc(first)
        or _of_arcgis(first)
        or _of_mapserver(first)
        or (_of_json(first, json_promised) if whole else None)
    )


def failure(error: ServiceError) -> Failure:
    """What an error in an envelope means for the link."""
    failure = _failure(error)
    failure.service = error.service
    return failure


def _failure(error: ServiceError) -> Failure:
    meaning = error.meaning
    facts: dict[str, str | int] = {"message": error.message}
    if meaning is Meaning.BUSY:
        return Failure(Cause.BLOCKED, "service-busy", **facts)
    if error.service == "arcgis":
        facts["code"] = error.code or 0
        if meaning is Meaning.LOGIN:
            return Failure(Cause.BLOCKED, "arcgis-login", code=error.code or 0)
        if meaning is Meaning.ABSENT:
            return Failure(Cause.SOFT_404, "soft-arcgis-error", **facts)
        return Failure(Cause.SOFT_404, "soft-arcgis-failure", meaning is Meaning.ILL, **facts)
    if meaning is Meaning.LOGIN:
        return Failure(Cause.BLOCKED, "service-login", **facts)
    if error.service == "json":
        # No standard defines these envelopes, so they are never certain; without a word about the error, nothing is
        # known.
        says_ill = (error.code or 0) >= 400 or meaning is Meaning.ABSENT or _ILL.search(error.message)
        return Failure(Cause.SOFT_404, "soft-service-failure" if says_ill else "soft-message", bool(says_ill), **facts)
    if meaning is Meaning.ABSENT and error.service == "ogc":
        return Failure(Cause.SOFT_404, "soft-service-exception", **facts)
    return Failure(Cause.SOFT_404, "soft-service-failure", meaning is Meaning.ILL, **facts)


def _of_ogc(first: bytes) -> ServiceError | None:
    if not _EXCEPTION_ROOT.match(first):
        return None
    text = _EXCEPTION_TEXT.search(first)
    message = pages.plain(text[1]) if text else ""
    code = _EXCEPTION_CODE.search(first)
    name = pages.shown(code[1].decode("utf-8", "replace")) if code else ""
    number = int(name) if name.isascii() and name.isdigit() and len(name) == 3 else None
    return ServiceError("ogc", message or name or "no reason given", number, name.lower())


def _of_arcgis(first: bytes) -> ServiceError | None:
    if not _ERROR_OBJECT.match(first):
        return None
    code = _CODE.search(first)
    text = _MESSAGE.search(first)
    if not code or not text:
        return None
    try:
        message = str(json.loads(b'"' + text[1] + b'"'))
    except ValueError:
        message = text[1].decode("utf-8", "replace")
    return ServiceError("arcgis", pages.shown(message) or "no reason given", int(code[1]))


def _of_mapserver(first: bytes) -> ServiceError | None:
    beginning = first[:2_000]
    if b"QUERY_STRING" not in beginning and b"()" not in beginning:
        return None
    text = pages.visible_text(beginning)
    return ServiceError("mapserver", pages.shown(text)) if _MAPSERVER.match(text) else None


# -- the usual envelopes of JSON services
# -------------------------------------------------------------------------------

_MAX_KEYS = 12
_DATA_KEYS = frozenset(
    ("data", "features", "results", "records", "items", "rows", "value", "values", "geometry", "dataset", "datasets")
    + ("objects", "entries", "list", "series", "fields")
)
_MESSAGE_KEYS = (
    "message",
    "detail",
    "error_description",
    "errormessage",
    "error_message",
    "reason",
    "title",
    "msg",
    "description",
)
_ERROR_KEYS = ("error", "errors", "exception", "fault", "errormessage", "error_message", "errorcode", "error_code")
_BAD_WORDS = frozenset({"error", "fail", "failed", "failure", "nok", "ko"})


def _of_json(first: bytes, json_promised: bool) -> ServiceError | None:
    """An object that says that it is an error, and has no data beside it.

    Not one that merely has a member of that name ("error": null, "errors": []), nor one with anything that looks like
    data.
    """
    text = first.removeprefix(b"\xef\xbb\xbf").strip()
    if not text.startswith(b"{") or not text.endswith(b"}"):
        return None
    try:
        found = json.loads(text)
    except (ValueError, RecursionError):
        return None
    if not isinstance(found, dict) or not 0 < len(found) <= _MAX_KEYS:
        return None
    members = {str(key).lower(): value for key, value in found.items()}
    if any(members.get(key) is not None for key in _DATA_KEYS) or not (_is_error if json_promised else _may_be_error)(
        members
    ):
        return None
    inner = members.get("error") if isinstance(members.get("error"), dict) else None
    return ServiceError(
        "json",
        pages.shown(_message(members, inner or {})) or "no reason given",
        _status(members) or _status(inner or {}),
        str((inner or members).get("code", "")).lower(),
    )


def _is_error(members: dict[str, Any]) -> bool:
    """Clearly an error: it says so, or has a code or a few words beside its error."""
    if members.get("success") is False or members.get("ok") is False:
        return any(key in members for key in (*_ERROR_KEYS, *_MESSAGE_KEYS))
    error = members.get("error")
    if isinstance(error, dict):
        return any(key in error for key in ("code", "message", "__type", "status"))
    if error and len(members) <= 4 and any(key in members for key in (*_MESSAGE_KEYS, "code", "status", "error_code")):
        return True
    return (_status(members) or 0) >= 400 and any(key in members for key in (*_MESSAGE_KEYS, *_ERROR_KEYS))


def _may_be_error(members: dict[str, Any]) -> bool:
    """An error, where no JSON is expected."""
    if _is_error(members) or any(members.get(key) for key in _ERROR_KEYS):
        return True
    if str(members.get("status", "")).lower() in _BAD_WORDS or members.get("success") is False:
        return True
    # {"message": "Forbidden"} of API gateways, {"detail": "Not found."} of Django: a message and nothing else.
    key, value = next(iter(members.items()))
    return len(members) == 1 and isinstance(value, str) and key in ("message", "detail")


def _status(members: dict[str, Any]) -> int | None:
    for key in ("code", "status", "statuscode", "status_code", "errorcode", "error_code", "httpstatus"):
        text = str(members.get(key, ""))
        if text.isascii() and text.isdigit() and 100 <= int(text[:4]) <= 999:
            return int(text[:4])
    return None


def _message(members: dict[str, Any], inner: dict[str, Any]) -> str:
    inner = {str(key).lower(): value for key, value in inner.items()}
    for place in (inner, members):
        for key in _MESSAGE_KEYS:
            if isinstance(place.get(key), str) and place[key].strip():
                return str(place[key])
    for key in ("error", "errors", "exception", "fault", "__type"):
        value = members.get(key) or inner.get(key)
        if value and value is not True:
            return value if isinstance(value, str) else json.dumps(value, ensure_ascii=False)
    return ""
