"""Evidence: the most informative sweeps for each question, the basis of remedies, claims and predictions.

Missing measurements are left out; they are not an error.
"""

from collections.abc import Mapping
from dataclasses import dataclass
from functools import cached_property

from bench_orchestrator.analysis.evaluation import Evaluation
from bench_orchestrator.analysis.lag_model import FITTED_SCENARIOS, LagModel, fit_lags
from bench_orchestrator.model.launch import Sweep

LOCATION_SCENARIOS = (*FITTED_SCENARIOS, "assets-vs-partitions")
"""Scenarios without variants that have enough launches for conclusions."""


@dataclass(frozen=True)
class Evidence:
    """The measurements that conclusions are based on."""

    sweeps: tuple[Sweep, ...] = ()
    """Sweeps of `LOCATION_SCENARIOS`, latest first."""
    evaluations: tuple[Evaluation, ...] = ()
    """The most informative evaluation of each measured experiment."""

    @cached_property
    def model(self) -> LagModel | None:
        """The model of the launch lag by number of assets; None if too few sizes were measured."""
        return fit_lags((*self.sweeps, *(evaluation.sweep for evaluation in self.evaluations)))

    @cached_property
    def by_experiment(self) -> Mapping[str, Evaluation]:
        """The evaluations by experiment name."""
        return {evaluation.experiment.name: evaluation for evaluation in self.evaluations}
