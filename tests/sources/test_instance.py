"""Reading Dagster's storage returns what was written: journals, run logs and runs, in real instances."""

from collections.abc import Callable, Mapping
from datetime import UTC, datetime, timedelta

import dagster as dg
import pytest
from dagster._core.definitions.run_request import InstigatorType
from dagster._core.events import EngineEventData
from dagster._core.execution.backfill import BulkActionStatus, PartitionBackfill
from dagster._core.launcher import CheckRunHealthResult, WorkerStatus
from dagster._core.scheduler.instigation import TickData, TickStatus
from dagster._core.storage import tags as dagster_tags
from hypothesis import given
from hypothesis import strategies as st
from kubernetes.client.exceptions import ForbiddenException
from recording import PROCESS, broken, end_run, make_plan, make_run, measured, run_sweep, run_trial

from bench_orchestrator.model.instants import MICROSECONDS
from bench_orchestrator.model.launch import Outcome, TrialNote
from bench_orchestrator.model.runs import FINISHED, IN_PROGRESS, Request, RunStatus
from bench_orchestrator.model.stages import Origin
from bench_orchestrator.model.tags import BACKFILL_TAG, COPYING_TAGS, SCHEDULED_TIME_TAG, TICK_TAG, Tag
from bench_orchestrator.sources import storage
from bench_orchestrator.sources.instance import (
    find_request,
    find_runs,
    find_trial_runs,
    get_run,
    is_in_doubt,
    read_run_log,
    to_us,
)
from bench_orchestrator.sweeps.journal import read_journal

Status = RunStatus

NOTES = (
    TrialNote(1, Outcome.OK, run_id="4f2a", requested_us=1_784_021_400_123_457),
    TrialNote(2, Outcome.REJECTED, reason="the webserver said: “no”\nand why"),
    TrialNote(3, Outcome.TIMED_OUT, "not over 300 s after its request", "5f3b", 1),
)


def test_a_run_is_in_doubt_where_dagster_could_not_ask_for_its_worker(
    instance: dg.DagsterInstance, lose_sight_of: Callable[[dg.DagsterInstance, str], None]
) -> None:
    def in_doubt(run_id: str) -> bool:
        run = get_run(instance, run_id)
        assert run is not None
        return is_in_doubt(instance, run)

    run_id = make_run(instance, {}, Status.STARTED)
    assert not in_doubt(run_id)
    lose_sight_of(instance, run_id)
    assert in_doubt(run_id)
    ended = [run_trial(instance, make_plan(), 1), run_trial(instance, make_plan(), 1, ok=False)]
    for said in (
        WorkerStatus.FAILED,
        CheckRunHealthResult(WorkerStatus.FAILED, "K8s job failed"),
        CheckRunHealthResult(WorkerStatus.UNKNOWN, "Job dagster-run-1 could not be found"),
    ):
        message = f"Detected run worker status {said}. Marking run 1 as failed."
        ended.append(end_run(instance, make_run(instance, {}, Status.STARTED), message))
    assert not any(map(in_doubt, ended))


class TestTheJournal:
    def test_a_sweep_reads_back_the_plan_and_the_notes_that_it_recorded(self, instance: dg.DagsterInstance) -> None:
        plan = make_plan()
        journal = read_journal(instance, run_sweep(instance, plan, NOTES))
        assert journal is not None
        assert journal.plan == plan
        assert journal.notes == NOTES

    def test_it_survives_sqlite(self, home_instance: dg.DagsterInstance) -> None:
        plan = make_plan()
        journal = read_journal(home_instance, run_sweep(home_instance, plan, NOTES))
        assert journal is not None
        assert (journal.plan, journal.notes) == (plan, NOTES)

    def test_a_sweep_that_fails_keeps_what_it_recorded_until_then(self, instance: dg.DagsterInstance) -> None:
        journal = read_journal(instance, run_sweep(instance, make_plan(), NOTES[:1], RuntimeError))
        assert journal is not None
        assert journal.notes == NOTES[:1]

    def test_without_a_plan_there_is_none(self, instance: dg.DagsterInstance) -> None:
        assert read_journal(instance, run_sweep(instance, None, ending=RuntimeError)) is None

    def test_a_run_that_recorded_other_assets_has_none(self, instance: dg.DagsterInstance) -> None:
        assert read_journal(instance, dg.materialize([measured], instance=instance).run_id) is None

    def test_it_is_read_across_pages(self, instance: dg.DagsterInstance, monkeypatch: pytest.MonkeyPatch) -> None:
        run_id = run_sweep(instance, make_plan(), NOTES)
        monkeypatch.setattr(storage, "_PAGE", 1)
        journal = read_journal(instance, run_id)
        assert journal is not None
        assert journal.notes == NOTES


class TestARunsLog:
    def test_it_says_what_the_run_was_forked_from_and_which_job_it_is(self, instance: dg.DagsterInstance) -> None:
        run = instance.get_run_by_id(make_run(instance, {}))
        data: list[dict[str, str | dg.MetadataValue]] = [
            {"bench/fork_ms": dg.MetadataValue.float(6.5), "bench/template_assets": dg.MetadataValue.int(10)},
            {"Kubernetes Job name": "dagster-run-1", "Kubernetes Namespace": "bench"},
            {},
        ]
        for metadata in data:
            instance.report_engine_event("said by an engine", run, EngineEventData(metadata))
        log = read_run_log(instance, run.run_id if run else "")
        assert log.template == {"fork_ms": 6.5, "template_assets": 10}
        assert log.kubernetes_job == ("bench", "dagster-run-1")

    def test_it_has_the_events_of_the_timeline_in_order(self, instance: dg.DagsterInstance) -> None:
        result = dg.materialize([measured], instance=instance)
        log = read_run_log(instance, result.run_id)
        types = [event.type for event in log.events if event.type != "ENGINE_EVENT"]
        assert types == ["PIPELINE_START", "RESOURCE_INIT_STARTED", "STEP_START", "PIPELINE_SUCCESS"]
        assert [event.step_key for event in log.events if event.type == "STEP_START"] == ["measured"]
        assert log.failure == ""

    def test_its_instants_are_those_that_dagster_stamped(self, instance: dg.DagsterInstance) -> None:
        result = dg.materialize([measured], instance=instance)
        log = read_run_log(instance, result.run_id)
        (stamped,) = instance.get_records_for_run(result.run_id, of_type=dg.DagsterEventType.STEP_START).records
        (read,) = [event for event in log.events if event.type == "STEP_START"]
        assert read.time_us / MICROSECONDS == pytest.approx(stamped.timestamp, abs=1e-6)

    def test_it_has_what_the_asset_reported_of_its_process_and_nothing_else(self, instance: dg.DagsterInstance) -> None:
        assert read_run_log(instance, dg.materialize([measured], instance=instance).run_id).step_process == PROCESS

    def test_a_failure_is_the_innermost_cause_in_one_line(self, instance: dg.DagsterInstance) -> None:
        result = dg.materialize([broken], instance=instance, raise_on_error=False)
        assert read_run_log(instance, result.run_id).failure == "ConnectionError: no route to the warehouse"

    def test_a_refusal_of_kubernetes_is_reported_without_its_headers(self, instance: dg.DagsterInstance) -> None:
        class Answer:
            status = 403
            reason = "Forbidden"
            data = '{"kind":"Status","status":"Failure","message":"jobs.batch is forbidden","code":403}'

            def getheaders(self) -> dict[str, str]:
                return {"Cache-Control": "no-cache, private"}

        @dg.asset
        def refused() -> None:
            raise ForbiddenException(http_resp=Answer())

        result = dg.materialize([refused], instance=instance, raise_on_error=False)
        assert read_run_log(instance, result.run_id).failure == "Kubernetes answers 403: jobs.batch is forbidden"

    def test_a_run_that_failed_before_any_step_says_why(self, instance: dg.DagsterInstance) -> None:
        run_id = end_run(instance, make_run(instance, {}, Status.STARTING), "The run worker\nwas killed.")
        assert read_run_log(instance, run_id).failure == "The run worker was killed."

    def test_it_is_the_same_read_in_pages_of_one(
        self, instance: dg.DagsterInstance, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        run_id = dg.materialize([measured], instance=instance).run_id
        whole = read_run_log(instance, run_id)
        monkeypatch.setattr(storage, "_PAGE", 1)
        assert read_run_log(instance, run_id) == whole

    def test_sqlite_and_memory_say_the_same(self, home_instance: dg.DagsterInstance) -> None:
        result = dg.materialize([broken], instance=home_instance, raise_on_error=False)
        log = read_run_log(home_instance, result.run_id)
        assert log.failure == "ConnectionError: no route to the warehouse"
        assert [event.type for event in log.events][-1] == "PIPELINE_FAILURE"

    def test_a_run_without_events_has_an_empty_one(self, instance: dg.DagsterInstance) -> None:
        log = read_run_log(instance, make_run(instance, {}))
        assert (log.events, log.failure, log.step_process) == ((), "", {})


class TestFindingRuns:
    def test_an_unknown_run_is_none(self, instance: dg.DagsterInstance) -> None:
        assert get_run(instance, "00000000-0000-0000-0000-000000000000") is None

    def test_all_tags_must_match(self, instance: dg.DagsterInstance) -> None:
        wanted = make_run(instance, {Tag.KIND: "sweep", Tag.SCENARIO: "quick"})
        make_run(instance, {Tag.KIND: "sweep", Tag.SCENARIO: "monitor"})
        make_run(instance, {Tag.KIND: "trial", Tag.SCENARIO: "quick"})
        found = find_runs(instance, {Tag.KIND: "sweep", Tag.SCENARIO: "quick"})
        assert [run.run_id for run in found] == [wanted]
        assert found[0].tags[Tag.SCENARIO] == "quick"

    # A queued run names the code location that it waits for; these runs have none.
    @pytest.mark.parametrize("status", [status for status in Status if status is not Status.QUEUED])
    def test_every_status_counts_as_waiting_in_progress_or_finished(
        self, instance: dg.DagsterInstance, status: Status
    ) -> None:
        run_id = make_run(instance, {}, status)
        run = get_run(instance, run_id)
        assert run is not None
        assert run.finished is (status in (Status.SUCCESS, Status.FAILURE, Status.CANCELED))
        assert [run.run_id for run in find_runs(instance, {}, statuses=FINISHED)] == [run_id] * run.finished
        in_progress = status in (Status.STARTING, Status.STARTED, Status.CANCELING)
        assert [run.run_id for run in find_runs(instance, {}, statuses=IN_PROGRESS)] == [run_id] * in_progress

    def test_updated_after_is_exclusive_to_the_microsecond(self, home_instance: dg.DagsterInstance) -> None:
        first, second = (end_run(home_instance, make_run(home_instance, {}, Status.STARTED)) for _ in range(2))
        updated_us = {run.run_id: run.updated_us for run in find_runs(home_instance, {})}
        assert updated_us[first] < updated_us[second]
        assert [run.run_id for run in find_runs(home_instance, {}, updated_after_us=updated_us[first])] == [second]
        found = find_runs(home_instance, {}, updated_after_us=updated_us[first] - 1)
        assert [run.run_id for run in found] == [first, second]
        assert find_runs(home_instance, {}, updated_after_us=updated_us[second]) == []

    def test_the_runs_of_a_sweep_and_of_one_trial_are_found_by_tags(self, instance: dg.DagsterInstance) -> None:
        plan, other = make_plan("quick-1"), make_plan("quick-2")
        runs = [run_trial(instance, plan, number) for number in (1, 2)]
        run_trial(instance, other, 1)
        again = run_trial(instance, plan, 2)
        assert [run.run_id for run in find_trial_runs(instance, "quick-1")] == [*runs, again]
        assert [run.run_id for run in find_trial_runs(instance, "quick-1", 2)] == [runs[1], again]
        assert find_trial_runs(instance, "quick-3") == []

    @pytest.mark.parametrize("sign", sorted(COPYING_TAGS))
    def test_a_trial_that_a_user_re_executed_is_not_the_sweeps(self, instance: dg.DagsterInstance, sign: str) -> None:
        """Dagster copies the tags of the parent run, or of the parent backfill."""
        plan = make_plan()
        run_id = run_trial(instance, plan, 1)
        trial = get_run(instance, run_id)
        assert trial is not None
        copied = get_run(instance, make_run(instance, {**trial.tags, sign: "1"}))
        assert copied is not None
        assert (copied.reexecuted, copied.requested_us) == (True, None)
        assert [run.run_id for run in find_trial_runs(instance, plan.sweep_id, 1)] == [run_id]

    def test_a_run_was_created_when_it_was_created(self, home_instance: dg.DagsterInstance) -> None:
        before = datetime.now(UTC)
        run = get_run(home_instance, make_run(home_instance, {}))
        after = datetime.now(UTC)
        assert run is not None
        created = datetime(1970, 1, 1, tzinfo=UTC) + timedelta(microseconds=run.created_us)
        assert before <= created <= after


ASKED_US = 1_784_021_400_123_457
SCHEDULED = {SCHEDULED_TIME_TAG: "2026-07-14T09:30:00.123457+00:00"}


class TestWhatAskedForARun:
    def asked(self, instance: dg.DagsterInstance, tags: Mapping[str, str]) -> Request | None:
        run = get_run(instance, make_run(instance, tags))
        assert run is not None
        return find_request(instance, run)

    def tick(self, instance: dg.DagsterInstance) -> dict[str, str]:
        """Record a sensor's tick, and return the tags of its runs."""
        assert instance.schedule_storage is not None
        kind, status = InstigatorType.SENSOR, TickStatus.SUCCESS
        data = TickData("origin", "files", kind, status, ASKED_US / MICROSECONDS, [], selector_id="selector")
        tick = instance.schedule_storage.create_tick(data)
        return {TICK_TAG: str(tick.tick_id), "dagster/sensor_name": "files"}

    def backfill(self, instance: dg.DagsterInstance) -> dict[str, str]:
        """Record a backfill, and return the tags of its runs."""
        status = BulkActionStatus.REQUESTED
        instance.add_backfill(PartitionBackfill("abcdefgh", status, False, {}, ASKED_US / MICROSECONDS))
        return {BACKFILL_TAG: "abcdefgh"}

    def test_is_its_sender_a_schedule_a_tick_or_a_backfill(self, home_instance: dg.DagsterInstance) -> None:
        tick, backfill = self.tick(home_instance), self.backfill(home_instance)
        sent = {Tag.REQUESTED_AT: str(ASKED_US), SCHEDULED_TIME_TAG: "2026-07-14T09:00:00+00:00"}
        assert self.asked(home_instance, sent | tick) == Request(ASKED_US, Origin.REQUEST)
        assert self.asked(home_instance, SCHEDULED | tick) == Request(ASKED_US, Origin.SCHEDULE)
        assert self.asked(home_instance, tick | backfill) == Request(ASKED_US, Origin.SENSOR)
        assert self.asked(home_instance, backfill) == Request(ASKED_US, Origin.BACKFILL)
        assert self.asked(home_instance, {**SCHEDULED, **tick, **backfill, "dagster/parent_run_id": "1"}) is None

    @pytest.mark.parametrize(
        "tags",
        [
            {},
            {TICK_TAG: "77"},
            {BACKFILL_TAG: "gone"},
            *({Tag.REQUESTED_AT: said} for said in ("", "soon", "-5", "1.5", "٣", "9" * 400)),
            *({SCHEDULED_TIME_TAG: said} for said in ("", "soon", "2026-07-14T09:30:00", "9999-99-99")),
            *({TICK_TAG: said} for said in ("", "tick", "-1", "٣", "9" * 400)),
        ],
    )
    def test_is_unknown_where_nothing_usable_says_it(
        self, instance: dg.DagsterInstance, tags: Mapping[str, str]
    ) -> None:
        assert self.asked(instance, tags) is None

    def test_is_told_by_tags_of_dagsters(self) -> None:
        assert dagster_tags.SCHEDULED_EXECUTION_TIME_TAG == SCHEDULED_TIME_TAG
        assert (dagster_tags.TICK_ID_TAG, dagster_tags.BACKFILL_ID_TAG) == (TICK_TAG, BACKFILL_TAG)
        assert {
            dagster_tags.PARENT_RUN_ID_TAG,
            dagster_tags.ROOT_RUN_ID_TAG,
            dagster_tags.RETRY_NUMBER_TAG,
            dagster_tags.PARENT_BACKFILL_ID_TAG,
            dagster_tags.ROOT_BACKFILL_ID_TAG,
        } == COPYING_TAGS


@given(st.integers(min_value=0, max_value=4_102_444_800 * MICROSECONDS))
def test_an_instant_in_microseconds_survives_dagsters_float_seconds(instant_us: int) -> None:
    assert to_us(instant_us / MICROSECONDS) == instant_us


@given(st.datetimes(datetime(1970, 1, 1), datetime(2100, 1, 1), timezones=st.just(UTC)))
def test_an_instant_survives_the_datetimes_that_dagster_makes_of_it(moment: datetime) -> None:
    exact_us = (moment - datetime(1970, 1, 1, tzinfo=UTC)) // timedelta(microseconds=1)
    assert to_us(moment.timestamp()) == exact_us
