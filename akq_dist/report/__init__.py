"""A study as one page: HTML with its charts inside, nothing that a browser would have to fetch or run."""

from akq_dist.report.study import Report, make_report

__all__ = ["Report", "make_report"]
