"""The public URLs of copies, when the options that they are made of change."""

from __future__ import annotations

from typing import Any
from urllib.parse import quote

import pytest
from ckan import model

from ckanext.archiver import cache_urls
from ckanext.archiver.model import Archival
from rows import run

pytestmark = pytest.mark.usefixtures("clean_site")

NAMES = ["stops.csv", "Jährlich 2026 #1.csv", "a+b&c;d=e(1)~x_y-z.csv", "100%.csv", "統計.xlsx", "q?.csv"]


def archival(number: int, path: str, url: str | None = "http://old.example/x") -> str:
    id_ = f"{number:08d}-1111-2222-3333-444444444444"
    run(
        "INSERT INTO archival (id, package_id, resource_id, cache_filepath, cache_url) "
        "VALUES (:id, 'p', :id, :path, :url)",
        id=id_,
        path=path.format(id=id_, two=id_[:2]),
        url=url,
    )
    return id_


def url_of(resource_id: str) -> str:
    model.Session.rollback()
    model.Session.expire_all()
    return Archival.get_for_resource(resource_id).cache_url


def test_they_follow_a_new_root_quoted_as_python_does_it(ckan_config: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(cache_urls, "BATCH", 2)
    ids = [archival(number, "/www/{two}/{id}/" + name) for number, name in enumerate(NAMES)]
    ckan_config["ckanext-archiver.cache_url_root"] = "https://cache.example/files"
    assert cache_urls.follow_options() == len(NAMES)
    expected = [f"https://cache.example/files/00/{id_}/{quote(name)}" for id_, name in zip(ids, NAMES, strict=True)]
    assert [url_of(id_) for id_ in ids] == expected


def test_they_follow_the_portals_own_url(ckan_config: Any) -> None:
    id_ = archival(1, "/www/{two}/{id}/stops.csv")
    for site in ("http://one.example", "https://two.example"):
        ckan_config["ckan.site_url"] = site
        assert cache_urls.follow_options() == 1
        assert url_of(id_) == f"{site}/dataset/p/resource/{id_}/cached"


def test_nothing_is_read_while_nothing_has_changed(ckan_config: Any) -> None:
    cache_urls.follow_options()
    id_ = archival(1, "/www/{two}/{id}/stops.csv")
    assert cache_urls.follow_options() == 0
    assert url_of(id_) == "http://old.example/x"


def test_copies_elsewhere_and_links_without_a_copy_are_left_alone(ckan_config: Any) -> None:
    elsewhere = archival(1, "/elsewhere/stops.csv")
    without = archival(2, "", url=None)
    assert cache_urls.follow_options() == 0
    assert (url_of(elsewhere), url_of(without)) == ("http://old.example/x", None)
