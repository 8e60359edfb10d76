"""Makes ``import ckanext.archiver`` find this release; ``ckanext_archiver.pth`` loads it at the start of Python.

Where CKAN is installed from source, its ``…-nspkg.pth`` creates ``ckanext`` with a ``__path__`` of CKAN's folder alone,
and a package in site-packages is not found. An editable install of an older release leaves a
``ckanext-archiver-nspkg.pth``, which puts the older code first. A finder for this one name depends on neither.
"""

import os
import sys

NAME = "ckanext.archiver"
FOLDER = os.path.join(os.path.dirname(os.path.abspath(__file__)), "ckanext", "archiver")


class Finder:
    """Finds the package beside this file: in site-packages, or in the checkout of an editable install."""

    @staticmethod
    def find_spec(name, path=None, target=None):
        if name != NAME:
            return None
        # Imported here because every start of Python loads this module, and most need no archiver.
        from importlib.util import spec_from_file_location

        start = os.path.join(FOLDER, "__init__.py")
        if not os.path.isfile(start):
            return None
        return spec_from_file_location(name, start, submodule_search_locations=[FOLDER])


sys.meta_path.insert(0, Finder)
