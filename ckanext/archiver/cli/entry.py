"""The commands of a portal that has the extension installed but not in ``ckan.plugins``: to create the tables first,
or to archive by hand alone.

CKAN loads this module with every command of every portal that has the extension installed, so it imports nothing
heavy: the commands themselves, and the tables, are loaded when one of them is called.
"""

from __future__ import annotations

import ckan.plugins as p
import click
from ckan.exceptions import CkanConfigurationException

from ckanext.archiver.cli import errors


class _LazyGroup(errors.Group):
    """A group of ``cli.main``; the plugin is loaded for this process, also if ``ckan.plugins`` lacks it."""

    def _loaded(self) -> click.Group:
        if not p.plugin_loaded("archiver"):
            try:
                p.load("archiver")
            except CkanConfigurationException as e:
                raise click.ClickException(str(e)) from e
        # Imported here: see the top of this module.
        from ckanext.archiver.cli import main

        group: click.Group = getattr(main, self.name or "")
        return group

    def list_commands(self, ctx: click.Context) -> list[str]:
        return self._loaded().list_commands(ctx)

    def get_command(self, ctx: click.Context, cmd_name: str) -> click.Command | None:
        return self._loaded().get_command(ctx, cmd_name)


archiver = _LazyGroup("archiver", short_help="Check and archive the links of resources.")
celeryd2 = _LazyGroup("celeryd2", short_help="Run the archiver's workers (as in older releases).")
