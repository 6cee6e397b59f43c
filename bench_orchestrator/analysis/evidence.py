"""What was measured so far, as remedies, claims and predictions rest on it: of each question the sweeps that tell most.

What was not measured is missing from the evidence, never an error.
"""

from collections.abc import Mapping
from dataclasses import dataclass
from functools import cached_property

from bench_orchestrator.analysis.evaluation import Evaluation
from bench_orchestrator.analysis.lag_model import FITTED_SCENARIOS, LagModel, fit_lags
from bench_orchestrator.model.launch import Sweep

LOCATION_SCENARIOS = (*FITTED_SCENARIOS, "assets-vs-partitions")
"""Those that launch in locations as they are, each often enough to conclude something."""


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
