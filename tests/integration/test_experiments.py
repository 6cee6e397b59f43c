"""The experiments in locations that a deployment serves, at their quick size: each side does its work."""

from collections.abc import Callable, Iterator
from pathlib import Path

import dagster as dg
import pytest

from bench_orchestrator.deployment import CodeLocation
from bench_orchestrator.model.launch import Outcome
from bench_orchestrator.scenarios.experiments import EXPERIMENTS
from integration.sweeping import LONGEST_EXPERIMENT_S, SERVED_EXPERIMENTS, Bench, bench_in, carry_out, project_locations

IMPOSTOR = CodeLocation("a2_graph3_inprocess", "synthetic_locations.catalog", "a2_inprocess")
"""What another experiment launches too, by its name; but its assets do one unit of work in place of three."""


@pytest.fixture(scope="module")
def bench(new_home: Callable[..., Path]) -> Iterator[Bench]:
    """A deployment that serves the locations of these experiments, and one that is not what its name says."""
    sides = (side for name in SERVED_EXPERIMENTS for side in EXPERIMENTS[name].scenario.quick_variants)
    locations = project_locations(*(name for side in sides for name in side.locations))
    with bench_in(new_home(), [*locations, IMPOSTOR]) as bench:
        yield bench


@pytest.mark.timeout(LONGEST_EXPERIMENT_S + 200)
@pytest.mark.parametrize("name", SERVED_EXPERIMENTS)
def test_every_side_does_its_work(bench: Bench, name: str) -> None:
    carry_out(bench, name)


def test_a_side_that_does_less_than_its_work_fails(bench: Bench) -> None:
    run_id = bench.start_experiment("graph-asset", only=["graph asset, in-process"])
    assert bench.wait_for_end(run_id, LONGEST_EXPERIMENT_S) is dg.DagsterRunStatus.SUCCESS, bench.log(run_id)
    sweep = bench.harvest_now(run_id)
    assert {trial.outcome for trial in sweep.trials if trial.deployment} == {Outcome.OK}
    wrong = [trial for trial in sweep.trials if trial.variant == "graph asset, in-process"]
    assert [trial.outcome for trial in wrong] == [Outcome.FAILED]
    assert wrong[0].reason == "it succeeded, but did 1 of 3 units of work"
