"""The gate on priorities names each run that took a slot before its turn, and nothing that the daemon had to do."""

from dataclasses import replace
from functools import partial

import pytest
from samples import make_trial

from bench_orchestrator.model.instants import MICROSECONDS
from bench_orchestrator.model.launch import Launch, Outcome, Trial
from bench_orchestrator.model.stages import Boundary, Stage
from bench_orchestrator.model.workload import Limit, Workload
from bench_orchestrator.scenarios.queueing.priority_runs import EXPERIMENT

assert EXPERIMENT.gate is not None
breaches = partial(EXPERIMENT.gate.breaches, Workload((), (Limit("max_concurrent_runs", 2),)))
MEASURES = {measure.name: measure.of for measure in EXPERIMENT.measures}


def run(name: str, enqueued_s: float, started_s: float | None, ended_s: float | None, role: str = "backfill") -> Launch:
    """Return a run; all times are in seconds."""
    instants = {Boundary.REQUESTED: enqueued_s, Boundary.ENQUEUED: enqueued_s, Boundary.STARTING: started_s}
    at_us = {name: None if at_s is None else round(at_s * MICROSECONDS) for name, at_s in instants.items()}
    wait_us = None if started_s is None else round((started_s - enqueued_s) * MICROSECONDS)
    return Launch(
        name,
        Outcome.OK,
        at_us=dict.fromkeys(Boundary) | at_us,
        ended_us=None if ended_s is None else round(ended_s * MICROSECONDS),
        stages_us=dict.fromkeys(Stage) | {Stage.QUEUE_WAIT: wait_us},
        role=role,
    )


FULL = [run("a", 0, 1, 10), run("b", 0, 1, 12)]
"""Both slots are taken from 1 to 10 s, and one until 12 s."""


def overtaking(*launches: Launch) -> list[str]:
    return [breach.run_id for breach in breaches([*FULL, *launches])]


def test_the_next_free_slot_may_be_late_but_must_be_its_own() -> None:
    urgent = run("urgent", 5, 11, 14, "urgent run")
    assert overtaking(urgent, run("c", 0, 12.5, 15), run("d", 0, 14.5, 16)) == []


def test_a_run_that_takes_the_freed_slot_before_it_is_named() -> None:
    (breach,) = breaches([*FULL, run("c", 0, 10.5, 15), run("urgent", 5, 12.5, 14, "urgent run")])
    assert breach.run_id == "c"
    assert breach.what == ("priorities were not kept: run c took a slot that became free after run urgent was enqueued")


def test_each_is_named() -> None:
    assert overtaking(
        run("c", 0, 10.5, 11), run("d", 0, 11.1, 15), run("e", 0, 12.1, 19), run("urgent", 5, 15.5, 17, "urgent run")
    ) == ["c", "d", "e"]


def test_a_look_under_way_fills_the_slots_that_were_free() -> None:
    """At 11 s one slot is free, and the daemon has read the queue; a second start has no such excuse."""
    urgent = run("urgent", 11, 13.5, 15, "urgent run")
    c, d = run("c", 0, 11.5, 14), run("d", 0, 12.5, 13)
    assert overtaking(urgent, c) == []
    assert overtaking(urgent, c, d) == ["d"]
    assert overtaking(urgent, run("c", 0, 10.9, 14)) == []


def test_slots_that_were_never_taken_are_free() -> None:
    """Short runs end while the daemon still launches others, so there are never as many at once as the limit allows."""
    alone = [run("a", 0, 1, 3), run("c", 0, 5.5, 6), run("d", 0, 6.5, 7), run("urgent", 5, 8, 9, "urgent run")]
    assert not [*breaches(alone)]
    assert [breach.run_id for breach in breaches([*alone, run("e", 0, 7.5, 9)])] == ["e"]


def test_a_slot_that_becomes_free_as_it_is_enqueued_counts_as_free() -> None:
    c = run("c", 0, 10.1, 14)
    assert overtaking(run("urgent", 9.9, 12.5, 15, "urgent run"), c) == []
    assert overtaking(run("urgent", 9.7, 12.5, 15, "urgent run"), c) == ["c"]


def test_one_that_never_started_was_overtaken_by_all() -> None:
    assert overtaking(run("c", 0, 10.5, 15), run("urgent", 5, None, None, "urgent run")) == ["c"]


def test_without_a_priority_the_order_is_that_of_the_requests() -> None:
    urgent = run("urgent", 5, 20, 21, "urgent run without priority")
    assert overtaking(run("c", 0, 10.5, 15), run("d", 0, 12.5, 15), urgent) == []


def trial(*launches: Launch) -> Trial:
    return replace(make_trial(), launches=launches)


@pytest.mark.parametrize("role", ["urgent run", "urgent run without priority"])
def test_measures(role: str) -> None:
    measured = trial(*FULL, run("c", 0, 11, 15), run("urgent", 9, 12.5, 14, role), run("d", 0, 15, 16))
    assert MEASURES["urgent_wait_s"](measured) == 3.5
    assert MEASURES["inversions"](measured) == 1
    assert MEASURES["backfill_wait_50_s"](measured) == 1
    assert MEASURES["wait_of_others_percent"](measured) == pytest.approx(100 * 3.5 / 6)
    assert MEASURES["makespan_s"](measured) == 16


def test_what_is_unknown_is_not_measured() -> None:
    for launches in (FULL, [*FULL, run("urgent", 9, None, None, "urgent run")]):
        for name in ("urgent_wait_s", "inversions", "wait_of_others_percent"):
            assert MEASURES[name](trial(*launches)) is None
