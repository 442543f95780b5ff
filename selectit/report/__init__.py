"""The report: one table to defend, as a page, Markdown and CSV, from the artifacts of a plan."""

from selectit.report.write import Report, write_report

__all__ = ["Report", "write_report"]
