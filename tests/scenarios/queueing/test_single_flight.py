"""Single flight counts a run from its creation, and what the schedule skipped and delayed is measured."""

from dataclasses import replace

import pytest
from samples import make_trial

from bench_orchestrator.model.instants import MICROSECONDS
from bench_orchestrator.model.launch import Launch, Outcome, Trial
from bench_orchestrator.model.plan import Variant
from bench_orchestrator.model.stages import Boundary
from bench_orchestrator.model.workload import Schedule
from bench_orchestrator.scenarios.queueing.single_flight import EXPERIMENT
from bench_orchestrator.timeline.occupancy import breaches
from synthetic_locations.shape import parse_shape

SHORT, LONG = EXPERIMENT.scenario.variants
SIDES = (*EXPERIMENT.scenario.variants, *EXPERIMENT.scenario.quick_variants)
MEASURES = {measure.name: measure.of for measure in EXPERIMENT.measures}


def run(name: str, scheduled_s: float, created_s: float, ended_s: float) -> Launch:
    """Return a run that starts half a second before its end; all times are in seconds."""
    instants = {Boundary.REQUESTED: scheduled_s, Boundary.CREATED: created_s, Boundary.STARTING: ended_s - 0.5}
    at_us = {boundary: round(at_s * MICROSECONDS) for boundary, at_s in instants.items()}
    return Launch(
        name,
        Outcome.OK,
        at_us=dict.fromkeys(Boundary) | at_us,
        ended_us=round(ended_s * MICROSECONDS),
        role="scheduled run",
    )


def broken(*launches: Launch) -> list[str]:
    assert LONG.workload is not None
    return [breach.run_id for limit in LONG.workload.limits for breach in breaches(limit, launches)]


def test_one_after_the_other_is_single_flight() -> None:
    assert broken(run("a", 60, 61, 119), run("b", 120, 121, 179)) == []


def test_a_run_that_is_created_while_another_waits_is_named() -> None:
    assert broken(run("a", 60, 61, 122), run("b", 120, 121, 179)) == ["b"]


def trial(side: Variant, *launches: Launch) -> Trial:
    return replace(make_trial(variant=side.name), launches=launches)


def test_measures() -> None:
    of_long = trial(LONG, run("a", 60, 61, 132), run("b", 180, 182.5, 250))
    assert MEASURES["tick_delay_s"](of_long) == 1.75
    assert MEASURES["skipped_ticks"](of_long) == 1
    assert MEASURES["skipped_ticks"](trial(SHORT, run("a", 60, 61, 66), run("b", 120, 121, 126))) == 0
    assert MEASURES["tick_delay_s"](trial(SHORT, Launch(None, Outcome.LOST))) is None
    assert MEASURES["skipped_ticks"](replace(of_long, variant="a side of an earlier release")) is None


@pytest.mark.parametrize("side", SIDES, ids=[side.name for side in SIDES])
def test_the_runs_are_as_many_as_the_ticks_that_find_none_in_progress(side: Variant) -> None:
    """A run begins at a full minute, and takes a few seconds more than its step."""
    assert side.workload is not None
    (schedule,) = side.workload.actions
    assert isinstance(schedule, Schedule)
    shape = parse_shape(side.locations[0])
    assert shape.singleflight
    minutes_each = 1 + shape.compute_ms // 60_000
    assert side.work == schedule.runs == -(-schedule.ticks // minutes_each)
