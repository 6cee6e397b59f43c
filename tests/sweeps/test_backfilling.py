"""A backfill of a trial's workload leaves each run its own partition, and is canceled if the trial is given up."""

import time
from dataclasses import replace

import dagster as dg
import pytest
from recording import make_plan
from scripted_launches import HASTY, FakeWebserverWithRealRuns, carry_out, opens_backfill, succeeds

from bench_orchestrator.model.launch import Outcome
from bench_orchestrator.model.plan import SweepPlan, Variant
from bench_orchestrator.model.workload import Backfill, Submit, Workload


@pytest.fixture(autouse=True)
def partitions(monkeypatch: pytest.MonkeyPatch) -> None:
    """Let the webserver know of no partitions: the daemon, which is not there, would launch a run for each."""
    monkeypatch.setattr(FakeWebserverWithRealRuns, "list_partitions", lambda *_: [])


@pytest.fixture
def plan() -> SweepPlan:
    """Return a plan whose only trial requests a backfill and a run of one partition."""
    made = make_plan(locations=("a10",))
    trial = replace(made.trials[0], variant="side", work=None, partition_key="p7")
    workload = Workload((Backfill("backfill", 1), Submit("run")))
    return replace(made, trials=(trial,), variants=(Variant("side", ("a10",), workload=workload),))


def test_only_the_run_bears_the_trials_partition(instance: dg.DagsterInstance, plan: SweepPlan) -> None:
    webserver = FakeWebserverWithRealRuns(instance, opens_backfill(succeeds), succeeds)
    (note,) = carry_out(instance, webserver, plan, sleep=webserver.sleep)
    assert note.outcome is Outcome.OK
    assert [tags.get("dagster/partition") for tags in webserver.requests] == [None, "p7"]


def test_a_backfill_that_launched_nothing_is_canceled(instance: dg.DagsterInstance, plan: SweepPlan) -> None:
    webserver = FakeWebserverWithRealRuns(instance, opens_backfill(succeeds, after_s=9_999), succeeds)
    (note,) = carry_out(instance, webserver, plan, HASTY, lambda _s: time.sleep(0.05))
    assert note.outcome is Outcome.TIMED_OUT
    assert webserver.canceled_backfills == ["backfill0"]
