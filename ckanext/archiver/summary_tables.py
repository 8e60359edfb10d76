"""The tables of the report's numbers. ``model.TABLES`` lists them with all others."""

from __future__ import annotations

import ckan.plugins.toolkit as tk
import sqlalchemy as sa


class ArchiverSummary(tk.BaseModel):
    """Links of public datasets, counted by a worker for the report (see ``summary.py``)."""

    __tablename__ = "archiver_summary"

    organization_id = sa.Column(sa.UnicodeText, primary_key=True)
    verdict = sa.Column(sa.UnicodeText, primary_key=True)
    cause = sa.Column(sa.UnicodeText, primary_key=True)
    host = sa.Column(sa.UnicodeText, primary_key=True)
    links = sa.Column(sa.Integer, nullable=False)
    datasets = sa.Column(sa.Integer, nullable=False)
    since = sa.Column(sa.DateTime)


class ArchiverSummaryOrganization(tk.BaseModel):
    """Datasets and links of an organization, counted by a worker."""

    __tablename__ = "archiver_summary_organization"

    organization_id = sa.Column(sa.UnicodeText, primary_key=True)
    datasets = sa.Column(sa.Integer, nullable=False)
    links = sa.Column(sa.Integer, nullable=False)
    broken_datasets = sa.Column(sa.Integer, nullable=False)
    broken_links = sa.Column(sa.Integer, nullable=False)


class ArchiverDaily(tk.BaseModel):
    """Links by verdict and cause on one day, of an organization or ("*") of the portal."""

    __tablename__ = "archiver_daily"

    organization_id = sa.Column(sa.UnicodeText, primary_key=True)
    day = sa.Column(sa.Date, primary_key=True)
    verdict = sa.Column(sa.UnicodeText, primary_key=True)
    cause = sa.Column(sa.UnicodeText, primary_key=True)
    links = sa.Column(sa.Integer, nullable=False)
