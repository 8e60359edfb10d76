"""The use cases: archive one resource, several, or a dataset; stop."""

from ckanext.archiver.archiving.run import (
    Result,
    archive_package,
    archive_resource,
    archive_resources,
    stop,
    stopping,
)

__all__ = ["Result", "archive_package", "archive_resource", "archive_resources", "stop", "stopping"]
