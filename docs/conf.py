"""Sphinx's settings; bin/docs runs it. Pages are plain reStructuredText, so that they can be read without it."""

from __future__ import annotations

import sys
from pathlib import Path

HERE = Path(__file__).parent
sys.path[:0] = [str(HERE / "_sphinx"), str(HERE.parent)]

project = "ckanext-archiver"
author = "the authors of ckanext-archiver"
copyright = author  # Sphinx's name for it
version = release = "3.0.0"

extensions = ["links", "reference"]
exclude_patterns = ["_sphinx"]
html_theme = "furo"
html_title = "ckanext-archiver"
html_copy_source = False
# Commands and options are literals; "--" in prose is not typed as a dash here.
smartquotes = False
