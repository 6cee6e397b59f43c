"""What the samples say and how sure that is: robust estimates, each with an interval and its true coverage.

Launch times are few, skewed and full of outliers, so everything here rests on ranks: medians, their differences
and ratios, lines and bends, with intervals whose ends are order statistics. How often such an interval holds the
truth is a matter of counting. Where a sample is too small for the confidence asked for, the widest interval is
given with the coverage that it does have, instead of a claim.

Pure and deterministic: no Dagster, no matplotlib, nothing random. `python -m benchmarks.statistics_coverage` measures
every coverage and error rate that the docstrings state.

scipy loads its parts when they are used, hence `scipy.special.ndtr` and no import of it: most processes of the meta
location compute nothing.
"""

from bench_orchestrator.statistics.bends import Bend, find_bend
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
from bench_orchestrator.statistics.estimates import Estimate, median
from bench_orchestrator.statistics.lines import Fit, fit_line

__all__ = [
    "Bend",
    "Comparison",
    "Estimate",
    "Fit",
    "Verdict",
    "compare",
    "compare_unpaired",
    "difference",
    "find_bend",
    "fit_line",
    "median",
    "paired_difference",
    "paired_ratio",
    "ratio",
]
