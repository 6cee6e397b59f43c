"""Each finding is made of what is there, with the right seconds, and not of what is not there."""

from datetime import UTC, timedelta, timezone
from typing import Any

import pytest
from doctor_samples import PODS, at, event, make_reading, queued_run, read_run

from bench_orchestrator.analysis.doctor.diagnosis import Diagnosis, diagnose
from bench_orchestrator.analysis.doctor.finding import Finding, Surety
from bench_orchestrator.model.deployment_reading import (
    Contents,
    Daemon,
    DeploymentReading,
    FailedTick,
    InstanceSettings,
    QueueState,
    ReadLocation,
)
from bench_orchestrator.model.run_queue import LOCATION_AWAY_MESSAGE, Granularity, Holder, Pool, RunLimits, TagLimit
from bench_orchestrator.model.runs import RunStatus
from bench_orchestrator.model.stages import Stage

LATE = "User code server request timed out due to taking longer than 180 seconds to complete."
QUICK: dict[str, Any] = {"wait": 0.02, "boot": 0.3, "step_boot": 0.1, "step_load": 0.1}
"""A launch of which nothing is found."""


def finding(name: str, reading: DeploymentReading) -> Finding:
    (found,) = (one for one in diagnose(reading, UTC).findings if one.name == name)
    return found


def names(reading: DeploymentReading) -> list[str]:
    return [one.name for one in diagnose(reading, UTC).findings]


def runs(count: int, every_s: float = 100.0, **launch: Any) -> list[Any]:
    return [read_run(number * every_s, **{**QUICK, **launch}) for number in range(count)]


def test_a_healthy_deployment_has_nothing_to_do() -> None:
    assert names(make_reading(*runs(20))) == []
    assert names(make_reading()) == []


class TestWhatStarts:
    def test_definitions_loaded_twice_cost_both_loads(self) -> None:
        found = finding("loaded_twice", make_reading(*runs(10, load=4.0, step_load=3.0)))
        assert found.saved_s is not None
        assert found.saved_s.value == pytest.approx(7.0)
        assert found.runs == 10
        assert found.total_s == pytest.approx(70.0)
        assert found.evidence == (
            "sales (2,000 assets): worker load 4.0 s [4.0, 4.0], step load 3.0 s [3.0, 3.0], n = 10",
        )
        assert "Fork runs from a server that holds the definitions" in found.remedy
        assert "dagster_warm" in found.apply

    @pytest.mark.parametrize("small", [{"load": 0.2, "step_load": 3.0}, {"load": 3.0, "step_load": 0.2}])
    def test_one_load_is_not_two(self, small: dict[str, float]) -> None:
        assert "loaded_twice" not in names(make_reading(*runs(10, **small)))

    def test_a_run_in_one_process_loads_once(self) -> None:
        assert names(make_reading(*runs(10, load=4.0, workers={}))) == []

    def test_step_processes_cost_their_start_and_their_load(self) -> None:
        found = finding("step_processes", make_reading(*runs(5, step_boot=0.7, step_load=0.6)))
        assert found.total_s == pytest.approx(6.5)
        assert "1.0 in a run on average" in found.what
        assert "in_process_executor" in found.apply

    def test_pods_that_take_long_cost_what_is_beyond_two_seconds(self) -> None:
        reading = make_reading(*runs(4, boot=12.0, step_boot=9.0, workers=PODS))
        found = finding("slow_pods", reading)
        assert found.total_s == pytest.approx(4 * (10 + 7))
        assert len(found.evidence) == 2
        assert "slow_pods" not in names(make_reading(*runs(4, boot=12.0)))

    def test_planned_events_are_found_where_there_are_several_for_an_asset(self) -> None:
        of_partitions = [("a", "orders")] * 100
        found = finding("planned_events", make_reading(*runs(2, plan=20.0, planned=of_partitions)))
        assert found.total_s == pytest.approx(2 * 20 * 0.99)
        assert found.sure is Surety.CERTAIN
        assert "DAGSTER_EMIT_PARTITION_SUBSET_IN_PLANNED_EVENTS" in found.remedy
        assert "up to 100 events for 1 asset" in found.evidence[0]

    def test_many_assets_of_one_step_are_not_partitions(self) -> None:
        of_assets = [("a", f"asset {number}") for number in range(100)]
        assert "planned_events" not in names(make_reading(*runs(2, plan=20.0, planned=of_assets)))

    def test_a_location_that_loads_long_is_named(self) -> None:
        found = finding("slow_locations", make_reading(*runs(3, load=9.0, workers={})))
        assert found.saved_s is None
        assert "sales" in found.what


class TestTheQueue:
    def test_waits_within_the_interval_are_the_intervals(self) -> None:
        found = finding("dequeue_interval", make_reading(*runs(10, wait=2.55)))
        assert found.total_s == pytest.approx(25.0)
        assert found.sure is Surety.CERTAIN
        assert "every 5 s" in found.what

    def test_an_interval_that_is_not_shown_is_assumed_and_said_to_be(self) -> None:
        found = finding("dequeue_interval", make_reading(*runs(10, wait=2.55), settings=InstanceSettings()))
        assert found.sure is Surety.LIKELY
        assert "does not show dagster.yaml" in found.what

    def test_a_queue_that_answers_at_once_has_none(self) -> None:
        prompt = InstanceSettings("x", "PromptRunCoordinator", 0.0, shown=True)
        assert "dequeue_interval" not in names(make_reading(*runs(10, wait=0.9), settings=prompt))

    def test_long_waits_are_held_by_the_limit_that_was_full(self) -> None:
        long = read_run(1.0, wait=60.0, run_id="waits")
        busy = [read_run(0.0, work=100.0, read=number % 2 == 0, **QUICK) for number in range(10)]
        found = finding("limits", make_reading(long, *busy))
        assert found.total_s == pytest.approx(55.0)
        assert found.evidence[0] == (
            "the limit max_concurrent_runs lets 10 run at a time: 1 run waited while it was full"
        )
        assert found.sure is Surety.LIKELY
        fewer = finding("limits", make_reading(long, *busy[:5]))
        assert fewer.sure is Surety.POSSIBLE
        assert "do not show for what" in fewer.evidence[0]

    def test_a_tag_limit_counts_the_runs_of_its_tag(self) -> None:
        limits = QueueState(RunLimits(10, (TagLimit("team", 1),)))
        mine, other = {"team": "a"}, {"city": "b"}
        long = read_run(1.0, wait=60.0, tags=mine)
        busy = read_run(0.0, work=100.0, tags=mine, **QUICK)
        assert "the tag limit on 'team'" in finding("limits", make_reading(long, busy, queue=limits)).evidence[0]
        idle = read_run(0.0, work=100.0, tags=other, **QUICK)
        assert "do not show" in finding("limits", make_reading(long, idle, queue=limits)).evidence[0]

    def test_waits_for_pools_are_summed_by_pool(self) -> None:
        waits = [event("ENGINE_EVENT", 1, "b", "Step blocked by limit for pool db"), event("STEP_START", 31, "b")]
        pools = {"db": Pool("db", 1)}
        reading = make_reading(read_run(0.0, between=waits, **QUICK), queue=QueueState(RunLimits(10), pools=pools))
        found = finding("pool_waits", reading)
        assert found.total_s == pytest.approx(30.0)
        assert found.evidence == ("pool db: 30 s in all, in 1 run",)
        assert "dagster instance concurrency set db 2" in found.remedy

    def test_the_full_hour_is_found_in_any_zone_of_full_hours(self) -> None:
        at_the_hour = [read_run(1_800 + 3_600 * hour, **{**QUICK, "wait": 9.0}) for hour in range(10)]
        between = [read_run(3_000 + 3_600 * hour, **QUICK) for hour in range(10)]
        reading = make_reading(*at_the_hour, *between)
        found = finding("full_hour", reading)
        assert found.runs == 10
        assert found.saved_s is not None
        assert found.saved_s.value == pytest.approx(8.98)
        assert "10 of 20 runs" in found.evidence[0]
        half_hour = timezone(timedelta(hours=5, minutes=30))
        assert "full_hour" not in [one.name for one in diagnose(reading, half_hour).findings]


class TestThisMoment:
    def test_a_daemon_is_judged_by_its_heartbeat(self) -> None:
        daemons = (
            Daemon("SENSOR", True, True, at(3_600 - 400)),
            Daemon("SCHEDULER", True, True, at(3_600 - 30)),
            Daemon("ASSET", True, False, None, ("no database",)),
            Daemon("BACKFILL", False, None, None),
        )
        found = finding("daemons", make_reading(daemons=daemons))
        assert found.urgent
        assert found.evidence == (
            "SENSOR: its last heartbeat is 400 s old, though it counts as healthy",
            "ASSET has never run",
            "ASSET fails: no database",
        )

    def test_queued_runs_say_since_when_behind_what_and_held_by_whom(self) -> None:
        queued = tuple(queued_run(f"q{number}", 3_000 + number) for number in range(3))
        working = queued_run("busy", 100, RunStatus.STARTED)
        state = QueueState(RunLimits(1), queued=queued, in_progress=(working,))
        found = finding("queued_now", make_reading(queue=state, daemons=(beating(),)))
        assert found.urgent
        assert found.what == "3 runs queued, the oldest for 600 s: run q0, job nightly"
        (line,) = found.evidence
        assert line.startswith("3: The limit max_concurrent_runs lets 1 run at a time. Held by run busy")
        assert "Raise max_concurrent_runs under concurrency.runs in dagster.yaml." in line

    def test_a_run_that_waits_for_its_turn_is_none(self) -> None:
        state = QueueState(RunLimits(10), queued=(queued_run("q", 3_598),))
        assert names(make_reading(queue=state, daemons=(beating(),))) == []

    def test_what_holds_a_run_is_not_guessed_where_the_limits_are_not_told(self) -> None:
        state = QueueState(limits_known=False, queued=(queued_run("q", 3_000),))
        found = finding("queued_now", make_reading(queue=state))
        assert found.evidence == ()
        assert "did not tell" in found.remedy

    def test_a_silent_daemon_holds_the_queue(self) -> None:
        state = QueueState(RunLimits(10), queued=(queued_run("q", 3_500),))
        reading = make_reading(queue=state, daemons=(beating(at_s=3_000),))
        assert names(reading) == ["daemons", "queued_now"]
        assert "does not run: its last sign is 600 s old" in finding("queued_now", reading).evidence[0]

    def test_slots_of_runs_that_are_over_are_leaked(self) -> None:
        claims = (
            Holder("gone", step="a"),
            Holder("failed", "nightly", RunStatus.FAILURE, step="b"),
            Holder("works", "nightly", RunStatus.STARTED, step="c"),
        )
        state = QueueState(RunLimits(10), pools={"db": Pool("db", 3, claims=claims)})
        found = finding("leaked_slots", make_reading(queue=state))
        assert found.urgent
        assert found.evidence == (
            "pool db: step a of run gone, which the instance does not have any more",
            "pool db: step b of run failed, which is FAILURE",
        )
        assert "free_slots_after_run_end_seconds" in found.apply
        set_already = InstanceSettings(free_slots_after_s=60)
        assert (
            "It is set here, to 60 s" in finding("leaked_slots", make_reading(queue=state, settings=set_already)).remedy
        )

    def test_steps_that_wait_for_a_pool_say_who_has_its_slots(self) -> None:
        pool = Pool("db", 1, claims=(Holder("r1", "nightly", RunStatus.STARTED, step="a"),), waiting=(("r2", "b"),))
        limits = RunLimits(10, granularity=Granularity.OP)
        state = QueueState(limits, in_progress=(queued_run("r2", 3_500, RunStatus.STARTED),), pools={"db": pool})
        (line,) = finding("waiting_steps", make_reading(queue=state)).evidence
        assert line.startswith("run r2: Step b waits for a slot of the pool db")
        assert "Held by step a of run r1" in line

    def test_runs_that_neither_start_nor_end_hang(self) -> None:
        stuck = (
            queued_run("starting", 2_000, RunStatus.STARTING),
            queued_run("canceling", 90, RunStatus.CANCELING),
            queued_run("lately", 80, RunStatus.CANCELING),
            queued_run("young", 3_500, RunStatus.STARTING),
            queued_run("works", 100, RunStatus.STARTED),
        )
        changed = read_run(100.0, run_id="canceling", status=RunStatus.CANCELING, **QUICK)
        lately = read_run(3_590.0, run_id="lately", status=RunStatus.CANCELING, **QUICK)
        reading = make_reading(changed, lately, queue=QueueState(RunLimits(10), in_progress=stuck))
        found = finding("hanging_runs", reading)
        assert [line.split(",")[0] for line in found.evidence] == ["run starting", "run canceling"]


class TestWhatFails:
    def test_locations_that_failed_or_load_for_long(self) -> None:
        locations = (
            ReadLocation("sales", "loaded"),
            ReadLocation("broken", "error", "no module\nnamed x", at(3_000)),
            ReadLocation("slow", "loading", since_us=at(3_500)),
            ReadLocation("young", "loading", since_us=at(3_590)),
        )
        reading = make_reading(locations=locations)
        assert finding("broken_locations", reading).evidence == ("broken: no module named x (for 600 s)",)
        assert finding("loading_locations", reading).evidence == ("slow: for 100 s",)

    def test_time_limits_are_told_by_what_was_late(self) -> None:
        reading = make_reading(
            read_run(0.0, between=[event("ENGINE_EVENT", 3, error=LATE)], **QUICK),
            locations=(ReadLocation("sales", "error", LATE),),
            ticks=(
                FailedTick("sales", "sensor", "files", at(0), LATE),
                FailedTick("sales", "sensor", "files", at(9), LATE),
                FailedTick("sales", "schedule", "nightly", at(9), "division by zero"),
            ),
        )
        found = finding("time_limits", reading)
        assert "4 times" in found.what
        assert found.evidence[0].startswith("sensor files of sales: User code server request timed out")
        for kind in ("REPOSITORY_", "SENSOR_", ""):
            assert f"DAGSTER_{kind}GRPC_TIMEOUT_SECONDS" in found.remedy
        assert "SCHEDULE" not in found.remedy

    def test_retries_of_steps_and_runs_and_of_the_queue(self) -> None:
        retry = [event("STEP_UP_FOR_RETRY", 4, "a"), event("STEP_RESTARTED", 6, "a")]
        away = event("ENGINE_EVENT", 0.1, message=LOCATION_AWAY_MESSAGE)
        first = read_run(0.0, between=[*retry, away], run_id="first", **QUICK)
        again = read_run(50.0, tags={"dagster/retry_number": "1", "dagster/parent_run_id": "first"}, **QUICK)
        reading = make_reading(first, again)
        retried = finding("step_retries", reading)
        assert retried.what == "User code failed and was tried again, 1 time in 1 run"
        assert retried.total_s == pytest.approx(6 - (0.1 + 0.02 + 0.3 + 0.2 + 0.1 + 0.1 + 0.1 + 0.1))
        repeated = finding("run_retries", reading)
        assert repeated.runs == 1
        assert repeated.total_s == pytest.approx(0.3 + 0.2 + 0.1 + 0.1 + 0.1 + 0.1 + 5.0)
        assert finding("dequeue_retries", reading).evidence == ("sales: 1 run",)

    @pytest.mark.parametrize(
        ("second", "found"),
        [
            ({"at_s": 2.0}, True),
            ({"at_s": 50.0}, False),
            ({"at_s": 2.0, "job": "other"}, False),
            ({"at_s": 2.0, "planned": [("b", "b")]}, False),
            ({"at_s": 2.0, "tags": {"dagster/partition": "2026-01-02"}}, False),
            ({"at_s": 2.0, "tags": {"dagster/partition": "p", "dagster/root_run_id": "x"}}, False),
            ({"at_s": 2.0, "tags": {}}, False),
        ],
    )
    def test_a_partition_is_done_twice_if_both_runs_are_at_work_on_it(
        self, second: dict[str, Any], found: bool
    ) -> None:
        told = {"tags": {"dagster/partition": "p"}, **QUICK, **second}
        reading = make_reading(read_run(0.0, tags={"dagster/partition": "p"}, **QUICK), read_run(**told))
        assert ("launched_twice" in names(reading)) is found
        if found:
            assert finding("launched_twice", reading).total_s == pytest.approx(0.3 + 0.2 + 0.1 + 0.1 + 0.1 + 0.1 + 5.0)


def beating(at_s: float = 3_590.0) -> Daemon:
    return Daemon("QUEUED_RUN_COORDINATOR", True, True, at(at_s))


class TestTheDiagnosis:
    @pytest.fixture
    def whole(self) -> Diagnosis:
        locations = (
            ReadLocation("sales", "loaded", contents=Contents(10_000)),
            ReadLocation("small", "loaded"),
            ReadLocation("broken", "error", "no"),
        )
        loaded = runs(9, load=6.0, step_load=5.0, wait=2.5)
        small = [read_run(40.0 + number, location="small", read=number < 3, **QUICK) for number in range(5)]
        return diagnose(make_reading(*loaded, *small, locations=locations), UTC)

    def test_what_is_wrong_comes_first_and_then_what_saves_most(self, whole: Diagnosis) -> None:
        assert [one.name for one in whole.findings][:2] == ["broken_locations", "loaded_twice"]
        totals = [one.total_s for one in whole.findings[1:]]
        assert totals == sorted(totals, reverse=True)

    def test_each_location_has_its_launches(self, whole: Diagnosis) -> None:
        sales, small, broken = whole.locations
        assert (sales.listed, len(sales.launched), small.listed, len(small.launched)) == (9, 9, 5, 3)
        assert (broken.lag_s, broken.longest, broken.median_launch) == (None, None, None)
        assert sales.longest is Stage.WORKER_LOAD
        assert sales.stages_s[Stage.STEP_LOAD].value == pytest.approx(5.0)
        assert whole.longest is not None
        assert whole.longest[0] is Stage.WORKER_LOAD

    def test_the_hours_hold_every_launch(self, whole: Diagnosis) -> None:
        assert sum(hour.lag_s.n for hour in whole.hours) == len(whole.launched) == 12
        assert [hour.hour for hour in whole.hours] == [9]
