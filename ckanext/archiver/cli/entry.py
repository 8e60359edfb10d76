"""The commands where ``archiver`` is installed and not in ``ckan.plugins``: to make the tables first, or to archive by
hand alone.

CKAN loads this module with every command of every portal that has the extension installed, so it is light: the real
commands, and the tables, come when one of them is asked for.
"""

from __future__ import annotations

import ckan.plugins as p
import click
from ckan.exceptions import CkanConfigurationException

from ckanext.archiver.cli import errors


class _Lazy(errors.Group):
    """A group of ``cli.main``, with the plugin loaded for this process, whatever the configuration says."""

    def _real(self) -> click.Group:
        if not p.plugin_loaded("archiver"):
            try:
                p.load("archiver")
            except CkanConfigurationException as e:
                raise click.ClickException(str(e)) from e
        from ckanext.archiver.cli import main

        group: click.Group = getattr(main, self.name or "")
        return group

    def list_commands(self, ctx: click.Context) -> list[str]:
        return self._real().list_commands(ctx)

    def get_command(self, ctx: click.Context, cmd_name: str) -> click.Command | None:
        return self._real().get_command(ctx, cmd_name)


archiver = _Lazy("archiver", short_help="Check and archive the links of resources.")
celeryd2 = _Lazy("celeryd2", short_help="Run the archiver's workers (as in older releases).")
