"""A CKAN with its servers in one folder: shared by ``bin/stack``, ``bin/test``, ``bin/check`` and ``bin/bench``.

Standard library only, because this code runs before anything is installed. Read ``cli.py`` first: its ``up``
is the order of events; each server has a module of its own.
"""

import codecs
import locale
import os

# Python 3.10 to 3.12 read .pth files in the encoding of the locale, also in UTF-8 mode: below a folder with a non-ASCII
# name, LC_ALL=C would end every process of the stack at its start.
if not __file__.isascii() and codecs.lookup(locale.nl_langinfo(locale.CODESET)).name == "ascii":
    os.environ["LC_ALL"] = "C.UTF-8"
