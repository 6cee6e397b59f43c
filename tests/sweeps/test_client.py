"""A sweep seen from outside: its progress and its rows, from a real webserver with real runs."""

from collections.abc import Callable, Mapping, Sequence
from dataclasses import replace
from typing import Any

import dagster as dg
import pytest
from dagster._core.events import EngineEventData
from dagster_shared.error import SerializableErrorInfo
from recording import (
    Served,
    end_run,
    in_milliseconds,
    make_plan,
    make_run,
    other_release,
    record_sweep,
    run_sweep,
    run_trial,
)

from bench_orchestrator.model.errors import UnusableError
from bench_orchestrator.model.launch import Outcome, TrialNote
from bench_orchestrator.model.runs import RunEvent, RunLog, RunStatus
from bench_orchestrator.model.tags import MEASUREMENTS_ASSET, META_LOCATION, Tag
from bench_orchestrator.sources.instance import find_runs, read_run_log, run_event
from bench_orchestrator.sweeps import client
from bench_orchestrator.sweeps.client import (
    RemoteRuns,
    cancel_sweep,
    fetch_sweep,
    follow,
    start_sweep,
    sweep_in_the_way,
)
from bench_orchestrator.sweeps.deriving import derive_sweep
from bench_orchestrator.sweeps.entries import JournalError
from bench_orchestrator.sweeps.harvest import StoredRuns, harvest_sweep
from bench_orchestrator.timeline.run_log import fold
from bench_orchestrator.webserver import (
    LaunchRejectedError,
    LocationAwayError,
    LocationEntry,
    Webserver,
    WebserverError,
    WebserverUnreachableError,
)

NOTES = (TrialNote(1, Outcome.OK, run_id="4f2a"), TrialNote(2, Outcome.REJECTED, reason="no"))


@pytest.fixture
def webserver(served: Served, monkeypatch: pytest.MonkeyPatch) -> Webserver:
    monkeypatch.setattr(client, "_POLL_S", 0.05)
    return Webserver(served.url)


def harvest_run(instance: dg.DagsterInstance, sweep_run_id: str, *, ok: bool = True) -> str:
    """Record a run that harvested a sweep, or failed to; return its id."""

    @dg.asset(name=MEASUREMENTS_ASSET)
    def measurements() -> dg.MaterializeResult:  # type: ignore[type-arg]
        if not ok:
            raise RuntimeError("the results database is held")
        return dg.MaterializeResult(metadata={"launches": 4})

    tags: dict[str, str] = {Tag.KIND: "harvest", Tag.HARVEST_OF: sweep_run_id}
    return dg.materialize([measurements], instance=instance, tags=tags, raise_on_error=False).run_id


class InMilliseconds(StoredRuns):
    """The runs of an instance with the times that GraphQL has."""

    def __init__(self, instance: dg.DagsterInstance) -> None:
        super().__init__(instance, resolution_us=1_000)

    def read_run_logs(self, run_ids: Sequence[str]) -> dict[str, RunLog]:
        return {run_id: fold(map(self._truncated, self.instance.all_logs(run_id))) for run_id in run_ids}

    def _truncated(self, entry: dg.EventLogEntry) -> RunEvent:
        return replace(run_event(entry), time_us=in_milliseconds(entry.timestamp))


class Restarting(Webserver):
    """A webserver that is unreachable at every other request."""

    def query(self, document: str, variables: Mapping[str, Any] | None = None) -> Any:
        self.asked = getattr(self, "asked", 0) + 1
        if self.asked % 2:
            raise WebserverUnreachableError("it restarts")
        return super().query(document, variables)


class Starting(Webserver):
    """A webserver with the meta location, whose answers to a launch follow a script; the last one repeats."""

    def __init__(self, served: Served, *answers: str | WebserverError, states: Sequence[str] = ()) -> None:
        super().__init__(served.url)
        self.instance = served.instance
        self.answers = list(answers)
        self.states = list(states)
        self.sent: list[Mapping[str, str]] = []

    def list_locations(self) -> dict[str, LocationEntry]:
        state, _, error = (self.states.pop(0) if self.states else "loaded").partition(": ")
        return {META_LOCATION: LocationEntry(META_LOCATION, state, ("__repository__",), error)}

    def submit(self, *, tags: Mapping[str, str], **_launch: Any) -> str:
        self.sent.append(tags)
        answer = self.answers.pop(0) if len(self.answers) > 1 else self.answers[0]
        if isinstance(answer, WebserverError):
            raise answer
        made = [make_run(self.instance, tags) for _ in range(answer.count("made"))]
        if "lost" in answer:
            raise WebserverUnreachableError("HTTP 504")
        return made[-1]

    @property
    def made(self) -> list[str]:
        (tags,) = {tuple(tags.items()) for tags in self.sent}
        return [run.run_id for run in find_runs(self.instance, dict(tags))]


AWAY = WebserverUnreachableError("The webserver does not answer.")
NO_SERVER = LocationAwayError("The code location had no code server")


class TestStarting:
    @pytest.mark.parametrize(
        ("answers", "states", "said"),
        [
            (["made"], [], []),
            ([AWAY, AWAY, "made"], [], ["The webserver does not answer. (trying again for up to 120 s)"]),
            ([NO_SERVER, "made"], [], ["The code location had no code server (trying again for up to 120 s)"]),
            (["made"], ["loading", "error: UNAVAILABLE: connection refused"], [r"has no code server yet"]),
            (["made, and lost"], [], ["HTTP 504"]),
        ],
    )
    def test_what_is_away_for_a_while_is_waited_for_and_one_run_is_made(
        self, served: Served, webserver: Webserver, answers: list[Any], states: list[str], said: list[str]
    ) -> None:
        assert webserver.url == served.url
        starting, lines = Starting(served, *answers, states=states), list[str]()
        run_id = start_sweep(starting, "quick", {}, lines.append)
        assert starting.made == [run_id]
        assert len(lines) == len(said)
        assert all(expected in line for expected, line in zip(said, lines, strict=True))

    def test_of_a_late_run_and_that_of_the_second_request_the_first_is_the_sweep(
        self, served: Served, webserver: Webserver
    ) -> None:
        assert webserver.url == served.url
        starting = Starting(served, "lost", "made late, and made")
        assert start_sweep(starting, "quick", {}) == starting.made[0]
        assert len(starting.made) == 2

    @pytest.mark.usefixtures("webserver")
    def test_a_run_that_its_webserver_created_and_did_not_launch_is_canceled_and_made_again(
        self, served: Served, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        class Killed(Starting):
            def submit(self, *, tags: Mapping[str, str], **_launch: Any) -> str:
                self.sent.append(tags)
                if len(self.sent) == 1:
                    make_run(self.instance, tags, RunStatus.NOT_STARTED)
                    raise WebserverUnreachableError("HTTP 504")
                return make_run(self.instance, tags)

        monkeypatch.setattr(client, "_CREATION_S", 0.1)
        starting = Killed(served)
        run_id = start_sweep(starting, "quick", {})
        dead, living = starting.made
        assert run_id == living
        run = served.instance.get_run_by_id(dead)
        assert run is not None
        assert run.status is dg.DagsterRunStatus.CANCELED

    @pytest.mark.usefixtures("webserver")
    def test_a_refusal_is_final(self, served: Served) -> None:
        starting = Starting(served, LaunchRejectedError("no such job"))
        with pytest.raises(WebserverError, match=f"{META_LOCATION} refused the job .*: no such job"):
            start_sweep(starting, "quick", {})
        with pytest.raises(WebserverError, match=r"no usable code location .*: ImportError: no such luck"):
            start_sweep(Starting(served, "made", states=["error: ImportError: no such luck"]), "quick", {})
        assert len(starting.sent) == 1

    @pytest.mark.usefixtures("webserver")
    @pytest.mark.parametrize("trouble", [AWAY, NO_SERVER])
    def test_its_patience_is_limited(
        self, served: Served, monkeypatch: pytest.MonkeyPatch, trouble: WebserverError
    ) -> None:
        monkeypatch.setattr(client, "_PATIENCE_S", 0.1)
        with pytest.raises(type(trouble), match=str(trouble)):
            start_sweep(Starting(served, trouble), "quick", {})


class Terminating(Restarting):
    terminated = 0

    def terminate(self, run_id: str) -> None:
        super().query("{ version }")
        self.terminated += 1
        raise WebserverError(f"{run_id} is over")


def test_a_webserver_that_restarts_cancels_the_sweep_later(webserver: Webserver) -> None:
    restarting = Terminating(webserver.url)
    cancel_sweep(restarting, "4f2a")
    assert restarting.terminated == 1


class TestADeletedSweep:
    def test_it_ends_the_following_with_a_line(self, served: Served, webserver: Webserver) -> None:
        run_id = make_run(served.instance, {}, RunStatus.STARTED)
        progress = follow(webserver, run_id)
        assert not next(progress).finished
        served.instance.delete_run(run_id)
        with pytest.raises(WebserverError, match=f"^{webserver.url} does not know the run {run_id}: .*$"):
            next(progress)

    def test_it_cannot_be_fetched(self, served: Served, webserver: Webserver) -> None:
        run_id = record_sweep(served.instance, make_plan("deleted"))
        harvest_run(served.instance, run_id)
        served.instance.delete_run(run_id)
        with pytest.raises(UnusableError, match=f"^The deployment has no run {run_id}"):
            fetch_sweep(webserver, run_id, timeout_s=60)

    def test_without_the_first_run_of_a_resumed_one_its_own_notes_remain(
        self, served: Served, webserver: Webserver
    ) -> None:
        plan = make_plan("half-deleted")
        first = run_sweep(served.instance, plan, [TrialNote(1, Outcome.REJECTED, reason="first")], RuntimeError)
        second = run_sweep(
            served.instance, replace(plan, resumes=first), [TrialNote(2, Outcome.REJECTED, reason="second")]
        )
        harvest_run(served.instance, second)
        served.instance.delete_run(first)
        assert fetch_sweep(webserver, second, timeout_s=60) == harvest_sweep(served.instance, second)


class TestFollowing:
    def test_a_finished_sweep_is_reported_with_its_plan_and_a_line_per_trial(
        self, served: Served, webserver: Webserver
    ) -> None:
        plan = make_plan()
        *_, last = follow(webserver, run_sweep(served.instance, plan, NOTES))
        assert (last.status, last.planned, last.failure) == ("SUCCESS", len(plan.trials), "")
        assert last.lines == ["trial 1: ok", "trial 2: rejected"]
        assert last.finished

    def test_a_failure_is_reported_with_its_message(self, served: Served, webserver: Webserver) -> None:
        *_, last = follow(webserver, run_sweep(served.instance, make_plan(), NOTES[:1], RuntimeError))
        assert (last.status, last.lines) == ("FAILURE", ["trial 1: ok"])
        assert last.failure == "RuntimeError: for the test"

    def test_a_code_server_that_was_away_for_its_launch_is_told_from_all_else(
        self, served: Served, webserver: Webserver
    ) -> None:
        def fail(run_id: str, because: str) -> bool:
            run = served.instance.get_run_by_id(run_id)
            assert run is not None
            error = SerializableErrorInfo(because, [], "DagsterUserCodeUnreachableError")
            served.instance.report_engine_event("Not launched.", run, EngineEventData.engine_error(error))
            served.instance.report_run_failed(run)
            *_, last = follow(webserver, run_id)
            return last.was_unlaunchable

        away = "dagster._core.errors.DagsterUserCodeUnreachableError: Could not reach user code server"
        assert fail(make_run(served.instance, {}), away)
        assert not fail(make_run(served.instance, {}), "no such image")

        class LaterError(RuntimeError):
            def __str__(self) -> str:
                return away

        *_, begun = follow(webserver, run_sweep(served.instance, make_plan(), ending=LaterError))
        assert "Could not reach" in begun.failure
        assert not begun.was_unlaunchable

    def test_without_a_plan_there_is_no_number_of_trials(self, served: Served, webserver: Webserver) -> None:
        *_, last = follow(webserver, run_sweep(served.instance, None, ending=RuntimeError))
        assert last.planned is None

    def test_one_whose_worker_dagster_could_not_ask_for_is_followed_to_its_end(
        self, served: Served, webserver: Webserver, lose_sight_of: Callable[[dg.DagsterInstance, str], None]
    ) -> None:
        following = []

        def meanwhile(run_id: str) -> None:
            lose_sight_of(served.instance, run_id)
            following.append(follow(webserver, run_id))
            assert [next(following[0]).status for _ in range(3)] == ["FAILURE"] * 3

        run_sweep(served.instance, make_plan("doubtful"), NOTES, meanwhile=meanwhile)
        *_, last = following[0]
        assert last.status == "SUCCESS"
        assert last.lines[-1].endswith("considers it dead; it may continue.")

    def test_its_eventual_failure_is_reported(
        self, served: Served, webserver: Webserver, lose_sight_of: Callable[[dg.DagsterInstance, str], None]
    ) -> None:
        run_id = run_sweep(
            served.instance,
            make_plan("failed-after-all"),
            ending=RuntimeError,
            meanwhile=lambda run_id: lose_sight_of(served.instance, run_id),
        )
        *_, last = follow(webserver, run_id)
        assert (last.status, last.failure) == ("FAILURE", "RuntimeError: for the test")
        assert read_run_log(served.instance, run_id).failure == last.failure

    def test_one_that_stays_in_doubt_is_followed_until_it_is_harvested(
        self, served: Served, webserver: Webserver, lose_sight_of: Callable[[dg.DagsterInstance, str], None]
    ) -> None:
        def meanwhile(run_id: str) -> None:
            lose_sight_of(served.instance, run_id)
            progress = follow(webserver, run_id)
            assert next(progress).finished
            harvest_run(served.instance, run_id)
            assert list(progress) == []

        run_sweep(served.instance, make_plan("dead"), NOTES, meanwhile=meanwhile)

    def test_one_that_is_under_way_is_looked_at_again(self, served: Served, webserver: Webserver) -> None:
        run_id = make_run(served.instance, {}, RunStatus.STARTED)
        progress = follow(webserver, run_id)
        assert [next(progress).status for _ in range(3)] == ["STARTED"] * 3
        run = served.instance.get_run_by_id(run_id)
        assert run is not None
        served.instance.report_run_canceled(run)
        assert [update.status for update in progress][-1] == "CANCELED"

    def test_a_webserver_that_restarts_is_waited_for(
        self, served: Served, webserver: Webserver, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        run_id = record_sweep(served.instance, make_plan("restarted"))
        harvest_run(served.instance, run_id)
        restarting = Restarting(webserver.url)
        *_, last = follow(restarting, run_id)
        assert last.finished
        assert sweep_in_the_way(restarting, run_id) is None
        assert fetch_sweep(restarting, run_id, timeout_s=60) == derive_sweep(InMilliseconds(served.instance), run_id)
        monkeypatch.setattr(client, "_PATIENCE_S", 0)
        with pytest.raises(WebserverUnreachableError):
            fetch_sweep(restarting, run_id, timeout_s=60)


class TestFetching:
    def test_the_rows_are_those_of_the_harvest_to_the_millisecond(self, served: Served, webserver: Webserver) -> None:
        run_id = record_sweep(served.instance, make_plan("fetched"))
        harvest_run(served.instance, run_id, ok=False)
        harvest_run(served.instance, run_id)
        fetched = fetch_sweep(webserver, run_id, timeout_s=60)
        assert fetched == derive_sweep(InMilliseconds(served.instance), run_id)
        exact = harvest_sweep(served.instance, run_id)
        assert exact is not None
        assert [trial.outcome for trial in fetched.trials] == [Outcome.OK] * 4
        for over_graphql, trial in zip(fetched.trials, exact.trials, strict=True):
            assert len(over_graphql.launch.warnings) == len(trial.launch.warnings)
            assert abs((over_graphql.launch.lag_us or 0) - (trial.launch.lag_us or 0)) < 2_000

    def test_runs_of_a_deployment_that_is_gone_are_those_of_the_journal(
        self, served: Served, webserver: Webserver
    ) -> None:
        plan = make_plan("gone")
        here = run_trial(served.instance, plan, 1)
        log = read_run_log(served.instance, here)
        notes = [
            TrialNote(1, Outcome.OK, run_id="gone", requested_us=log.events[0].time_us, log=log),
            TrialNote(2, Outcome.REJECTED, reason="no"),
        ]
        run_id = run_sweep(served.instance, plan, notes)
        harvest_run(served.instance, run_id)
        assert fetch_sweep(webserver, run_id, timeout_s=60) == harvest_sweep(served.instance, run_id)

    def test_a_resumed_sweep_has_the_notes_of_both(self, served: Served, webserver: Webserver) -> None:
        plan = make_plan("resumed")
        first = run_sweep(served.instance, plan, [TrialNote(1, Outcome.REJECTED, reason="first")], RuntimeError)
        second = run_sweep(
            served.instance, replace(plan, resumes=first), [TrialNote(2, Outcome.REJECTED, reason="second")]
        )
        harvest_run(served.instance, second)
        fetched = fetch_sweep(webserver, second, timeout_s=60)
        assert [trial.reason for trial in fetched.trials][:2] == ["first", "second"]
        assert fetched == harvest_sweep(served.instance, second)

    def test_one_that_is_not_harvested_in_time_is_derived_and_says_where_to_look(
        self, served: Served, webserver: Webserver
    ) -> None:
        run_id = record_sweep(served.instance, make_plan("unharvested"))
        said: list[str] = []
        expected = derive_sweep(InMilliseconds(served.instance), run_id)
        assert fetch_sweep(webserver, run_id, 0.2, said.append) == expected
        failed = harvest_run(served.instance, run_id, ok=False)
        assert fetch_sweep(webserver, run_id, 0.2, said.append) == expected
        switched_off, refused = said
        assert "`harvest_sensor` switched on" in switched_off
        assert f"/runs/{failed} shows why its harvest failed" in refused

    def test_while_another_sweep_is_under_way_it_waits_as_long_as_that_takes(
        self, served: Served, webserver: Webserver, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        run_id = run_sweep(served.instance, make_plan("followed-by-another"))
        other = make_run(served.instance, {Tag.KIND: "sweep"}, RunStatus.STARTED)
        looks: list[str | None] = []
        find = client.sweep_in_the_way

        def look(webserver: Webserver, own_run_id: str) -> str | None:
            looks.append(find(webserver, own_run_id))
            if len(looks) == 3:
                end_run(served.instance, other)
            elif len(looks) == 4:
                harvest_run(served.instance, run_id)
            return looks[-1]

        monkeypatch.setattr(client, "sweep_in_the_way", look)
        said: list[str] = []
        assert fetch_sweep(webserver, run_id, 0.2, said.append) == harvest_sweep(served.instance, run_id)
        assert looks == [other, other, other, None]
        assert said == [f"Waiting for the sweep of run {other} to end; this one is harvested after it."]

    def test_one_whose_journal_cannot_be_read_is_refused_with_its_run(
        self, served: Served, webserver: Webserver
    ) -> None:
        run_id = run_sweep(served.instance, other_release(make_plan("foreign")))
        harvest_run(served.instance, run_id)
        with pytest.raises(JournalError, match=f"The journal of sweep run {run_id} cannot be read"):
            fetch_sweep(webserver, run_id, timeout_s=60)


def test_a_trial_that_a_user_re_executed_is_not_the_sweeps(served: Served, webserver: Webserver) -> None:
    tags: dict[str, str] = {Tag.KIND: "trial", Tag.SWEEP: "copied-1", Tag.TRIAL: "1"}
    run_id = make_run(served.instance, tags)
    make_run(served.instance, {**tags, "dagster/parent_run_id": run_id})
    assert [run.run_id for run in RemoteRuns(webserver).find_trial_runs("copied-1")] == [run_id]


def test_another_sweep_that_is_under_way_is_in_the_way(served: Served, webserver: Webserver) -> None:
    assert sweep_in_the_way(webserver, "own") is None
    other = make_run(served.instance, {Tag.KIND: "sweep"}, RunStatus.STARTED)
    try:
        assert sweep_in_the_way(webserver, "own") == other
        assert sweep_in_the_way(webserver, other) is None
    finally:
        served.instance.delete_run(other)


def test_a_deployment_without_the_meta_location_is_told_to_add_it(webserver: Webserver) -> None:
    with pytest.raises(WebserverError, match=rf"no usable code location '{META_LOCATION}': it has none"):
        start_sweep(webserver, "quick", {})
