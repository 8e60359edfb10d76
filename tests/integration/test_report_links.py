"""The list of links: filters, orders, pages, totals, and who sees what."""

from __future__ import annotations

import datetime
from collections.abc import Iterator
from typing import Any

import ckan.lib.plugins as lib_plugins
import pysolr
import pytest
import sqlalchemy as sa
from ckan import model
from ckan.lib.plugins import DefaultPermissionLabels
from ckan.lib.search import clear_all, rebuild
from ckan.tests import factories, helpers

from ckanext.archiver import clock, rollup
from ckanext.archiver.report import counts, feed, groups, labels, listing, reader
from ckanext.archiver.report.filters import BadFilter, LinkFilter, Sort, cursor, parse
from report_site import archive, dataset_with, organizations

__all__ = ["organizations"]

pytestmark = pytest.mark.usefixtures("clean_site")

Dict = dict[str, Any]
NOW = datetime.datetime(2026, 11, 20)  # noqa: DTZ001 - as the columns have it
DAY = datetime.timedelta(days=1)


def link(url: str, owner: Dict | None = None, verdict: str = "broken", **columns: Any) -> str:
    """A dataset with one link; returns the resource's id."""
    fields = {name: columns.pop(name) for name in ("title", "private", "state", "name") if name in columns}
    resource_fields = {name: columns.pop(name) for name in ("format",) if name in columns}
    dataset = factories.Dataset(
        owner_org=owner["id"] if owner else None, resources=[{"url": url, "name": "File", **resource_fields}], **fields
    )
    archive(dataset["resources"][0], verdict, **columns)
    model.Session.commit()
    return str(dataset["resources"][0]["id"])


def found(who: reader.Reader = reader.EVERYBODY, **wanted: Any) -> list[str]:
    return [row["resource_url"] for row in listing.page(LinkFilter(**wanted), who).rows]


@pytest.fixture
def many(organizations: dict[str, Dict]) -> dict[str, Dict]:
    """Links in all states, on several servers."""
    ministry, agency = organizations["ministry"], organizations["agency"]
    link("http://old.example/a.csv", ministry, cause="gone", broken_since=NOW - 30 * DAY, title="Rain", format="CSV")
    link("http://old.example/b.csv", agency, cause="gone", broken_since=NOW - 10 * DAY, title="Snow", format="JSON")
    link("http://new.example/c.csv", agency, cause="tls", broken_since=NOW - 20 * DAY, title="50_50%", format="csv")
    link("http://new.example/d.csv", ministry, "failing", cause="unreachable", failing_since=NOW - DAY, title="Hail")
    link("http://new.example/e.csv", ministry, "ok", cause="ok", permanent_url="https://new.example/e.csv", title="Fog")
    link("http://new.example/f.csv", ministry, "not-sure", cause="blocked", title="Sun", cache_filepath="/a/f.csv")
    dataset_with([""], ministry, title="Wind")
    return organizations


@pytest.mark.parametrize(
    ("wanted", "names"),
    [
        ({}, "acb"),
        ({"sort": Sort.NEWEST}, "bca"),
        ({"sort": Sort.HOST}, None),
        ({"cause": "tls"}, "c"),
        ({"host": "old.example"}, "ab"),
        ({"organization": "ministry"}, "a"),
        ({"organization": "ministry", "include_sub_organizations": True}, "acb"),
        ({"verdict": "failing"}, "d"),
        ({"verdict": "ok"}, "e"),
        ({"verdict": "not-sure"}, "f"),
        ({"res_format": "CSV"}, "ac"),
        ({"since": (NOW - 20 * DAY).date()}, "cb"),
        ({"before": (NOW - 20 * DAY).date()}, "a"),
        ({"verdict": "none", "before": (NOW + 90 * DAY).date()}, ""),
        ({"verdict": "any", "moved": True}, "e"),
        ({"verdict": "any", "has_copy": True}, "f"),
        ({"has_copy": False}, "acb"),
        ({"q": "rain"}, "a"),
        ({"q": "0_5"}, "c"),
        ({"q": "0%5"}, ""),
        ({"q": "FILE"}, "acb"),
        ({"host": "old.example", "cause": "tls"}, ""),
    ],
)
def test_a_filter_selects(many: Any, wanted: Dict, names: str | None) -> None:
    urls = found(**wanted)
    letters = "".join(url[-5] for url in urls)
    if names is None:
        assert sorted(letters) == ["a", "b", "c"]
        assert [url.split("/")[2] for url in urls] == ["new.example", "old.example", "old.example"]
    else:
        assert letters == names
    assert listing.total(LinkFilter(**wanted), reader.EVERYBODY) == listing.Total(len(urls), is_exact=True)


def test_a_link_that_was_never_checked_has_a_state_of_its_own(many: Any) -> None:
    (row,) = listing.page(LinkFilter(verdict="none"), reader.EVERYBODY).rows
    assert (row["package_title"], row["verdict"]) == ("Wind", "none")
    assert len(found(verdict="any")) == 7


@pytest.mark.parametrize("sort", list(Sort))
def test_pages_have_every_link_once_in_order(organizations: dict[str, Dict], sort: Sort) -> None:
    for number in range(7):
        # Two without a time, and two that broke at the same moment.
        since = None if number < 2 else NOW - max(number, 3) * DAY
        link(f"http://host-{number % 3}.example/{number}.csv", organizations["ministry"], broken_since=since)
    wanted = LinkFilter(sort=sort)
    everything = [row["resource_id"] for row in listing.page(wanted, reader.EVERYBODY).rows]

    pages, after = [], ""
    for _ in range(4):
        page = listing.page(wanted, reader.EVERYBODY, after, size=2)
        pages.append([row["resource_id"] for row in page.rows])
        after = page.after

    assert [len(page) for page in pages] == [2, 2, 2, 1]
    assert sum(pages, []) == everything
    assert after == ""
    assert len(set(everything)) == 7


@pytest.mark.parametrize("sort", list(Sort))
def test_pages_lead_back_to_the_first(organizations: dict[str, Dict], sort: Sort) -> None:
    for number in range(7):
        since = None if number < 2 else NOW - max(number, 3) * DAY
        link(f"http://host-{number % 3}.example/{number}.csv", organizations["ministry"], broken_since=since)
    wanted = LinkFilter(sort=sort)

    def ids(page: listing.Page) -> list[str]:
        return [row["resource_id"] for row in page.rows]

    forward = [listing.page(wanted, reader.EVERYBODY, size=2)]
    while forward[-1].after:
        forward.append(listing.page(wanted, reader.EVERYBODY, forward[-1].after, size=2))
    backward = [forward[-1]]
    while backward[-1].previous:
        backward.append(listing.page(wanted, reader.EVERYBODY, previous=backward[-1].previous, size=2))

    assert [ids(page) for page in reversed(backward)] == [ids(page) for page in forward]
    assert [bool(page.previous) for page in forward] == [False, True, True, True]
    assert all(page.after for page in backward[1:])
    # Of a page that begins in the middle of the first one.
    second = listing.page(wanted, reader.EVERYBODY, listing.page(wanted, reader.EVERYBODY, size=1).after, size=2)
    first = listing.page(wanted, reader.EVERYBODY, previous=second.previous, size=2)
    assert (ids(first), first.previous) == (ids(forward[0]), "")
    # What followed a page is mended when its reader comes to it.
    model.Session.execute(sa.text("UPDATE archival SET is_broken = false, verdict = 'ok'"))
    gone = listing.page(wanted, reader.EVERYBODY, forward[0].after, size=2)
    assert (gone.rows, gone.after, bool(gone.previous)) == ([], "", True)
    assert listing.total_beside(gone, wanted, reader.EVERYBODY) == listing.Total(0, is_exact=True)


@pytest.mark.parametrize("after", ["x", "bnVsbA", cursor([1]), cursor(["a", "\x00"]), cursor([{}, []])])
def test_a_forged_cursor_is_an_error(after: str) -> None:
    for name in ("after", "previous"):
        with pytest.raises(BadFilter, match=f"{name} must be the value of the same name that another page gave"):
            listing.page(LinkFilter(), reader.EVERYBODY, **{name: after})


def test_a_total_is_estimated_above_the_limit(many: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(listing, "COUNTED", 2)
    total = listing.total(LinkFilter(), reader.EVERYBODY)
    assert not total.is_exact
    assert total.links >= 2


@pytest.mark.parametrize(
    ("arguments", "sentence"),
    [
        ({"verdict": "dead"}, "verdict must be one of ok, failing, broken, not-sure, none, snoozed, any."),
        ({"sort": "random"}, "sort must be one of longest, newest, dataset, host."),
        ({"verdict": "any", "sort": "newest"}, "sort must be one of dataset."),
        ({"cause": "bad-luck"}, "cause must be one of ok, gone, "),
        ({"since": "yesterday"}, "since is a day like 2026-10-31."),
        ({"before": "2026-02-30"}, "before is a day like 2026-10-31."),
        ({"has_copy": "maybe"}, "has_copy must be 1 or 0."),
        ({"q": "a\x00b"}, "q is too long, or no text."),
        ({"host": "h" * 301}, "host is too long, or no text."),
    ],
)
@pytest.mark.usefixtures("with_request_context")
def test_a_bad_value_is_named(arguments: Dict, sentence: str) -> None:
    with pytest.raises(BadFilter) as caught:
        parse(arguments)
    assert str(caught.value).startswith(sentence)


@pytest.mark.usefixtures("with_request_context")
def test_a_filter_comes_back_from_its_parameters() -> None:
    wanted = LinkFilter(
        organization="ministry",
        include_sub_organizations=True,
        verdict="failing",
        cause="tls",
        host="a.example",
        res_format="CSV",
        since=datetime.date(2026, 1, 2),
        before=datetime.date(2026, 3, 4),
        has_copy=False,
        moved=True,
        mine=True,
        q="rain",
        sort=Sort.HOST,
    )
    assert parse(wanted.parameters()) == wanted
    assert LinkFilter().parameters() == {}
    assert parse({}) == LinkFilter()
    moved = LinkFilter(moved=True)
    assert parse(moved.parameters()) == moved


def test_the_text_is_looked_for_in_urls_without_their_passwords(organizations: dict[str, Dict]) -> None:
    link("http://rain:s3cret@a.example/spending-2025.csv", organizations["agency"])
    assert len(found(q="spending-2025.csv")) == 1
    assert len(found(q="http://a.example")) == 1
    link("rain:s3cret@a.example/x.csv", organizations["agency"])
    link("http://rain:s3/cret@a.example/x.csv", organizations["agency"])
    for part in ("s3cret", "rain:", "s3cret@a.example", "s3/c"):
        assert found(q=part) == []


@pytest.mark.parametrize(
    "entered", ["a.example", "A.example:8080", "http://a.example:8080/x/", "https://u:p@a.example", "//a.example/x"]
)
def test_a_server_is_found_by_its_url(organizations: dict[str, Dict], entered: str) -> None:
    assert parse({"host": entered}).host == "a.example"


@pytest.mark.parametrize("odd", ["http://[", "a b", "[::1", ":80"])
def test_what_is_no_server_finds_nothing(organizations: dict[str, Dict], odd: str) -> None:
    assert listing.page(parse({"host": odd}), reader.EVERYBODY).rows == []


@pytest.mark.parametrize("verdict", ["broken", "not-sure"])
def test_links_without_a_server_are_the_last_by_server(organizations: dict[str, Dict], verdict: str) -> None:
    for host in ("a.example", "none", "b.example", "none", "none"):
        link(f"http://{host}/a.csv", organizations["agency"], verdict)
    model.Session.execute(sa.text("UPDATE archival SET host = NULL WHERE host = 'none'"))
    model.Session.commit()
    wanted, forward, after = LinkFilter(verdict=verdict, sort=Sort.HOST), [], ""
    for _ in range(5):
        page = listing.page(wanted, reader.EVERYBODY, after, size=1)
        forward.append(page)
        after = page.after
    assert after == ""
    hosts = [row["host"] for page in forward for row in page.rows]
    assert hosts == ["a.example", "b.example", None, None, None]
    found = [row["resource_id"] for page in forward for row in page.rows]
    assert len(set(found)) == 5
    for n in range(4, 0, -1):
        back = listing.page(wanted, reader.EVERYBODY, previous=forward[n].previous, size=1)
        assert [row["resource_id"] for row in back.rows] == [found[n - 1]]
    assert len(listing.page(LinkFilter(verdict=verdict, host="-"), reader.EVERYBODY).rows) == 3


@pytest.mark.parametrize(
    "odd",
    [{"mine": [1]}, {"include_sub_organizations": ["x"]}, {"has_copy": {}}, {"moved": 7}, {"since": "２０２６-10-31"}],
)
def test_what_is_no_value_of_a_filter_is_refused(odd: Dict) -> None:
    with pytest.raises(BadFilter):
        parse(odd)


# -- who sees what ------------------------------------------------------------------------------------------


@pytest.fixture
def hidden(organizations: dict[str, Dict]) -> dict[str, reader.Reader]:
    """Private datasets and drafts of an agency, and readers of every kind."""
    people = {name: factories.User(name=name) for name in ("member", "stranger", "author", "collaborator")}
    boss = factories.Sysadmin(name="boss")
    helpers.call_action("member_create", id="agency", object="member", object_type="user", capacity="member")
    link("http://a.example/public.csv", organizations["agency"])
    link("http://a.example/private.csv", organizations["agency"], private=True)
    link("http://a.example/draft.csv", organizations["agency"], state="draft")
    own = factories.Dataset(user=people["author"], resources=[{"url": "http://a.example/own.csv"}])
    archive(own["resources"][0], "broken")
    model.Package.get(own["id"]).state = "draft"
    model.Session.commit()
    users = {name: model.User.get(user["id"]) for name, user in {**people, "boss": boss}.items()}
    return {name: reader.of_user(user) for name, user in users.items()} | {"nobody": reader.EVERYBODY}


@pytest.mark.parametrize(
    ("name", "sees"),
    [
        ("nobody", {"public"}),
        ("stranger", {"public"}),
        ("member", {"public", "private", "draft"}),
        ("author", {"public", "own"}),
        ("boss", {"public", "private", "draft", "own"}),
    ],
)
def test_private_datasets_are_for_those_who_may_read_them(
    hidden: dict[str, reader.Reader], name: str, sees: set[str]
) -> None:
    who = hidden[name]
    assert {url.split("/")[-1][:-4] for url in found(who)} == sees
    assert listing.total(LinkFilter(), who).links == len(sees)
    assert {row["resource_url"].split("/")[-1][:-4] for row in listing.stream(LinkFilter(), who)} == sees


@pytest.mark.ckan_config("ckan.auth.allow_dataset_collaborators", True)
def test_a_collaborator_sees_the_dataset(hidden: dict[str, reader.Reader]) -> None:
    private = model.Session.query(model.Package).filter_by(private=True).one()
    helpers.call_action("package_collaborator_create", id=private.id, user_id="collaborator", capacity="member")
    who = reader.of_user(model.User.get("collaborator"))
    assert "http://a.example/private.csv" in found(who)
    assert "http://a.example/draft.csv" not in found(who)


class Labels(DefaultPermissionLabels):
    """An extension that keeps embargoed datasets for the users of one name, and shows them private ones."""

    def get_dataset_labels(self, package: model.Package) -> list[str]:
        if package.name.startswith("embargoed"):
            return ["embargoed"]
        return [*super().get_dataset_labels(package), *(["partner"] if package.private else [])]

    def get_user_dataset_labels(self, user: model.User | None) -> list[str]:
        is_partner = user is not None and user.name == "stranger"
        return [*super().get_user_dataset_labels(user), *(["embargoed", "partner"] if is_partner else [])]


@pytest.mark.parametrize("is_counted_by_a_worker", [False, True])
@pytest.mark.parametrize(
    ("name", "sees"),
    [
        ("nobody", {"public"}),
        ("stranger", {"public", "private", "embargoed"}),
        ("member", {"public", "private", "draft"}),
        ("boss", {"public", "private", "draft", "own", "embargoed"}),
    ],
)
def test_labels_of_an_extension_decide(
    hidden: dict[str, reader.Reader],
    organizations: dict[str, Dict],
    monkeypatch: pytest.MonkeyPatch,
    name: str,
    sees: set[str],
    is_counted_by_a_worker: bool,
) -> None:
    monkeypatch.setattr(lib_plugins, "get_permission_labels", Labels)
    monkeypatch.setattr(labels, "BATCH", 1)
    monkeypatch.setattr(labels, "_kept", {})
    link("http://a.example/embargoed.csv", organizations["agency"], name="embargoed-budget")
    model.Session.execute(sa.text("UPDATE archival SET broken_since = timezone('utc', now())"))
    model.Session.commit()
    rebuild()
    if is_counted_by_a_worker:
        monkeypatch.setattr(counts, "COUNTED_WHEN_READ", -1)
        assert rollup.refresh()
    who = reader.of_user(hidden[name].user)

    assert {url.split("/")[-1][:-4] for url in found(who)} == sees
    assert {row["resource_url"].split("/")[-1][:-4] for row in listing.stream(LinkFilter(), who)} == sees
    assert listing.total(LinkFilter(), who).links == len(sees)
    source = counts.source(who)
    assert (source.counted_at is not None) == is_counted_by_a_worker
    assert counts.summary(source).count("broken") == len(sees)
    assert sum(group.links for group in groups.of_portal(source.groups, who)) == len(sees)
    assert counts.changes(who).broken_30 == len(sees)
    assert len(feed.entries(LinkFilter(), who)) == len(sees)
    if is_counted_by_a_worker:
        assert [day.broken for day in counts.history(1)] == [1]


def test_a_dataset_that_the_index_does_not_have_is_shown_to_those_whom_its_labels_name(
    organizations: dict[str, Dict], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(lib_plugins, "get_permission_labels", Labels)
    monkeypatch.setattr(labels, "_kept", {})
    clear_all()
    link("http://a.example/embargoed.csv", organizations["agency"], name="embargoed-budget")
    link("http://a.example/public.csv", organizations["agency"])
    clear_all()
    factories.User(name="stranger")
    for who, names in (
        (reader.everybody(), {"public"}),
        (reader.of_user(model.User.get("stranger")), {"public", "embargoed"}),
    ):
        assert {url.split("/")[-1][:-4] for url in found(who)} == names
        assert {row["resource_url"].split("/")[-1][:-4] for row in listing.stream(LinkFilter(), who)} == names


def test_without_the_index_nobody_knows_what_labels_say(
    app: Any, organizations: dict[str, Dict], monkeypatch: pytest.MonkeyPatch
) -> None:
    link("http://a.example/embargoed.csv", organizations["agency"], name="embargoed-budget")
    monkeypatch.setattr(lib_plugins, "get_permission_labels", Labels)
    monkeypatch.setattr(labels, "_kept", {})
    monkeypatch.setattr(labels, "make_connection", lambda **options: pysolr.Solr("http://127.0.0.1:9/solr/ckan"))
    answer = app.get("/archiver/links", status=503)
    assert "embargoed" not in answer.body


# -- what costs nothing -------------------------------------------------------------------------------------


@pytest.fixture
def statements() -> Iterator[list[str]]:
    """A list of the statements that were sent."""
    sent: list[str] = []

    def note(connection: Any, cursor: Any, statement: str, *details: Any) -> None:
        sent.append(statement)

    sa.event.listen(model.meta.engine, "before_cursor_execute", note)
    yield sent
    sa.event.remove(model.meta.engine, "before_cursor_execute", note)


@pytest.mark.parametrize(
    "path",
    [
        "/report/broken-links",
        "/report/broken-links?org_q=a",
        "/archiver/links",
        "/archiver/links?verdict=any",
        "/report/broken-links/ministry?include_sub_organizations=1",
    ],
)
def test_a_page_costs_less_than_ten_statements(app: Any, many: Any, statements: list[str], path: str) -> None:
    app.get(path)
    statements.clear()
    app.get(path)
    assert 0 < len(statements) < 10, "\n".join(statements)


def test_a_snoozed_link_is_listed_apart(many: Any) -> None:
    first = listing.page(LinkFilter(), reader.EVERYBODY).rows[0]
    statement = (
        "INSERT INTO archiver_snooze (resource_id, until, reason, user_id) VALUES (:id, :until, 'new server', 'u')"
    )
    until = clock.utc().date() + DAY
    model.Session.execute(sa.text(statement), {"id": first["resource_id"], "until": until})
    model.Session.commit()

    assert first["resource_url"] not in found()
    (row,) = listing.page(LinkFilter(verdict="snoozed"), reader.EVERYBODY).rows
    assert row["snooze_reason"] == "new server"
    assert row["snoozed_until"] == until.isoformat()

    # It comes back by itself.
    model.Session.execute(sa.text("UPDATE archiver_snooze SET until = :today"), {"today": clock.utc().date()})
    model.Session.commit()
    assert first["resource_url"] in found()


def test_no_row_has_a_path_or_a_password(organizations: dict[str, Dict]) -> None:
    link(
        "ftp://rain:s3cret@a.example/a.csv",
        organizations["agency"],
        cache_filepath="/srv/archive/a.csv",
        url_redirected_to="http://rain:s3cret@b.example/",
        permanent_url="http://rain:s3cret@b.example/",
    )
    (row,) = listing.page(LinkFilter(), reader.EVERYBODY).rows
    assert "s3cret" not in str(row)
    assert "/srv/archive" not in str(row)
    assert row["has_copy"] is True
