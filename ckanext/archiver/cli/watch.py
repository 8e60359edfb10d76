"""``ckan archiver status --watch`` on a terminal: a page that is drawn again every two seconds."""

from __future__ import annotations

import contextlib
import shutil
import signal
import textwrap
import threading
from collections.abc import Callable, Iterator, Mapping, Sequence
from datetime import datetime, timezone
from typing import Any

import click
import sqlalchemy as sa
from ckan import model

from ckanext.archiver import clock, monitoring
from ckanext.archiver.cli import errors
from ckanext.archiver.engine.reasons import size_text
from ckanext.archiver.monitoring import watching
from ckanext.archiver.queue.host_states import HostState

SECONDS = 2
"""Between two looks."""

CAUSES = 6
MIN_HOSTS, MAX_HOSTS = 3, 20
BAR = 30

BEGIN = "\x1b[?1049h\x1b[?25l\x1b[?7l"
"""Another screen, without a cursor, without wrapping (xterm's private modes)."""
END = "\x1b[?7h\x1b[?25h\x1b[?1049l"

Style = Mapping[str, Any]
Line = list[tuple[str, Style]]
"""Pieces of a line, each with a style of ``click.style``."""

PLAIN: Style = {}
BOLD: Style = {"bold": True}
DIM: Style = {"dim": True}
ALARM: Style = {"fg": "red", "bold": True}
NOTE: Style = {"fg": "yellow"}
GOOD: Style = {"fg": "green"}


def run(look: Callable[[int], watching.Watched] = watching.watch) -> None:
    """Draw the page until Ctrl-C. While the database is away, the page says so and shows the last state."""
    changed = threading.Event()
    with _screen(), _on_resize(changed.set):
        last: watching.Watched | None = None
        while True:
            changed.clear()
            size = shutil.get_terminal_size()
            hosts = min(max(size.lines - 24, MIN_HOSTS), MAX_HOSTS)
            last, trouble = _look(look, hosts, last)
            _draw(list(page(last, trouble, hosts, size.columns)), size.columns, size.lines)
            changed.wait(SECONDS)


def repeat(show: Callable[[], object]) -> None:
    """Show the state again and again as plain text, until Ctrl-C; an error of the database is a line.

    :raises BrokenPipeError: when the reader of a pipe has gone
    """
    while True:
        try:
            show()
        except BrokenPipeError:
            raise  # its reader has ended; click ends the command
        except (sa.exc.SQLAlchemyError, OSError) as e:
            click.secho(_sentence(e), fg="red", err=True)
            model.Session.remove()
        threading.Event().wait(SECONDS)


def _look(
    look: Callable[[int], watching.Watched], hosts: int, last: watching.Watched | None
) -> tuple[watching.Watched | None, str]:
    """The state, or the last one and why there is no newer one."""
    try:
        return look(hosts), ""
    except (sa.exc.SQLAlchemyError, OSError) as e:
        model.Session.remove()
        return last, _sentence(e)


def _sentence(error: Exception) -> str:
    text = errors.sentence(error) or str(error).splitlines()[0]
    text = text.replace(" What was done so far is kept: run the command again.", "").rstrip(".")
    return f"{text}. Trying again."


@contextlib.contextmanager
def _screen() -> Iterator[None]:
    click.echo(BEGIN, nl=False)
    try:
        yield
    finally:
        click.echo(END, nl=False)


@contextlib.contextmanager
def _on_resize(react: Callable[[], None]) -> Iterator[None]:
    before = signal.signal(signal.SIGWINCH, lambda number, frame: react())
    try:
        yield
    finally:
        signal.signal(signal.SIGWINCH, before)


def _draw(lines: Sequence[Line], columns: int, rows: int) -> None:
    if len(lines) > rows:
        lines = [*lines[: rows - 1], [("… the window is too small for the rest", DIM)]]
    drawn = "\x1b[K\r\n".join(_cut(line, columns) for line in lines)
    click.echo(f"\x1b[H{drawn}\x1b[K\x1b[J", nl=False)


def _cut(line: Line, columns: int) -> str:
    drawn = ""
    for text, style in line:
        # Hosts and reasons come from outside: nothing in them may control the terminal.
        shown = "".join(char if char.isprintable() else "?" for char in text)[:columns]
        columns -= len(shown)
        drawn += click.style(shown, **style) if style else shown
    return drawn


# -- the page --------------------------------------------------------------------------------------------------


def page(found: watching.Watched | None, trouble: str, hosts: int, columns: int = 80) -> Iterator[Line]:
    """The lines of the page: what an operator should act on comes first.

    :param found: the last state, None where there is none yet
    :param trouble: why there is no newer state; else empty
    :param hosts: how many hosts are shown
    :param columns: of the terminal
    """
    time = found.status["time"][:19].replace("T", " ") + " UTC" if found else ""
    yield [("Archiver", BOLD), (f"  {time}   every {SECONDS} s, Ctrl-C ends", DIM)]
    if trouble:
        yield from _wrapped(trouble, ALARM, columns)
    if found is None:
        return
    status = found.status
    for alarm in monitoring.alarms(status):
        yield from _wrapped(alarm, ALARM, columns)
    for pause in status["pauses"][:5]:
        yield from _wrapped(f"PAUSED: {pause['sentence']} To go on: {pause['resume']}", NOTE, columns)
    yield []
    yield from _round(found)
    yield []
    yield from _queues(status)
    yield from _workers(status)
    yield []
    yield from _hosts(found, hosts)
    yield []
    yield from _failures(found.failures)
    yield []
    yield from _links(status)


def _wrapped(text: str, style: Style, columns: int) -> Iterator[Line]:
    yield from ([(part, style)] for part in textwrap.wrap(text, max(columns, 20), subsequent_indent="  "))


def _round(found: watching.Watched) -> Iterator[Line]:
    status = found.status
    rate = f"{status['rate_per_second']:,} links/s"
    if found.checked is None:
        last = status["round"].get("last")
        text = (
            f"none is going on; the last one finished {monitoring.minute(last['finished_at'])}" if last else "none yet"
        )
        yield [("Round    ", BOLD), (text, PLAIN), (f"   {rate}", DIM)]
        return
    total = found.checked + found.left
    share = found.checked / total if total else 1.0
    full = round(BAR * share)
    eta = status["round"]["eta_seconds"]
    left = "time left unknown" if eta is None else f"about {monitoring.duration(eta)} left"
    yield [
        ("Round    ", BOLD),
        ("█" * full, GOOD),
        ("░" * (BAR - full), DIM),
        (f" {share:4.0%}  {found.checked:,} of {total:,}   {rate}   {left}", PLAIN),
    ]


def _queues(status: monitoring.Status) -> Iterator[Line]:
    yield [("Queue       waiting  running  in broker  oldest waits", BOLD)]
    for queue, numbers in status["queues"].items():
        in_broker = monitoring.known(numbers["in_broker"])
        yield [
            (
                f"{queue:9} {numbers['waiting']:>9,} {numbers['running']:>8,} {in_broker:>10}  "
                f"{monitoring.duration(numbers['oldest_wait_seconds'])}",
                PLAIN,
            )
        ]


def _workers(status: monitoring.Status) -> Iterator[Line]:
    workers = status["workers"]
    shown = "  ".join(f"{one['hostname']}:{one['pid']} ({', '.join(one['queues'])})" for one in workers[:6])
    more = f"  and {len(workers) - 6:,} more" if len(workers) > 6 else ""
    yield [(f"Workers  {len(workers)}", BOLD), (f"  {shown}{more}", PLAIN)]


_STATE_STYLES = {"ready": GOOD, "down": ALARM, "paused": NOTE, "asked": NOTE, "failing": NOTE, "probe": NOTE}


def _hosts(found: watching.Watched, count: int) -> Iterator[Line]:
    shown = found.hosts[:count]
    width = min(max([24, *(len(host.host) for host in shown)]), 40)
    yield [(f"{'Host':{width}}   waiting  in flight  state", BOLD)]
    if not shown:
        yield [("nothing waits for any host", DIM)]
    for host in shown:
        name = host.host if len(host.host) <= width else host.host[: width - 1] + "…"
        numbers = f"{name:{width}} {host.waiting:>9,} {host.in_flight:>10,}  "
        yield [(numbers, PLAIN), (_state(host), _STATE_STYLES[host.state])]


def _state(host: HostState) -> str:
    until = f", until {clock_time(host.until)}" if host.until else ""
    since = f" since {clock_time(host.since)}" if host.since else ""
    words = {"asked": "asked us to wait", "probe": "probed next, down"}
    return f"{words.get(host.state, host.state)}{since}{until}"


def clock_time(moment: datetime) -> str:
    """The time of day in UTC; with the date where it is another day."""
    utc = moment.astimezone(timezone.utc)
    return f"{utc:%H:%M}" if utc.date() == clock.utc().date() else f"{utc:%Y-%m-%d %H:%M}"


def _failures(failures: Mapping[str, int]) -> Iterator[Line]:
    yield [("Failed checks in the last hour", BOLD)]
    if not failures:
        yield [("none", DIM)]
    largest = max(failures.values(), default=1)
    for cause, number in list(failures.items())[:CAUSES]:
        yield [(f"{cause:18} {number:>9,} ", PLAIN), ("█" * max(round(BAR * number / largest), 1), ALARM)]


def _links(status: monitoring.Status) -> Iterator[Line]:
    links = "   ".join(f"{verdict} {number:,}" for verdict, number in sorted(status["links"].items()))
    yield [("Links    ", BOLD), (links or "none checked yet", PLAIN)]
    held, aside = status["held"]["count"], status["set_aside"]
    broker = "answers" if status["broker"]["answers"] else "does not answer"
    text = f"broker {broker}   verdicts held {held:,}   set aside {aside:,}"
    free = status["disk"]["free_bytes"]
    room = "" if free is None else f"   disk {size_text(free)} free"
    yield [("         ", BOLD), (text + room, PLAIN)]
