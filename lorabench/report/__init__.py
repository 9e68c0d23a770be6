"""The HTML page and the figures of a run: tables in, one self-contained file out."""

from lorabench.report.page import build_report
from lorabench.report.tables import RunTables

__all__ = ["RunTables", "build_report"]
