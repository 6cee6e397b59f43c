"""Selection of sweeps for charts, evaluations and conclusions. DuckDB selects; only selected sweeps are loaded."""

from collections.abc import Collection

from bench_orchestrator.analysis.evaluation import evaluate
from bench_orchestrator.analysis.evidence import LOCATION_SCENARIOS, Evidence
from bench_orchestrator.model.content import Content
from bench_orchestrator.model.launch import Sweep
from bench_orchestrator.results.store import Store
from bench_orchestrator.scenarios.registry import EXPERIMENTS, MONITOR

_LATEST = 10
"""Sweeps considered per scenario in `LOCATION_SCENARIOS`, which bounds the cost of a long history."""


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
