"""The experiments whose sides have deployments of their own, at their quick size: each side does its work.

Apart from the others, whose many code servers would only take CPU from these.
"""

import signal
from collections.abc import Callable, Iterator
from pathlib import Path

import dagster as dg
import pytest

from bench_orchestrator.deployment.cpu_limits import why_no_cpu_limits
from bench_orchestrator.model.launch import Outcome
from bench_orchestrator.scenarios.experiments import EXPERIMENTS
from integration.sweeping import LONGEST_EXPERIMENT_S, SERVED_EXPERIMENTS, Bench, bench_in, carry_out, project_locations

Status = dg.DagsterRunStatus

ONE_STEP = ["in-process, 1 step"]


@pytest.fixture(scope="module")
def bench(new_home: Callable[..., Path]) -> Iterator[Bench]:
    """A deployment of the meta location alone."""
    with bench_in(new_home(), project_locations()) as bench:
        yield bench


@pytest.mark.timeout(LONGEST_EXPERIMENT_S + 200)
@pytest.mark.parametrize("name", [name for name in EXPERIMENTS if name not in (*SERVED_EXPERIMENTS, "cpu-limit")])
def test_every_side_does_its_work(bench: Bench, name: str) -> None:
    carry_out(bench, name)


@pytest.mark.skipif(bool(why_no_cpu_limits()), reason=why_no_cpu_limits())
def test_every_side_does_its_work_within_its_cpus(bench: Bench) -> None:
    carry_out(bench, "cpu-limit")


def test_a_killed_experiment_is_resumed_and_every_launch_is_there_once(bench: Bench) -> None:
    run_id = bench.start_experiment("executors", repeats=2, only=ONE_STEP)
    bench.wait_for_notes(run_id, 3)
    bench.worker(run_id).send_signal(signal.SIGKILL)
    assert bench.wait_for_end(run_id) is Status.FAILURE
    interrupted = bench.harvest_now(run_id)
    owed = [trial.number for trial in interrupted.trials if trial.outcome is Outcome.LOST]
    assert 0 < len(owed) <= len(interrupted.trials) - 3

    resumed = bench.start_experiment("executors", resume=interrupted.plan.sweep_id)
    assert bench.wait_for_end(resumed, LONGEST_EXPERIMENT_S) is Status.SUCCESS, bench.log(resumed)
    sweep = bench.harvest_now(resumed)
    assert sweep.plan.sweep_id == interrupted.plan.sweep_id
    assert [trial.outcome for trial in sweep.trials] == [Outcome.OK] * len(sweep.plan.trials)
    kept = [trial for trial in interrupted.trials if trial.outcome is Outcome.OK]
    assert [sweep.trials[trial.number - 1].launch.run_id for trial in kept] == [trial.launch.run_id for trial in kept]

    again_in_vain = bench.start_experiment("executors", resume=interrupted.plan.sweep_id)
    assert bench.wait_for_end(again_in_vain) is Status.FAILURE
    assert "there is nothing to resume" in bench.log(again_in_vain)[-1]
