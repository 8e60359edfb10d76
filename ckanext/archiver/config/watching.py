"""Options of metrics and logs."""

from __future__ import annotations

import ipaddress
import re

from ckanext.archiver.errors import ConfigError
from ckanext.archiver.options import PREFIX, choice, integer, text

LOG_FORMATS = ("text", "json")

MIN_TOKEN = 16


def metrics_server() -> tuple[str, int]:
    """(address, first port) at which each worker serves its own metrics; port 0 for none."""
    address = text("metrics_address")
    try:
        ipaddress.ip_address(address)
    except ValueError as e:
        raise ConfigError(f"{PREFIX}metrics_address must be an IP address, not {address!r}.") from e
    return address, integer("metrics_port", 0, 65_500, zero_means="none")


def metrics_token() -> str:
    """What Prometheus sends in the header ``Authorization: Bearer …`` to read the metrics; empty for none."""
    token = text("metrics_token")
    if token and (len(token) < MIN_TOKEN or not re.fullmatch(r"[A-Za-z0-9._~+/=-]+", token)):
        # The value is not shown: it is a secret.
        raise ConfigError(
            f"{PREFIX}metrics_token must have at least {MIN_TOKEN} letters, digits or characters of ._~+/=- "
            "(RFC 6750 §2.1), like the output of: openssl rand -hex 24"
        )
    return token


def log_format() -> str:
    """How a worker writes its log: "text", as CKAN's configuration file says, or "json"."""
    return choice("log_format", LOG_FORMATS)
