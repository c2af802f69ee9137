"""One page on a bundle: numbers become plain facts, and facts a page."""

from isthmus.report.facts import report_facts
from isthmus.report.write import write_report

__all__ = ["report_facts", "write_report"]
