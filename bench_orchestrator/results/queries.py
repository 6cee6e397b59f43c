"""Selection of sweeps for charts, evaluations and conclusions. DuckDB selects; only selected sweeps are loaded."""

from collections.abc import Collection
from itertools import groupby
from operator import itemgetter
from typing import Any

from bench_orchestrator.analysis.deploys import Deploy, compare_deploy
from bench_orchestrator.analysis.evaluation import evaluate
from bench_orchestrator.analysis.evidence import LOCATION_SCENARIOS, Evidence
from bench_orchestrator.analysis.history import CODE_SERVER, LocationHistory, Point
from bench_orchestrator.model.content import Content
from bench_orchestrator.model.instants import MICROSECONDS
from bench_orchestrator.model.launch import Sweep
from bench_orchestrator.model.stages import LAG_STAGES
from bench_orchestrator.results.store import Store
from bench_orchestrator.scenarios.registry import EXPERIMENTS, MONITOR

_LATEST = 10
"""Sweeps considered per scenario in `LOCATION_SCENARIOS`, which bounds the cost of a long history."""

_LONGEST_HISTORY = 1_000
"""Points of a location's history: ten days of the monitor."""

_MOST_HISTORIES = 24
_MOST_DEPLOY_LAUNCHES = 200

_ENVIRONMENT = (
    "dagster",
    "bench",
    "python",
    "platform",
    "cpu_model",
    "cpu_count",
    "launcher",
    "coordinator",
    "storage",
    "dequeue_interval_s",
    "max_concurrent_runs",
)
"""The entries of a sweep's environment that `location_histories.sql` selects, in its order."""


def latest_sweep(store: Store, content: Content, *, with_experiments: bool = True) -> Sweep | None:
    """Return the latest sweep with this content, a monitor's only if there is no other; None if there is none.

    Args:
        with_experiments: whether to include sweeps of experiments.

    Raises:
        StoreError: the file cannot be read.
    """
    found = store.load_selected("latest_sweep", content=content.value, with_experiments=with_experiments, last=MONITOR)
    return found[0] if found else None


def experiment_sweeps(store: Store, names: Collection[str] = EXPERIMENTS.keys()) -> list[Sweep]:
    """Return the most informative sweep of each measured experiment, in the order of the names.

    The criteria, in order: complete, full size, all sides, most blocks, latest.

    Raises:
        StoreError: the file cannot be read.
    """
    found = store.load_selected("best_sweeps", scenarios=[name for name in names if name in EXPERIMENTS])
    best = {sweep.plan.scenario: sweep for sweep in found}
    return [best[name] for name in names if name in best]


def location_sweeps(store: Store) -> tuple[Sweep, ...]:
    """Return the latest sweeps of each of `LOCATION_SCENARIOS`, latest first.

    Raises:
        StoreError: the file cannot be read.
    """
    return tuple(store.load_selected("recent_sweeps", scenarios=list(LOCATION_SCENARIOS), most=_LATEST))


def comparable_sweeps(store: Store) -> tuple[Sweep, ...]:
    """Return the sweeps that predictions are based on: those of locations, and the best of each experiment.

    Raises:
        StoreError: the file cannot be read.
    """
    return (*location_sweeps(store), *experiment_sweeps(store))


def gather(store: Store) -> Evidence:
    """Return the evidence in a results database; empty if the file does not exist yet.

    Raises:
        StoreError: the file cannot be read.
    """
    return Evidence(location_sweeps(store), tuple(map(evaluate, experiment_sweeps(store))))


def location_histories(store: Store, since_us: int = 0) -> tuple[LocationHistory, ...]:
    """Return the history of each location from an instant on, by name: its latest sweeps, without those of experiments.

    At most 24 locations, those with the most sweeps, with 1,000 points each: a median per sweep, not its launches.

    Raises:
        StoreError: the file cannot be read.
    """
    rows = store.select(
        "location_histories", since_us=since_us, most_points=_LONGEST_HISTORY, most_locations=_MOST_HISTORIES
    )
    return tuple(
        LocationHistory(location, tuple(_point(*rest) for _, *rest in points))
        for location, points in groupby(rows, itemgetter(0))
    )


def latest_deploys(store: Store, since_us: int = 0) -> tuple[Deploy, ...]:
    """Return the latest deploy of each location that was measured before it and after it, by the location's name.

    Of each location, at most 200 launches on each side of the deploy.

    Raises:
        StoreError: the file cannot be read.
    """
    rows = store.select("deploy_launches", since_us=since_us, most_launches=_MOST_DEPLOY_LAUNCHES)
    deploys = []
    for location, launches in groupby(rows, itemgetter(0)):
        sides = [(at_us, [startup_s for *_, startup_s in side]) for at_us, side in groupby(launches, itemgetter(1))]
        if len(sides) == 2:
            (_, before_s), (at_us, after_s) = sides
            deploys.append(compare_deploy(location, at_us, before_s, after_s))
    return tuple(deploys)


def _point(
    sweep_id: str,
    created_us: int,
    scenario: str,
    environment: list[str | None],
    assets: int,
    partitions: int,
    executor: str | None,
    server_id: str | None,
    *medians_us: float,
) -> Point:
    known: dict[str, Any] = {
        **dict(zip(_ENVIRONMENT, environment, strict=True)),
        "scenario": scenario,
        "assets": f"{assets:,}",
        "partitions": f"{partitions:,}",
        "executor": executor,
        CODE_SERVER: server_id and server_id[:8],
    }
    # A median of integers is a multiple of a half; DuckDB's interpolation is that up to a rounding error.
    lag_s, startup_s, *stages_s = (round(2 * median_us) / (2 * MICROSECONDS) for median_us in medians_us)
    return Point(
        sweep_id=sweep_id,
        at_us=created_us,
        lag_s=lag_s,
        startup_s=startup_s,
        stages_s=dict(zip(LAG_STAGES, stages_s, strict=True)),
        circumstances={name: value for name, value in known.items() if value is not None},
    )
