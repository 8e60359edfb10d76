"""The namespace that all CKAN extensions share; nothing else belongs here."""

try:
    import pkg_resources

    pkg_resources.declare_namespace(__name__)
except ImportError:  # setuptools 82 and later have no pkg_resources
    import pkgutil

    __path__ = pkgutil.extend_path(__path__, __name__)
