"""The contract with Dagster's private API: what `sources/run_queue.py` reads of an instance's queue, pools and daemon.

If a new Dagster release breaks a test in here, adapt that module.
"""

import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import dagster as dg
import pytest
import yaml
from dagster._core.events import DagsterEvent, EngineEventData
from dagster._core.remote_origin import RegisteredCodeLocationOrigin, RemoteJobOrigin, RemoteRepositoryOrigin
from dagster._core.run_coordinator import QueuedRunCoordinator
from dagster._core.storage.dagster_run import RunOpConcurrency
from dagster._core.utils import make_new_run_id
from dagster._daemon.run_coordinator import QueuedRunCoordinatorDaemon
from dagster._daemon.types import DaemonHeartbeat
from dagster_shared.error import SerializableErrorInfo
from examples import fewer
from hypothesis import given
from hypothesis import strategies as st

from bench_orchestrator.analysis.run_queue import describe, holds
from bench_orchestrator.model.instants import MICROSECONDS, now_us
from bench_orchestrator.model.run_queue import Granularity, Holder, RunLimits, RunQueue, TagLimit
from bench_orchestrator.model.runs import RunStatus
from bench_orchestrator.sources.run_queue import add_last_signs, read_limits, read_pools, read_queue

Status = dg.DagsterRunStatus
InMemory = Callable[..., dg.DagsterInstance]


@contextmanager
def instance_with(home: Path, **settings: Any) -> Iterator[dg.DagsterInstance]:
    """Yield the instance of a dagster.yaml with these settings, whose daemon has just given a sign."""
    (home / "dagster.yaml").write_text(yaml.safe_dump({"telemetry": {"enabled": False}, **settings}))
    with dg.DagsterInstance.get() as instance:
        give_sign(instance)
        yield instance


@pytest.fixture
def in_memory(instance: dg.DagsterInstance, monkeypatch: pytest.MonkeyPatch) -> InMemory:
    """Return an instance in memory whose queue has these settings, and whose daemon has just given a sign."""

    def queued(**settings: Any) -> dg.DagsterInstance:
        monkeypatch.setattr(instance, "_run_coordinator", QueuedRunCoordinator(**settings))
        give_sign(instance)
        return instance

    return queued


def give_sign(instance: dg.DagsterInstance, age_s: float = 0, error: str = "") -> None:
    errors = [SerializableErrorInfo(error, [], None)] if error else None
    kind = QueuedRunCoordinatorDaemon.daemon_type()
    instance.add_daemon_heartbeat(DaemonHeartbeat(time.time() - age_s, kind, None, errors))


def add_run(
    instance: dg.DagsterInstance,
    status: Status = Status.QUEUED,
    tags: Mapping[str, str] | None = None,
    pools: Mapping[str, int] | None = None,
    location: str = "sales",
) -> str:
    """Record a run of a code location, whose first steps need so many slots of these pools; return its id."""
    repository = RemoteRepositoryOrigin(RegisteredCodeLocationOrigin(location), "__repository__")
    needs = (
        RunOpConcurrency(root_key_counts=dict(pools), has_unconstrained_root_nodes=False, all_pools=set(pools))
        if pools
        else None
    )
    run = dg.DagsterRun(
        "nightly",
        make_new_run_id(),
        status=status,
        tags=dict(tags or {}),
        remote_job_origin=RemoteJobOrigin(repository, "nightly"),
        run_op_concurrency=needs,
    )
    return instance.add_run(run).run_id


def seen(instance: dg.DagsterInstance, run_id: str) -> RunQueue:
    found = read_queue(instance, run_id, now_us())
    assert found is not None
    return found


def said(instance: dg.DagsterInstance, run_id: str) -> str:
    queue = seen(instance, run_id)
    return "\n".join(describe(hold, queue.now_us) for hold in holds(queue))


class TestTheLimits:
    def test_they_are_those_of_dagster_yaml_with_their_section(self, prepared_home: Path) -> None:
        runs = {"max_concurrent_runs": 3, "tag_concurrency_limits": [{"key": "team", "value": "data", "limit": 1}]}
        tag_limits = (TagLimit("team", 1, "data"),)
        with instance_with(prepared_home, concurrency={"runs": runs, "pools": {"granularity": "run"}}) as instance:
            assert read_limits(instance) == RunLimits(3, tag_limits, granularity=Granularity.RUN)
        with instance_with(prepared_home, run_queue=runs) as instance:
            section = "run_queue or run_coordinator"
            assert read_limits(instance) == RunLimits(3, tag_limits, section, Granularity.OP)

    def test_by_default_ten_runs_and_steps_that_take_slots(self, prepared_home: Path) -> None:
        with instance_with(prepared_home) as instance:
            assert read_limits(instance) == RunLimits(10, granularity=Granularity.OP)
        with instance_with(
            prepared_home, run_queue={"block_op_concurrency_limited_runs": {"enabled": False}}
        ) as instance:
            assert read_limits(instance) == RunLimits(10)

    def test_without_a_queue_there_are_none(self, prepared_home: Path, instance: dg.DagsterInstance) -> None:
        assert read_limits(instance) is None
        coordinator = {"module": "dagster.core.run_coordinator", "class": "DefaultRunCoordinator"}
        with instance_with(prepared_home, run_coordinator=coordinator) as none:
            assert "no run queue any more" in said(none, add_run(none))


class TestTheQueue:
    def test_a_run_that_left_it_or_is_unknown_has_none(self, in_memory: InMemory) -> None:
        instance = in_memory()
        assert read_queue(instance, add_run(instance, Status.STARTED), 0) is None
        assert read_queue(instance, "unknown", 0) is None

    def test_the_runs_ahead_are_those_of_higher_priority_and_then_the_older(
        self, in_memory: InMemory, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        instance = in_memory()
        monkeypatch.setattr("bench_orchestrator.sources.run_queue._PAGE", 2)
        low = {"dagster/priority": "-1"}
        ids = [
            add_run(instance, tags=tags)
            for tags in (low, {}, {"dagster/priority": "x"}, {}, low, {"dagster/priority": "7"}, {})
        ]
        assert [run.run_id for run in seen(instance, ids[3]).ahead] == [ids[5], ids[1], ids[2]]
        assert [run.run_id for run in seen(instance, ids[5]).ahead] == []
        assert [run.run_id for run in seen(instance, ids[0]).ahead] == [ids[n] for n in (5, 1, 2, 3, 6)]

    def test_a_tag_limit_that_holds_the_run_is_said_with_its_holder(self, in_memory: InMemory) -> None:
        limits = [{"key": "team", "value": {"applyLimitPerUniqueValue": True}, "limit": 1}]
        instance = in_memory(tag_concurrency_limits=limits)
        holder = add_run(instance, Status.STARTED, {"team": "data", "other": "tag"})
        add_run(instance, Status.STARTED, {"team": "sales"})
        add_run(instance, Status.SUCCESS, {"team": "data"})
        words = said(instance, add_run(instance, tags={"team": "data"}))
        assert said(instance, add_run(instance, tags={"team": "none"})).startswith("No limit holds it")
        assert words.startswith("The tag limit on 'team' lets 1 run per value at a time. ")
        assert f"Held by run {holder} (job nightly, STARTED for " in words

    def test_a_full_instance_is_said_with_the_runs_in_progress(self, in_memory: InMemory) -> None:
        instance = in_memory(max_concurrent_runs=2)
        holders = [add_run(instance, status) for status in (Status.STARTING, Status.CANCELING)]
        words = said(instance, add_run(instance))
        assert all(holder in words for holder in holders)
        assert "A run whose process has died keeps its place" in words

    def test_holders_say_when_they_last_wrote_to_their_log(self, instance: dg.DagsterInstance) -> None:
        run = instance.get_run_by_id(add_run(instance, Status.STARTED))
        assert run is not None
        instance.report_engine_event("still here", run)
        (record,) = instance.get_records_for_run(run.run_id).records
        holders = (
            Holder(run.run_id, "nightly", RunStatus.STARTED),
            Holder("gone"),
            Holder(run.run_id, status=RunStatus.SUCCESS),
        )
        signs = [holder.last_sign_us for holder in add_last_signs(instance, holders)]
        assert signs == [pytest.approx(record.timestamp * MICROSECONDS, abs=1), None, None]

    def test_the_daemon_is_known_by_its_heartbeat(self, in_memory: InMemory) -> None:
        instance = in_memory()
        run_id = add_run(instance)
        assert said(instance, run_id).startswith(
            "No limit holds it: it starts when the daemon next looks at the queue, every 5 s"
        )
        give_sign(instance, age_s=400)
        assert "queue does not run: its last sign is 4" in said(instance, run_id)
        give_sign(instance, error="no such\ntable")
        assert "queue fails: no such table" in said(instance, run_id)
        instance.wipe_daemon_heartbeats()
        assert "has never run" in said(instance, run_id)

    def test_a_location_that_cannot_be_reached_holds_its_runs_for_as_long_as_the_daemon_pauses(
        self, in_memory: InMemory
    ) -> None:
        queue = {"max_user_code_failure_retries": 2, "user_code_failure_retry_delay": 90}
        instance = in_memory(**queue)
        first, second, other = add_run(instance), add_run(instance), add_run(instance, location="other")
        refuse(instance, first)
        for run_id in (first, second):
            assert "The code location sales cannot be reached: gRPC Error code: UNAVAILABLE. The daemon tries" in said(
                instance, run_id
            )
        assert "No limit holds it" in said(instance, other)
        later = read_queue(instance, first, now_us() + 101 * MICROSECONDS)
        assert later is not None
        assert later.unreachable == ""
        instance = in_memory()  # without retries, Dagster fails such a run
        assert seen(instance, first).unreachable == ""


@fewer(3)
@given(
    st.lists(
        st.tuples(st.sampled_from(Status), st.sampled_from("abc"), st.sampled_from(["-1", "0", "x", "2"])), max_size=9
    ),
    st.integers(-1, 4),
    st.integers(0, 3),
)
def test_a_run_is_held_unless_dagsters_daemon_takes_it_from_the_queue(
    runs: Sequence[tuple[Status, str, str]], most_runs: int, most_per_team: int
) -> None:
    limits = [{"key": "team", "value": {"applyLimitPerUniqueValue": True}, "limit": most_per_team}]
    with dg.DagsterInstance.ephemeral() as instance, pytest.MonkeyPatch.context() as patch:
        patch.setattr(instance, "_run_coordinator", QueuedRunCoordinator(most_runs, limits))
        give_sign(instance)
        run_ids = [add_run(instance, status, {"team": team, "dagster/priority": rank}) for status, team, rank in runs]
        daemon = QueuedRunCoordinatorDaemon(interval_seconds=5, page_size=3)
        taken = daemon._get_runs_to_dequeue(instance, instance.get_concurrency_config(), None)
        free = {
            run_id
            for run_id in run_ids
            if (queue := read_queue(instance, run_id, now_us())) and [hold.kind for hold in holds(queue)] == ["turn"]
        }
    assert free == {run.run_id for run in taken}


def refuse(instance: dg.DagsterInstance, run_id: str) -> None:
    """Report what Dagster's daemon reports when it cannot launch a run because its code location is away."""
    run = instance.get_run_by_id(run_id)
    assert run is not None
    error = SerializableErrorInfo("gRPC Error code: UNAVAILABLE\n", [], "DagsterUserCodeUnreachableError")
    message = (
        "Run dequeue failed to reach the user code server, re-submitting the run into the queue (2 retries remaining)"
    )
    instance.report_engine_event(message, run, EngineEventData.engine_error(error))
    instance.report_dagster_event(DagsterEvent.job_enqueue(run), run_id=run_id)


class TestPools:
    def test_one_of_runs_is_held_by_the_runs_in_it(self, prepared_home: Path) -> None:
        with instance_with(
            prepared_home, concurrency={"pools": {"granularity": "run", "default_limit": 1}}
        ) as instance:
            holder = add_run(instance, Status.STARTED, pools={"db": 1})
            words = said(instance, add_run(instance, pools={"db": 1}))
            assert instance.event_log_storage.get_concurrency_keys() == set()  # it was only read
        assert words.startswith(f"The pool db has 1 slot for runs. Held by run {holder} (job nightly, STARTED")
        assert "`dagster instance concurrency set db 2`, or concurrency.pools.default_limit in dagster.yaml," in words

    def test_one_of_steps_is_held_by_the_steps_that_claimed_its_slots(self, prepared_home: Path) -> None:
        with instance_with(prepared_home) as instance:
            storage = instance.event_log_storage
            storage.set_concurrency_slots("db", 2)
            live, dead, waiting = (
                add_run(instance, status, pools={"db": 1})
                for status in (Status.STARTED, Status.CANCELED, Status.STARTED)
            )
            before_us = now_us()
            for run_id, step in ((live, "load"), (dead, "load"), (waiting, "late"), ("deleted", "x")):
                storage.claim_concurrency_slot("db", run_id, step, priority=0)
            pool = read_pools(instance)["db"]
            assert (pool.slots, pool.is_default, pool.asked) == (2, False, 4)
            assert [(claim.run_id, claim.step, claim.status) for claim in pool.claims] == [
                (dead, "load", RunStatus.CANCELED),
                (live, "load", RunStatus.STARTED),
            ]
            assert all(before_us - MICROSECONDS <= (claim.since_us or 0) <= now_us() for claim in pool.claims)
            assert set(pool.waiting) == {(waiting, "late"), ("deleted", "x")}  # SQLite's times are whole seconds
            assert read_pools(instance, ["other"]) == {}
            words = said(instance, add_run(instance, pools={"db": 1}))
            assert said(instance, add_run(instance, pools={"unlimited": 1})).startswith("No limit holds it")
        assert f"Held by step load of run {dead} (job nightly, CANCELED and has not given its slot back)" in words
        assert "Free concurrency slots" in words

    def test_a_slot_of_a_deleted_run_is_still_held(self, prepared_home: Path) -> None:
        with instance_with(prepared_home) as instance:
            instance.event_log_storage.set_concurrency_slots("db", 1)
            instance.event_log_storage.claim_concurrency_slot("db", "deleted", "load")
            assert "step load of run deleted (which the instance does not have any more)" in said(
                instance, add_run(instance, pools={"db": 1})
            )
