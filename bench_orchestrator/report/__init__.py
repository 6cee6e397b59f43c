"""A sweep -> what a person reads of it: the report's files, the terminal's table, the numbers as JSON.

The first screen answers the scenario's question; everything below it is the evidence, failures included.
Nothing depends on when a report was written: the same sweep and advice give the same bytes.
"""

from bench_orchestrator.report.files import ReportFiles, write_claims, write_remedies, write_report, write_sweep
from bench_orchestrator.report.summary import render_table, summarize

__all__ = [
    "ReportFiles",
    "render_table",
    "summarize",
    "write_claims",
    "write_remedies",
    "write_report",
    "write_sweep",
]
