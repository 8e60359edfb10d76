"""Each file of docs/examples is accepted by the program that it is for, and calls commands that exist."""

from __future__ import annotations

import json
import re
import shlex
import shutil
import subprocess
from pathlib import Path

import click
import pytest
import yaml

from ckanext.archiver import monitoring
from ckanext.archiver.cli import main

ROOT = Path(__file__).resolve().parents[2]
EXAMPLES = ROOT / "docs" / "examples"
UNIT = EXAMPLES / "systemd" / "ckanext-archiver@.service"
RULES = EXAMPLES / "prometheus" / "rules.yml"
NO_COMMANDS = (".json", ".py", ".pyc")
DASHBOARD = EXAMPLES / "prometheus" / "dashboard.json"


def tool(name: str) -> str:
    """The path of a program; skips the test where it is not installed."""
    found = shutil.which(name, path="/usr/local/bin:/usr/bin:/bin:/usr/local/sbin:/usr/sbin:/sbin") or shutil.which(
        name
    )
    if not found:
        pytest.skip(f"{name} is not installed")
    return found


def run(*command: str | Path, cwd: Path = ROOT) -> str:
    done = subprocess.run(command, cwd=cwd, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True, check=False)
    assert done.returncode == 0, done.stdout
    return done.stdout


# -- the commands in them --------------------------------------------------------------------------------------------


def _lines() -> list[str]:
    """The arguments of each ``ckan archiver`` in the examples."""
    found = []
    for path in sorted(path for path in EXAMPLES.rglob("*") if path.is_file() and path.suffix not in NO_COMMANDS):
        text = path.read_text(encoding="utf-8")
        if path.suffix in (".yml", ".yaml"):  # a list of words
            text = re.sub(r'[",]', " ", text)
        found += re.findall(r"(?<!-)\barchiver +((?:worker|status|delete-orphans|update)\b[^>|&'\]\n]*)", text)
    return found


@pytest.mark.parametrize("line", sorted(set(_lines())))
def test_a_command_exists_with_its_options(line: str) -> None:
    words = shlex.split(line.replace("%i", "bulk"))

    command = main.archiver.get_command(click.Context(main.archiver), words[0])
    assert command is not None
    command.make_context(words[0], words[1:])


def test_there_are_commands_in_the_examples() -> None:
    assert {"worker --queue %i", "worker --queue priority", "status"} <= {line.strip() for line in _lines()}


# -- systemd, supervisor, nginx, logrotate, cron -----------------------------------------------------------------------


def test_systemd_accepts_the_unit() -> None:
    assert run(tool("systemd-analyze"), "verify", UNIT) == ""


def test_systemd_finds_the_unit_hardened() -> None:
    said = run(tool("systemd-analyze"), "security", "--offline=true", "--no-pager", UNIT)

    found = re.search(r"Overall exposure level for \S+: ([\d.]+)", said)
    assert found, said
    assert float(found[1]) <= 2.0


def test_nginx_accepts_the_location(tmp_path: Path) -> None:
    nginx = tool("nginx")
    configuration = tmp_path / "nginx.conf"
    configuration.write_text(
        f'pid "{tmp_path}/pid"; error_log "{tmp_path}/error.log"; events {{}}\n'
        f"http {{ access_log off; server {{ listen 127.0.0.1:8099; "
        f'include "{EXAMPLES}/nginx/ckanext-archiver.conf"; }} }}\n'
    )

    assert "test is successful" in run(nginx, "-t", "-p", tmp_path, "-c", configuration)


def test_logrotate_accepts_the_file(tmp_path: Path) -> None:
    said = run(tool("logrotate"), "--debug", "--state", tmp_path / "state", EXAMPLES / "logrotate" / "ckanext-archiver")

    assert "error" not in said
    assert "/var/log/ckan/archiver-*.log" in said


def test_cron_accepts_the_lines(tmp_path: Path) -> None:
    crontab = tool("crontab")
    text = (EXAMPLES / "cron" / "ckanext-archiver").read_text()
    # A user's table, which is what crontab checks, has no column for the user.
    without_user, number = re.subn(r"^#?((?:\S+ ){5})www-data ", r"\1", text, flags=re.MULTILINE)
    table = tmp_path / "table"
    table.write_text(without_user)

    assert number == 2
    run(crontab, "-n", table)


# -- compose -----------------------------------------------------------------------------------------------------------

# The services of ckan-docker that the overlay names.
BASE = """\
volumes: {ckan_storage: {}}
services:
  ckan: {image: ckan, healthcheck: {test: ["CMD", "true"]}}
  db: {image: postgres, healthcheck: {test: ["CMD", "true"]}}
  redis: {image: redis, healthcheck: {test: ["CMD", "true"]}}
"""


def test_compose_accepts_the_overlay(tmp_path: Path) -> None:
    compose = [tool("docker-compose")]
    (tmp_path / "docker-compose.yml").write_text(BASE)
    (tmp_path / ".env").write_text("")
    (tmp_path / "ckan").mkdir()
    shutil.copy(EXAMPLES / "compose" / "docker-compose.archiver.yml", tmp_path)

    files = ["-f", "docker-compose.yml", "-f", "docker-compose.archiver.yml"]
    merged = yaml.safe_load(run(*compose, *files, "config", cwd=tmp_path))

    assert {"archiver-priority", "archiver-bulk", "ckan"} <= set(merged["services"])


def test_the_overlay_has_a_worker_for_each_queue_on_the_portals_volume() -> None:
    text = (EXAMPLES / "compose" / "docker-compose.archiver.yml").read_text()
    services = yaml.safe_load(text)["services"]

    assert sorted(service["command"][-1] for service in services.values()) == ["bulk", "priority"]
    assert all(service["volumes"] == ["ckan_storage:/var/lib/ckan"] for service in services.values())


# -- Helm --------------------------------------------------------------------------------------------------------------


def test_the_values_have_a_worker_for_each_queue() -> None:
    values = yaml.safe_load((EXAMPLES / "helm" / "values.yaml").read_text())["ckan"]

    assert "archiver" in values["ckanPlugins"].split()
    assert sorted(worker["command"][-1] for worker in values["workers"]) == ["bulk", "priority"]


# The part of the chart that makes a worker.
CHART = """\
{{- range .Values.ckan.workers }}
apiVersion: apps/v1
kind: Deployment
metadata: {name: {{ .name }}}
spec: {replicas: {{ .replicas }}, template: {spec: {containers: [{name: worker, command: {{ toJson .command }}}]}}}
---
{{- end }}
"""


def test_helm_makes_the_workers_of_the_values(tmp_path: Path) -> None:
    helm = tool("helm")
    (tmp_path / "templates").mkdir()
    (tmp_path / "Chart.yaml").write_text("apiVersion: v2\nname: ckan\nversion: 1.0.0\n")
    (tmp_path / "templates" / "workers.yaml").write_text(CHART)

    said = run(helm, "template", "ckan", tmp_path, "-f", EXAMPLES / "helm" / "values.yaml")

    made = [one for one in yaml.safe_load_all(said) if one]
    assert [one["metadata"]["name"] for one in made] == ["archiver-priority", "archiver-bulk"]


# -- Prometheus --------------------------------------------------------------------------------------------------------


def _expressions() -> list[str]:
    rules = yaml.safe_load(RULES.read_text())["groups"][0]["rules"]
    panels = json.loads(DASHBOARD.read_text())["panels"]
    return [rule["expr"] for rule in rules] + [target["expr"] for panel in panels for target in panel["targets"]]


def test_alerts_and_dashboard_use_metrics_that_exist() -> None:
    used = {name for text in _expressions() for name in re.findall(r"archiver_\w+?(?=_bucket|\b)", text)}

    assert used <= set(monitoring.HELP)
    assert used == set(monitoring.HELP) - {"archiver_guard"}, "each metric is on the dashboard"


def test_promtool_accepts_the_rules_and_they_alert_when_they_should() -> None:
    promtool = tool("promtool")

    assert "SUCCESS" in run(promtool, "check", "rules", RULES)
    assert "SUCCESS" in run(promtool, "test", "rules", RULES.with_name("rules_test.yml"))


def _alerts() -> list[str]:
    return [rule["alert"] for rule in yaml.safe_load(RULES.read_text())["groups"][0]["rules"]]


@pytest.mark.parametrize("alert", _alerts())
def test_an_alert_is_tested_and_its_remedy_is_documented(alert: str) -> None:
    assert f"alertname: {alert}" in (RULES.with_name("rules_test.yml")).read_text()
    assert f"``{alert}``" in (ROOT / "docs" / "operations.rst").read_text()
