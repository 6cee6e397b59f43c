"""Sweeps -> figures, and figures -> files: what all charts share, the charts themselves, and their output.

Figures use matplotlib's object API alone: no pyplot, hence no state shared between charts or threads.
"""

from bench_orchestrator.charts.comparing import COMPARISON_CHARTS, charts_for, comparison, costs
from bench_orchestrator.charts.drawing import (
    CHARTS,
    Chart,
    all_locations,
    assets_vs_partitions,
    lag_vs_assets,
    stage_breakdown,
    trial_outcomes,
)
from bench_orchestrator.charts.output import ChartFiles, inline_png, save
from bench_orchestrator.charts.waterfall import waterfall

__all__ = [
    "CHARTS",
    "COMPARISON_CHARTS",
    "Chart",
    "ChartFiles",
    "all_locations",
    "assets_vs_partitions",
    "charts_for",
    "comparison",
    "costs",
    "inline_png",
    "lag_vs_assets",
    "save",
    "stage_breakdown",
    "trial_outcomes",
    "waterfall",
]
