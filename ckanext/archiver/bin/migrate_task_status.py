"""Copy the archivals of release 0.1 into the table ``archival``.

    python ckanext/archiver/bin/migrate_task_status.py [--write] production.ini

Without ``--write`` it only counts. The same as ``ckan -c production.ini archiver migrate-task-status``.
"""

from __future__ import annotations

import argparse
import os

from ckanext.archiver.legacy import paster


def main() -> None:
    """Replace this process by the ckan command."""
    parser = argparse.ArgumentParser(description="Copy the archivals of release 0.1 into the table archival.")
    parser.add_argument("-w", "--write", action="store_true", help="write; without it, only count")
    parser.add_argument("ini", help="CKAN's configuration file")
    options = parser.parse_args()
    line = ["ckan", "-c", options.ini, "archiver", "migrate-task-status"]
    os.execv(paster.ckan_program(), [*line, "--write"] if options.write else line)  # noqa: S606 - this process is replaced


if __name__ == "__main__":
    main()
