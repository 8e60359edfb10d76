"""Packaging of ckanext-archiver; tool settings are in pyproject.toml."""

import re
from pathlib import Path

from setuptools import find_namespace_packages, setup

from distutils.command.install_headers import install_headers  # isort: skip - setuptools brings distutils

HERE = Path(__file__).parent

# CKAN 2.11 pins redis-py 5.0.7, which kombu 5.7 refuses (below 6.1); CKAN 2.12 pins redis-py 8.0.1, for which kombu 5.6
# is not made (below 6.5). No marker of packaging metadata can ask for another package's version, so an extra names
# the CKAN in use: pip install 'ckanext-archiver[ckan-2-11]'. (pip before 23.3 does not find a name with a dot in it.)
CELERY_FOR = {
    "ckan-2-12": ["celery>=5.7,<5.8", "kombu>=5.7,<5.8"],
    "ckan-2-11": ["celery>=5.6,<5.7", "kombu>=5.6.2,<5.7"],
}


class InstallPth(install_headers):
    """Puts the .pth file beside the packages, where Python reads it.

    Of the commands that copy single files, this is the one that setuptools runs for wheels and editable installs alike.
    """

    def finalize_options(self):
        self.set_undefined_options("install", ("install_lib", "install_dir"))
        super().finalize_options()


def requirements():
    lines = (line.partition("#")[0].strip() for line in (HERE / "requirements.txt").read_text().splitlines())
    return [line for line in lines if line]


def version():
    text = (HERE / "ckanext" / "archiver" / "__init__.py").read_text(encoding="utf-8")
    return re.search(r'^__version__ = "(.+)"$', text, re.MULTILINE)[1]


def readme():
    path = HERE / "README.rst"
    return path.read_text(encoding="utf-8") if path.exists() else ""


setup(
    name="ckanext-archiver",
    version=version(),
    description="Checks, for every resource of a CKAN portal, that people can still get the file, and keeps a copy",
    long_description=readme(),
    long_description_content_type="text/x-rst",
    license="AGPL-3.0-or-later",
    keywords="CKAN archiver broken links open data",
    url="https://github.com/ckan/ckanext-archiver",
    classifiers=[
        "Development Status :: 5 - Production/Stable",
        "Environment :: Web Environment",
        "Framework :: Flask",
        "Intended Audience :: System Administrators",
        "Operating System :: POSIX",
        "Programming Language :: Python :: 3",
        "Programming Language :: Python :: 3.10",
        "Programming Language :: Python :: 3.11",
        "Programming Language :: Python :: 3.12",
        "Programming Language :: Python :: 3.13",
    ],
    python_requires=">=3.10",
    packages=find_namespace_packages(include=["ckanext.*"]),
    py_modules=["ckanext_archiver_namespace"],
    headers=["ckanext_archiver.pth"],
    cmdclass={"install_headers": InstallPth},
    include_package_data=True,
    zip_safe=False,
    install_requires=requirements(),
    extras_require={**CELERY_FOR, "dcat": ["ckanext-dcat>=2.4,<3"]},
    entry_points={
        "ckan.plugins": [
            "archiver = ckanext.archiver.plugin:ArchiverPlugin",
            "testipipe = ckanext.archiver.plugin:TestIPipePlugin",
        ],
        # For portals where the plugin is not enabled (yet).
        "ckan.click_command": [
            "archiver = ckanext.archiver.cli.entry:archiver",
            "celeryd2 = ckanext.archiver.cli.entry:celeryd2",
        ],
        # The worker imports the tasks that extensions list in this group.
        "ckan.celery_task": ["tasks = ckanext.archiver.celery_import:task_imports"],
        "console_scripts": ["paster = ckanext.archiver.legacy.paster:main"],
        "ckan.rdf.profiles": ["archiver = ckanext.archiver.dcat_profile:ArchiverProfile"],
        "babel.extractors": ["ckan = ckan.lib.extract:extract_ckan"],
    },
    message_extractors={
        "ckanext": [
            ("**.py", "python", None),
            ("**/templates/**.html", "ckan", None),
            ("**.js", "javascript", None),
        ],
    },
)
