"""CKAN's HTTP API, as a publisher uses it: make the portal, change it back to what it should be, look at it."""

from __future__ import annotations

import json
import urllib.error
import urllib.request
import uuid
from typing import Any

from _stack.ckan_site import SYSADMIN
from _stack.layout import StackError

from .portal import DATASETS, ORGANIZATIONS, SAMPLE_NOTE, Dataset, Link, Organization

Json = dict[str, Any]

# Proxies of the environment are for the world outside.
_opener = urllib.request.build_opener(urllib.request.ProxyHandler({}))

_FIELDS = ("url", "format", "description")


class ApiError(StackError):
    """CKAN did not do what the demo asked of it."""

    def __init__(self, status: int, message: str) -> None:
        super().__init__(message)
        self.status = status


def get(url: str, timeout: float = 30) -> tuple[int, str]:
    """Status and text of a page; status 0 when the server does not answer."""
    try:
        with _opener.open(url, timeout=timeout) as answer:
            return answer.status, answer.read().decode(errors="replace")
    except urllib.error.HTTPError as e:
        return e.code, e.read().decode(errors="replace")
    except OSError:
        return 0, ""


class Portal:
    """The API of one CKAN, with a token.

    :param origin_port: of the server that the links lead to
    """

    def __init__(self, site_url: str, token: str, origin_port: int) -> None:
        self.site_url = site_url
        self.token = token
        self.origin_port = origin_port

    # -- making it --------------------------------------------------------------------------------------------

    def accepts_token(self) -> bool:
        """Whether the token is one of this CKAN's (it may be of a database that is gone)."""
        try:
            self.call("api_token_list", {"user_id": SYSADMIN})
        except ApiError:
            return False
        return True

    def make(self) -> bool:
        """Make the organizations and the datasets, or change them back to what they should be.

        :returns: whether anything had to be changed
        """
        ids = {organization.name: self._organization(organization) for organization in ORGANIZATIONS}
        changed = [self._dataset(dataset, ids[dataset.organization]) for dataset in DATASETS]
        return any(changed)

    def make_editor(self, name: str, password: str) -> None:
        """Make the user who may edit the datasets of some organizations, with this password."""
        if self._show("user_show", name) is None:
            email = f"{name}@demo.invalid"
            self.call("user_create", {"name": name, "email": email, "password": password, "fullname": "Demo editor"})
        else:
            self.call("user_patch", {"id": name, "password": password, "state": "active"})
        for organization in ORGANIZATIONS:
            if organization.has_editor:
                member = {"id": organization.name, "username": name, "role": "editor"}
                self.call("organization_member_create", member)

    def _organization(self, organization: Organization) -> str:
        found = self._show("organization_show", organization.name)
        if found is None:
            wanted: Json = {
                "name": organization.name,
                "title": organization.title,
                "description": organization.description,
            }
            if organization.parent:
                wanted["groups"] = [{"name": organization.parent, "capacity": "public"}]
            return str(self.call("organization_create", wanted)["id"])
        if found["state"] != "active":
            self.call("organization_patch", {"id": found["id"], "state": "active"})
        return str(found["id"])

    def _dataset(self, dataset: Dataset, organization: str) -> bool:
        wanted = {
            "name": dataset.name,
            "title": dataset.title,
            "notes": f"{dataset.notes}\n\n{SAMPLE_NOTE}",
            "owner_org": organization,
            "license_id": "uk-ogl",
            "tags": [{"name": tag} for tag in dataset.tags],
            "state": "active",
        }
        found = self._show("package_show", dataset.name)
        have = {resource["name"]: resource for resource in found["resources"]} if found else {}
        links = [link for link in dataset.links if not link.upload]
        changed = (
            found is None
            or found["state"] != "active"
            or found["owner_org"] != organization
            or any(self._differs(link, have) for link in links)
        )
        if changed:
            # A link that was edited is made anew: the copy that its edited URL had would stay otherwise.
            resources = [
                self._resource(link) if self._differs(link, have) else {**have[link.name], **self._resource(link)}
                for link in links
            ]
            # What else is there stays: an upload, or a resource that was added by hand.
            resources += [resource for name, resource in have.items() if name not in {link.name for link in links}]
            action = "package_patch" if found else "package_create"
            self.call(action, {**wanted, "resources": resources, **({"id": found["id"]} if found else {})})
        for link in dataset.links:
            if link.upload and link.name not in have:
                self._upload(link, dataset.name)
                changed = True
        return changed

    def _resource(self, link: Link) -> dict[str, str]:
        return {
            "name": link.name,
            "format": link.format,
            "description": f"{link.description} {SAMPLE_NOTE}",
            "url": link.url(self.origin_port),
        }

    def _differs(self, link: Link, have: dict[str, Json]) -> bool:
        wanted, found = self._resource(link), have.get(link.name)
        return found is None or any(found[field] != wanted[field] for field in _FIELDS)

    def _upload(self, link: Link, dataset: str) -> None:
        fields = {**self._resource(link), "package_id": dataset}
        del fields["url"]
        boundary = uuid.uuid4().hex
        parts = [
            f'--{boundary}\r\nContent-Disposition: form-data; name="{name}"\r\n\r\n{value}\r\n'.encode()
            for name, value in fields.items()
        ]
        head = f'--{boundary}\r\nContent-Disposition: form-data; name="upload"; filename="{link.upload}"\r\n\r\n'
        body = b"".join([*parts, head.encode(), link.answer.body, f"\r\n--{boundary}--\r\n".encode()])
        self._send("resource_create", body, f"multipart/form-data; boundary={boundary}")

    # -- looking at it ----------------------------------------------------------------------------------------

    def dataset(self, name: str) -> Json:
        """What package_show says."""
        return self.call("package_show", {"id": name})

    def known(self, resource_id: str) -> Json:
        """What archiver_resource_show says; empty for a link that was never checked."""
        return self._show("archiver_resource_show", resource_id) or {}

    def _show(self, action: str, name: str) -> Json | None:
        try:
            return self.call(action, {"id": name})
        except ApiError as e:
            if e.status == 404:
                return None
            raise

    # -- HTTP -------------------------------------------------------------------------------------------------

    def call(self, action: str, data: Json) -> Json:
        """The result of an action.

        :raises ApiError: when CKAN refuses, or does not answer
        """
        return self._send(action, json.dumps(data).encode(), "application/json")

    def _send(self, action: str, body: bytes, content_type: str) -> Json:
        headers = {"Content-Type": content_type, "Authorization": self.token}
        request = urllib.request.Request(f"{self.site_url}/api/3/action/{action}", body, headers)
        try:
            with _opener.open(request, timeout=60) as answer:
                result: Json = json.load(answer)["result"]
                return result
        except urllib.error.HTTPError as e:
            raise ApiError(e.code, f"{action}: CKAN answered {e.code}: {e.read(2000).decode(errors='replace')}") from e
        except OSError as e:
            raise ApiError(0, f"{action}: CKAN does not answer: {e}") from e
