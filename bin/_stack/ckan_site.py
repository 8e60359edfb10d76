"""The CKAN of a stack: its two ini files (the site's and the tests'), databases, first user."""

from __future__ import annotations

import hashlib
import os
import re
import subprocess
from pathlib import Path

from . import postgres, solr, valkey
from .layout import REPOSITORY, Stack, StackError, say
from .process import tail

SYSADMIN = "admin"

_SITE_INI = """\
# Written by bin/stack: changes are lost at the next `bin/stack up`.
[app:main]
use = egg:ckan
ckan.site_id = archiver
ckan.site_title = Archiver demo
ckan.auth.create_user_via_web = false
# A demo has no mail server, and starts no background jobs.
ckan.activity_streams_email_notifications = false

[loggers]
keys = root, ckan, ckanext, werkzeug

[handlers]
keys = console

[formatters]
keys = generic

[logger_root]
level = WARNING
handlers = console

[logger_ckan]
level = INFO
handlers =
qualname = ckan

[logger_ckanext]
level = INFO
handlers =
qualname = ckanext

[logger_werkzeug]
level = WARNING
handlers =
qualname = werkzeug

[handler_console]
class = StreamHandler
args = (sys.stderr,)
level = NOTSET
formatter = generic

[formatter_generic]
format = %(asctime)s %(levelname)-5.5s [%(name)s] %(message)s
"""

_TEST_HEAD = "# Written by bin/stack from test-core.ini: changes are lost at the next `bin/stack up`.\n"


def environment(stack: Stack) -> dict[str, str]:
    """What ``bin/stack env`` prints."""
    return {
        "CKAN_INI": str(stack.ini),
        "CKAN_SITE_URL": site_url(stack),
        "CKAN_SQLALCHEMY_URL": postgres.url(stack, ""),
        "CKAN_SOLR_URL": solr.url(stack),
        "CKAN_REDIS_URL": valkey.url(stack, ""),
        "PATH": _path(stack),
    }


def process_environment(stack: Stack, which: str = "") -> dict[str, str]:
    """The environment for a command of this stack, or of its tests, without `CKAN_*` variables.

    CKAN prefers such variables to its ini file: after ``eval "$(bin/stack env)"`` the tests would otherwise
    empty the site's database.
    """
    clean = {name: value for name, value in os.environ.items() if not name.startswith("CKAN_")}
    ini = stack.test_ini if which else stack.ini
    return {**clean, "CKAN_INI": str(ini), "PATH": _path(stack), "VIRTUAL_ENV": str(stack.venv)}


def _path(stack: Stack) -> str:
    return os.pathsep.join([str(stack.bin), os.environ.get("PATH", os.defpath)])


def site_url(stack: Stack, which: str = "") -> str:
    return f"http://127.0.0.1:{stack.port(f'ckan{which}', usable=False)}"


def prepare(stack: Stack, *, for_tests: bool) -> None:
    """Write the ini files; create the tables and the sysadmin if they are missing or a migration changed."""
    _write_inis(stack)
    _prepare_database(stack, "")
    if for_tests:
        _prepare_database(stack, "test")


def is_prepared(stack: Stack) -> bool:
    return stack.ini.exists() and _stamp(stack, "").exists()


def _write_inis(stack: Stack) -> None:
    for which, path in (("", stack.ini), ("test", stack.test_ini)):
        storage = stack.site / (f"{which}-storage" if which else "storage")
        archive = stack.site / (f"{which}-archive" if which else "archive")
        for folder in (storage, archive):
            folder.mkdir(parents=True, exist_ok=True)
        settings = {
            "ckan.plugins": "archiver",
            "ckan.site_url": site_url(stack, which),
            "ckan.devserver.host": "127.0.0.1",
            "ckan.devserver.port": str(stack.port(f"ckan{which}", usable=False)),
            "sqlalchemy.url": postgres.url(stack, which),
            "solr_url": solr.url(stack),
            "ckan.redis.url": valkey.url(stack, which),
            "ckan.storage_path": str(storage),
            "ckanext-archiver.archive_dir": str(archive),
        }
        if which:
            text = _TEST_HEAD + (REPOSITORY / "test-core.ini").read_text()
        else:
            text = _SITE_INI
            settings["SECRET_KEY"] = settings["WTF_CSRF_SECRET_KEY"] = stack.secret("secret_key")
            for name in ("encode", "decode"):
                settings[f"api_token.jwt.{name}.secret"] = "string:" + stack.secret("token_secret")
        text = with_settings(text, settings)
        if not path.exists() or path.read_text() != text:
            path.touch(mode=0o600)
            path.write_text(text)


def with_settings(ini: str, settings: dict[str, str]) -> str:
    """The ini text with these settings replaced; missing ones are added to its CKAN section.

    (CKAN 2.11 needs the logging sections in the file itself, so ``use = config:`` would save nothing.)
    """
    for name, value in settings.items():
        line = f"{name} = {value}".replace("%", "%%").rstrip()
        pattern = re.compile(rf"^{re.escape(name)} *=.*$", re.MULTILINE)
        if pattern.search(ini):
            ini = pattern.sub(line.replace("\\", r"\\"), ini)
        else:
            ini = ini.replace("use = egg:ckan\n", f"use = egg:ckan\n{line}\n", 1)
    return ini


def _prepare_database(stack: Stack, which: str) -> None:
    target = postgres.url(stack, which)
    wanted = _migrations()
    stamp = _stamp(stack, which)
    known = stamp.read_text() if stamp.exists() else None
    if known == wanted and postgres.has_tables(stack, target):
        return
    if which == "test" and known is not None:
        # A migration that may already have run was edited. The tests' database holds nothing worth keeping.
        postgres.drop_database(stack, target)
        postgres.make_database(stack, target)
    say("preparing %s", "the tests' database" if which else "CKAN's database")
    script = [str(Path(__file__).with_name("prepare_database.py"))]
    if not which:
        script += ["--sysadmin", SYSADMIN, stack.secret("sysadmin_password")]
    log = stack.log_file("ckan")
    with log.open("ab") as output:
        done = subprocess.run(
            [stack.python, *script],
            env=process_environment(stack, which),
            cwd=stack.site,
            stdin=subprocess.DEVNULL,
            stdout=output,
            stderr=subprocess.STDOUT,
            check=False,
        )
    if done.returncode:
        raise StackError(f"CKAN could not prepare its database; the end of {log}:\n{tail(log)}")
    stamp.write_text(wanted)


def _stamp(stack: Stack, which: str) -> Path:
    return stack.dir / "run" / f"{which or 'site'}-database"


def _migrations() -> str:
    digest = hashlib.sha256(b"archiver")
    for path in sorted((REPOSITORY / "ckanext" / "archiver" / "migration").rglob("*.py")):
        digest.update(path.name.encode() + path.read_bytes())
    return digest.hexdigest()
