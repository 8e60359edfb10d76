"""Links between pages: `text <page.rst>`_ works in any viewer of the sources, and here leads to the page's HTML."""

from __future__ import annotations

from pathlib import Path, PurePosixPath
from typing import Any

from docutils import nodes
from sphinx.addnodes import pending_xref
from sphinx.application import Sphinx
from sphinx.util.logging import getLogger

log = getLogger(__name__)

#: Pages of the repository's root → the pages that include them.
ROOT_PAGES = {
    "README.rst": "index",
    "CONTRIBUTING.rst": "contributing",
    "SECURITY.rst": "security",
    "CHANGELOG.rst": "changelog",
}


def resolve(app: Sphinx, doctree: nodes.document) -> None:
    """Make references to ``.rst`` files references to documents."""
    source = app.env.docname
    for node in list(doctree.findall(nodes.reference)):
        uri = node.get("refuri", "")
        if "//" in uri or not uri.partition("#")[0].endswith(".rst"):
            continue
        target = _document(uri.partition("#")[0], source)
        if target not in app.env.found_docs:
            log.warning("%s links to %s, which is no page", source, uri, location=node)
            continue
        found = pending_xref(
            "", *node.children, refdomain="std", reftype="doc", refexplicit=True, reftarget=f"/{target}", refdoc=source
        )
        node.replace_self(found)


def _document(uri: str, source: str) -> str:
    name = PurePosixPath(uri).name
    if name in ROOT_PAGES:
        return ROOT_PAGES[name]
    if uri.startswith("docs/"):  # on a page that includes one of the repository's root
        return uri.removeprefix("docs/").removesuffix(".rst")
    parts: list[str] = []
    for part in (PurePosixPath(source).parent / uri).parts:
        if part == "..":
            parts.pop()
        else:
            parts.append(part)
    return "/".join(parts).removesuffix(".rst")


def setup(app: Sphinx) -> dict[str, Any]:
    app.connect("doctree-read", resolve)
    return {"version": Path(__file__).name, "parallel_read_safe": True}
