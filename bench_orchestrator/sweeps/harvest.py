"""Harvesting from a Dagster instance. A repeated harvest gives the same rows, and a killed one loses only time."""

from collections.abc import Sequence
from dataclasses import dataclass

from dagster import DagsterInstance

from bench_orchestrator.model.launch import Sweep
from bench_orchestrator.model.runs import Run, RunLog
from bench_orchestrator.sources import instance as stored
from bench_orchestrator.sweeps.deriving import derive_sweep
from bench_orchestrator.sweeps.entries import Journal
from bench_orchestrator.sweeps.journal import read_journal


@dataclass(frozen=True)
class StoredRuns:
    """The runs of a Dagster instance."""

    instance: DagsterInstance
    resolution_us: int = 1

    def get_run(self, run_id: str) -> Run | None:
        """Return the run with this id; None if the instance does not have it."""
        return stored.get_run(self.instance, run_id)

    def find_trial_runs(self, sweep_id: str) -> list[Run]:
        """Return the runs launched for a sweep, oldest first."""
        return stored.find_trial_runs(self.instance, sweep_id)

    def read_run_logs(self, run_ids: Sequence[str]) -> dict[str, RunLog]:
        """Return the logs of runs by run id."""
        return stored.read_run_logs(self.instance, run_ids)

    def read_journal(self, sweep_run_id: str) -> Journal | None:
        """Return a sweep's journal; None if it has no plan."""
        return read_journal(self.instance, sweep_run_id)


def harvest_sweep(instance: DagsterInstance, sweep_run_id: str) -> Sweep | None:
    """Return the sweep of a run with every planned trial; None if it never recorded a plan.

    Raises:
        UnusableError: the instance has no run of that id.
    """
    return derive_sweep(StoredRuns(instance), sweep_run_id)
