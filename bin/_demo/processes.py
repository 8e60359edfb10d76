"""CKAN's web server and the workers, as processes of the stack with the demo's own configuration."""

from __future__ import annotations

import os
import signal
import subprocess
from dataclasses import dataclass
from pathlib import Path

from _stack import ckan_site
from _stack.layout import Stack, StackError
from _stack.process import await_ready, running, start, stop, tail

from .api import get
from .portal import LIMIT

WEB = "demo-web"
QUEUES = ("priority", "bulk")
NAMES = (WEB, *(f"demo-worker-{queue}" for queue in QUEUES))

# A demo cannot wait: the delays of a real portal are minutes and hours.
_SETTINGS = {
    "ckanext-archiver.allowed_addresses": "127.0.0.1",
    "ckanext-archiver.max_content_length": str(LIMIT),
    "ckanext-archiver.first_byte_timeout": "2",
    "ckanext-archiver.retry_delays": "1",
    # All the portal's files are on one host, which is ours.
    "ckanext-archiver.host_interval": "0",
    "ckanext-archiver.host_concurrency": "0",
    "ckanext-archiver.breaker_failures": "1000",
    "ckanext-archiver.min_free_bytes": "20000000",
    "email_to": "open-data@northshire.invalid",
}


@dataclass(frozen=True)
class Site:
    """The demo's CKAN on a stack.

    :ivar port: of its web server, on loopback
    """

    stack: Stack
    port: int

    @property
    def url(self) -> str:
        return f"http://127.0.0.1:{self.port}"

    @property
    def ini(self) -> Path:
        return self.stack.site / "demo.ini"

    @property
    def environment(self) -> dict[str, str]:
        # CKAN takes variables of its own over the ini file.
        known = ckan_site.process_environment(self.stack)
        return {
            **{name: value for name, value in known.items() if not name.startswith("CKAN_")},
            "CKAN_INI": str(self.ini),
        }

    def command(self, *words: str) -> list[str]:
        """A ``ckan`` command with the demo's configuration."""
        return [str(self.stack.bin / "ckan"), "-c", str(self.ini), *words]

    def write_ini(self) -> None:
        """The configuration of the stack's site, with the demo's own settings."""
        text = ckan_site.with_settings(self.stack.ini.read_text(), {**_SETTINGS, "ckan.site_url": self.url})
        # CKAN logs three lines at the start of every command.
        text = text.replace("[logger_ckan]\nlevel = INFO", "[logger_ckan]\nlevel = WARNING")
        self.ini.touch(mode=0o600)
        self.ini.write_text(text)

    # -- servers ----------------------------------------------------------------------------------------------

    def start(self) -> subprocess.Popen[bytes]:
        """Start the web server and one worker for each queue, without waiting until they are ready.

        :returns: the web server
        """
        web = self._start(
            WEB,
            "run",
            "--disable-reloader",
            "--disable-debugger",
            "--threaded",
            "--host",
            "127.0.0.1",
            "--port",
            str(self.port),
        )
        for queue in QUEUES:
            self._start(f"demo-worker-{queue}", "archiver", "worker", "--queue", queue, "--concurrency", "8")
        return web

    def _start(self, name: str, *words: str) -> subprocess.Popen[bytes]:
        return start(self.stack, name, self.command(*words), cwd=self.stack.site, env=self.environment)

    def await_web(self, web: subprocess.Popen[bytes]) -> None:
        """Wait until the web server answers.

        :raises StackError: when it does not
        """
        await_ready(self.stack, WEB, web, lambda: get(f"{self.url}/api/3/action/status_show")[0] == 200, seconds=90)

    def ended(self) -> list[str]:
        """Names of the processes that should run and do not."""
        return [name for name in NAMES if running(self.stack, name) is None]

    def check(self) -> None:
        """See that all runs.

        :raises StackError: naming what ended, with the end of its log
        """
        for name in self.ended():
            log = self.stack.log_file(name)
            raise StackError(f"{name} ended; the end of {log}:\n{tail(log)}")

    def stop(self) -> None:
        """Stop everything; also what a demo that was killed left behind."""
        for name in NAMES:
            pid = running(self.stack, name)
            if pid is not None:
                os.kill(pid, signal.SIGTERM)  # all at once, so that they end at the same time
        for name in NAMES:
            stop(self.stack, name, signal.SIGTERM, seconds=20)

    # -- commands ---------------------------------------------------------------------------------------------

    def run(self, *words: str) -> str:
        """What a ``ckan`` command prints.

        :raises StackError: when it fails
        """
        command = self.command(*words)
        done = subprocess.run(
            command,
            cwd=self.stack.site,
            env=self.environment,
            text=True,
            stdin=subprocess.DEVNULL,
            capture_output=True,
            timeout=120,
            check=False,
        )
        if done.returncode:
            raise StackError(f"failed with code {done.returncode}: {' '.join(command)}\n{done.stderr[-3000:]}")
        return done.stdout.strip()
