"""Every experiment at its quick size, on real deployments: each side does its work, or the sweep says so."""

import signal
from collections.abc import Callable, Iterator
from pathlib import Path

import dagster as dg
import pytest

from bench_orchestrator.deployment import CodeLocation
from bench_orchestrator.deployment.cpu_limits import why_no_cpu_limits
from bench_orchestrator.experiments import EXPERIMENTS
from bench_orchestrator.experiments.experiment import MEBIBYTE
from bench_orchestrator.model import Outcome, again
from integration.sweeping import Bench, bench_in, project_locations

Status = dg.DagsterRunStatus

ONE_STEP = ["in-process, 1 step"]
LONGEST_S = 400.0
"""For an experiment with many sides, on a busy machine."""

SERVED = ("imports", "loading", "partition-kinds", "dependencies", "checks", "selection-size")
"""The experiments whose locations the deployment serves; the others have deployments of their own."""


@pytest.fixture(scope="module")
def bench(new_home: Callable[..., Path]) -> Iterator[Bench]:
    """A deployment that serves the locations of some experiments."""
    sides = (side for name in SERVED for side in EXPERIMENTS[name].scenario.quick_variants)
    with bench_in(new_home(), project_locations(*(name for side in sides for name in side.locations))) as bench:
        yield bench


def carry_out(bench: Bench, name: str) -> None:
    """Run an experiment at its quick size and hold what it measured to what its sides ask for."""
    run_id = bench.start_experiment(name)
    assert bench.wait_for_end(run_id, LONGEST_S) is Status.SUCCESS, bench.log(run_id)
    sweep = bench.harvest_now(run_id)
    assert [(launch.outcome, launch.reason) for launch in sweep.launches] == [(Outcome.OK, "")] * len(sweep.launches)
    sides = {variant.name: variant for variant in sweep.plan.variants}
    assert {launch.variant for launch in sweep.launches} == set(sides)
    assert again(sweep.plan.variants[0].name) in sides
    for launch in sweep.launches:
        side = sides[launch.variant]
        assert (launch.work, launch.assets, launch.path) == (side.work, side.assets, side.path)
        assert launch.location in side.locations
        assert bool(launch.deployment) is (name not in SERVED)
        assert launch.work_us is not None
        assert launch.work_us > 0
        assert launch.steps
        assert launch.usage["code_server_bytes"] > 10 * MEBIBYTE
        assert (launch.template.get("fork_ms", 0) > 0) is bool(side.warm)
    assert not (bench.deployment.home / ".bench" / "experiments").exists()


@pytest.mark.timeout(LONGEST_S + 200)
@pytest.mark.parametrize("name", [name for name in EXPERIMENTS if name != "cpu-limit"])
def test_every_side_does_its_work(bench: Bench, name: str) -> None:
    carry_out(bench, name)


@pytest.mark.skipif(bool(why_no_cpu_limits()), reason=why_no_cpu_limits())
def test_every_side_does_its_work_within_its_cpus(bench: Bench) -> None:
    carry_out(bench, "cpu-limit")


def test_a_side_that_does_less_than_its_work_fails(new_home: Callable[..., Path]) -> None:
    """The deployment serves a location of that name already, whose assets do one unit of work in place of three."""
    impostor = CodeLocation("a2_graph3_inprocess", "synthetic_locations.catalog", "a2_inprocess")
    with bench_in(new_home(), [*project_locations(), impostor]) as bench:
        run_id = bench.start_experiment("graph-asset", only=["graph asset, in-process"])
        assert bench.wait_for_end(run_id, LONGEST_S) is Status.SUCCESS, bench.log(run_id)
        sweep = bench.harvest_now(run_id)
        assert {launch.outcome for launch in sweep.launches if launch.deployment} == {Outcome.OK}
        wrong = [launch for launch in sweep.launches if launch.variant == "graph asset, in-process"]
        assert [launch.outcome for launch in wrong] == [Outcome.FAILED]
        assert wrong[0].reason == "it succeeded, but did 1 of 3 units of work"


def test_a_killed_experiment_is_resumed_and_every_launch_is_there_once(bench: Bench) -> None:
    run_id = bench.start_experiment("executors", repeats=2, only=ONE_STEP)
    bench.wait_for_notes(run_id, 3)
    bench.worker(run_id).send_signal(signal.SIGKILL)
    assert bench.wait_for_end(run_id) is Status.FAILURE
    interrupted = bench.harvest_now(run_id)
    owed = [launch.trial for launch in interrupted.launches if launch.outcome is Outcome.LOST]
    assert 0 < len(owed) <= len(interrupted.launches) - 3

    resumed = bench.start_experiment("executors", resume=interrupted.plan.sweep_id)
    assert bench.wait_for_end(resumed, LONGEST_S) is Status.SUCCESS, bench.log(resumed)
    sweep = bench.harvest_now(resumed)
    assert sweep.plan.sweep_id == interrupted.plan.sweep_id
    assert [launch.outcome for launch in sweep.launches] == [Outcome.OK] * len(sweep.plan.trials)
    kept = [launch for launch in interrupted.launches if launch.outcome is Outcome.OK]
    assert [sweep.launches[launch.trial - 1].run_id for launch in kept] == [launch.run_id for launch in kept]

    again_in_vain = bench.start_experiment("executors", resume=interrupted.plan.sweep_id)
    assert bench.wait_for_end(again_in_vain) is Status.FAILURE
    assert "there is nothing to resume" in bench.log(again_in_vain)[-1]
