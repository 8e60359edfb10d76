"""Hosts as people type them."""

from __future__ import annotations

import click

from ckanext.archiver.engine import urls


def spellings(host: str, param_hint: str = "--host") -> list[str]:
    """The spellings a host can have in links: "bücher.example" is also "xn--bcher-kva.example".

    :param host: a host name as typed, optionally with a port, or a URL on the host
    :param param_hint: the option or argument that an error names
    :returns: the name as DNS has it first
    :raises click.BadParameter: no host can be read from it
    """
    link = host.strip() if "//" in host else f"http://{host.strip()}"
    name = urls.host_of(link)
    if not name:
        raise click.BadParameter(f"{host!r} is not a host.", param_hint=param_hint)
    if ":" in name:
        return [name, f"[{name}]"]
    try:
        return list(dict.fromkeys([name, name.encode("ascii").decode("idna")]))
    except UnicodeError:
        return [name]
