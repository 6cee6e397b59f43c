"""Pools: what runs of a full pool must not hold up, and for how long free slots stay empty, from made launches."""

from collections.abc import Sequence

import pytest
from queue_samples import make_queue_trial, run

from bench_orchestrator.model.launch import Launch
from bench_orchestrator.model.workload import End, SetPool, Unit, Way, Workload
from bench_orchestrator.scenarios.queueing.pools import EXPERIMENT
from bench_orchestrator.timeline.occupancy import breaches

SIDES = {side.name: side for side in EXPERIMENT.scenario.variants}
MEASURES = {measure.name: measure for measure in EXPERIMENT.measures}


def workload_of(side: str) -> Workload:
    workload = SIDES[side].workload
    assert workload is not None
    return workload


def broken(launches: Sequence[Launch]) -> list[tuple[str, str]]:
    assert EXPERIMENT.gate is not None
    return [(breach.run_id, breach.what) for breach in EXPERIMENT.gate.breaches(Workload(()), launches)]


BLOCKED = [run("blocked 1", 1, 3, role="blocked"), run("blocked 2", 4, 6, role="blocked")]


class TestGate:
    @pytest.mark.parametrize(("enqueued_s", "start_s"), [(0, 1), (0, 2.999), (1.5, 5.999), (4.5, 99), (1.5, None)])
    def test_others_start_while_those_of_the_full_pool_wait(self, enqueued_s: float, start_s: float | None) -> None:
        blocked = BLOCKED[: None if start_s else 1]  # a trial that was given up
        assert broken([*blocked, run("other", start_s, None, role="other", enqueued_s=enqueued_s)]) == []

    def test_sides_without_a_full_pool_have_nothing_to_keep(self) -> None:
        assert broken([run("a", 1, 2), run("b", 2, 3)]) == []

    @pytest.mark.parametrize(
        ("enqueued_s", "start_s", "passed"),
        [(0, 3, "blocked 1"), (1, 99, "blocked 1"), (1.5, 6, "blocked 2"), (0, None, "blocked 1")],
    )
    def test_one_that_was_held_up_is_named(self, enqueued_s: float, start_s: float | None, passed: str) -> None:
        good = run("other 1", 1, 2, role="other")
        held_up = run("other 2", start_s, None, role="other", enqueued_s=enqueued_s)
        what = f"run other 2, whose pool had a free slot, waited while run {passed} of a full pool started and ended"
        assert broken([*BLOCKED, good, held_up]) == [("other 2", what)]


class TestLimits:
    @pytest.mark.parametrize("name", SIDES)
    def test_each_side_has_a_limit_of_a_pool_in_the_unit_of_its_granularity(self, name: str) -> None:
        workload = workload_of(name)
        granularity = SIDES[name].instance["concurrency"]["pools"]["granularity"]
        assert {limit.unit for limit in workload.limits} == {Unit.STEPS if granularity == "op" else Unit.RUNS}
        pools = [limit.pool for limit in workload.limits if limit.pool]
        assert len([action for action in workload.actions if isinstance(action, SetPool)]) == (
            2 if name in ("a limit raised", "behind a full pool") else 0 if name.startswith("graph") else 1
        )
        assert len(pools) == (name == "a limit raised")

    def test_a_run_too_many_in_a_pool_is_a_breach(self) -> None:
        runs = [run("a", 1, 5, role="blocked"), run("b", 4, 6, role="blocked"), run("c", 4, 6, role="other")]
        found = [breach for limit in workload_of("behind a full pool").limits for breach in breaches(limit, runs)]
        assert [(breach.run_id, breach.what) for breach in found] == [
            ("b", "pool was not kept: run b started beside 1 others under a limit of 1")
        ]

    def test_a_step_too_many_in_a_pool_is_a_breach(self) -> None:
        (limit,) = workload_of("op granularity").limits
        runs = [run(name, 0, 9, steps=[(start_s, start_s + 2)]) for name, start_s in (("a", 1), ("b", 1), ("c", 2))]
        assert [breach.run_id for breach in breaches(limit, runs)] == ["c"]

    def test_holders_are_ended_and_do_no_work(self) -> None:
        ways = [action.way for name in SIDES for action in workload_of(name).actions if isinstance(action, End)]
        assert ways == [Way.CANCEL, Way.CANCEL, Way.KILL, Way.KILL]
        for name in ("canceled", "killed"):
            side = SIDES[f"op granularity, the holder {name}"]
            assert workload_of(side.name).ended == ("holder",)
            assert workload_of(side.name).expected() == {"holder": 1, "run": 1}
            assert side.work == 1
            assert side.instance["run_monitoring"]["free_slots_after_run_end_seconds"] == 10


class TestMeasures:
    def test_a_free_slot_is_empty_until_a_run_that_waited_starts(self) -> None:
        runs = [
            run("a", 1, 3),
            run("b", 1, 4),
            run("c", 5, 7, enqueued_s=0),  # 2 s after a
            run("d", 7.5, 9, enqueued_s=0),  # 3.5 s after b
            run("e", 12, 13, enqueued_s=10),  # nobody waited for that slot
        ]
        trial = make_queue_trial("run granularity", runs)
        assert MEASURES["slot_empty_50_s"].of(trial) == 2.75
        assert MEASURES["slot_empty_100_s"].of(trial) == 3.5
        assert MEASURES["makespan_s"].of(trial) == 13
        assert MEASURES["wait_50_s"].of(trial) == 2
        assert MEASURES["wait_100_s"].of(trial) == 7.5
        assert MEASURES["slots_held_percent"].of(trial) == pytest.approx(100 * (2 + 3 + 2 + 1.5 + 1) / (2 * 12))

    def test_by_ops_it_is_the_steps_that_hold_slots(self) -> None:
        runs = [run(name, 0, 9, steps=[(start_s, start_s + 2)]) for name, start_s in (("a", 1), ("b", 1), ("c", 4.5))]
        trial = make_queue_trial("op granularity", runs)
        assert MEASURES["slot_empty_50_s"].of(trial) == 1.5
        assert MEASURES["slots_held_percent"].of(trial) == pytest.approx(100 * 6 / (2 * 5.5))

    def test_a_raised_limit_has_no_share_of_slots(self) -> None:
        trial = make_queue_trial("a limit raised", [run("a", 1, 3), run("b", 4, 5), run("c", 4, 5)])
        assert MEASURES["slots_held_percent"].of(trial) is None
        assert MEASURES["slots_used_percent"].of(trial) is None
        assert MEASURES["slot_empty_50_s"].of(trial) == 1

    def test_of_a_side_that_is_no_more_there_are_none(self) -> None:
        assert MEASURES["slot_empty_50_s"].of(make_queue_trial("gone", [run("a", 1, 3)])) is None


def test_limits_are_told_apart_in_a_report() -> None:
    assert {limit.name for name in SIDES for limit in workload_of(name).limits} == {"pool", "other pool"}
