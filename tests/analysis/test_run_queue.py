"""Why a run waits is what Dagster's own queue counts, and is said with holders, order and remedy."""

from collections.abc import Mapping, Sequence
from dataclasses import replace
from types import SimpleNamespace
from typing import Any

import dagster as dg
import pytest
from dagster._core.instance.config import PoolGranularity
from dagster._core.op_concurrency_limits_counter import GlobalOpConcurrencyLimitsCounter
from dagster._core.storage.dagster_run import RunOpConcurrency
from dagster._time import get_current_datetime
from dagster._utils.concurrency import ClaimedSlotInfo, ConcurrencyKeyInfo, PendingStepInfo
from dagster._utils.tags import TagConcurrencyLimitsCounter
from hypothesis import given
from hypothesis import strategies as st

from bench_orchestrator.analysis.run_queue import describe, exceeded, holds, pool_waits
from bench_orchestrator.model.instants import MICROSECONDS
from bench_orchestrator.model.run_queue import (
    Granularity,
    Hold,
    Holder,
    Pool,
    QueuedRun,
    RunLimits,
    RunQueue,
    TagLimit,
    read_tag_limits,
)
from bench_orchestrator.model.runs import IN_PROGRESS, RunStatus

NOW_US = 1_784_021_400 * MICROSECONDS


def ago(seconds: float) -> int:
    return NOW_US - round(seconds * MICROSECONDS)


def queued(run_id: str = "waits", **fields: Any) -> QueuedRun:
    return replace(QueuedRun(run_id, "nightly", RunStatus.QUEUED, {}, ago(120)), **fields)


def started(run_id: str = "holder", **fields: Any) -> QueuedRun:
    return queued(run_id, **{"status": RunStatus.STARTED, "since_us": ago(3600)} | fields)


def queue(limits: RunLimits | None = None, **fields: Any) -> RunQueue:
    """Return a queue whose daemon runs."""
    usual = RunQueue(queued(), limits or RunLimits(), NOW_US, heartbeat_us=ago(5), interval_s=5)
    return replace(usual, **fields)


def said(asked: RunQueue) -> str:
    return "\n".join(describe(hold, NOW_US) for hold in holds(asked))


class TestWhatIsSaid:
    def test_a_full_instance_names_who_is_in_progress_and_the_setting(self) -> None:
        runs = (started("b", since_us=ago(60)), started("a", job="hourly"))
        asked = queue(
            RunLimits(max_concurrent_runs=2),
            in_progress=runs,
            ahead=(queued("earlier"), queued("urgent", tags={"dagster/priority": "3"})),
        )
        assert said(asked) == (
            "The limit max_concurrent_runs lets 2 run at a time. "
            "Held by run a (job hourly, STARTED for 3,600 s), run b (job nightly, STARTED for 60 s). "
            "Before it in the queue: 2, 1 of them with a higher dagster/priority. "
            "Raise max_concurrent_runs under concurrency.runs in dagster.yaml."
        )

    def test_no_run_may_start_at_all(self) -> None:
        assert said(queue(RunLimits(max_concurrent_runs=0))).startswith(
            "The limit max_concurrent_runs lets 0 run at a time. Raise"
        )

    def test_a_tag_limit_names_the_runs_that_share_it(self) -> None:
        limits = RunLimits(
            tag_limits=(TagLimit("team", 1, "data"), TagLimit("team", 9), TagLimit("size", 1, per_value=True))
        )
        tags = {"team": "data", "size": "large"}
        holders = (started("one", tags=tags), started("two", tags={"size": "small"}))
        found = holds(
            queue(limits, run=queued(tags=tags), in_progress=holders, ahead=(queued("earlier", tags={"team": "data"}),))
        )
        assert [(hold.kind, [holder.run_id for holder in hold.holders], hold.ahead) for hold in found] == [
            ("tag_limit", ["one"], 1),
            ("tag_limit", ["one"], 0),
        ]
        first, second = (describe(hold, NOW_US) for hold in found)
        assert first.startswith("The tag limit on 'team' lets 1 run with the value 'data' at a time. Held by run one (")
        assert first.endswith("Raise it under concurrency.runs, tag_concurrency_limits, in dagster.yaml.")
        assert second.startswith("The tag limit on 'size' lets 1 run per value at a time. ")

    def test_a_pool_of_runs_names_the_runs_in_it_and_the_command(self) -> None:
        limits = RunLimits(granularity=Granularity.RUN)
        asked = queue(
            limits,
            run=queued(pools=frozenset({"the db", "free"})),
            in_progress=(started("in", pools=frozenset({"the db"})), started("out")),
            pools={"the db": Pool("the db", 1), "free": Pool("free", 1, claims=(Holder("left over"),), asked=1)},
        )
        assert said(asked) == (
            "The pool the db has 1 slot for runs. Held by run in (job nightly, STARTED for 3,600 s). "
            "`dagster instance concurrency set 'the db' 2` raises its limit."
        )

    def test_a_pool_of_steps_names_the_steps_in_it(self) -> None:
        claims = (Holder("in", "nightly", RunStatus.STARTED, ago(30), "load"),)
        asked = queue(
            RunLimits(granularity=Granularity.OP),
            run=queued(pools=frozenset("p"), first_pools={"p": 1}, begins_freely=False),
            pools={"p": Pool("p", 1, is_default=True, claims=claims, asked=1)},
        )
        assert said(asked) == (
            "The pool p has 1 slot for ops. Held by step load of run in (job nightly, STARTED for 30 s). "
            "`dagster instance concurrency set p 2`, or concurrency.pools.default_limit in dagster.yaml, raises its "
            "limit."
        )

    @pytest.mark.parametrize("status", [RunStatus.CANCELED, RunStatus.FAILURE, None])
    def test_a_slot_of_a_run_that_has_ended_is_said_with_how_to_free_it(self, status: RunStatus | None) -> None:
        claims = (Holder("gone", "nightly" if status else "", status, ago(900), "load"),)
        asked = queue(
            RunLimits(granularity=Granularity.OP),
            run=queued(pools=frozenset("p"), first_pools={"p": 1}, begins_freely=False),
            pools={"p": Pool("p", 1, claims=claims, asked=1)},
        )
        what = (
            f"job nightly, {status} and has not given its slot back"
            if status
            else "which the instance does not have any more"
        )
        assert f"Held by step load of run gone ({what})." in said(asked)
        assert "Free concurrency slots" in said(asked)
        assert "run_monitoring.free_slots_after_run_end_seconds in dagster.yaml" in said(asked)

    def test_a_holder_that_may_be_dead_is_said_with_how_to_end_it(self) -> None:
        limit = Hold(
            "max_concurrent_runs", "one at a time", (Holder("h", "j", RunStatus.STARTED, ago(9000), "", ago(8000)),)
        )
        assert "silent for 8,000 s" in describe(limit, NOW_US)
        assert "terminate it by force" in describe(limit, NOW_US)
        lively = replace(limit, holders=(replace(limit.holders[0], last_sign_us=ago(2)),))
        assert "terminate it by force" not in describe(lively, NOW_US)
        canceling = replace(limit, holders=(Holder("h", "j", RunStatus.CANCELING, ago(9000), "", ago(2)),))
        assert "terminate it by force" in describe(canceling, NOW_US)

    @pytest.mark.parametrize(
        ("fields", "words"),
        [
            (
                {"heartbeat_us": None},
                "The daemon that takes runs from the queue has never run. Start it: dagster-daemon run.",
            ),
            ({"heartbeat_us": ago(500)}, "queue does not run: its last sign is 500 s old. Start it"),
            (
                {"heartbeat_us": ago(60)},
                "No limit holds it: it starts when the daemon next looks at the queue, every 5 s.",
            ),
            (
                {"heartbeat_us": ago(60), "interval_s": 0},
                "No limit holds it: it starts when the daemon next looks at the queue.",
            ),
            ({"heartbeat_us": None, "has_heartbeats": False}, "No limit holds it"),
            (
                {"daemon_error": "no such table"},
                "The daemon that takes runs from the queue fails: no such table. Its log",
            ),
            (
                {"unreachable": "Could not reach user code server", "retry_s": 60, "run": queued(location="sales")},
                "The code location sales cannot be reached: Could not reach user code server. The daemon tries again "
                "every 60 s. Start its code server.",
            ),
        ],
    )
    def test_a_daemon_that_is_away_and_a_location_that_is_are_reasons(
        self, fields: Mapping[str, Any], words: str
    ) -> None:
        assert words in said(queue(**fields))

    def test_without_a_queue_nothing_takes_the_run(self) -> None:
        assert "no run queue any more" in said(RunQueue(queued(), None, NOW_US))

    def test_runs_before_it_may_take_all_free_places(self) -> None:
        urgent = queued("urgent", tags={"dagster/priority": "10"})
        asked = queue(RunLimits(max_concurrent_runs=2), in_progress=(started(),), ahead=(urgent,))
        assert said(asked) == (
            "The runs before it take what max_concurrent_runs leaves free, which is 1. Before it in the queue: 1, 1 of "
            "them with a higher dagster/priority. Raise max_concurrent_runs under concurrency.runs in dagster.yaml, or "
            "the run's dagster/priority."
        )
        blocked = replace(urgent, tags={**urgent.tags, "team": "data"})
        limits = RunLimits(2, (TagLimit("team", 0),))
        assert said(replace(asked, limits=limits, ahead=(blocked,))).startswith("No limit holds it")
        with_holder = replace(
            asked, ahead=(replace(urgent, location="away"),), run=queued(location="away"), unreachable="no", retry_s=9
        )
        assert [hold.kind for hold in holds(with_holder)] == ["location"]

    def test_only_a_few_holders_are_named(self) -> None:
        runs = tuple(started(f"run-{number}") for number in range(50))
        assert " and 47 more. Raise" in said(queue(RunLimits(max_concurrent_runs=50), in_progress=runs))

    def test_a_step_in_progress_waits_for_a_slot(self) -> None:
        pool = Pool(
            "p",
            1,
            claims=(Holder("in", "nightly", RunStatus.STARTED, ago(30), "load"),),
            waiting=(("a", "x"), ("b", "y")),
        )
        (hold,) = pool_waits([pool, Pool("q", 1)], "b")
        assert describe(hold, NOW_US).startswith(
            "Step y waits for a slot of the pool p, which has 1 slot. Held by step load of run in (job nightly, "
            "STARTED for 30 s). Before it in the queue: 1."
        )


def test_of_several_limits_for_the_same_the_last_counts() -> None:
    limits = read_tag_limits(
        [{"key": "k", "limit": 1}, {"key": "k", "value": "", "limit": 2}, {"key": "k", "value": {}, "limit": 3}]
    )
    assert limits == (TagLimit("k", 3), TagLimit("k", 2, ""))
    assert list(exceeded(RunLimits(tag_limits=limits), [{"k": ""}] * 4)) == [(limits[0], 4), (limits[1], 4)]


KEYS, VALUES, POOLS = ("team", "size"), ("", "a", "b"), ("p", "q")
tags = st.dictionaries(st.sampled_from(KEYS), st.sampled_from(VALUES))
tag_settings = st.lists(
    st.fixed_dictionaries(
        {"key": st.sampled_from(KEYS), "limit": st.integers(0, 3)},
        optional={
            "value": st.sampled_from(VALUES) | st.builds(lambda each: {"applyLimitPerUniqueValue": each}, st.booleans())
        },
    ),
    max_size=4,
)
needs = st.none() | st.builds(
    lambda first, later, free: (first, later, free),
    st.dictionaries(st.sampled_from(POOLS), st.integers(1, 2), min_size=1),
    st.sets(st.sampled_from(POOLS)),
    st.booleans(),
)
runs = st.lists(st.tuples(tags, needs, st.sampled_from(IN_PROGRESS), st.sampled_from([2.0, 60.0])), max_size=5)
asked_pools = st.dictionaries(
    st.sampled_from(POOLS), st.tuples(st.integers(0, 3), st.integers(0, 2), st.integers(0, 2)), max_size=2
)


@given(tag_settings, runs, runs, st.tuples(tags, needs), asked_pools, st.sampled_from(Granularity), st.integers(0, 1))
def test_a_run_is_held_exactly_where_dagsters_own_counters_hold_it(
    limits: Sequence[Mapping[str, Any]],
    in_progress: Sequence[Any],
    ahead: Sequence[Any],
    last: Any,
    pools: Mapping[str, tuple[int, int, int]],
    granularity: Granularity,
    slot_buffer: int,
) -> None:
    """Count as the daemon does in `_get_runs_to_dequeue`."""
    waits = [(*one[:2], RunStatus.QUEUED, 120.0) for one in (*ahead, (*last,))]
    counted = [_queued_run(f"run-{n}", *one) for n, one in enumerate((*in_progress, *waits))]
    theirs = [_dagster_run(f"run-{n}", *one) for n, one in enumerate((*in_progress, *waits))]
    split = len(in_progress)

    tag_counter = TagConcurrencyLimitsCounter(list(limits), theirs[:split])
    pool_counter = _pool_counter(theirs, split, in_progress, pools, granularity, slot_buffer)
    for run in theirs[split:-1]:
        if not tag_counter.is_blocked(run):
            tag_counter.update_counters_with_launched_item(run)
            if not pool_counter.is_blocked(run):
                pool_counter.update_counters_with_launched_item(run)

    found = holds(
        queue(
            RunLimits(tag_limits=read_tag_limits(limits), granularity=granularity, slot_buffer=slot_buffer),
            run=counted[-1],
            ahead=tuple(counted[split:-1]),
            in_progress=tuple(counted[:split]),
            pools={
                name: Pool(
                    name, slots, claims=(Holder("x"),) * claims, waiting=(("y", "s"),) * waiting, asked=claims + waiting
                )
                for name, (slots, claims, waiting) in pools.items()
            },
        )
    )
    assert {hold.kind for hold in found} - {"turn"} == {
        kind
        for kind, blocked in (
            ("tag_limit", tag_counter.is_blocked(theirs[-1])),
            ("pool", pool_counter.is_blocked(theirs[-1])),
        )
        if blocked
    }
    assert found
    assert all(describe(hold, NOW_US) for hold in found)


def _queued_run(run_id: str, tags: Mapping[str, str], needs: Any, status: RunStatus, age_s: float) -> QueuedRun:
    first, later, free = needs or ({}, set(), True)
    return QueuedRun(run_id, "j", status, tags, ago(age_s), "", frozenset({*first, *later}), first, free)


def _dagster_run(run_id: str, tags: Mapping[str, str], needs: Any, status: RunStatus, _age_s: float) -> dg.DagsterRun:
    pools = (
        RunOpConcurrency(
            root_key_counts=needs[0], has_unconstrained_root_nodes=needs[2], all_pools={*needs[0], *needs[1]}
        )
        if needs
        else None
    )
    status = RunStatus.NOT_STARTED if status is RunStatus.QUEUED else status  # QUEUED needs an origin
    return dg.DagsterRun("j", run_id, tags=dict(tags), status=dg.DagsterRunStatus(status), run_op_concurrency=pools)


def _pool_counter(
    theirs: Sequence[dg.DagsterRun],
    split: int,
    in_progress: Sequence[Any],
    pools: Mapping[str, tuple[int, int, int]],
    granularity: Granularity,
    slot_buffer: int,
) -> GlobalOpConcurrencyLimitsCounter:
    now = get_current_datetime()
    infos = {
        name: ConcurrencyKeyInfo(
            concurrency_key=name,
            slot_count=slots,
            claimed_slots=[ClaimedSlotInfo(run_id="x", step_key=str(n)) for n in range(claims)],
            pending_steps=[
                PendingStepInfo(
                    run_id="y",
                    step_key=str(n),
                    enqueued_timestamp=now,
                    assigned_timestamp=now if n < claims else None,
                    priority=0,
                )
                for n in range(claims + waiting)
            ],
        )
        for name, (slots, claims, waiting) in pools.items()
    }
    records = [
        dg.RunRecord(
            storage_id=1,
            dagster_run=run,
            create_timestamp=now,
            update_timestamp=now,
            start_time=now.timestamp() - one[3],
        )
        for run, one in zip(theirs[:split], in_progress, strict=True)
    ]
    instance: Any = SimpleNamespace(global_op_concurrency_default_limit=None)
    return GlobalOpConcurrencyLimitsCounter(
        instance, theirs[split:], records, set(pools), [], slot_buffer, PoolGranularity(granularity.value), infos
    )
