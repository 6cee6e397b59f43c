"""Reports: files, the terminal's table, and the same numbers as JSON.

A report begins with the answer to the scenario's question, followed by the evidence, including failures. It contains
no time of writing: the same sweep and advice give the same bytes.
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
