"""Which sweep is harvested when."""

from collections.abc import Callable
from datetime import UTC, datetime, timedelta
from typing import Any

import dagster as dg
import pytest
import sqlalchemy as sa
from dagster._core.storage.runs import SqlRunStorage
from dagster._core.storage.runs.schema import RunsTable
from examples import fewer
from hypothesis import given
from hypothesis import strategies as st
from recording import damage_log, end_run, make_plan, make_run, other_release, run_sweep
from ticking import reason, requested, tick

from bench_orchestrator.definitions import defs
from bench_orchestrator.defs import harvest_sensor as sensor_module
from bench_orchestrator.model.instants import MICROSECONDS, now_us
from bench_orchestrator.model.launch import Outcome, TrialNote
from bench_orchestrator.model.runs import RunStatus
from bench_orchestrator.model.tags import Tag
from bench_orchestrator.sources.instance import get_run
from bench_orchestrator.sweeps.launching import trial_tags

Status = RunStatus


class TestTheSensor:
    def test_without_a_sweep_it_skips(self, instance: dg.DagsterInstance) -> None:
        assert "No sweep has finished" in reason(tick(instance))

    def test_while_a_sweep_measures_it_waits_even_with_another_to_harvest(self, instance: dg.DagsterInstance) -> None:
        run_sweep(instance, make_plan("quick-1"))

        def meanwhile(run_id: str) -> None:
            assert f"Sweep run {run_id} is in progress" in reason(tick(instance))

        run_sweep(instance, make_plan("quick-2"), meanwhile=meanwhile)

    @pytest.mark.parametrize("status", [Status.NOT_STARTED, Status.STARTING, Status.STARTED, Status.CANCELING])
    def test_a_sweep_that_has_no_plan_yet_does_not_hold_up_the_harvest_of_an_earlier_one(
        self, instance: dg.DagsterInstance, status: Status
    ) -> None:
        finished = run_sweep(instance, make_plan())
        make_run(instance, {Tag.KIND: "sweep"}, status)
        assert requested(tick(instance)).tags[Tag.HARVEST_OF] == finished

    @pytest.mark.parametrize("ending", [None, RuntimeError, KeyboardInterrupt])
    def test_however_a_sweep_ended_it_asks_for_one_harvest_of_it(
        self, instance: dg.DagsterInstance, ending: type[BaseException] | None
    ) -> None:
        run_id = run_sweep(instance, make_plan(), ending=ending)
        request = requested(tick(instance))
        assert request.tags[Tag.HARVEST_OF] == run_id
        assert request.tags[Tag.KIND] == "harvest"
        assert request.tags[Tag.SCENARIO] == "quick"
        assert request.run_config["ops"]["launch_measurements"]["config"] == {"sweep_runs": [run_id]}
        assert dg.validate_run_config(defs().resolve_job_def("harvest"), request.run_config)

    @pytest.mark.parametrize("status", [Status.STARTING, Status.STARTED, Status.NOT_STARTED])
    def test_while_the_harvest_is_under_way_it_waits(self, instance: dg.DagsterInstance, status: Status) -> None:
        run_sweep(instance, make_plan())
        make_run(instance, requested(tick(instance)).tags, status)
        assert "is in progress" in reason(tick(instance))

    def test_a_sweep_that_was_harvested_is_not_harvested_again(self, instance: dg.DagsterInstance) -> None:
        run_sweep(instance, make_plan())
        make_run(instance, requested(tick(instance)).tags, Status.SUCCESS)
        assert "Every finished sweep has been harvested" in reason(tick(instance))

    def test_a_failed_harvest_is_requested_again_with_back_off(
        self, instance: dg.DagsterInstance, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        run_sweep(instance, make_plan())
        keys: list[str | None] = []
        cursor = None
        for attempt, backoff_s in enumerate([10, 20, 40, 80, 160, 320, 600, 600]):
            result = tick(instance, cursor)
            request, cursor = requested(result), result.cursor
            keys.append(request.run_key)
            failed = get_run(instance, end_run(instance, make_run(instance, request.tags, Status.STARTED), "held"))
            assert failed is not None
            # The update's time has the precision of the database: allow a second.
            for elapsed_s in (0, backoff_s - 1):
                monkeypatch.setattr(sensor_module, "now_us", lambda at=failed.updated_us + elapsed_s * MICROSECONDS: at)
                assert f"{attempt + 1} harvests" in reason(tick(instance, cursor))
            later_us = failed.updated_us + backoff_s * MICROSECONDS
            monkeypatch.setattr(sensor_module, "now_us", lambda at=later_us: at)
        assert len(set(keys)) == len(keys)

    def test_while_trials_are_still_running_it_waits_as_long_as_one_may_take(
        self, instance: dg.DagsterInstance, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        plan = make_plan()
        make_run(instance, trial_tags(plan, plan.trials[0], now_us()), Status.STARTED)
        run_sweep(instance, plan, ending=RuntimeError)
        assert "still running" in reason(tick(instance))
        later_us = now_us() + (plan.settings["timeout_s"] + 60) * MICROSECONDS
        monkeypatch.setattr(sensor_module, "now_us", lambda: later_us)
        assert requested(tick(instance))

    def test_one_whose_worker_dagster_could_not_ask_for_is_waited_for_while_it_may_go_on(
        self,
        instance: dg.DagsterInstance,
        lose_sight_of: Callable[[dg.DagsterInstance, str], None],
        monkeypatch: pytest.MonkeyPatch,
    ) -> None:
        def meanwhile(run_id: str) -> None:
            lose_sight_of(instance, run_id)
            assert "may still be running" in reason(tick(instance))
            with monkeypatch.context() as patch:
                later_us = now_us() + 3_600 * MICROSECONDS
                patch.setattr(sensor_module, "now_us", lambda: later_us)
                assert requested(tick(instance)).tags[Tag.HARVEST_OF] == run_id

        run_id = run_sweep(instance, make_plan(), meanwhile=meanwhile)
        assert requested(tick(instance)).tags[Tag.HARVEST_OF] == run_id

    def test_one_that_went_on_after_it_was_harvested_is_harvested_again(self, instance: dg.DagsterInstance) -> None:
        early: list[dg.RunRequest] = []

        def meanwhile(run_id: str) -> None:
            end_run(instance, run_id, "taken for dead")
            early.append(requested(tick(instance)))
            make_run(instance, early[0].tags, Status.SUCCESS)
            assert "Every finished sweep has been harvested" in reason(tick(instance))

        run_sweep(instance, make_plan(), meanwhile=meanwhile)
        late = requested(tick(instance))
        assert late.tags[Tag.HARVEST_OF] == early[0].tags[Tag.HARVEST_OF]
        assert late.run_key != early[0].run_key
        make_run(instance, late.tags, Status.SUCCESS)
        assert "Every finished sweep has been harvested" in reason(tick(instance))

    def test_a_sweep_that_failed_in_preflight_is_passed_over(self, instance: dg.DagsterInstance) -> None:
        run_sweep(instance, None, ending=RuntimeError)
        assert "Every finished sweep" in reason(tick(instance))
        second = run_sweep(instance, make_plan())
        assert requested(tick(instance)).tags[Tag.HARVEST_OF] == second

    def test_one_that_must_wait_does_not_hold_up_the_next(
        self, instance: dg.DagsterInstance, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        run_sweep(instance, make_plan("quick-1"))
        first = tick(instance)
        end_run(instance, make_run(instance, requested(first).tags, Status.STARTED), "held")
        second = run_sweep(instance, make_plan("quick-2"))
        result = tick(instance, first.cursor)
        assert requested(result).tags[Tag.HARVEST_OF] == second
        make_run(instance, requested(result).tags, Status.SUCCESS)
        later_us = now_us() + 3_600 * MICROSECONDS
        monkeypatch.setattr(sensor_module, "now_us", lambda: later_us)
        assert requested(tick(instance, result.cursor)).tags == requested(first).tags

    def test_one_that_cannot_be_read_does_not_hold_up_the_next(self, instance: dg.DagsterInstance) -> None:
        first = run_sweep(instance, other_release(make_plan("quick-1")))
        second = run_sweep(instance, make_plan("quick-2"))
        make_run(instance, requested(result := tick(instance)).tags, Status.SUCCESS)
        assert requested(result).tags[Tag.HARVEST_OF] == first
        assert requested(tick(instance, result.cursor)).tags[Tag.HARVEST_OF] == second

    def test_one_whose_log_is_damaged_does_not_hold_up_the_next(self, instance: dg.DagsterInstance) -> None:
        first = run_sweep(instance, make_plan("quick-1"), ending=RuntimeError)
        second = run_sweep(instance, make_plan("quick-2"))
        damage_log(instance, first)
        make_run(instance, requested(tick(instance)).tags, Status.SUCCESS)
        assert requested(tick(instance)).tags[Tag.HARVEST_OF] == second

    @pytest.mark.parametrize("deleted", range(3))
    def test_if_a_harvest_is_deleted_the_next_ones_key_is_that_of_no_other(
        self, instance: dg.DagsterInstance, monkeypatch: pytest.MonkeyPatch, deleted: int
    ) -> None:
        run_sweep(instance, make_plan())
        keys: dict[str, str | None] = {}
        for attempt in range(3):
            monkeypatch.setattr(sensor_module, "now_us", lambda hours=attempt: now_us() + hours * 3_600 * MICROSECONDS)
            request = requested(tick(instance))
            keys[end_run(instance, make_run(instance, request.tags, Status.STARTED), "held")] = request.run_key
        monkeypatch.setattr(sensor_module, "now_us", lambda: now_us() + 9 * 3_600 * MICROSECONDS)
        gone = list(keys)[deleted]
        instance.delete_run(gone)
        del keys[gone]
        assert requested(tick(instance)).run_key not in keys.values()

    def test_a_tick_reads_one_event_of_a_log_at_most(
        self, instance: dg.DagsterInstance, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        read: list[int | None] = []
        whole = instance.get_records_for_run

        def get_records_for_run(*args: Any, **kwargs: Any) -> Any:
            read.append(kwargs.get("limit"))
            return whole(*args, **kwargs)

        def meanwhile(_: str) -> None:
            monkeypatch.setattr(instance, "get_records_for_run", get_records_for_run)
            tick(instance)
            monkeypatch.undo()

        notes = [TrialNote(number, Outcome.OK, run_id="4f2a") for number in range(1, 4)]
        run_sweep(instance, make_plan(), notes, meanwhile=meanwhile)
        assert read == [1]

    @pytest.mark.parametrize("cursor", ["[]", "nonsense", '{"after": 1}', "9" * 5_000, "0"], ids=lambda text: text[:9])
    def test_a_cursor_that_cannot_be_read_is_a_beginning(self, instance: dg.DagsterInstance, cursor: str) -> None:
        run_id = run_sweep(instance, make_plan())
        assert requested(tick(instance, cursor)).tags[Tag.HARVEST_OF] == run_id

    def test_deleted_runs_and_an_earlier_releases_cursor_bring_back_no_harvest_of_long_ago(
        self, instance: dg.DagsterInstance
    ) -> None:
        first, second = (run_sweep(instance, make_plan(f"quick-{number}")) for number in (1, 2))
        stamp_update(instance, first, -10_000)
        cursor = None
        for run_id in (first, second):
            result = tick(instance, cursor)
            assert requested(result).tags[Tag.HARVEST_OF] == run_id
            harvest = make_run(instance, requested(result).tags, Status.SUCCESS)
            cursor = tick(instance, result.cursor).cursor if run_id == second else result.cursor
        assert "Every finished sweep" in reason(tick(instance, str(now_us())))
        instance.delete_run(harvest)
        instance.delete_run(second)
        third = run_sweep(instance, make_plan("quick-3"))
        for run in instance.get_runs(dg.RunsFilter(tags={Tag.KIND: "harvest"})):
            instance.delete_run(run.run_id)
        for earlier in (cursor, str(now_us())):
            result = tick(instance, earlier)
            assert requested(result).tags[Tag.HARVEST_OF] == third
            done = make_run(instance, requested(result).tags, Status.SUCCESS)
            assert "Every finished sweep" in reason(tick(instance, result.cursor))
            instance.delete_run(done)

    @fewer(6)
    @given(batches=st.lists(st.lists(st.integers(-100_000, 100_000), max_size=2), min_size=1, max_size=3))
    def test_every_sweep_is_harvested_exactly_once_whatever_the_clocks_and_the_earliest_end_first(
        self, batches: list[list[int]]
    ) -> None:
        finished: list[str] = []
        harvested: list[str] = []
        cursor = None
        with dg.DagsterInstance.ephemeral() as instance:
            for batch in batches:
                ended = {run_sweep(instance, make_plan(f"quick-{len(finished)}-{n}")): n for n in range(len(batch))}
                for run_id, number in ended.items():
                    stamp_update(instance, run_id, batch[number])
                finished += sorted(ended, key=lambda run_id: batch[ended[run_id]])
                while (result := tick(instance, cursor)).run_requests:
                    cursor = result.cursor
                    harvested.append(requested(result).tags[Tag.HARVEST_OF])
                    make_run(instance, requested(result).tags, Status.SUCCESS)
                    assert len(harvested) <= len(finished)
                cursor = result.cursor
        assert harvested == finished


def stamp_update(instance: dg.DagsterInstance, run_id: str, skew_s: int) -> None:
    """Set a run's last update as a process whose clock is off by that many seconds does."""
    storage = instance.run_storage
    assert isinstance(storage, SqlRunStorage)
    moment = datetime.now(UTC).replace(tzinfo=None) + timedelta(seconds=skew_s)
    with storage.connect() as connection:
        connection.execute(sa.update(RunsTable).where(RunsTable.c.run_id == run_id).values(update_timestamp=moment))
