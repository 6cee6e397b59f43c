"""Robust estimates, each with a confidence interval and its actual coverage.

Samples of launch times are small and skewed, with many outliers, so all estimates here are rank-based: medians, their
differences and ratios, lines, bends and change points. The ends of their intervals are order statistics, whose coverage
follows from counting. If a sample is too small for the requested confidence, the widest interval is given with its
actual coverage.

Pure and deterministic: no Dagster, no matplotlib, no random numbers. `python -m benchmarks.statistics_coverage`
measures every coverage and error rate in the docstrings, `python -m benchmarks.change_points` those of change points.

The code refers to `scipy.special.ndtr` without importing the submodule because scipy loads submodules on first use:
most processes of the meta location compute nothing.
"""

from bench_orchestrator.model.estimates import Estimate, median
from bench_orchestrator.statistics.bends import Bend, find_bend
from bench_orchestrator.statistics.changes import ChangePoint, find_changes
from bench_orchestrator.statistics.comparisons import (
    Comparison,
    Verdict,
    compare,
    compare_unpaired,
    difference,
    paired_difference,
    paired_ratio,
    ratio,
)
from bench_orchestrator.statistics.lines import Fit, fit_line

__all__ = [
    "Bend",
    "ChangePoint",
    "Comparison",
    "Estimate",
    "Fit",
    "Verdict",
    "compare",
    "compare_unpaired",
    "difference",
    "find_bend",
    "find_changes",
    "fit_line",
    "median",
    "paired_difference",
    "paired_ratio",
    "ratio",
]
