"""Sweeps -> figures, and figures -> files: what all charts share, the charts themselves, and their output.

Figures use matplotlib's object API alone: no pyplot, hence no state shared between charts or threads.
"""

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

__all__ = [
    "CHARTS",
    "Chart",
    "ChartFiles",
    "all_locations",
    "assets_vs_partitions",
    "inline_png",
    "lag_vs_assets",
    "save",
    "stage_breakdown",
    "trial_outcomes",
]
