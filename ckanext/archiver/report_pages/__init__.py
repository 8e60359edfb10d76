"""The pages of the Broken Links report, and what people do from them."""

from ckanext.archiver.report_pages import acting, pages

archiver_report = pages.archiver_report

__all__ = ["acting", "archiver_report", "pages"]
