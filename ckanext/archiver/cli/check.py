"""``ckan archiver check``: judge links without touching the database."""

from __future__ import annotations

import json
import sys
import time
from concurrent.futures import ThreadPoolExecutor
from dataclasses import replace
from typing import Any

import click

from ckanext.archiver import checking, config
from ckanext.archiver.engine import addresses
from ckanext.archiver.errors import ConfigError


class _BadUsage(click.UsageError):
    exit_code = checking.EXIT_USAGE


class _CheckCommand(click.Command):
    """Bad usage exits with 3, since 2 means that a link is not sure."""

    def make_context(self, *args: Any, **kwargs: Any) -> click.Context:
        try:
            return super().make_context(*args, **kwargs)
        except click.UsageError as e:
            raise _BadUsage(e.format_message(), e.ctx) from e

    def invoke(self, ctx: click.Context) -> Any:
        try:
            return super().invoke(ctx)
        except click.UsageError as e:
            raise _BadUsage(e.format_message(), e.ctx) from e


@click.command(cls=_CheckCommand)
@click.argument("urls", nargs=-1, required=True, metavar="URL...")
@click.option("--format", "format_", default="", help="The format declared for the links, such as CSV.")
@click.option("--json", "as_json", is_flag=True, help="Print JSON: one object, or an array for several URLs.")
@click.option(
    "--mode",
    type=click.Choice(config.MODES),
    help="archive reads the whole file, check only as much as it must. [default: ckanext-archiver.mode]",
)
@click.option("--allow", multiple=True, metavar="NETWORK-OR-HOST", help="Allow this address although it is not public.")
@click.option("--ca-bundle", type=click.Path(exists=True, dir_okay=False), help="PEM file of certificates to trust.")
@click.option(
    "--retry", is_flag=True, help="Retry as a worker does, after the pauses of ckanext-archiver.retry_delays."
)
def check(
    urls: tuple[str, ...],
    format_: str,
    as_json: bool,
    mode: str | None,
    allow: tuple[str, ...],
    ca_bundle: str | None,
    retry: bool,
) -> None:
    """Check links as a worker does, without touching the database.

    With - for URL, links are read from standard input and checked side by side: one URL a line, or JSON lines with
    "url" and optionally "format" and "id".

    Exit codes: 0 all links work, 1 a link is broken, 2 a link is not sure, 3 bad usage.
    """
    try:
        policy = config.policy()
        policy = replace(
            policy, allowed_addresses=(*policy.allowed_addresses, *allow), ca_bundle=ca_bundle or policy.ca_bundle
        )
        addresses.Guard(policy.allowed_addresses)
    except (ConfigError, ValueError) as e:
        raise click.BadParameter(str(e)) from e
    settings: dict[str, Any] = {
        "limits": config.limits(),
        "policy": policy,
        "rules": config.rules(),
        "check_only": (mode or config.mode()) == "check",
        "retry_delays": config.retry_delays() if retry else None,
    }
    if "-" in urls:
        if len(urls) > 1:
            raise click.UsageError("Give either URLs or -, not both.")
        sys.exit(_check_input(format_, as_json, settings))
    links = [checking.Link(url, format_) for url in urls]
    # Checked side by side, shown in the order given.
    with ThreadPoolExecutor(checking.MAX_WORKERS) as pool:
        results = list(pool.map(lambda link: checking.check(link, **settings), links))
    if as_json:
        click.echo(json.dumps(results[0] if len(results) == 1 else results, indent=2))
    else:
        click.echo("\n\n".join(_describe(result) for result in results))
    sys.exit(checking.exit_code(results))


def _check_input(format_: str, as_json: bool, settings: dict[str, Any]) -> int:
    """Check the links of standard input, and print each result as soon as it is there."""
    code, count, started = checking.EXIT_OK, 0, time.monotonic()
    lines = click.get_text_stream("stdin", encoding="utf-8", errors="surrogateescape")
    tty = sys.stderr.isatty()
    try:
        for result in checking.check_many(checking.links(lines, format_), **settings):
            count += 1
            if as_json:
                click.echo(json.dumps(result))
            else:
                click.echo(f"{result['verdict']:8}  {result['url']}  {result['reason']}")
            code = _worst(code, result)
            if tty:
                rate = count / max(time.monotonic() - started, 0.001)
                click.echo(f"\r{count:,} links, {rate:,.1f} a second ", nl=False, err=True)
    except checking.BadLine as e:
        click.echo(str(e), err=True)
        return checking.EXIT_USAGE
    finally:
        if tty:
            click.echo("", err=True)
    return code


def _worst(code: int, result: dict[str, Any]) -> int:
    """The exit code after one more result: broken outweighs not sure, which outweighs ok."""
    codes = {code, checking.exit_code([result])}
    return checking.EXIT_BROKEN if checking.EXIT_BROKEN in codes else max(codes)


def _describe(result: dict[str, Any]) -> str:
    """One result as text."""
    certificate = result["certificate"] or {}
    size = result["size"]
    values = {
        "Verdict": result["verdict"],
        "Cause": result["cause"],
        "Reason": result["reason"],
        "Status": result["http_status"],
        "Redirects": "".join(f"\n    {hop['status']} {hop['url']}" for hop in result["hops"]),
        "Final URL": result["final_url"] if result["hops"] else "",
        "Size": "" if size is None else f"{size:,} bytes",
        "Media type": result["mimetype"],
        "File name": result["filename"],
        "SHA-256": result["sha256"],
        "Certificate": certificate
        and f"{certificate['subject']}, valid to {certificate['not_after'][:10]}"
        + (" (ends soon)" if certificate["expires_soon"] else ""),
        "Attempts": result.get("attempts"),
        "Requests": f"{result['requests']}, {result['bytes_read']:,} bytes read in {result['seconds']:.1f} s",
    }
    lines = [f"  {label:12}{value}" for label, value in values.items() if value not in (None, "", {})]
    return "\n".join([result["url"], *lines])


commands: list[click.Command] = [check]
