"""How a fetch ends early: a :class:`Failure`, raised where the problem is detected."""

from __future__ import annotations

from .outcome import Cause, Certificate


class Failure(Exception):
    """The end of a fetch; ``fetch.fetch`` turns it into an Outcome.

    :ivar cause: the class of the problem
    :ivar detail: the exact problem: a key of ``reasons.REASONS``
    :ivar transient: another attempt within the run may succeed
    :ivar facts: the values that fill the sentence of ``detail``
    :ivar certificate: the certificate that was refused, if that is the problem
    :ivar service: the kind of service that reported the problem in an envelope of its own (``service_errors``)
    """

    def __init__(self, cause: Cause, detail: str, transient: bool = False, /, **facts: str | int) -> None:
        super().__init__(detail)
        self.cause = cause
        self.detail = detail
        self.transient = transient
        self.facts = facts
        self.certificate: Certificate | None = None
        self.service = ""


def unreachable(detail: str, /, **facts: str | int) -> Failure:
    """A failure of the connection; another attempt may succeed."""
    return Failure(Cause.UNREACHABLE, detail, True, **facts)


def server_error(detail: str, /, **facts: str | int) -> Failure:
    """A failure of the server; another attempt may succeed."""
    return Failure(Cause.SERVER_ERROR, detail, True, **facts)
