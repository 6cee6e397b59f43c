"""What was measured so far, as remedies, claims and predictions rest on it: of each question the sweeps that tell most.

Reads the results database and nothing else; whatever is not in it is missing from the evidence, never an error.
"""

from collections.abc import Collection, Iterator, Mapping
from dataclasses import dataclass
from functools import cached_property

from bench_orchestrator.analysis.evaluation import Evaluation, choose_sweep, evaluate
from bench_orchestrator.analysis.lag_model import FITTED_SCENARIOS, LagModel, fit_lags
from bench_orchestrator.model.launch import Sweep
from bench_orchestrator.results.store import Store
from bench_orchestrator.scenarios.experiments import EXPERIMENTS

LOCATION_SCENARIOS = (*FITTED_SCENARIOS, "assets-vs-partitions")
"""Those that launch in locations as they are, each often enough to conclude something."""

_LATEST = 10
"""Sweeps of each of these that are looked at, so that a long history costs no more than a short one."""


@dataclass(frozen=True)
class Evidence:
    """Everything that was measured here that a conclusion can rest on."""

    sweeps: tuple[Sweep, ...] = ()
    """Of `LOCATION_SCENARIOS`, the latest first."""
    evaluations: tuple[Evaluation, ...] = ()
    """Of each experiment that was measured, the one that says most."""

    @cached_property
    def model(self) -> LagModel | None:
        """How the launch lag grows with the number of assets, where enough sizes were measured."""
        return fit_lags(self.sweeps)

    @cached_property
    def by_experiment(self) -> Mapping[str, Evaluation]:
        """The evaluations by the names of their experiments."""
        return {evaluation.experiment.name: evaluation for evaluation in self.evaluations}


def gather(store: Store) -> Evidence:
    """The evidence in a results database; none where there is no such file yet.

    Raises:
        StoreError: the file cannot be read.
    """
    return Evidence(location_sweeps(store), tuple(map(evaluate, experiment_sweeps(store))))


def experiment_sweeps(store: Store, names: Collection[str] = EXPERIMENTS.keys()) -> Iterator[Sweep]:
    """Of each of these experiments that was measured, the sweep that says most.

    Raises:
        StoreError: the file cannot be read.
    """
    summaries = store.list_sweeps()
    for name in names:
        chosen = choose_sweep(store.load(summary.sweep_id) for summary in summaries if summary.scenario == name)
        if chosen is not None:
            yield chosen


def location_sweeps(store: Store) -> tuple[Sweep, ...]:
    """The latest sweeps of each of `LOCATION_SCENARIOS`, all together the latest first.

    Raises:
        StoreError: the file cannot be read.
    """
    sweeps = []
    left = dict.fromkeys(LOCATION_SCENARIOS, _LATEST)
    for summary in store.list_sweeps():
        if left.get(summary.scenario):
            left[summary.scenario] -= 1
            sweeps.append(store.load(summary.sweep_id))
    return tuple(sweeps)
