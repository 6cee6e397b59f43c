"""What the scenarios' texts say of Dagster's limits is what its code does. If a release changes it, adapt them."""

from collections.abc import Mapping, Sequence
from datetime import UTC, datetime, timedelta

import dagster as dg
import pytest
from dagster._core.execution.plan.instance_concurrency_context import (
    InstanceConcurrencyContext,
    _calculate_timeout_interval,
)
from dagster._core.remote_origin import RegisteredCodeLocationOrigin, RemoteJobOrigin, RemoteRepositoryOrigin
from dagster._core.run_coordinator import QueuedRunCoordinator
from dagster._core.storage.dagster_run import RunOpConcurrency
from dagster._core.utils import make_new_run_id
from dagster._daemon.run_coordinator import QueuedRunCoordinatorDaemon

POOL = "a_pool"
TAG_LIMITS = [{"key": "team", "limit": 2}]


@pytest.fixture
def queued(instance: dg.DagsterInstance, monkeypatch: pytest.MonkeyPatch) -> dg.DagsterInstance:
    """Return an instance with a queue, two runs of a team, and a pool with two slots."""
    monkeypatch.setattr(instance, "_run_coordinator", QueuedRunCoordinator(10, TAG_LIMITS))
    instance.event_log_storage.set_concurrency_slots(POOL, 2)
    return instance


def add(instance: dg.DagsterInstance, tags: Mapping[str, str] | None = None, *, pooled: bool = True) -> dg.DagsterRun:
    """Record a run in the queue whose only step needs a slot of the pool, or of none."""
    origin = RemoteJobOrigin(RemoteRepositoryOrigin(RegisteredCodeLocationOrigin("sales"), "__repository__"), "nightly")
    needs = RunOpConcurrency(root_key_counts={POOL: 1}, has_unconstrained_root_nodes=False, all_pools={POOL})
    return instance.add_run(
        dg.DagsterRun(
            "nightly",
            make_new_run_id(),
            status=dg.DagsterRunStatus.QUEUED,
            tags=tags or {},
            remote_job_origin=origin,
            run_op_concurrency=needs if pooled else None,
        )
    )


def start(instance: dg.DagsterInstance, run: dg.DagsterRun, ago_s: float) -> None:
    """Have a run start some seconds ago, and its step claim a slot."""
    started = dg.DagsterEvent(dg.DagsterEventType.PIPELINE_START.value, run.job_name)
    instance.run_storage.handle_run_event(run.run_id, started, datetime.now(UTC) - timedelta(seconds=ago_s))
    assert instance.event_log_storage.claim_concurrency_slot(POOL, run.run_id, "step").is_claimed


def taken(instance: dg.DagsterInstance) -> Sequence[str]:
    """Return the runs that Dagster's daemon takes from the queue at its next look."""
    daemon = QueuedRunCoordinatorDaemon(interval_seconds=5)
    return [run.run_id for run in daemon._get_runs_to_dequeue(instance, instance.get_concurrency_config(), None)]


def test_a_young_run_counts_twice_so_that_a_free_slot_stays_empty(queued: dg.DagsterInstance) -> None:
    start(queued, add(queued), ago_s=1)
    add(queued)
    assert taken(queued) == []  # one of the two slots is free


def test_after_five_seconds_it_counts_once(queued: dg.DagsterInstance) -> None:
    holder, waiting = add(queued), add(queued)
    start(queued, holder, ago_s=6)
    assert taken(queued) == [waiting.run_id]


def test_a_run_behind_a_full_pool_takes_a_slot_of_its_tags_limit(queued: dg.DagsterInstance) -> None:
    queued.event_log_storage.set_concurrency_slots(POOL, 1)
    start(queued, add(queued), ago_s=6)
    for _ in range(2):
        add(queued, {"team": "one"})  # held by the pool
    free = add(queued, {"team": "one"}, pooled=False)
    assert taken(queued) == []  # although no run of the team is in progress
    untagged = add(queued, pooled=False)
    assert taken(queued) == [untagged.run_id]
    assert free.run_id not in taken(queued)


@pytest.mark.parametrize("report", ["report_run_failed", "report_run_canceled"])
def test_the_end_of_a_run_frees_no_slot_of_its_steps(queued: dg.DagsterInstance, report: str) -> None:
    holder = add(queued)
    start(queued, holder, ago_s=9)
    getattr(queued, report)(holder)
    (claimed,) = queued.event_log_storage.get_concurrency_info(POOL).claimed_slots
    assert claimed.run_id == holder.run_id
    assert queued.run_monitoring_settings.get("free_slots_after_run_end_seconds") is None


def test_a_step_asks_for_a_slot_after_growing_pauses() -> None:
    pauses_s = [_calculate_timeout_interval(None, asked) for asked in range(40)]
    assert pauses_s[:4] == pytest.approx([1, 1.1, 1.21, 1.331])
    assert pauses_s == sorted(pauses_s)
    assert pauses_s[-1] == 15


def test_meanwhile_its_process_does_not_sleep() -> None:
    with dg.instance_for_test({"concurrency": {"pools": {"granularity": "op"}}}) as instance:
        instance.event_log_storage.set_concurrency_slots(POOL, 1)
        start(instance, add(instance), ago_s=9)
        with InstanceConcurrencyContext(instance, add(instance)) as context:
            assert not context.claim(POOL, "step")
            assert context.has_pending_claims()
            assert context.interval_to_next_pending_claim_check() == 0  # seconds for which the executor sleeps
