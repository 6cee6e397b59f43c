"""Sentences that state what the history of the locations shows, shared by its chart, its checks and its table."""

from collections.abc import Sequence

from bench_orchestrator.analysis.history import UNKNOWN, LevelChange, Standing, Trend
from bench_orchestrator.analysis.wording import NOTHING_MEASURED, describe_estimate
from bench_orchestrator.model.instants import describe_instant


def headline(trends: Sequence[Trend]) -> str:
    """State which location is slower than before, by how much and since when; the worst one by name."""
    if not trends:
        return NOTHING_MEASURED
    slower = {
        trend.location: trend.standing for trend in trends if trend.standing is not None and trend.standing.slower
    }
    if not slower:
        sweeps = len({point.sweep_id for trend in trends for point in trend.history.points})
        places = "1 location" if len(trends) == 1 else f"{len(trends)} locations"
        return f"No slower than before: {places}, {sweeps:,} sweep{'' if sweeps == 1 else 's'}"
    worst = max(slower, key=lambda location: slower[location].comparison.difference.value)
    others = f"; {len(slower) - 1} more" if len(slower) > 1 else ""
    return f"Slower than before: {describe_standing(worst, slower[worst])}{others}"


def describe_standing(location: str, standing: Standing) -> str:
    """State a location's difference from its baseline, since when, and the stage that carries it."""
    carrier = next((stage.label for stage in standing.carriers), UNKNOWN)
    since = describe_instant(standing.present.points[0].at_us)
    amount = describe_estimate(standing.comparison.difference, digits=None, signed=True)
    return f"{location} {amount} since {since} ({carrier})"


def describe_change(change: LevelChange) -> str:
    """State a change in one sentence, without a full stop."""
    amount = describe_estimate(change.difference_s, digits=None, signed=True)
    carried = f", {change.carrier}" if change.stage is None else ""
    came_with = f"; with it: {', '.join(change.came_with)}" if change.came_with else ""
    return f"{change.location}, {describe_instant(change.at_us)}: {change.quantity} {amount}{carried}{came_with}"
