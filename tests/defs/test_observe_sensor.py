"""When an observation is asked for."""

from pathlib import Path

import dagster as dg
import pytest
from finished_runs import NOON_US, add_run
from recording import end_run, make_plan, make_run, run_sweep
from ticking import reason, requested

from bench_orchestrator.definitions import defs
from bench_orchestrator.defs import observe_sensor as sensor_module
from bench_orchestrator.defs.observe import observe_into
from bench_orchestrator.defs.observe_sensor import Asked, observe_sensor
from bench_orchestrator.defs.resources import ResultsResource
from bench_orchestrator.model.instants import MICROSECONDS, now_us
from bench_orchestrator.model.observed import Selection
from bench_orchestrator.model.runs import RunStatus
from bench_orchestrator.model.tags import OBSERVATION, Tag
from bench_orchestrator.results.database import StoreError
from bench_orchestrator.results.store import Store
from bench_orchestrator.sources.instance import get_run

Status = RunStatus


@pytest.fixture
def store(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Store:
    """Return the results database that ticks read."""
    monkeypatch.setenv("BENCH_RESULTS_DIR", str(tmp_path))
    monkeypatch.delenv("BENCH_OBSERVED_LOCATIONS", raising=False)
    return Store.in_directory(tmp_path)


def tick(instance: dg.DagsterInstance, cursor: str | None = None) -> dg.SensorResult:
    """Evaluate the sensor once; a skip is a result without requests."""
    context = dg.build_sensor_context(instance=instance, cursor=cursor, resources={"results": ResultsResource()})
    answer = observe_sensor(context)
    if isinstance(answer, dg.SkipReason):
        return dg.SensorResult(skip_reason=answer, cursor=cursor)
    assert isinstance(answer, dg.SensorResult)
    return answer


def start(instance: dg.DagsterInstance, request: dg.RunRequest, status: RunStatus = Status.STARTED) -> str:
    """Record the run that a tick has asked for."""
    return make_run(instance, {Tag.KIND: OBSERVATION, **request.tags}, status)


def test_it_is_off_until_it_is_switched_on_and_says_that_it_launches_nothing() -> None:
    assert observe_sensor.default_status is dg.DefaultSensorStatus.STOPPED
    assert "Launches nothing but a run of `observe`" in (observe_sensor.description or "")


def test_without_a_run_it_skips(instance: dg.DagsterInstance, store: Store) -> None:
    make_run(instance, {}, Status.STARTED)
    assert "Every finished run is observed" in reason(tick(instance))
    assert not store.path.exists()


@pytest.mark.usefixtures("store")
def test_it_asks_for_one_observation_that_its_job_accepts(instance: dg.DagsterInstance) -> None:
    add_run(instance)
    request = requested(result := tick(instance))
    assert request.tags == {Tag.OBSERVATION: Asked.parse(result.cursor).name}
    assert dg.validate_run_config(defs().resolve_job_def("observe"), request.run_config)


def test_what_is_observed_left_out_or_an_observation_is_no_reason(instance: dg.DagsterInstance, store: Store) -> None:
    add_run(instance)
    observe_into(store, instance, Selection(), 60)
    add_run(instance, NOON_US + 1, tags={Tag.KIND: "trial"})
    add_run(instance, NOON_US + 2, tags={Tag.KIND: OBSERVATION})
    assert "Every finished run is observed" in reason(tick(instance))
    add_run(instance, NOON_US - 1)
    assert requested(tick(instance))


@pytest.mark.usefixtures("store")
def test_many_runs_that_are_left_out_are_looked_at_by_an_observation(
    instance: dg.DagsterInstance, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("bench_orchestrator.sources.observing.AT_ONCE", 2)
    monkeypatch.setenv("BENCH_OBSERVED_LOCATIONS", "*, sales=0")
    add_run(instance, NOON_US)
    assert reason(tick(instance))
    add_run(instance, NOON_US + 1)
    assert requested(tick(instance))


@pytest.mark.usefixtures("store")
@pytest.mark.parametrize("status", [Status.NOT_STARTED, Status.STARTING, Status.STARTED, Status.CANCELING])
def test_while_one_is_in_progress_it_waits(instance: dg.DagsterInstance, status: Status) -> None:
    add_run(instance)
    result = tick(instance)
    run_id = start(instance, requested(result), status)
    assert reason(tick(instance, result.cursor)) == f"The observation by run {run_id} is in progress."


@pytest.mark.usefixtures("store")
def test_one_that_never_became_a_run_or_that_has_succeeded_is_followed_by_another(instance: dg.DagsterInstance) -> None:
    add_run(instance)
    first = tick(instance)
    second = tick(instance, first.cursor)
    start(instance, requested(second), Status.SUCCESS)
    third = tick(instance, second.cursor)
    assert len({first.cursor, second.cursor, third.cursor}) == 3
    assert requested(third)


@pytest.mark.usefixtures("store")
def test_one_that_failed_is_asked_for_again_with_growing_pauses(
    instance: dg.DagsterInstance, monkeypatch: pytest.MonkeyPatch
) -> None:
    add_run(instance)
    result = tick(instance)
    for failures, pause_s in enumerate([10, 20, 40], start=1):
        failed = get_run(instance, end_run(instance, start(instance, requested(result)), "held"))
        assert failed is not None
        for elapsed_s in (0, pause_s - 1):
            monkeypatch.setattr(sensor_module, "now_us", lambda at=failed.updated_us + elapsed_s * MICROSECONDS: at)
            assert f"{failures} observations have failed" in reason(tick(instance, result.cursor))
        later_us = failed.updated_us + pause_s * MICROSECONDS
        monkeypatch.setattr(sensor_module, "now_us", lambda at=later_us: at)
        result = tick(instance, result.cursor)
        assert Asked.parse(result.cursor).failures == failures
    start(instance, requested(result), Status.SUCCESS)
    assert Asked.parse(tick(instance, result.cursor).cursor).failures == 0


@pytest.mark.usefixtures("store")
def test_one_whose_process_died_unseen_is_ended(instance: dg.DagsterInstance, monkeypatch: pytest.MonkeyPatch) -> None:
    add_run(instance)
    result = tick(instance)
    run_id = start(instance, requested(result))
    later_us = now_us() + 3_600 * MICROSECONDS
    monkeypatch.setattr(sensor_module, "now_us", lambda: later_us)
    tick(instance, result.cursor)
    ended = get_run(instance, run_id)
    assert ended is not None
    assert ended.status is Status.FAILURE


@pytest.mark.usefixtures("store")
def test_while_a_sweep_measures_it_waits(instance: dg.DagsterInstance) -> None:
    add_run(instance)

    def meanwhile(run_id: str) -> None:
        assert f"Sweep run {run_id} is in progress" in reason(tick(instance))

    run_sweep(instance, make_plan(), meanwhile=meanwhile)
    assert requested(tick(instance))


@pytest.mark.usefixtures("store")
def test_while_the_results_database_is_held_it_waits(
    instance: dg.DagsterInstance, monkeypatch: pytest.MonkeyPatch
) -> None:
    def refuse(store: Store, _: str) -> None:
        assert store.lock_wait_s == 2
        raise StoreError("another process has held it")

    add_run(instance)
    monkeypatch.setattr(Store, "observation_progress", refuse)
    assert reason(tick(instance)) == "another process has held it"


@pytest.mark.usefixtures("store")
@pytest.mark.parametrize(
    "cursor", ["", "nonsense", "4f2a x", f"4f2a {'9' * 5_000}", " 1", "1"], ids=lambda text: text[:9]
)
def test_a_cursor_that_cannot_be_read_is_a_beginning(instance: dg.DagsterInstance, cursor: str) -> None:
    assert Asked.parse(cursor) in (Asked(), Asked("", 1))
    add_run(instance)
    assert requested(tick(instance, cursor))
    asked = Asked("4f2a", 3)
    assert Asked.parse(str(asked)) == asked
