"""Pages and downloads."""

from __future__ import annotations

import hmac
import logging
import mimetypes
import re
from collections.abc import Mapping
from pathlib import Path
from typing import Any
from urllib.parse import quote

import ckan.plugins.toolkit as tk
from ckan import model
from ckan.lib import api_token
from flask import Blueprint, Response, make_response, send_file
from werkzeug.exceptions import RequestedRangeNotSatisfiable
from werkzeug.http import http_date

from ckanext.archiver import clock, config, forged_forms, monitoring
from ckanext.archiver.engine import urls
from ckanext.archiver.model import Archival
from ckanext.archiver.report import words
from ckanext.archiver.storable import is_storable

log = logging.getLogger(__name__)

SAME_TIME = 0.01
"""Seconds by which the time of a file and the one in its row may differ."""

archiver = Blueprint("archiver", __name__)
archiver.before_request(forged_forms.refuse)


def get_blueprints() -> list[Blueprint]:
    """Ours, for ``IBlueprint``."""
    return [archiver]


@archiver.before_request
def _refuse_what_is_no_text() -> Any:
    """Answer that there is no dataset of such a name; CKAN's own pages fail on a null character in one."""
    if not all(map(is_storable, (tk.request.view_args or {}).values())):
        return tk.abort(404, tk._("Resource not found"))
    return None


# -- cached copies -----------------------------------------------------------------------------------------


def cached_copy_url(archival: Mapping[str, Any], *, is_public: bool) -> str:
    """The URL of a cached copy on a page: for a public copy that of the web server that publishes the archive, else
    CKAN's."""
    root = config.cache_url_root()
    published = archival.get("cache_url") or ""
    if is_public and root and published.startswith(root + "/"):
        return str(published)
    url: str = tk.url_for("archiver.cached", id=archival["package_id"], resource_id=archival["resource_id"])
    return url


@archiver.route("/dataset/<id>/resource/<resource_id>/cached")
def cached(id: str, resource_id: str) -> Response:
    """Download the cached copy of a resource; for readers who may see the resource now."""
    try:
        tk.get_action("package_show")({}, {"id": id})
        resource = tk.get_action("resource_show")({}, {"id": resource_id})
    except (tk.ObjectNotFound, tk.NotAuthorized):
        # The same answer as for a resource without a copy, so that it does not reveal that a private resource exists.
        return _no_copy()
    package = model.Package.get(id)
    archival = Archival.get_for_resource(resource_id)
    if package is None or package.id != resource["package_id"] or archival is None:
        return _no_copy()
    path = _inside_archive(archival.cache_filepath)
    if path is None:
        return _no_copy()
    return _download(path, archival, is_public=not package.private and package.state == model.State.ACTIVE)


def _no_copy() -> Any:
    return tk.abort(404, tk._("There is no cached copy of this resource."))


def _inside_archive(cache_filepath: str | None) -> Path | None:
    """The file, if it exists and is in the archive after symbolic links are resolved."""
    archive_dir = config.archive_dir()
    if not cache_filepath or not archive_dir:
        return None
    try:
        path = Path(cache_filepath).resolve(strict=True)
        inside = path.is_relative_to(Path(archive_dir).resolve(strict=True))
    except (OSError, ValueError):
        # The file is gone, or the path is not valid (NUL).
        return None
    if not inside:
        log.warning("The cached copy %s is not in the archive directory", cache_filepath)
        return None
    return path if path.is_file() else None


def _download(path: Path, archival: Archival, *, is_public: bool) -> Response:
    if not re.fullmatch(r"bytes=(\d+-\d*|-\d+)", tk.request.headers.get("Range", ""), re.ASCII):
        # RFC 9110 §14.2: a unit that is not known is ignored, and more than one range may be. Werkzeug refuses both.
        tk.request.environ.pop("HTTP_RANGE", None)
    try:
        response: Response = send_file(
            path,
            mimetype=_safe_mimetype(archival.mimetype, path),
            as_attachment=True,
            download_name=re.sub(r"[\x00-\x1f\x7f\"\\]", "_", path.name),
            etag=(archival.sha256 if _is_described(path, archival) else None) or True,
            conditional=not config.send_files(),
        )
    except RequestedRangeNotSatisfiable as e:
        # CKAN's page for errors would lose the length (Content-Range).
        response = Response(status=416, headers={"Content-Range": f"bytes */{e.length}"})
    # The bytes are untrusted: a browser must neither guess their type nor run them on our origin.
    response.headers["X-Content-Type-Options"] = "nosniff"
    response.headers["Content-Security-Policy"] = "sandbox; default-src 'none'"
    original = urls.redact(archival.source_url or "")
    if re.fullmatch(r"https?://[!#-;=?-~]+", original):
        response.headers["Link"] = f'<{original}>; rel="original"'
    if archival.cached_at is not None:
        # RFC 7089: when the copy was what the link led to.
        response.headers["Memento-Datetime"] = http_date(archival.cached_at)
    _hand_over(response, path)
    if not is_public:
        # Read by CKAN's set_cache_control_headers_for_response, which runs after this view.
        tk.request.environ["__no_cache__"] = True
    return response


def _is_described(path: Path, archival: Archival) -> bool:
    """Whether the file is the one whose checksum the row has. After a restore it may be another."""
    status, cached_at = path.stat(), clock.aware(archival.cached_at)
    saved_at = cached_at.timestamp() if cached_at is not None else 0.0
    return status.st_size == archival.size and abs(status.st_mtime - saved_at) < SAME_TIME


def _hand_over(response: Response, path: Path) -> None:
    """Let the web server in front of CKAN send the file, where the operator says that it can."""
    way = config.send_files()
    if way == "x-sendfile":
        response.headers["X-Sendfile"] = str(path)
    elif way:
        archive_dir = Path(config.archive_dir() or "").resolve()
        response.headers["X-Accel-Redirect"] = way.rstrip("/") + "/" + quote(str(path.relative_to(archive_dir)))
    else:
        return
    response.direct_passthrough = False
    response.set_data(b"")
    # The web server sets it for what it sends.
    response.headers.pop("Content-Length", None)


_ACTIVE_TYPE = re.compile(r"html|xml|svg|script|pdf|flash|multipart|message")


def _safe_mimetype(mimetype: str | None, path: Path) -> str:
    type_ = (mimetype or mimetypes.guess_type(path.name)[0] or "").split(";")[0].strip().lower()
    if not re.fullmatch(r"[a-z]+/[a-z0-9][a-z0-9.+-]{0,80}", type_) or _ACTIVE_TYPE.search(type_):
        return "application/octet-stream"
    return type_


# -- checking now ------------------------------------------------------------------------------------------


@archiver.route("/dataset/<id>/resource/<resource_id>/check", methods=["POST"])
def check(id: str, resource_id: str) -> Any:
    """Request a check of one link, for editors, and show its page again."""
    try:
        paused = tk.get_action("archiver_check")({}, {"id": resource_id})["paused"]
    except tk.ObjectNotFound:
        return tk.abort(404, tk._("Resource not found"))
    except tk.NotAuthorized:
        return tk.abort(403, tk._("You are not allowed to edit this dataset."))
    except tk.ValidationError as e:
        tk.h.flash_error("; ".join(text for texts in e.error_dict.values() for text in texts))
    else:
        # The panel says that the check waits.
        if paused:
            tk.h.flash_notice(words.paused(paused))
    return tk.redirect_to("dataset_resource.read", id=id, resource_id=resource_id)


@archiver.route("/dataset/<id>/resource/<resource_id>/archiver-panel")
def panel(id: str, resource_id: str) -> Response | str:
    """The panel of a resource page alone: a page that waits for a check asks for it."""
    try:
        package = tk.get_action("package_show")({}, {"id": id})
    except (tk.ObjectNotFound, tk.NotAuthorized):
        return tk.abort(404, tk._("Resource not found"))
    resource = next((resource for resource in package["resources"] if resource["id"] == resource_id), None)
    if resource is None:
        return tk.abort(404, tk._("Resource not found"))
    tk.request.environ["__no_cache__"] = True
    html: str = tk.render("archiver/snippets/panel.html", {"res": resource, "pkg": package})
    return html


# -- monitoring --------------------------------------------------------------------------------------------


@archiver.route("/archiver/metrics")
def metrics() -> Response:
    """The state of the queues in Prometheus' text format, for those who have ``metrics_token``, and for sysadmins. Both
    this token and a sysadmin's API token may be sent as ``Authorization: Bearer …`` (RFC 6750 §2.1), as Prometheus
    does."""
    scheme, _, token = tk.request.headers.get("Authorization", "").partition(" ")
    token = token.strip() if scheme.lower() == "bearer" else ""
    own = config.metrics_token()
    if own and hmac.compare_digest(token.encode(), own.encode()):
        status = monitoring.collect()
    else:
        # CKAN reads an API token only where it is the whole header.
        user = api_token.get_user_from_token(token) if token else None
        context = {"user": user.name} if user and user.state == "active" else {}
        try:
            status = tk.get_action("archiver_status_show")(context, {})
        except tk.NotAuthorized:
            # For a program, which reads no page.
            sentence = tk._("Only sysadmins may see the state of the archiver.")
            return Response(f"{sentence}\n", 403, content_type="text/plain; charset=utf-8")
    response = make_response(monitoring.prometheus(status))
    response.headers["Content-Type"] = monitoring.CONTENT_TYPE
    tk.request.environ["__no_cache__"] = True
    return response
