"""Fetch one link: the engine's main path. Read :func:`fetch` from the top.

One call is one run: redirects are followed here, retries are the caller's (``Outcome.transient``).
"""

from __future__ import annotations

import logging
import threading
from pathlib import Path

from . import ftp, http_check, http_download, urls
from .failure import Failure
from .outcome import Cause, FetchRequest, Limits, Outcome, Policy
from .session import Session

log = logging.getLogger(__name__)


def fetch(
    request: FetchRequest,
    *,
    limits: Limits,
    policy: Policy,
    spool: Path | None,
    stop: threading.Event | None = None,
) -> Outcome:
    """Request one link and, unless it is only to be checked, download its file.

    Never raises for anything a URL or a remote does; ``limits`` end every wait.

    :param spool: directory for the downloaded file (``Outcome.temp_path``); None keeps nothing on disk
    :param stop: once set, the fetch ends (cause own-fault, detail "stopped") within a second; only setting up a
        connection takes longer, up to its own short limit
    """
    session = Session(request, limits, policy, spool, stop)
    try:
        return _run(session)
    except Failure as failure:
        return session.failed(failure)
    except Exception:  # a defect of ours must neither kill a worker nor be held against a link
        log.exception("Defect while fetching %s", urls.redact(request.url)[:500])
        return session.failed(Failure(Cause.OWN_FAULT, "defect"))
    finally:
        session.trail.close()


def _run(session: Session) -> Outcome:
    """Choose by scheme and mode.

    :raises Failure: for every end but a success
    """
    target = urls.normalise(session.request.url)
    if isinstance(target, urls.BadUrl):
        raise Failure(target.cause, target.detail, **target.facts)
    session.begin(target)
    if target.scheme == "ftp":
        return ftp.fetch(session, target)
    return http_check.check(session, target) if session.request.check_only else http_download.download(session, target)
