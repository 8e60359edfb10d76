"""The server that the tests of other extensions import."""

from __future__ import annotations

import pytest
from flask.testing import FlaskClient

from ckanext.archiver.tests.mock_flask_server import create_app


@pytest.fixture
def client() -> FlaskClient:
    return create_app().test_client()


def test_the_query_string_is_the_answer(client: FlaskClient) -> None:
    answer = client.get("/any/path.csv?status=404&content=a,b&content-type=text/csv&length=9")

    assert (answer.status_code, answer.get_data(as_text=True)) == (404, "a,b")
    assert answer.headers["Content-Type"] == "text/csv"
    assert answer.headers["Content-Length"] == "9"


def test_a_long_answer(client: FlaskClient) -> None:
    assert len(client.get("/?content_long=1").data) == 1_000_001


@pytest.mark.parametrize(
    ("path", "asked", "root"),
    [
        ("WMS_1_3", "service=WMS&request=GetCapabilities&version=1.3", b"<WMS_Capabilities"),
        ("WMS_1_1_1", "service=WMS&request=GetCapabilities&version=1.1.1", b"<WMT_MS_Capabilities"),
        ("WFS", "service=WFS&request=GetCapabilities", b"<wfs:WFS_Capabilities"),
    ],
)
def test_a_service_answers_its_own_question_only(client: FlaskClient, path: str, asked: str, root: bytes) -> None:
    assert root in client.get(f"/{path}/?{asked}").data
    assert client.get(f"/{path}/?content=no&{asked.replace('GetCap', 'GetNo')}").data == b"no"
