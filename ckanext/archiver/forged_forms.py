"""Forms that another site sends in the name of a user (CSRF)."""

from __future__ import annotations

import ckan.plugins.toolkit as tk
from flask import current_app, g


def refuse() -> None:
    """Check the token of a form, where the user is not logged in by an API token; to be called before each request.

    CKAN does so as well, until the same view is called with an API token or by an anonymous user. From then on it
    checks the forms of no user: ``ckan_before_request`` of CKAN 2.12 exempts the view for as long as the process lives.

    :raises CSRFError: without a valid token
    """
    if tk.asbool(current_app.config.get("WTF_CSRF_ENABLED")) and not g.get("login_via_auth_header"):
        current_app.extensions["csrf"].protect()
