"""What DCAT says of a distribution, by ckanext-dcat's own serializer."""

from __future__ import annotations

from typing import Any

import ckan.plugins.toolkit as tk
import pytest
from ckan import model
from ckan.tests import factories

from report_site import archive

pytest.importorskip("ckanext.dcat", reason="ckanext-dcat is not installed")

import rdflib
from ckanext.dcat.processors import RDFSerializer
from rdflib.namespace import DCAT, RDF, XSD

pytestmark = pytest.mark.usefixtures("clean_site")

DQV = rdflib.Namespace("http://www.w3.org/ns/dqv#")
SPDX = rdflib.Namespace("http://spdx.org/rdf/terms#")
SHA1 = "da39a3ee5e6b4b0d3255bfef95601890afd80709"


def dataset(**resource: Any) -> dict[str, Any]:
    return factories.Dataset(resources=[{"url": "http://files.example/a.csv", "format": "CSV", **resource}])


def graph(dataset: dict[str, Any]) -> rdflib.Graph:
    model.Session.commit()
    shown = tk.get_action("package_show")({"ignore_auth": True, "user": ""}, {"id": dataset["id"]})
    text = RDFSerializer(profiles=["euro_dcat_ap_3", "archiver"]).serialize_dataset(shown, _format="ttl")
    return rdflib.Graph().parse(data=text, format="turtle")


def availability(found: rdflib.Graph) -> list[bool]:
    (distribution,) = found.subjects(RDF.type, DCAT.Distribution)
    measurements = list(found.objects(distribution, DQV.hasQualityMeasurement))
    assert all(found.value(one, DQV.computedOn) == distribution for one in measurements)
    return [bool(found.value(one, DQV.value)) for one in measurements]


def test_a_file_has_its_size_its_checksum_and_its_availability() -> None:
    made = dataset()
    archive(made["resources"][0], "ok", size=42, hash=SHA1)
    found = graph(made)
    (distribution,) = found.subjects(RDF.type, DCAT.Distribution)
    assert found.value(distribution, DCAT.byteSize) == rdflib.Literal(42, datatype=XSD.nonNegativeInteger)
    checksum = found.value(distribution, SPDX.checksum)
    assert found.value(checksum, SPDX.algorithm) == SPDX.checksumAlgorithm_sha1
    assert str(found.value(checksum, SPDX.checksumValue)) == SHA1
    assert availability(found) == [True]
    (metric,) = found.subjects(RDF.type, DQV.Metric)
    assert str(metric) == tk.config["ckan.site_url"] + "/report/broken-links#availability"


@pytest.mark.parametrize(("verdict", "measured"), [("broken", [False]), ("failing", []), ("not-sure", [])])
def test_a_file_that_is_not_there_has_no_size(verdict: str, measured: list[bool]) -> None:
    made = dataset()
    archive(made["resources"][0], verdict, size=42, hash=SHA1)
    found = graph(made)
    assert availability(found) == measured
    assert list(found.triples((None, DCAT.byteSize, None))) == []
    assert list(found.triples((None, SPDX.checksum, None))) == []


def test_what_the_publisher_says_stays() -> None:
    made = dataset(size=7, hash="abc123")
    archive(made["resources"][0], "ok", size=42, hash=SHA1)
    found = graph(made)
    (distribution,) = found.subjects(RDF.type, DCAT.Distribution)
    assert [int(size) for size in found.objects(distribution, DCAT.byteSize)] == [7]
    assert len(list(found.objects(distribution, SPDX.checksum))) == 1


def test_without_results_there_is_nothing_to_say() -> None:
    found = graph(dataset())
    assert availability(found) == []
    assert list(found.subjects(RDF.type, DQV.Metric)) == []
