"""The history of all locations as an asset, and the checks that notice when launches became slower."""

from collections.abc import Callable, Iterable, Iterator, Sequence
from datetime import timedelta
from typing import Any, TypeVar

import dagster as dg
from pydantic import Field

from bench_orchestrator import settings
from bench_orchestrator.analysis.deploys import Deploy
from bench_orchestrator.analysis.history import ESTABLISHED, RELEVANT, UNKNOWN, Trend, trace
from bench_orchestrator.analysis.history_wording import describe_standing, headline
from bench_orchestrator.analysis.wording import describe_estimate
from bench_orchestrator.charts import lag_over_time
from bench_orchestrator.charts.canvas import shorten
from bench_orchestrator.defs.charts import publish
from bench_orchestrator.defs.harvest import launch_measurements
from bench_orchestrator.defs.resources import ResultsResource
from bench_orchestrator.defs.tables import metadata_table
from bench_orchestrator.model.bounds import LONGEST_S
from bench_orchestrator.model.errors import UnusableError
from bench_orchestrator.model.instants import describe_instant
from bench_orchestrator.model.tags import DEPLOY_SENSOR, Tag
from bench_orchestrator.report.text import bar, prose, table
from bench_orchestrator.results.queries import latest_deploys, location_histories
from bench_orchestrator.scenarios.registry import EXPERIMENTS
from bench_orchestrator.statistics import Estimate

NAME = "lag_over_time"
SLOWER_CHECK = "no_slower_than_before"
LIMIT_CHECK = "lag_under_limit"
DEPLOY_CHECK = "no_slower_after_deploy"

_Setting = TypeVar("_Setting")

_LATE_BY = timedelta(hours=1)
"""The monitor launches every 15 minutes."""
_SILENT_FOR = timedelta(days=1)

_MOST_LINES = 5
"""Maximum locations that a check's message names."""
_MOST_ROWS = 6
_NAME_LETTERS = 20
_HEADLINE_LETTERS = 200


class HistoryConfig(dg.Config):
    """What the history is checked against."""

    max_lag_s: float | None = Field(
        default=None,
        gt=0,
        le=LONGEST_S,
        description=f"Limit of the median launch lag in seconds. None: that of {settings.MAX_LAG_S}, or no limit.",
    )


@dg.multi_asset(
    name=NAME,
    specs=[
        dg.AssetSpec(
            NAME,
            deps=[launch_measurements],
            description="The startup time of every location over time, a point per sweep: when it became slower or "
            "faster for good, by how much, in which stage, and which version or size came with it. Sweeps of "
            "experiments have no part in it. Not fresh: the monitor is silent, or off.",
            group_name="charts",
            kinds={"matplotlib", "duckdb"},
            skippable=True,
            freshness_policy=dg.FreshnessPolicy.time_window(fail_window=_SILENT_FOR, warn_window=_LATE_BY),
        )
    ],
    check_specs=[
        dg.AssetCheckSpec(
            SLOWER_CHECK,
            asset=NAME,
            description="No location's startup time is slower than its baseline, beyond the noise and by more than "
            f"{100 * RELEVANT:.0f} %. The baseline is its fastest level before the latest change that held for "
            f"{ESTABLISHED} sweeps. {settings.HISTORY_SINCE} forgets what was before.",
        ),
        dg.AssetCheckSpec(
            LIMIT_CHECK,
            asset=NAME,
            description="The median launch lag of each location's latest sweeps is under the limit "
            f"({settings.MAX_LAG_S}). An error if its whole interval is over the limit, else a warning.",
        ),
        dg.AssetCheckSpec(
            DEPLOY_CHECK,
            asset=NAME,
            description="No location's startup time is slower behind its present code server than behind the one "
            f"before it, beyond the noise. The sensor {DEPLOY_SENSOR} launches after each deploy.",
        ),
    ],
    can_subset=True,
)
def lag_history(
    context: dg.AssetExecutionContext, config: HistoryConfig, results: ResultsResource
) -> Iterator[dg.MaterializeResult]:  # type: ignore[type-arg]
    """Draw the history and check it; yields nothing without any, or in the harvest of an experiment."""
    harvested = context.run.tags.get(Tag.SCENARIO)
    if harvested in EXPERIMENTS:
        context.log.info(f"A sweep of {harvested} is no part of the history.")
        return
    since_us, wrong_since = _read(settings.history_since_us)
    max_lag_s, wrong_limit = _read(settings.max_lag_s) if config.max_lag_s is None else (config.max_lag_s, "")
    trends = [trace(history) for history in location_histories(results.store, since_us or 0)]
    deploys = latest_deploys(results.store, since_us or 0)
    if not trends:
        context.log.info("No location has been measured yet; there is no history.")
        return
    yield dg.MaterializeResult(
        asset_key=NAME,
        metadata={
            "summary": dg.MetadataValue.md(_summary(trends)),
            **publish(lag_over_time(trends), results, NAME),
            "changes": metadata_table(_change_lines(trends)),
            "deploys": metadata_table(_deploy_lines(deploys)),
            **_numbers(trends),
        },
        check_results=[
            _unchecked(SLOWER_CHECK, wrong_since) if wrong_since else _check_slower(trends),
            _unchecked(LIMIT_CHECK, wrong_limit) if wrong_limit else _check_limit(trends, max_lag_s),
            _check_deploys(deploys),
        ],
    )


def _read(setting: Callable[[], _Setting]) -> tuple[_Setting | None, str]:
    """Return a setting and an empty text; or None and what is wrong with it, which must not hold up the harvest."""
    try:
        return setting(), ""
    except UnusableError as error:
        return None, str(error)


def _unchecked(check: str, wrong: str) -> dg.AssetCheckResult:
    """Return a failed check for an invalid setting; the message says which values are valid."""
    return dg.AssetCheckResult(check_name=check, asset_key=NAME, passed=False, description=wrong)


def _check_slower(trends: Sequence[Trend]) -> dg.AssetCheckResult:
    """Fail if a location is slower than its baseline; the message says since when, in which stage, and with what."""
    standings = {trend.location: trend.standing for trend in trends if trend.standing is not None}
    slower = {location: standing for location, standing in standings.items() if standing.slower}
    metadata: dict[str, Any] = {"slower": list(slower)}
    for location, standing in standings.items():
        metadata |= _interval(f"baseline_s/{location}", standing.baseline.startup_s)
        metadata |= _interval(f"present_s/{location}", standing.present.startup_s)
        metadata |= _interval(f"difference_s/{location}", standing.comparison.difference)
    return dg.AssetCheckResult(
        check_name=SLOWER_CHECK,
        asset_key=NAME,
        passed=not slower,
        severity=dg.AssetCheckSeverity.WARN,
        description=_first(
            f"{describe_standing(location, standing)}; with it: {', '.join(standing.came_with) or UNKNOWN}."
            for location, standing in slower.items()
        )
        or f"{headline(trends)}.",
        metadata=metadata,
    )


def _check_limit(trends: Sequence[Trend], limit_s: float | None) -> dg.AssetCheckResult:
    """Fail if a median is over the limit: as an error if the whole interval of one is, else as a warning."""
    metadata: dict[str, Any] = {"limit_s": "none" if limit_s is None else limit_s}
    for trend in trends:
        metadata |= _interval(f"lag_s/{trend.location}", trend.recent_lag_s)
    over = [] if limit_s is None else [trend for trend in trends if trend.recent_lag_s.value > limit_s]
    surely = limit_s is not None and any(trend.is_surely_over(limit_s) for trend in over)
    slowest = sorted(over or trends, key=lambda trend: -trend.recent_lag_s.value)
    lags = _first(f"{trend.location}: {describe_estimate(trend.recent_lag_s)}." for trend in slowest)
    if limit_s is None:
        description = f"There is no limit; {settings.MAX_LAG_S} sets one. {lags}"
    else:
        description = f"{'Over' if over else 'All under'} the limit of {limit_s:g} s: {lags}"
    return dg.AssetCheckResult(
        check_name=LIMIT_CHECK,
        asset_key=NAME,
        passed=not over,
        severity=dg.AssetCheckSeverity.ERROR if surely else dg.AssetCheckSeverity.WARN,
        description=description,
        metadata=metadata,
    )


def _check_deploys(deploys: Sequence[Deploy]) -> dg.AssetCheckResult:
    """Warn if launches in a location are slower since its latest deploy; the message has the difference of each."""
    slower = [deploy for deploy in deploys if deploy.slower]
    metadata: dict[str, Any] = {"slower": [deploy.location for deploy in slower]}
    for deploy in deploys:
        metadata |= _interval(f"before_s/{deploy.location}", deploy.before_s)
        metadata |= _interval(f"after_s/{deploy.location}", deploy.after_s)
        metadata |= _interval(f"difference_s/{deploy.location}", deploy.comparison.difference)
    return dg.AssetCheckResult(
        check_name=DEPLOY_CHECK,
        asset_key=NAME,
        passed=not slower,
        severity=dg.AssetCheckSeverity.WARN,
        description=_first(f"{deploy}." for deploy in slower or deploys)
        or "No location was measured both before a deploy and after it.",
        metadata=metadata,
    )


def _summary(trends: Sequence[Trend]) -> str:
    """Return the finding and the present levels, in under 1,000 characters, which the UI shows inline."""
    longest_s = max(trend.levels[-1].startup_s.value for trend in trends)
    cells = []
    for trend in trends[:_MOST_ROWS]:
        present = trend.levels[-1]
        cells.append(
            (
                shorten(trend.location, _NAME_LETTERS),
                describe_instant(present.points[0].at_us),
                str(len(present.points)),
                describe_estimate(present.startup_s, "", digits=None),
                bar(present.startup_s.value, longest_s),
            )
        )
    heads = ("location", "level since", "sweeps", "startup, s", "")
    return f"{prose(shorten(headline(trends), _HEADLINE_LETTERS))}.\n\n{table(heads, cells)}"


def _deploy_lines(deploys: Sequence[Deploy]) -> list[dict[str, str | int | float | None]]:
    """Return a row for the latest deploy of each location, the latest first; durations in seconds."""
    return [
        {
            "location": deploy.location,
            "deployed before": describe_instant(deploy.at_us),
            "before_s": describe_estimate(deploy.before_s, "", digits=None),
            "after_s": describe_estimate(deploy.after_s, "", digits=None),
            "difference_s": describe_estimate(deploy.comparison.difference, "", digits=None, signed=True),
            "verdict": str(deploy.comparison.verdict),
        }
        for deploy in sorted(deploys, key=lambda deploy: -deploy.at_us)
    ]


def _change_lines(trends: Sequence[Trend]) -> list[dict[str, str | int | float | None]]:
    """Return a row for each change, the latest first; durations in seconds."""
    changes = sorted((change for trend in trends for change in trend.changes), key=lambda change: -change.at_us)
    return [
        {
            "location": change.location,
            "quantity": change.quantity,
            "after": describe_instant(change.earlier_us),
            "until": describe_instant(change.at_us),
            "first sweep": change.sweep_id,
            "before_s": round(change.before_s.value, 3),
            "after_s": round(change.after_s.value, 3),
            "difference_s": describe_estimate(change.difference_s, "", digits=None, signed=True),
            "p": float(f"{change.found.p:.2g}"),
            "stage": change.carrier,
            "with it": ", ".join(change.came_with) or UNKNOWN,
        }
        for change in changes
    ]


def _numbers(trends: Sequence[Trend]) -> dict[str, Any]:
    """Return the present levels and the number of changes, for the UI to plot over time."""
    numbers: dict[str, Any] = {}
    for trend in trends:
        numbers[f"changes/{trend.location}"] = len(trend.changes)
        numbers |= _interval(f"startup_s/{trend.location}", trend.levels[-1].startup_s)
    return numbers


def _interval(name: str, estimate: Estimate) -> dict[str, float]:
    ends = {name: estimate.value, f"{name}/low": estimate.low, f"{name}/high": estimate.high}
    return {label: round(value, 3) for label, value in ends.items() if value is not None}


def _first(lines: Iterable[str]) -> str:
    """Return the first lines as one text, and how many more there are."""
    shown = list(lines)
    more = [f"{len(shown) - _MOST_LINES} more."] if len(shown) > _MOST_LINES else []
    return " ".join([*shown[:_MOST_LINES], *more])
