"""Checks of CKAN's configuration, its plugins, its search index, and what older releases left."""

from __future__ import annotations

import difflib
import importlib.metadata
import re
from collections.abc import Iterator

import ckan.plugins.toolkit as tk
import pysolr
import requests
from ckan.common import config_declaration
from ckan.lib.search import make_connection

from ckanext.archiver import config, ini_file
from ckanext.archiver.doctor.finding import Finding, ok, problem, warning
from ckanext.archiver.errors import ConfigError
from ckanext.archiver.options import without_password
from ckanext.archiver.queue import sql

RENAMED = {
    "ckan.cache_url_root": "ckanext-archiver.cache_url_root",
    "ckanext.archiver.user_agent_string": "ckanext-archiver.user_agent_string",
}
"""Options of release 0.1 and what they are called now. The old names are still read."""

UNUSED = {
    "ckanext-archiver.archive_cloud": "Copies are kept below ckanext-archiver.archive_dir.",
}
"""Options that nothing reads any more, and what is so instead."""

DISLIKED_AGENTS = ("mozilla", "bot", "crawler", "spider", "link", "checker")
"""Words in a User-Agent that firewalls answer with a challenge or 403: stock rules of ModSecurity know the last five,
and bot walls (Anubis) ask every client that says Mozilla to solve a puzzle."""


def plugin() -> Iterator[Finding]:
    """Whether ``archiver`` is in ``ckan.plugins``."""
    plugins = _plugins()
    if "archiver" not in plugins:
        yield problem(
            "The plugin is not enabled: edits put no requests, and pages say nothing about links.",
            f"ckan.plugins = {' '.join([*plugins, 'archiver'])}",
        )
    else:
        yield ok("The plugin archiver is enabled.")
    if "qa" in plugins and "archiver" in plugins and plugins.index("qa") > plugins.index("archiver"):
        order = [name for name in plugins if name != "qa"]
        order.insert(order.index("archiver"), "qa")
        yield problem(
            "qa comes after archiver in ckan.plugins: its panel hides the archiver's.",
            f"ckan.plugins = {' '.join(order)}",
        )


def _plugins() -> list[str]:
    return list(tk.aslist(tk.config.get("ckan.plugins")))


def options() -> Iterator[Finding]:
    """Options that are unknown, renamed or not used any more, and bad values."""
    known = {str(key) for key in config_declaration.iter_options()}
    findings = []
    for key in sorted(tk.config):
        if key in RENAMED and tk.config[key]:
            findings.append(warning(f"{key} is an old name.", f"{RENAMED[key]} = {tk.config[key]}"))
        elif key in UNUSED and tk.asbool(tk.config[key] or False):
            findings.append(warning(f"{key} is set and has no effect. {UNUSED[key]}", f"Remove the line {key}."))
        elif _is_meant_for_us(key) and key not in {*known, *RENAMED, *UNUSED}:
            close = difflib.get_close_matches(key, known, 1)
            remedy = f"Did you mean {close[0]}?" if close else f"Remove the line {key}."
            findings.append(warning(f"There is no option {key}: the line has no effect.", remedy))
    findings += [
        warning(
            f"{key} is in the section [{section}] of CKAN's configuration file, where it has no effect.",
            "Move the line below [app:main].",
        )
        for key, section in ini_file.misplaced("ckanext-archiver.")
    ]
    try:
        config.check()
    except ConfigError as e:
        findings.append(problem(str(e), "Correct the value in CKAN's configuration file."))
    yield from findings or [ok("All options of the archiver are known and have good values.")]


def _is_meant_for_us(key: str) -> bool:
    """Whether an option's name begins as ours do, however its words are put together."""
    return re.sub("[-_.]", "", key).startswith("ckanextarchiver")


def combinations() -> Iterator[Finding]:
    """Options whose values make no sense together, or switch off what protects the portal."""
    findings = []
    if not config.archive_on_change() and config.recheck() == "off":
        findings.append(
            warning(
                "Neither edits nor the schedule request archivals: links are checked only by command.",
                "ckanext-archiver.recheck = adaptive",
            )
        )
    if config.mode() == "check" and config.cache_url_root():
        findings.append(
            warning(
                "ckanext-archiver.cache_url_root is set, but no copies are kept (ckanext-archiver.mode = check).",
                "Remove one of the two lines.",
            )
        )
    if not config.policy().verify_https:
        findings.append(
            warning(
                "Certificates are not verified: a link whose certificate every browser refuses counts as working.",
                "ckanext-archiver.verify_https = true",
            )
        )
    if any(word in ("0.0.0.0/0", "::/0", "*") for word in config.policy().allowed_addresses):
        findings.append(
            problem(
                "ckanext-archiver.allowed_addresses allows every address: an editor can make the workers request "
                "addresses of your own network.",
                "List only the networks that hold open data: ckanext-archiver.allowed_addresses = 10.1.2.0/24",
            )
        )
    agent = config.policy().user_agent.lower()
    disliked = [word for word in DISLIKED_AGENTS if word in agent.partition("(")[0]]
    if disliked:
        findings.append(
            warning(
                f"The User-Agent contains {disliked[0]!r}, which firewalls answer with a challenge or 403.",
                "Remove ckanext-archiver.user_agent_string, or use a name without that word.",
            )
        )
    findings += _unknown_overrides()
    yield from findings or [ok("The options fit together.")]


def _unknown_overrides() -> Iterator[Finding]:
    """Datasets and organizations that ``mode_overrides`` names and the portal does not have."""
    for kind, table in (("organization", '"group"'), ("dataset", "package")):
        named = {name for what, name in config.mode_overrides() if what == kind}
        known = sql.run(f"SELECT lower(name) FROM {table} WHERE lower(name) = ANY(:named)", named=list(named))  # noqa: S608
        for name in sorted(named - set(known.scalars())):
            yield warning(
                f"ckanext-archiver.mode_overrides names the {kind} {name}, which does not exist.",
                f"Correct the name (that in the {kind}'s URL), or remove it.",
            )


def solr() -> Iterator[Finding]:
    """Whether the facet can be searched, and whether indexed datasets have it."""
    # Portals may share a Solr core.
    own = f'+site_id:"{config.site_id()}" +archiver_status:*'
    try:
        hits = make_connection().search(q="*:*", fq=own, rows=0).hits
    except (pysolr.SolrError, requests.RequestException):
        where = without_password(str(tk.config.get("solr_url")))
        yield problem(
            f"Solr does not answer ({where}). Verdicts are kept; datasets are indexed again when it does.",
            "Start Solr, or correct solr_url.",
        )
        return
    datasets = sql.run("SELECT count(*) FROM archiver_dataset WHERE facet IS NOT NULL").scalar() or 0
    waiting = sql.run("SELECT count(*) FROM archiver_dataset WHERE facet IS DISTINCT FROM indexed_facet").scalar() or 0
    if datasets and not hits:
        yield problem(
            "No dataset in the search index has the field archiver_status under this ckan.site_id "
            f"({config.site_id()}), so the facet is empty.",
            "ckan search-index rebuild; where ckan.site_id was changed by mistake, set it back.",
        )
    elif waiting > 1_000:
        yield warning(
            f"{waiting:,} datasets wait to be indexed again. A worker does so, unless Solr does not answer.",
            "ckan archiver status",
        )
    else:
        yield ok("The search index has the field archiver_status.")


def report() -> Iterator[Finding]:
    """Whether ckanext-report, which is optional, is in a state that is not its best."""
    plugins = _plugins()
    try:
        importlib.metadata.version("ckanext-report")
    except importlib.metadata.PackageNotFoundError:
        yield ok("ckanext-report is not installed; the archiver shows the Broken Links report itself.")
        return
    if "report" in plugins:
        yield ok("ckanext-report is enabled and lists the Broken Links report.")
    else:
        yield ok("ckanext-report is installed and not enabled; the archiver shows the Broken Links report itself.")


def mail() -> Iterator[Finding]:
    """Whether the administrators of checked servers know whom to write to."""
    if tk.config.get("email_to"):
        yield ok("Servers are told whom to write to (email_to).")
    else:
        yield warning(
            "email_to is not set: the administrator of a server that we request cannot write to anyone.",
            "email_to = open-data@example.org",
        )


def leftovers() -> Iterator[Finding]:
    """What older releases left: a Celery section, rows of release 0.1."""
    findings = []
    section = ini_file.celery_section()
    if section and not tk.config.get("ckanext-archiver.broker_url"):
        findings.append(
            warning(
                "The broker is read from the section [app:celery], which only old releases used.",
                "ckanext-archiver.broker_url = (the broker's URL), then remove the section [app:celery].",
            )
        )
    old = sql.run(
        "SELECT count(*) FROM task_status t WHERE t.task_type = 'archiver' AND t.key = 'status' AND EXISTS "
        "(SELECT 1 FROM resource r WHERE r.id = t.entity_id AND r.state = 'active') AND NOT EXISTS "
        "(SELECT 1 FROM archival a WHERE a.resource_id = t.entity_id)"
    ).scalar()
    if old:
        findings.append(
            warning(
                f"Release 0.1 left results of {old:,} links that are not in the table archival.",
                "ckan archiver migrate-task-status --write",
            )
        )
    yield from findings or [ok("Nothing of older releases is left.")]


CHECKS = {
    "plugins": plugin,
    "options": options,
    "options together": combinations,
    "search index": solr,
    "ckanext-report": report,
    "contact": mail,
    "older releases": leftovers,
}
