"""What the scenario measures of a trial, with exact values, and that its limit is judged."""

from dataclasses import replace

import pytest
from samples import make_trial

from bench_orchestrator.model.launch import Launch, Outcome, Trial
from bench_orchestrator.model.plan import Variant
from bench_orchestrator.model.runs import StepSpan
from bench_orchestrator.model.stages import Boundary, Stage
from bench_orchestrator.model.workload import Submit
from bench_orchestrator.scenarios.queueing.max_concurrent_runs import EXPERIMENT

S = 1_000_000
MEASURES = {measure.name: measure for measure in EXPERIMENT.measures}


def run(number: int, start_s: float, step_s: tuple[float, float], end_s: float) -> Launch:
    """Return a run that was requested and enqueued at 0."""
    at_us = dict.fromkeys(Boundary, 0) | {Boundary.STARTING: round(start_s * S)}
    step = StepSpan("a", None, round(step_s[0] * S), round(step_s[1] * S))
    stages_us = dict.fromkeys(Stage, 0) | {Stage.QUEUE_WAIT: round(start_s * S)}
    return Launch(
        f"run{number}",
        Outcome.OK,
        at_us=at_us,
        ended_us=round(end_s * S),
        stages_us=stages_us,
        steps=(step,),
        role="run",
    )


def trial(variant: str) -> Trial:
    """Return a trial of three runs in two slots: 0 to 3, 0 to 4 and 4 to 8 s, each with a step of 2 s."""
    launches = (run(1, 0, (1, 3), 3), run(2, 0, (2, 4), 4), run(3, 4, (5, 7), 8))
    return replace(make_trial(), variant=variant, launches=launches)


@pytest.mark.parametrize(
    ("measure", "value"),
    [
        ("makespan_s", 8.0),
        ("over_ideal", 8 / 3),
        ("wait_50_s", 0.0),
        ("wait_100_s", 4.0),
        ("slots_held_percent", 100 * 11 / 16),
        ("slots_used_percent", 100 * 6 / 16),
        ("runs_at_once", 2.0),
    ],
)
@pytest.mark.parametrize("variant", ["limit 2", "limit 2, again"])
def test_each_measure_of_a_trial(measure: str, value: float, variant: str) -> None:
    assert MEASURES[measure].of(trial(variant)) == pytest.approx(value)


def test_a_side_that_is_no_longer_defined_has_no_slots() -> None:
    assert MEASURES["slots_held_percent"].of(trial("limit 3")) is None
    assert MEASURES["makespan_s"].of(trial("limit 3")) == 8.0


def test_a_run_without_an_end_has_no_makespan() -> None:
    whole = trial("limit 2")
    unfinished = replace(whole, launches=(*whole.launches[:2], replace(whole.launches[2], ended_us=None)))
    assert MEASURES["makespan_s"].of(unfinished) is None
    assert MEASURES["slots_held_percent"].of(unfinished) is None


@pytest.mark.parametrize("sides", [EXPERIMENT.scenario.variants, EXPERIMENT.scenario.quick_variants])
def test_every_side_requests_the_same_runs_under_the_limit_of_its_deployment(sides: tuple[Variant, ...]) -> None:
    assert len({side.work for side in sides}) == 1
    for side in sides:
        assert side.workload is not None
        (action,) = side.workload.actions
        assert isinstance(action, Submit)
        assert action.count == side.work
        (limit,) = side.workload.limits
        assert side.instance["concurrency"]["runs"]["max_concurrent_runs"] == limit.slots
        assert side.name.startswith(f"limit {limit.slots}")
