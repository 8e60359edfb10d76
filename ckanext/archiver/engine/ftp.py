"""FTP (RFC 959, RFC 2428), where the operator allows it: ``ftplib`` for the commands, our sockets for the bytes.

Both connections go through the guard. The address in the response to PASV is not used (ftplib's default since 3.9.3,
curl's since 7.74): data comes from the host that was judged, or not at all. All limits of HTTP apply.
"""

from __future__ import annotations

import contextlib
import ftplib
import socket
from collections.abc import Iterator
from dataclasses import replace
from urllib.parse import unquote_to_bytes

from . import addresses, dial, urls
from .bad_ports import BAD_PORTS
from .failure import Failure, server_error, unreachable
from .outcome import Cause, Outcome, Policy
from .session import CHECK_RECEIVE_BYTES, Response, Session
from .store import Sink
from .stream import Deadline, Stream
from .wire import Body, Framing, Head

_GONE = frozenset({"450", "550", "551", "553"})
_LOGIN = frozenset({"331", "332", "430", "530", "532"})


def fetch(session: Session, target: urls.Target) -> Outcome:
    """:raises Failure: for every end but a success"""
    # A proxy for HTTP does not see FTP, so with a proxy there is no route that the operator has approved.
    if not session.policy.allow_ftp or session.policy.proxy:
        raise Failure(Cause.REFUSED_BY_POLICY, "ftp-off")
    sink = Sink(session.spool, session.limits.min_free_bytes)
    try:
        with _connected(target, session.policy, session.deadline) as connection:
            session.requests += 1
            outcome = _transfer(session, target, connection, sink)
        return replace(outcome, temp_path=sink.finish())
    finally:
        sink.discard()


def _transfer(session: Session, target: urls.Target, connection: Connection, sink: Sink) -> Outcome:
    response = Response(target, Head(200), Framing(), Body(connection.control, b"", Framing(0)))
    if connection.is_directory:
        connection.cwd(connection.path or ".")
        return session.succeeded("ok-checked", response)
    size = connection.announced_size()
    check_only = session.request.check_only
    if check_only and size:
        return session.succeeded("ok-checked", response, size=size)
    limit = session.limits.max_content_length
    if size is not None and size > limit:
        raise Failure(Cause.TOO_LARGE, "too-large-announced", size=size, limit=limit)
    stream = connection.retrieve()
    body = Body(stream, b"", Framing())
    session.bodies.append(body)
    response = replace(response, body=body)
    if check_only:
        stream.at_once = CHECK_RECEIVE_BYTES
        return session.succeeded("ok-checked", response, session.sniff(response, ()), size=None)
    first = session.save(response, (), sink)
    connection.finish(sink.size, size)
    return session.doubted(response, first, size=sink.size, sha256=sink.sha256, sha1=sink.sha1)


@contextlib.contextmanager
def _connected(target: urls.Target, policy: Policy, deadline: Deadline) -> Iterator[Connection]:
    """A control connection, logged in, for binary files.

    :raises Failure: for every error in it or in the body of the ``with``
    """
    connection = Connection(target, policy, deadline)
    try:
        connection.begin()
        yield connection
    except ftplib.error_perm as e:
        raise _refused(str(e)[:3]) from e
    except ftplib.error_temp as e:
        raise server_error("ftp-status", status=str(e)[:3]) from e
    except (ftplib.Error, ValueError, IndexError) as e:
        raise server_error("ftp-garbage") from e
    except EOFError as e:
        raise unreachable("no-answer") from e
    except OSError as e:
        raise unreachable("reset") from e
    finally:
        connection.close()


def _refused(status: str) -> Failure:
    if status in _GONE:
        return Failure(Cause.GONE, "ftp-gone", status=status)
    if status in _LOGIN:
        return Failure(Cause.BLOCKED, "ftp-login", status=status)
    return Failure(Cause.SERVER_ERROR, "ftp-status", status=status)


class Connection(ftplib.FTP):
    """A control connection and its data connection; use :func:`_connected`.

    :ivar path: of the file, relative to the directory after the login (RFC 1738 §3.2.2)
    """

    encoding = "latin-1"  # bytes unchanged: the paths of old servers are in no known encoding
    data: Stream | None = None

    def __init__(self, target: urls.Target, policy: Policy, deadline: Deadline) -> None:
        super().__init__(encoding="latin-1")
        self._target = target
        self._policy = policy
        self._deadline = deadline
        raw = target.request_target.partition("?")[0].lstrip("/").partition(";type=")[0]
        self.path = unquote_to_bytes(raw).decode("latin-1")
        if any(char in self.path for char in "\r\n\0"):
            raise Failure(Cause.BAD_URL, "ftp-bad-path")

    @property
    def is_directory(self) -> bool:
        """Whether the link is to a directory, which can be listed but not kept."""
        return not self.path or self.path.endswith("/")

    def begin(self) -> None:
        """:raises ftplib.Error, Failure: no connection, or no login"""
        sock = dial.connect(self._target.host, self._target.port, self._policy, self._deadline)
        self.sock = sock
        self.af = sock.family
        # ftplib reads lines from a file object; this one waits no longer than the limits allow.
        self.control = Stream(sock, self._deadline)
        self.file = _Lines(self.control)  # type: ignore[assignment]  # has the one method used
        self.welcome = self.getresp()
        self.login(self._target.username or "anonymous", self._target.password or "anonymous@")
        self.voidcmd("TYPE I")

    def announced_size(self) -> int | None:
        """The size of the file in bytes, None if the server does not report it."""
        try:
            return self.size(self.path)
        except ftplib.error_perm as e:
            if str(e)[:3] in _GONE | _LOGIN:
                raise
            return None  # no such command (RFC 3659 is younger than many servers)

    def retrieve(self) -> Stream:
        """The bytes of the file."""
        self.data = Stream(self.transfercmd(f"RETR {self.path}"), self._deadline)
        return self.data

    def finish(self, received: int, announced: int | None) -> None:
        """:raises Failure, ftplib.Error: the file is incomplete"""
        if self.data is not None:
            self.data.close()
            self.data = None
        if announced is not None and received < announced:
            raise server_error("truncated", received=received, expected=announced)
        try:
            self.voidresp()
        except (ftplib.error_temp, ftplib.error_perm) as e:
            raise server_error("truncated-chunked", received=received) from e

    def putline(self, line: str) -> None:
        """As in ftplib, for a non-blocking socket."""
        if "\r" in line or "\n" in line:
            raise ValueError("a command is one line")
        self.control.send(line.encode(self.encoding) + b"\r\n")

    def ntransfercmd(self, cmd: str, rest: int | str | None = None) -> tuple[socket.socket, int | None]:
        """As in ftplib, through the guard."""
        host, port = self.makepasv()
        if not 0 < port < 65_536:
            raise ftplib.error_proto(str(port))  # noqa: S321 - see above
        if port in BAD_PORTS:
            raise Failure(Cause.REFUSED_BY_POLICY, "port-refused", port=port)
        if not dial.guard_of(self._policy.allowed_addresses).allows(self._target.host, host):
            raise Failure(Cause.REFUSED_BY_POLICY, "address-refused")
        wait = self._deadline.remaining(self._deadline.limits.connect_timeout)
        sock = addresses.create_connection(host, port, addresses.Guard((host,)), wait)
        try:
            self._begin_transfer(cmd)
        except BaseException:
            sock.close()
            raise
        return sock, None

    def _begin_transfer(self, cmd: str) -> None:
        answer = self.sendcmd(cmd)
        if answer[0] == "2":
            answer = self.getresp()  # some servers report the end of the last transfer only now
        if answer[0] != "1":
            raise ftplib.error_reply(answer)  # noqa: S321 - FTP is what the operator allowed

    def close(self) -> None:
        """Close both connections; never raises, never waits."""
        if self.data is not None:
            self.data.close()
            self.data = None
        if self.sock is not None:
            self.sock.close()
            self.sock = None


class _Lines:
    """The lines of the control connection."""

    def __init__(self, stream: Stream) -> None:
        self._stream = stream
        self._buffer = b""
        self._read = 0

    def readline(self, limit: int) -> str:
        while b"\n" not in self._buffer[:limit] and len(self._buffer) < limit:
            data = self._stream.receive()
            if not data:
                break
            self._stream.progress(len(data))
            self._buffer += data
            self._read += len(data)
            limit_bytes = self._stream.deadline.limits.max_header_bytes
            if self._read > limit_bytes:
                raise server_error("headers-too-large", limit=limit_bytes)
        end = self._buffer.find(b"\n", 0, limit) + 1 or limit
        line, self._buffer = self._buffer[:end], self._buffer[end:]
        return line.decode("latin-1")

    def close(self) -> None:
        self._buffer = b""
