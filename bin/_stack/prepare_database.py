"""Create the tables of CKAN and its plugins, and a sysadmin if one is named: run by the stack's own Python.

usage: CKAN_INI=… prepare_database.py [--sysadmin NAME PASSWORD]

One process instead of four `ckan` commands of three seconds each.
"""

from __future__ import annotations

import sys

from ckan import model
from ckan.cli.cli import ckan
from ckan.common import config


def run(*command: str) -> None:
    ckan.main(list(command), standalone_mode=False)


def main() -> None:
    run("db", "init")
    if sys.argv[1:2] == ["--sysadmin"]:
        name, password = sys.argv[2:4]
        if model.User.get(name) is None:
            run("user", "add", name, f"password={password}", f"email={name}@{config['ckan.site_id']}.invalid")
            run("sysadmin", "add", name)


if __name__ == "__main__":
    main()
