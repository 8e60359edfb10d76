"""Which edits request an archival.

The rule in words (``enqueue.put_changed`` is the same rule as one SQL statement, since the database knows what was
last archived):

* a new resource: yes;
* a resource whose URL is not the one that was last archived: yes;
* a resource without a link (no URL, or data in the DataStore only): no;
* an uploaded file that was replaced, even under the same name: yes;
* a resource that was never archived: only when CKAN says that its URL changed;
* a resource whose format was edited while its file is in doubt: yes;
* any other edit (title, description, format, order, tags of the dataset): no.
"""

from __future__ import annotations

import logging
from typing import Any

from ckan import model

from ckanext.archiver import config, indexing, links, tables
from ckanext.archiver.queue import enqueue

log = logging.getLogger(__name__)


def on_change(entity: Any, operation: str | None) -> None:
    """React to a saved object, in the transaction that saves it. A harvest calls this thousands of times, so it is
    cheap. Without our tables an edit is saved all the same; the first round then finds the link."""
    if not isinstance(entity, (model.Resource, model.Package)) or not tables.exist():
        return
    if isinstance(entity, model.Resource):
        _on_resource(entity, operation)
    elif operation != model.DomainObjectOperation.new:
        _on_package(entity, operation)


def _on_resource(resource: Any, operation: str | None) -> None:
    if operation == model.DomainObjectOperation.deleted:
        enqueue.purge_resource(model.Session, resource.id)
        return
    if operation != model.DomainObjectOperation.new:
        moved_between = enqueue.move_resource(model.Session, resource.id)
        if moved_between:
            indexing.note_facet(*moved_between)
        if getattr(resource, "url_changed", False):
            enqueue.wake_resource(model.Session, resource.id)
    if resource.state == model.State.DELETED or not links.has_link(resource.url, resource.url_type):
        # Deleted, or without a link now: nothing about it can be broken.
        enqueue.cancel_resource(model.Session, resource.id)
        # The dataset may have lost its only broken link.
        indexing.note_facet(resource.package_id)
    elif config.archive_on_change():
        enqueue.put_changed(
            model.Session,
            resource.id,
            is_new=operation == model.DomainObjectOperation.new,
            url_changed=bool(getattr(resource, "url_changed", False)),
        )


def _on_package(package: Any, operation: str | None) -> None:
    if operation == model.DomainObjectOperation.deleted or package.state == model.State.DELETED:
        enqueue.cancel_package(model.Session, package.id)
