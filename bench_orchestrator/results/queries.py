"""Which of all sweeps something is shown or concluded of. DuckDB chooses, and only what was chosen is loaded."""

from collections.abc import Collection

from bench_orchestrator.analysis.evaluation import evaluate
from bench_orchestrator.analysis.evidence import LOCATION_SCENARIOS, Evidence
from bench_orchestrator.model.content import Content
from bench_orchestrator.model.launch import Sweep
from bench_orchestrator.results.store import Store
from bench_orchestrator.scenarios.experiments import EXPERIMENTS
from bench_orchestrator.scenarios.registry import MONITOR

_LATEST = 10
"""Sweeps of each of `LOCATION_SCENARIOS` that are looked at, so that a long history costs no more than a short one."""


def latest_sweep(store: Store, content: Content, *, with_experiments: bool = True) -> Sweep | None:
    """The latest sweep that holds this; one of the monitor only where there is no other. None where none does.

    Args:
        with_experiments: whether it may be a sweep that compares the sides of an experiment.

    Raises:
        StoreError: the file cannot be read.
    """
    found = store.select("latest_sweep", content=content.value, with_experiments=with_experiments, last=MONITOR)
    return store.load(found[0][0]) if found else None


def experiment_sweeps(store: Store, names: Collection[str] = EXPERIMENTS.keys()) -> list[Sweep]:
    """Of each of these experiments that was measured, the sweep that says most, in the order of the names.

    That is the one that is complete, at full size, with all sides, and with the most blocks; these count in this order,
    and the latest of those that are equal in all of it is taken.

    Raises:
        StoreError: the file cannot be read.
    """
    best = dict(store.select("best_sweeps", scenarios=[name for name in names if name in EXPERIMENTS]))
    return list(store.load_all(best[name] for name in names if name in best)) if best else []


def location_sweeps(store: Store) -> tuple[Sweep, ...]:
    """The latest sweeps of each of `LOCATION_SCENARIOS`, all together the latest first.

    Raises:
        StoreError: the file cannot be read.
    """
    found = store.select("recent_sweeps", scenarios=list(LOCATION_SCENARIOS), most=_LATEST)
    return tuple(store.load_all(sweep_id for (sweep_id,) in found)) if found else ()


def gather(store: Store) -> Evidence:
    """The evidence in a results database; none where there is no such file yet.

    Raises:
        StoreError: the file cannot be read.
    """
    return Evidence(location_sweeps(store), tuple(map(evaluate, experiment_sweeps(store))))
