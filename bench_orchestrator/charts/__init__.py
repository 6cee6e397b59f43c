"""Charts of sweeps, launches, remedies and histories, and their output as files.

Figures use only matplotlib's object API, not pyplot, so charts and threads share no state.
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
from bench_orchestrator.charts.gantt import gantt
from bench_orchestrator.charts.history import lag_over_time
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
    "gantt",
    "inline_png",
    "lag_over_time",
    "lag_vs_assets",
    "save",
    "stage_breakdown",
    "trial_outcomes",
    "waterfall",
]
