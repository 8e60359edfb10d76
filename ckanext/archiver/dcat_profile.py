"""What DCAT says of a distribution by the archiver's results, where ckanext-dcat is installed. ::

    ckanext.dcat.rdf.profiles = euro_dcat_ap_3 archiver

Only ckanext-dcat imports this module, by its entry point in ``ckan.rdf.profiles``.

* ``dcat:byteSize`` and ``spdx:checksum`` of the file at its last check, where the publisher gives none and the link
  works;
* the availability as a quality measurement (W3C, Data on the Web Best Practices: Data Quality Vocabulary, 2016), true
  or false; there is none while a failure is not confirmed, or where the archiver cannot say.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from ckanext.dcat.profiles import DCAT, RDF, SKOS, SPDX, XSD, CleanedURIRef, RDFProfile
from ckanext.dcat.utils import resource_uri
from rdflib import BNode, Literal, Namespace, URIRef

from ckanext.archiver import config
from ckanext.archiver.engine.outcome import Verdict

DQV = Namespace("http://www.w3.org/ns/dqv#")
PROV = Namespace("http://www.w3.org/ns/prov#")
DIMENSION = URIRef("http://www.w3.org/2016/05/ldqd#availability")
DEFINITION = "Whether a person can get the file of the distribution at its URL."

AVAILABLE = {Verdict.OK.value: True, Verdict.BROKEN.value: False}


class ArchiverProfile(RDFProfile):
    """Adds the archiver's results to the distributions that the profiles before it have made."""

    def graph_from_dataset(self, dataset_dict: dict[str, Any], dataset_ref: URIRef) -> None:
        """Add to the graph.

        :param dataset_dict: as ``package_show`` gives it
        """
        for resource in dataset_dict.get("resources") or ():
            known = resource.get("archiver")
            if not known:
                continue
            distribution = CleanedURIRef(resource_uri(resource))
            if (dataset_ref, DCAT.distribution, distribution) not in self.g:
                continue
            if known["verdict"] == Verdict.OK.value:
                self._add_file(distribution, known)
            if known["verdict"] in AVAILABLE:
                self._add_availability(distribution, known)

    def _add_file(self, distribution: URIRef, known: Mapping[str, Any]) -> None:
        if known["size"] is not None and (distribution, DCAT.byteSize, None) not in self.g:
            self.g.add((distribution, DCAT.byteSize, Literal(known["size"], datatype=XSD.nonNegativeInteger)))
        if known["hash"] and (distribution, SPDX.checksum, None) not in self.g:
            checksum = BNode()
            self.g.add((checksum, RDF.type, SPDX.Checksum))
            self.g.add((checksum, SPDX.algorithm, SPDX.checksumAlgorithm_sha1))
            self.g.add((checksum, SPDX.checksumValue, Literal(known["hash"], datatype=XSD.hexBinary)))
            self.g.add((distribution, SPDX.checksum, checksum))

    def _add_availability(self, distribution: URIRef, known: Mapping[str, Any]) -> None:
        self.g.bind("dqv", DQV)
        self.g.bind("prov", PROV)
        metric = URIRef(f"{config.site_url()}/report/broken-links#availability")
        self.g.add((metric, RDF.type, DQV.Metric))
        self.g.add((metric, SKOS.definition, Literal(DEFINITION, lang="en")))
        self.g.add((metric, DQV.expectedDataType, XSD.boolean))
        self.g.add((metric, DQV.inDimension, DIMENSION))
        measurement = BNode()
        self.g.add((measurement, RDF.type, DQV.QualityMeasurement))
        self.g.add((measurement, DQV.isMeasurementOf, metric))
        self.g.add((measurement, DQV.computedOn, distribution))
        self.g.add((measurement, DQV.value, Literal(AVAILABLE[known["verdict"]])))
        if known["updated"]:
            self.g.add((measurement, PROV.generatedAtTime, Literal(f"{known['updated']}Z", datatype=XSD.dateTime)))
        self.g.add((distribution, DQV.hasQualityMeasurement, measurement))
