"""The plugin: one delegating line per hook."""

from __future__ import annotations

from typing import Any

import ckan.plugins as p
import ckan.plugins.toolkit as tk
from ckan.exceptions import CkanConfigurationException
from ckan.lib.plugins import DefaultTranslation

from ckanext.archiver import admin_page, changes, config, report_pages, reports, search, tables, views
from ckanext.archiver.cli import main
from ckanext.archiver.errors import ConfigError
from ckanext.archiver.interfaces import IPipe
from ckanext.archiver.queue import outbox

try:
    from ckanext.report.interfaces import IReport
except Exception:  # noqa: BLE001 - on CKAN 2.12 the import of ckanext-report fails with various errors
    IReport = None


@tk.blanket.config_declarations
@tk.blanket.actions
@tk.blanket.auth_functions
@tk.blanket.helpers
class ArchiverPlugin(p.SingletonPlugin, DefaultTranslation):
    """Archives the files of resources and reports whether their links work."""

    # -- IConfigurer ----------------------------------------------------------------------------------
    p.implements(p.IConfigurer, inherit=True)

    def update_config(self, config_: Any) -> None:
        tk.add_template_directory(config_, "templates")
        tk.add_resource("assets", "ckanext-archiver")

    # -- ITranslation ---------------------------------------------------------------------------------
    p.implements(p.ITranslation)

    # -- IConfigurable --------------------------------------------------------------------------------
    p.implements(p.IConfigurable)

    def configure(self, config_: Any) -> None:
        try:
            config.check()
        except ConfigError as e:
            raise CkanConfigurationException(str(e)) from e
        outbox.listen_to_sessions()
        tables.exist()  # says so where they do not

    # -- IDomainObjectModification --------------------------------------------------------------------
    p.implements(p.IDomainObjectModification, inherit=True)

    def notify(self, entity: Any, operation: str | None = None) -> None:
        changes.on_change(entity, operation)

    # -- IPackageController ---------------------------------------------------------------------------
    p.implements(p.IPackageController, inherit=True)

    def after_dataset_show(self, context: Any, pkg_dict: dict[str, Any]) -> None:
        search.add_to_package(context, pkg_dict)

    def after_dataset_search(self, search_results: dict[str, Any], search_params: Any) -> dict[str, Any]:
        return search.add_to_search(search_results)

    def before_dataset_index(self, pkg_dict: dict[str, Any]) -> dict[str, Any]:
        return search.index_fields(pkg_dict)

    # -- IFacets --------------------------------------------------------------------------------------
    p.implements(p.IFacets, inherit=True)

    def dataset_facets(self, facets_dict: Any, package_type: str) -> Any:
        return search.facets(facets_dict)

    def organization_facets(self, facets_dict: Any, organization_type: str, package_type: str | None) -> Any:
        return search.facets(facets_dict)

    def group_facets(self, facets_dict: Any, group_type: str, package_type: str | None) -> Any:
        return search.facets(facets_dict)

    # -- IClick ---------------------------------------------------------------------------------------
    p.implements(p.IClick)

    def get_commands(self) -> list[Any]:
        return [main.archiver, main.celeryd2]

    # -- IBlueprint -----------------------------------------------------------------------------------
    p.implements(p.IBlueprint)

    def get_blueprint(self) -> list[Any]:
        return [*views.get_blueprints(), report_pages.archiver_report, admin_page.archiver_admin]

    # -- IReport --------------------------------------------------------------------------------------
    if IReport is not None:
        p.implements(IReport)

    def register_reports(self) -> list[dict[str, Any]]:
        return [reports.broken_links_report_info]


class TestIPipePlugin(p.SingletonPlugin):
    """Records the calls of IPipe: for tests, of this extension and of others."""

    # -- IPipe ----------------------------------------------------------------------------------------
    p.implements(IPipe, inherit=True)

    __test__ = False  # not a pytest class

    def __init__(self, *args: Any, **kwargs: Any) -> None:
        super().__init__(*args, **kwargs)
        self.calls: list[list[Any]] = []

    def reset(self) -> None:
        """Forget all calls."""
        self.calls = []

    def receive_data(self, operation: str, queue: str, **params: Any) -> None:
        self.calls.append([operation, queue, params])
