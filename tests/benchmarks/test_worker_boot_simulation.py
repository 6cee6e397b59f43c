"""The simulation of worker boot's pieces is repeatable, and its limits hold."""

from pathlib import Path

from benchmarks.worker_boot import SWEEPS, render, simulate

COMMITTED = Path(__file__).parents[2] / "benchmarks" / "results" / "worker_boot.md"


def test_the_committed_errors_are_those_of_the_estimator_and_within_their_limits() -> None:
    errors = list(simulate(SWEEPS, seed=1))
    assert not [one for one in errors if one.is_exceeded]
    assert render(errors) == COMMITTED.read_text(encoding="utf-8")
