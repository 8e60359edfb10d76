"""Directives that write the reference from the code: ``archiver-commands`` and its like."""

from __future__ import annotations

import inspect
import re
from collections.abc import Callable, Iterator
from textwrap import indent
from types import ModuleType
from typing import Any

import click
from docutils import nodes
from docutils.statemachine import StringList
from sphinx.application import Sphinx
from sphinx.util.docutils import SphinxDirective
from sphinx.util.nodes import nested_parse_with_titles

from ckanext.archiver import helpers, monitoring
from ckanext.archiver.cli import main
from ckanext.archiver.logic import action


class Generated(SphinxDirective):
    """Parses the text of :meth:`lines` in the place of the directive."""

    def run(self) -> list[nodes.Node]:
        section = nodes.section()
        section.document = self.state.document
        text = "\n".join(self.lines())
        nested_parse_with_titles(self.state, StringList(text.splitlines(), type(self).__name__), section)
        return section.children

    def lines(self) -> Iterator[str]:
        """The reStructuredText."""
        raise NotImplementedError


class Commands(Generated):
    """Every command with its usage, its help and its options."""

    def lines(self) -> Iterator[str]:
        for group in (main.archiver, main.celeryd2):
            for name, command in sorted(group.commands.items()):
                yield from _command(f"ckan {group.name} {name}", command)


def _command(path: str, command: click.Command) -> Iterator[str]:
    context = click.Context(command, info_name=path)
    yield from (path, "-" * len(path), "")
    usage = " ".join(command.collect_usage_pieces(context))
    yield from ("::", "", f"    {path} {usage}", "")
    # A paragraph of click's begins with \b where its lines stay as they are.
    yield from (_escaped(inspect.cleandoc(command.help or "").replace("\b", "")), "")
    for param in command.get_params(context):
        record = param.get_help_record(context)
        if isinstance(param, click.Option) and record:
            names, text = record
            yield from (f"``{names}``", f"    {_escaped(text) or 'See above.'}", "")


def _escaped(text: str) -> str:
    return re.sub(r"([*`|\\_])", r"\\\1", text)


class Functions(Generated):
    """The public functions of a module whose names begin with ``archiver_``, by their docstrings."""

    module: ModuleType

    def lines(self) -> Iterator[str]:
        for name in sorted(self.module.__all__):
            if name.startswith("archiver_"):
                function = getattr(self.module, name)
                yield from (name, "-" * len(name), "", f".. py:function:: {self.signature(function)}", "   :no-index:")
                yield from ("", indent(inspect.getdoc(function) or "", "   "), "")

    def signature(self, function: Callable[..., Any]) -> str:
        """The name with its parameters."""
        return f"{function.__name__}{inspect.signature(function)}"


class Actions(Functions):
    """Every action; what it takes is in its docstring, which has CKAN's form."""

    module = action

    def signature(self, function: Callable[..., Any]) -> str:
        params = re.findall(r":param (\w+):", inspect.getdoc(function) or "")
        return f"{function.__name__}({', '.join(params)})"


class Helpers(Functions):
    """Every template helper."""

    module = helpers


class Metrics(Generated):
    """Every metric with the help text that Prometheus is given."""

    def lines(self) -> Iterator[str]:
        for name, text in monitoring.HELP.items():
            yield from (f"``{name}``", f"    {_escaped(text)}", "")


def setup(app: Sphinx) -> dict[str, Any]:
    app.add_directive("archiver-commands", Commands)
    app.add_directive("archiver-actions", Actions)
    app.add_directive("archiver-helpers", Helpers)
    app.add_directive("archiver-metrics", Metrics)
    return {"version": "1", "parallel_read_safe": True}
