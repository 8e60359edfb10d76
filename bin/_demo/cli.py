"""``bin/demo``: read :func:`_run` first, it is the order of events."""

from __future__ import annotations

import argparse
import contextlib
import fcntl
import html
import json
import os
import secrets
import signal
import sys
import time
from collections.abc import Iterator, Mapping, Sequence
from datetime import datetime, timezone
from pathlib import Path
from types import FrameType
from typing import NoReturn
from urllib.parse import quote

from _stack import ckan_site
from _stack import cli as stack_cli
from _stack.layout import Stack, StackError, is_free
from origin_server import Origin

from . import history, pictures, showing, watching
from . import portal as the_portal
from .api import Portal, get
from .processes import Site
from .progress import Progress, say
from .watching import Result

_SIGNALS = (signal.SIGINT, signal.SIGTERM, signal.SIGHUP)

_LONG_AGO = datetime(2000, 1, 1, tzinfo=timezone.utc)

EDITOR = "editor"

_DESCRIPTION = """\
Starts a CKAN with its workers on a stack of its own, fills it with the datasets of three organizations whose links
lead to every kind of answer, waits until all are archived, and says what to open and what to try. Runs until Ctrl-C,
which stops what it started. While it runs, "bin/demo ckan ..." runs any ckan command on its portal.
"""


def main(arguments: Sequence[str]) -> int:
    mine, theirs = stack_cli.take_stack_options(arguments)
    try:
        if theirs[:1] == ["ckan"]:
            _become_ckan(mine, theirs[1:])
        options = _options(arguments)
        for number in _SIGNALS:
            signal.signal(number, _interrupt)
        return _run(options)
    except StackError as error:
        say(str(error))
        return 1
    except KeyboardInterrupt:
        return 130


def _become_ckan(stack_options: Sequence[str], words: Sequence[str]) -> NoReturn:
    """Become the ``ckan`` command of the demo's portal.

    :raises StackError: there is none yet
    """
    parser = argparse.ArgumentParser(prog="bin/demo ckan")
    stack_cli.add_stack_options(parser)
    options = parser.parse_args(stack_options)
    site = Site(Stack.at(options.ckan, options.dir), 0)
    if not site.ini.exists():
        raise StackError(f"there is no demo in {site.stack.dir} yet; bin/demo makes one")
    command = site.command(*words)
    os.execve(command[0], command, site.environment)


def _options(arguments: Sequence[str]) -> argparse.Namespace:
    parser = argparse.ArgumentParser(
        prog="bin/demo",
        usage="bin/demo [ckan ...] [--once] [--json] [--pictures DIR] [--port PORT] [--ckan VERSION] [--dir DIR]",
        description=_DESCRIPTION,
    )
    parser.add_argument("--once", action="store_true", help="end after the table")
    parser.add_argument("--json", action="store_true", help="print one JSON object instead of the table")
    parser.add_argument("--pictures", type=Path, metavar="DIR", help="take the documentation's pictures, into DIR")
    parser.add_argument("--port", type=int, help="port of CKAN's web server; default: the stack's")
    stack_cli.add_stack_options(parser)
    return parser.parse_args(arguments)


def _interrupt(number: int, frame: FrameType | None) -> None:
    raise KeyboardInterrupt


def _run(options: argparse.Namespace) -> int:
    began = time.monotonic()
    stack = Stack.at(options.ckan, options.dir)
    with contextlib.ExitStack() as cleanup:
        cleanup.enter_context(_alone(stack))
        cleanup.enter_context(_servers(stack))
        site = Site(stack, _port(stack, options.port))
        origin_port = stack.port("origin")
        origin = cleanup.enter_context(Origin(port=origin_port))
        portal = cleanup.enter_context(_running_site(site, origin_port))

        results, since = _archive(site, portal, origin)
        wrong = watching.unexpected(results, since)
        pages = _pages(site.url, results)
        wrong += _look_at_pages(pages, results)
        _print(options, site, results, pages, time.monotonic() - began)
        if options.pictures:
            for picture in pictures.take(stack, pages, options.pictures):
                say(f"took {picture}")
        for line in wrong:
            say(f"not as expected: {line}")
        if not options.once:
            _serve(site)
    return 1 if wrong else 0


# -- starting and stopping -------------------------------------------------------------------------------------


@contextlib.contextmanager
def _alone(stack: Stack) -> Iterator[None]:
    """One demo at a time on a stack."""
    stack.make()
    with (stack.dir / "run" / "demo.lock").open("w") as handle:
        try:
            fcntl.flock(handle, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            raise StackError(f"a demo runs on {stack.dir} already; another --dir makes another stack") from None
        yield


@contextlib.contextmanager
def _servers(stack: Stack) -> Iterator[None]:
    """The stack's servers; those that did not run before are stopped at the end."""
    with contextlib.ExitStack() as cleanup:
        cleanup.enter_context(stack_cli.servers(stack, for_tests=False))
        try:
            yield
        finally:
            with _undisturbed():
                cleanup.close()


@contextlib.contextmanager
def _running_site(site: Site, origin_port: int) -> Iterator[Portal]:
    """The web server, which answers, and the workers, which may still be getting ready."""
    site.stop()  # what a demo that was killed left behind
    if not is_free(site.port):
        raise StackError(f"another program uses port {site.port}; --port names another one")
    site.write_ini()
    try:
        say("starting CKAN and its workers")
        web = site.start()
        portal = Portal(site.url, site.stack.recall().get("demo_token", ""), origin_port)
        if not portal.token:
            portal.token = _make_token(site)  # while the others get ready
        site.await_web(web)
        if not portal.accepts_token():
            portal.token = _make_token(site)
        yield portal
    finally:
        with _undisturbed():
            say("stopping")
            site.stop()


def _make_token(site: Site) -> str:
    token = site.run("user", "token", "add", ckan_site.SYSADMIN, "demo", "--quiet")
    site.stack.remember(demo_token=token)
    return token


@contextlib.contextmanager
def _undisturbed() -> Iterator[None]:
    """Stopping is not interrupted by a second Ctrl-C; every wait in it has an end of its own."""
    before = {number: signal.signal(number, signal.SIG_IGN) for number in _SIGNALS}
    try:
        yield
    finally:
        for number, handler in before.items():
            signal.signal(number, handler)


def _port(stack: Stack, wanted: int | None) -> int:
    return wanted or stack.port("ckan", usable=False)


# -- what happens ----------------------------------------------------------------------------------------------


def _archive(site: Site, portal: Portal, origin: Origin) -> tuple[list[Result], datetime]:
    """Make the portal, wait for the archivals that this causes, break some links, then have all archived once more.

    :returns: what is known then, and the moment since which it must be known
    """
    _answer(origin, first=True)
    changed = portal.make()
    portal.make_editor(EDITOR, _editor_password(site.stack))
    say("the datasets are made, or put right" if changed else "the datasets are as they should be")
    progress = Progress("archived because of the edits" if changed else "archived before", len(the_portal.links()))
    results = watching.wait(portal, _LONG_AGO, progress, site.check)
    if not all(result.is_done(_LONG_AGO) for result in results):
        return results, _LONG_AGO
    if any(result.link.before and not result.cached for result in results):
        # A demo that was killed made the datasets.
        _update(site, portal)
    _answer(origin, first=False)
    results, since = _update(site, portal)
    if history.add(site.stack, {result.resource_id: result.link.past for result in results}):
        say(f"added {history.DAYS} days of sample history")
    return results, since


def _update(site: Site, portal: Portal) -> tuple[list[Result], datetime]:
    since = datetime.now(timezone.utc)
    said = site.run("archiver", "update").splitlines()
    say("ckan archiver update: " + " ".join(said[:1]))
    progress = Progress("archived once more", len(the_portal.links()))
    return watching.wait(portal, since, progress, site.check), since


def _answer(origin: Origin, *, first: bool) -> None:
    for path, program in the_portal.answers(first=first).items():
        origin.answer(path, program)


def _editor_password(stack: Stack) -> str:
    """The same in every run; it can be typed."""
    known = stack.recall().get("demo_editor_password")
    if known:
        return known
    # Syllables, so that it can be typed: 38 bits are enough for a server on loopback.
    password = "-".join("".join(map(secrets.choice, ("bdfgklmnprstvz", "aeiou") * 2)) for _ in range(3))
    stack.remember(demo_editor_password=password)
    return password


def _shown_first(results: Sequence[Result]) -> Result:
    """The most telling link: the first that is broken, one with a copy if there is any."""
    broken = [result for result in results if result.verdict == "broken"]
    return next((result for result in [*broken, *results] if result.cached), results[0])


def _pages(site_url: str, results: Sequence[Result]) -> dict[str, str]:
    """What there is to open."""
    shown = _shown_first(results)
    dataset = f"{site_url}/dataset/{quote(shown.dataset)}"
    return {
        "dataset": dataset,
        "resource": f"{dataset}/resource/{quote(shown.resource_id)}",
        "report": f"{site_url}/report/broken-links",
        "package_show": f"{site_url}/api/3/action/package_show?id={quote(shown.dataset)}",
        "login": f"{site_url}/user/login",
    }


def _look_at_pages(pages: Mapping[str, str], results: Sequence[Result]) -> list[str]:
    """A line for each page that does not answer or does not tell what it should."""
    texts, wrong = {}, []
    lists = {
        organization.name: f"{pages['report']}/{organization.name}?format=json"
        for organization in the_portal.ORGANIZATIONS
    }
    for name, url in {**pages, **lists}.items():
        status, texts[name] = get(url)
        if status != 200:
            wrong.append(f"{url} answered {status}")
    organizations = {dataset.name: dataset.organization for dataset in the_portal.DATASETS}
    reason = _shown_first(results).reason
    if reason not in html.unescape(texts["resource"]):
        wrong.append(f"{pages['resource']} does not say: {reason}")
    for result in results:
        organization = organizations[result.dataset]
        if (result.verdict == "broken") != (result.resource_id in texts[organization]):
            wrong.append(f"{lists[organization]} is wrong about {result.link.name}")
    return wrong


def _print(
    options: argparse.Namespace, site: Site, results: Sequence[Result], pages: dict[str, str], seconds: float
) -> None:
    if options.json:
        json.dump(showing.as_json(results, pages, seconds), sys.stdout, indent=2)
        sys.stdout.write("\n")
    else:
        sys.stdout.write("\n" + showing.table(results, sys.stdout))
        if not options.once:
            users = {
                EDITOR: _editor_password(site.stack),
                ckan_site.SYSADMIN: site.stack.secret("sysadmin_password"),
            }
            sys.stdout.write(showing.what_to_open(pages, users) + showing.what_to_try(_shown_first(results)))
    sys.stdout.flush()
    say(f"ready after {seconds:.1f} s")


def _serve(site: Site) -> None:
    """Run until Ctrl-C; report a process that ends before."""
    say("runs until Ctrl-C")
    missed: set[str] = set()
    with contextlib.suppress(KeyboardInterrupt):
        while True:
            time.sleep(1)
            for name in set(site.ended()) - missed:
                say(f"{name} has ended; its log is {site.stack.log_file(name)}")
                missed.add(name)
