"""Translations: the template has every text, and CKAN shows what a catalogue says."""

from __future__ import annotations

import configparser
import re
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from babel.messages.catalog import Catalog
from babel.messages.mofile import write_mo
from babel.messages.pofile import read_po
from ckan import model, plugins
from ckan.tests import factories
from ckan.tests.helpers import _get_test_app

from ckanext.archiver.engine import reasons
from ckanext.archiver.model import Archival

ROOT = Path(__file__).parents[2]
TEMPLATE = ROOT / "ckanext/archiver/i18n/ckanext-archiver.pot"


def ids(catalog: Catalog) -> set[Any]:
    return {message.id for message in catalog if message.id}


def template() -> Catalog:
    with TEMPLATE.open("rb") as file:
        return read_po(file)


def test_the_template_has_what_the_sources_say(tmp_path: Path) -> None:
    fresh = tmp_path / "fresh.pot"
    command = [sys.executable, "setup.py", "-q", "extract_messages", "-o", str(fresh)]
    subprocess.run(command, cwd=ROOT, check=True, capture_output=True)
    with fresh.open("rb") as file:
        assert ids(template()) == ids(read_po(file)), "python setup.py extract_messages"


def test_every_reason_is_to_be_translated() -> None:
    assert set(reasons.REASONS.values()) <= ids(template())


@pytest.mark.usefixtures("with_plugins")
def test_the_domain_is_the_one_ckan_looks_for() -> None:
    setup = configparser.ConfigParser()
    setup.read(ROOT / "setup.cfg")
    plugin = plugins.get_plugin("archiver")
    assert setup["compile_catalog"]["domain"] == plugin.i18n_domain() == TEMPLATE.stem
    assert Path(plugin.i18n_directory()) == TEMPLATE.parent


@pytest.fixture
def german(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Callable[[dict[Any, Any]], Any]:
    """``german({"English": "deutsch"})``: a test client for a site that has these translations."""

    def make(texts: dict[Any, Any]) -> Any:
        catalog = Catalog("de", domain=TEMPLATE.stem)
        for text, translated in texts.items():
            assert text in ids(template()), text
            catalog.add(text, translated)
        folder = tmp_path / "i18n/de/LC_MESSAGES"
        folder.mkdir(parents=True)
        with (folder / f"{TEMPLATE.stem}.mo").open("wb") as file:
            write_mo(file, catalog)
        plugin = plugins.get_plugin("archiver")
        monkeypatch.setattr(type(plugin), "i18n_directory", lambda self: str(tmp_path / "i18n"))
        return _get_test_app()

    return make


@pytest.mark.usefixtures("clean_site")
def test_ckan_shows_what_a_catalogue_says(german: Callable[[dict[Any, Any]], Any]) -> None:
    resource = factories.Resource(url="http://example.org/a.csv")
    model.Session.add(
        Archival(
            package_id=resource["package_id"],
            resource_id=resource["id"],
            source_url=resource["url"],
            verdict="broken",
            cause="gone",
            detail="http-gone",
            facts={"status": 404, "phrase": "Not Found"},
            reason="English",
            is_broken=True,
            status_id=11,
            permanent_url="https://new.example/a%20<b>.csv",
        )
    )
    model.Session.commit()
    app = german(
        {
            "Broken links": "Kaputte Links",
            "This link is broken": "Dieser Link ist kaputt",
            reasons.REASONS["http-gone"]: "Die Datei ist weg ({status} {phrase}).",
            ("{count} of {total} link broken", "{count} of {total} links broken"): (
                "{count} von {total} Link kaputt",
                "{count} von {total} Links kaputt",
            ),
            "The file has moved permanently to %(url)s": "Nach %(url)s ist die Datei umgezogen (100 %%)",
            "Link state": "Zustand der Links",
            "Link broken": "Link ist kaputt",
        }
    )

    def shown(path: str) -> str:
        return re.sub(r"\s+", " ", app.get(path).body)

    assert '<h1 class="page-heading">Kaputte Links</h1>' in shown("/de/report/broken-links")
    page = shown(f"/de/dataset/{resource['package_id']}/resource/{resource['id']}")
    assert "Dieser Link ist kaputt" in page
    assert "Die Datei ist weg (404 Not Found)." in page
    assert 'Nach <a href="https://new.example/a%20&lt;b&gt;.csv"' in page
    assert "a%20&lt;b&gt;.csv</bdi></a> ist die Datei umgezogen (100 %)" in page
    assert "1 von 1 Link kaputt" in shown(f"/de/dataset/{resource['package_id']}")
    assert "Zustand der Links" in shown("/de/dataset/")
    assert "Broken links" in shown("/report/broken-links")


@pytest.mark.usefixtures("clean_site")
def test_a_page_in_german_is_german(app: Any) -> None:
    resource = factories.Resource(url="http://example.org/a.csv")
    model.Session.add(
        Archival(
            package_id=resource["package_id"],
            resource_id=resource["id"],
            source_url=resource["url"],
            verdict="broken",
            cause="gone",
            detail="http-gone",
            facts={"status": 404, "phrase": "Not Found"},
            is_broken=True,
            status_id=11,
        )
    )
    model.Session.commit()
    page = app.get(f"/de/dataset/{resource['package_id']}/resource/{resource['id']}").body
    assert "Der Server meldet, dass die Datei nicht mehr vorhanden ist (404 Not Found)." in page
    assert 'lang="en" dir="auto"' not in page
    assert "Defekte Links" in app.get("/de/report/broken-links").body
