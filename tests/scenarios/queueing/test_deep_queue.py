"""The gate on deep queues names each run that was blocked, and each that started although a limit held it."""

from dataclasses import replace
from functools import partial

import pytest
from samples import make_trial

from bench_orchestrator.model.instants import MICROSECONDS
from bench_orchestrator.model.launch import Launch, Outcome
from bench_orchestrator.model.stages import Stage
from bench_orchestrator.model.workload import Fill, Workload
from bench_orchestrator.scenarios.queueing.deep_queue import EXPERIMENT

assert EXPERIMENT.gate is not None
breaches = partial(EXPERIMENT.gate.breaches, Workload(()))
MEASURES = {measure.name: measure.of for measure in EXPERIMENT.measures}


def run(name: str, wait_s: float | None, role: str = "free run") -> Launch:
    wait_us = None if wait_s is None else round(wait_s * MICROSECONDS)
    return Launch(name, Outcome.OK, stages_us=dict.fromkeys(Stage) | {Stage.QUEUE_WAIT: wait_us}, role=role)


def test_runs_that_start_within_two_intervals_and_ten_seconds_are_not_blocked() -> None:
    assert not [*breaches([run("a", 0.1, "first run"), run("b", 20), run("c", None)])]


def test_a_run_that_waited_longer_is_named() -> None:
    (breach,) = breaches([run("a", 1), run("b", 20.5)])
    assert breach.run_id == "b"
    assert breach.what == "run b was blocked: it waited 20.5 s in the queue"


def test_a_held_run_that_started_is_named() -> None:
    (breach,) = breaches([run("a", 1), run("b", 0.1, "held run")])
    assert breach.run_id == "b"
    assert breach.what == "the limit was not kept: run b, which it holds, started"


def test_measures() -> None:
    launches = (run("first", 9, "first run"), run("a", 1), run("b", 4), run("c", 2.5))
    trial = replace(make_trial(), launches=launches, usage={"daemon_cpu_s": 3.0, "wall_s": 60.0})
    assert MEASURES["free_run_wait_50_s"](trial) == 2.5
    assert MEASURES["free_run_wait_100_s"](trial) == 4
    assert MEASURES["daemon_cpu_percent"](trial) == pytest.approx(5)
    assert MEASURES["daemon_cpu_per_interval_s"](trial) == pytest.approx(0.25)
    assert MEASURES["daemon_cpu_per_interval_s"](replace(trial, usage={})) is None


def test_the_sides_differ_in_the_depth_of_the_queue() -> None:
    depths = []
    for side in EXPERIMENT.scenario.variants:
        assert side.workload is not None
        depths.append(sum(action.count for action in side.workload.actions if isinstance(action, Fill)))
    assert depths == [0, 500, 5_000, 5_000]
