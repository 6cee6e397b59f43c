"""A single-flight schedule is switched on for some ticks only, whatever happens meanwhile."""

from collections.abc import Iterator
from dataclasses import replace

import dagster as dg
import pytest
from recording import make_plan
from scripted_launches import FakeWebserverWithRealRuns, carry_out, succeeds

from bench_orchestrator.model.launch import Outcome
from bench_orchestrator.model.plan import SweepPlan, Variant
from bench_orchestrator.model.tags import Tag
from bench_orchestrator.model.workload import Schedule, Workload
from synthetic_locations.triggers import Trigger, read_request

SCHEDULED = "2026-07-14T10:30:00+00:00"
SCHEDULED_US = 1_784_025_000_000_000


@pytest.fixture
def plan() -> SweepPlan:
    """Return a plan whose only trial has the schedule tick three times."""
    made = make_plan(locations=("a10",))
    trial = replace(made.trials[0], variant="side", work=None)
    workload = Workload((Schedule("scheduled", 3, 2),))
    return replace(made, trials=(trial,), variants=(Variant("side", ("a10",), workload=workload),))


@pytest.fixture
def webserver(instance: dg.DagsterInstance) -> Iterator[FakeWebserverWithRealRuns]:
    """Yield a webserver whose schedule launches a run at every second look; it must be off in the end."""
    made = FakeWebserverWithRealRuns(instance)

    def tick() -> str:
        request = read_request(instance, "a10", Trigger.SINGLE_FLIGHT)
        assert request is not None
        assert request.asset_keys == ("a10/asset_0",)
        if len(made.ticks) % 2:
            return "SKIPPED"
        succeeds(made, {**request.tags, ".dagster/scheduled_execution_time": SCHEDULED})
        return "SUCCESS"

    made.tick = tick
    yield made
    assert not made.running_schedules
    assert read_request(instance, "a10", Trigger.SINGLE_FLIGHT) is None


def test_it_ticks_as_often_as_planned(
    instance: dg.DagsterInstance, webserver: FakeWebserverWithRealRuns, plan: SweepPlan
) -> None:
    (note,) = carry_out(instance, webserver, plan)
    assert (note.outcome, note.reason) == (Outcome.OK, "")
    assert webserver.ticks == ["SUCCESS", "SKIPPED", "SUCCESS"]
    assert [run.role for run in note.runs] == ["scheduled"] * 2


def test_its_runs_count_from_the_scheduled_time(
    instance: dg.DagsterInstance, webserver: FakeWebserverWithRealRuns, plan: SweepPlan
) -> None:
    (note,) = carry_out(instance, webserver, plan)
    assert [run.requested_us for run in note.runs] == [SCHEDULED_US] * 2
    run = instance.get_run_by_id(note.runs[0].run_id)
    assert run is not None
    assert Tag.REQUESTED_AT not in run.tags


def test_a_failed_tick_rejects_the_trial(
    instance: dg.DagsterInstance, webserver: FakeWebserverWithRealRuns, plan: SweepPlan
) -> None:
    webserver.tick = lambda: "FAILURE"
    (note,) = carry_out(instance, webserver, plan)
    assert (note.outcome, note.reason) == (Outcome.REJECTED, "the schedule single_flight of a10 failed")


def test_a_cancellation_switches_it_off(
    instance: dg.DagsterInstance, webserver: FakeWebserverWithRealRuns, plan: SweepPlan
) -> None:
    class CanceledError(BaseException): ...

    def cancel() -> str:
        raise CanceledError

    webserver.tick = cancel
    with pytest.raises(CanceledError):
        list(carry_out(instance, webserver, plan))
