"""How a sweep carries out its plan, with real runs that Dagster executes in this process.

Only the webserver is a stand-in: it acts like a real one, or fails like one, as the test requests.
"""

import dataclasses
import random
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any

import dagster as dg
import pytest
from recording import broken, end_run, make_plan, make_run, measured, run_sweep

from bench_orchestrator.model.errors import UnusableError
from bench_orchestrator.model.instants import now_us
from bench_orchestrator.model.launch import Outcome, TrialNote
from bench_orchestrator.model.plan import ServerState, SweepPlan
from bench_orchestrator.model.runs import Run, RunStatus
from bench_orchestrator.model.tags import Tag
from bench_orchestrator.sources.instance import find_trial_runs, read_run_log
from bench_orchestrator.sources.processes import UsageMeter
from bench_orchestrator.sweeps.deployments import Site
from bench_orchestrator.sweeps.harvest import harvest_sweep
from bench_orchestrator.sweeps.runner import Pace, SweepAbortedError, run_trials
from bench_orchestrator.webserver import (
    AccessDeniedError,
    LaunchRejectedError,
    LocationAwayError,
    LocationEntry,
    Webserver,
    WebserverError,
    WebserverUnreachableError,
)

Action = Callable[["FakeWebserverWithRealRuns", dict[str, str]], str]

PATIENT = Pace(timeout_s=60, pause_s=0, jitter_s=0)
HASTY = Pace(timeout_s=0.2, pause_s=0, jitter_s=0)


class FakeWebserverWithRealRuns(Webserver):
    """Creates the runs itself; each launch takes the next action, and the last action repeats."""

    def __init__(self, instance: dg.DagsterInstance, *actions: Action) -> None:
        self.instance = instance
        self.actions = list(actions)
        self.requests: list[dict[str, str]] = []
        self.terminated: list[str] = []
        self.forced: list[str] = []
        self.obeys = True

    def submit(
        self,
        *,
        location: str,
        repository: str,
        job: str,
        tags: Mapping[str, str],
        asset_keys: Sequence[str] = (),
        run_config: Mapping[str, Any] | None = None,
    ) -> str:
        assert (repository, job) == ("__repository__", "__ASSET_JOB")
        assert list(asset_keys) == [f"{location}/asset_0"]
        assert run_config is None
        self.requests.append(dict(tags))
        action = self.actions.pop(0) if len(self.actions) > 1 else self.actions[0]
        return action(self, dict(tags))

    def terminate(self, run_id: str) -> None:
        self.terminated.append(run_id)
        if self.obeys:
            end_run(self.instance, run_id)

    def force_terminate(self, run_id: str) -> None:
        self.forced.append(run_id)
        end_run(self.instance, run_id)


def succeeds(webserver: FakeWebserverWithRealRuns, tags: dict[str, str]) -> str:
    return dg.materialize([measured], instance=webserver.instance, tags=tags).run_id


def fails(webserver: FakeWebserverWithRealRuns, tags: dict[str, str]) -> str:
    return dg.materialize([broken], instance=webserver.instance, tags=tags, raise_on_error=False).run_id


def hangs(webserver: FakeWebserverWithRealRuns, tags: dict[str, str]) -> str:
    return make_run(webserver.instance, tags, RunStatus.STARTED)


def is_canceled(webserver: FakeWebserverWithRealRuns, tags: dict[str, str]) -> str:
    return end_run(webserver.instance, hangs(webserver, tags))


def is_rejected(_webserver: FakeWebserverWithRealRuns, _tags: dict[str, str]) -> str:
    raise LaunchRejectedError("InvalidSubsetError: no such asset")


def has_no_server(_webserver: FakeWebserverWithRealRuns, _tags: dict[str, str]) -> str:
    raise LocationAwayError("The code location a10 had no code server.")


def is_denied(_webserver: FakeWebserverWithRealRuns, _tags: dict[str, str]) -> str:
    raise AccessDeniedError("HTTP 401")


def is_away(_webserver: FakeWebserverWithRealRuns, _tags: dict[str, str]) -> str:
    raise WebserverUnreachableError("The webserver does not answer.")


def launches_and_goes_away(webserver: FakeWebserverWithRealRuns, tags: dict[str, str]) -> str:
    succeeds(webserver, tags)
    raise WebserverUnreachableError("The webserver does not answer.")


def no_sleep(_seconds: float) -> None:
    """Return at once."""


def carry_out(
    instance: dg.DagsterInstance,
    webserver: Webserver,
    plan: SweepPlan,
    pace: Pace = PATIENT,
    sleep: Callable[[float], None] = no_sleep,
) -> Iterator[TrialNote]:
    site = Site("", webserver, instance, UsageMeter(Path(instance.root_directory)), {})
    return run_trials(plan, {"": site}, pace=pace, sleep=sleep)


def runs_of(instance: dg.DagsterInstance, plan: SweepPlan) -> list[Run]:
    return find_trial_runs(instance, plan.sweep_id)


class TestOutcomes:
    @pytest.mark.parametrize(
        ("action", "outcome"),
        [(succeeds, Outcome.OK), (fails, Outcome.FAILED), (is_canceled, Outcome.CANCELED)],
    )
    def test_a_trial_ends_as_its_run_does(self, instance: dg.DagsterInstance, action: Action, outcome: Outcome) -> None:
        plan = make_plan(locations=("a10",))
        notes = list(carry_out(instance, FakeWebserverWithRealRuns(instance, action), plan))
        assert [(note.number, note.outcome) for note in notes] == [(1, outcome), (2, outcome)]
        assert [note.run_id for note in notes] == [run.run_id for run in runs_of(instance, plan)]
        assert [note.requested_us for note in notes] == [run.requested_us for run in runs_of(instance, plan)]

    @pytest.mark.parametrize("goes_on", [True, False])
    def test_one_whose_worker_dagster_could_not_ask_for_is_waited_for(
        self, instance: dg.DagsterInstance, lose_sight_of: Callable[[dg.DagsterInstance, str], None], goes_on: bool
    ) -> None:
        def is_lost(webserver: FakeWebserverWithRealRuns, tags: dict[str, str]) -> str:
            run_id = hangs(webserver, tags)
            lose_sight_of(instance, run_id)
            return run_id

        def sleep(_seconds: float) -> None:
            for run in runs_of(instance, plan) if goes_on else ():
                instance.report_dagster_event(dg.DagsterEvent("PIPELINE_SUCCESS", run.job), run.run_id)

        plan = make_plan(locations=("a10",))
        webserver = FakeWebserverWithRealRuns(instance, is_lost)
        first, second = carry_out(instance, webserver, plan, PATIENT if goes_on else HASTY, sleep)
        assert first.outcome is second.outcome is (Outcome.OK if goes_on else Outcome.FAILED)

    @pytest.mark.parametrize(("action", "reason"), [(is_rejected, "InvalidSubsetError"), (is_denied, "401")])
    def test_a_refused_launch_is_rejected_and_the_sweep_goes_on(
        self, instance: dg.DagsterInstance, action: Action, reason: str
    ) -> None:
        plan = make_plan(locations=("a10",))
        webserver = FakeWebserverWithRealRuns(instance, action, succeeds)
        first, second = carry_out(instance, webserver, plan)
        assert (first.outcome, first.run_id) == (Outcome.REJECTED, None)
        assert reason in first.reason
        assert second.outcome is Outcome.OK

    def test_a_code_server_that_is_replaced_is_waited_for(self, instance: dg.DagsterInstance) -> None:
        webserver = FakeWebserverWithRealRuns(instance, has_no_server, has_no_server, succeeds)
        first, *_ = carry_out(instance, webserver, make_plan(locations=("a10",)))
        assert first.outcome is Outcome.OK
        assert first.requested_us == int(webserver.requests[2][Tag.REQUESTED_AT])

    def test_one_that_stays_away_costs_its_trials(self, instance: dg.DagsterInstance) -> None:
        webserver = FakeWebserverWithRealRuns(instance, has_no_server, succeeds)
        first, second = carry_out(
            instance, webserver, make_plan(locations=("a10",)), Pace(timeout_s=0, pause_s=0, jitter_s=0)
        )
        assert (first.outcome, first.reason) == (Outcome.REJECTED, "The code location a10 had no code server.")
        assert second.outcome is Outcome.OK

    def test_a_run_that_vanishes_is_lost(self, instance: dg.DagsterInstance) -> None:
        def vanishes(webserver: FakeWebserverWithRealRuns, tags: dict[str, str]) -> str:
            run_id = hangs(webserver, tags)
            instance.delete_run(run_id)
            return run_id

        note, *_ = carry_out(instance, FakeWebserverWithRealRuns(instance, vanishes), make_plan())
        assert note.outcome is Outcome.LOST

    def test_trials_are_launched_in_the_order_of_the_plan_one_at_a_time(self, instance: dg.DagsterInstance) -> None:
        plan = make_plan(repeats=2)
        webserver = FakeWebserverWithRealRuns(instance, succeeds)
        for note in carry_out(instance, webserver, plan):
            assert len(webserver.requests) == note.number
            assert [tags[Tag.TRIAL] for tags in webserver.requests] == [str(n + 1) for n in range(note.number)]
        assert len(webserver.requests) == len(plan.trials)


class TestAWebserverThatIsAway:
    def test_when_it_is_back_the_trial_is_launched_with_the_time_of_the_request_that_worked(
        self, instance: dg.DagsterInstance
    ) -> None:
        plan = make_plan()
        webserver = FakeWebserverWithRealRuns(instance, is_away, is_away, succeeds)
        notes = list(carry_out(instance, webserver, plan))
        assert [note.outcome for note in notes] == [Outcome.OK] * len(plan.trials)
        assert len(runs_of(instance, plan)) == len(plan.trials)
        assert notes[0].requested_us == int(webserver.requests[2][Tag.REQUESTED_AT])

    def test_a_request_that_was_carried_out_all_the_same_is_not_repeated(self, instance: dg.DagsterInstance) -> None:
        plan = make_plan(locations=("a10",))
        webserver = FakeWebserverWithRealRuns(instance, launches_and_goes_away)
        notes = list(carry_out(instance, webserver, plan))
        assert [note.outcome for note in notes] == [Outcome.OK, Outcome.OK]
        assert len(webserver.requests) == len(plan.trials)
        assert [run.run_id for run in runs_of(instance, plan)] == [note.run_id for note in notes]
        assert [run.requested_us for run in runs_of(instance, plan)] == [note.requested_us for note in notes]

    def test_a_launch_that_raced_with_a_rejection_is_the_trials_run(self, instance: dg.DagsterInstance) -> None:
        def launches_and_errs(webserver: FakeWebserverWithRealRuns, tags: dict[str, str]) -> str:
            succeeds(webserver, tags)
            raise WebserverError("HTTP 500")

        note, *_ = carry_out(instance, FakeWebserverWithRealRuns(instance, launches_and_errs), make_plan())
        assert note.outcome is Outcome.OK

    def test_for_longer_than_a_trial_may_take_it_ends_the_sweep_after_a_note(
        self, instance: dg.DagsterInstance
    ) -> None:
        plan = make_plan()
        webserver = FakeWebserverWithRealRuns(instance, is_away)
        trials = carry_out(instance, webserver, plan, HASTY, lambda _s: time.sleep(0.05))
        note = next(trials)
        assert (note.number, note.outcome) == (1, Outcome.REJECTED)
        with pytest.raises(SweepAbortedError, match="does not answer"):
            next(trials)
        assert len(webserver.requests) > 1
        assert runs_of(instance, plan) == []


class TestATrialThatTakesTooLong:
    def test_it_is_noted_before_it_is_terminated(self, instance: dg.DagsterInstance) -> None:
        plan = make_plan(locations=("a10",))
        webserver = FakeWebserverWithRealRuns(instance, hangs)
        trials = carry_out(instance, webserver, plan, HASTY, lambda _s: time.sleep(0.05))
        note = next(trials)
        assert note.outcome is Outcome.TIMED_OUT
        assert note.reason.startswith("not over 0.2 s after its request, still ")
        assert webserver.terminated == []
        next(trials)
        assert webserver.terminated == [note.run_id]

    def test_it_is_marked_canceled_where_it_does_not_stop(
        self, instance: dg.DagsterInstance, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        monkeypatch.setattr("bench_orchestrator.sweeps.runner.TERMINATION_GRACE_S", 0.2)
        plan = make_plan(locations=("a10",))
        webserver = FakeWebserverWithRealRuns(instance, hangs)
        webserver.obeys = False
        notes = list(carry_out(instance, webserver, plan, HASTY, lambda _s: time.sleep(0.05)))
        assert [note.outcome for note in notes] == [Outcome.TIMED_OUT] * 2
        assert webserver.forced == [note.run_id for note in notes]
        assert all(run.finished for run in runs_of(instance, plan))

    def test_the_sweep_goes_on_with_the_next_one(self, instance: dg.DagsterInstance) -> None:
        plan = make_plan(locations=("a10",))
        webserver = FakeWebserverWithRealRuns(instance, hangs, succeeds)
        notes = list(carry_out(instance, webserver, plan, Pace(1.0, 0, 0), lambda _s: time.sleep(0.05)))
        assert [note.outcome for note in notes] == [Outcome.TIMED_OUT, Outcome.OK]


class FakeServers:
    """A deployment's only code server, with the webserver's view of it during and after its return."""

    def __init__(self, *said_meanwhile: LocationEntry | None) -> None:
        self.calls: list[tuple[str, int]] = []
        self.number = 1
        self.meanwhile = said_meanwhile
        self.to_say: list[LocationEntry | None] = []
        self.refuses = ""
        self.comes_back = True

    def stop_server(self, location: str) -> None:
        self.calls.append((f"stop {location}", now_us()))
        if self.refuses:
            raise UnusableError(self.refuses)

    def start_server(self, location: str) -> None:
        self.calls.append((f"start {location}", now_us()))
        stale = self.status()
        self.to_say = [stale if said is STALE else said for said in self.meanwhile]
        self.number += self.comes_back

    def status(self) -> LocationEntry | None:
        if self.to_say:
            return self.to_say.pop(0)
        return LocationEntry("a10", "loaded", ("__repository__",), server_id=f"server {self.number}")


STALE = LocationEntry("a10", "loaded")
"""The location as the previous server served it."""

GONE = LocationEntry("a10", "error", error="could not reach the server")


class TestACodeServerThatIsTreated:
    def carry_out(
        self,
        instance: dg.DagsterInstance,
        state: ServerState,
        servers: FakeServers | None,
        pace: Pace = PATIENT,
        sleep: Callable[[float], None] = no_sleep,
    ) -> tuple[list[TrialNote], FakeWebserverWithRealRuns]:
        plan = make_plan(locations=("a10",))
        plan = dataclasses.replace(
            plan, trials=tuple(dataclasses.replace(trial, server=state) for trial in plan.trials)
        )

        class Listing(FakeWebserverWithRealRuns):
            def list_locations(self) -> dict[str, LocationEntry]:
                assert servers is not None
                status = servers.status()
                if status is None:
                    raise WebserverUnreachableError("The webserver does not answer.")
                return {status.name: status}

        webserver = Listing(instance, succeeds)
        site = Site("", webserver, instance, UsageMeter(Path(instance.root_directory)), {}, servers=servers)
        return list(run_trials(plan, {"": site}, pace=pace, sleep=sleep)), webserver

    def test_it_is_not_touched_by_default(self, instance: dg.DagsterInstance) -> None:
        servers = FakeServers()
        notes, _ = self.carry_out(instance, ServerState.AS_IT_IS, servers)
        assert [note.outcome for note in notes] == [Outcome.OK, Outcome.OK]
        assert servers.calls == []

    @pytest.mark.parametrize("meanwhile", [(), (STALE,), (STALE, GONE, None, GONE)])
    def test_it_is_replaced_and_loaded_before_the_request(
        self, instance: dg.DagsterInstance, meanwhile: tuple[LocationEntry | None, ...]
    ) -> None:
        servers = FakeServers(*meanwhile)
        notes, webserver = self.carry_out(instance, ServerState.REPLACED, servers)
        assert [note.outcome for note in notes] == [Outcome.OK, Outcome.OK]
        assert [call for call, _ in servers.calls] == ["stop a10", "start a10"] * 2
        assert servers.to_say == []
        for note, (_, started_us), request in zip(notes, servers.calls[1::2], webserver.requests, strict=True):
            assert note.requested_us is not None
            assert note.requested_us >= started_us
            assert request[Tag.REQUESTED_AT] == str(note.requested_us)

    @pytest.mark.parametrize(("state", "calls"), [(ServerState.REPLACED, 2), (ServerState.FROM_ZERO, 0)])
    def test_the_rest_comes_after_it_was_replaced_and_before_it_is_ended(
        self, instance: dg.DagsterInstance, state: ServerState, calls: int
    ) -> None:
        servers = FakeServers()
        seen: list[int] = []
        self.carry_out(instance, state, servers, Pace(60, 7, 0), lambda _s: seen.append(len(servers.calls)))
        assert seen[0] == calls

    def test_from_zero_the_time_counts_from_when_it_is_asked_to_come_up(self, instance: dg.DagsterInstance) -> None:
        notes, webserver = self.carry_out(instance, ServerState.FROM_ZERO, servers := FakeServers(STALE, GONE))
        assert [note.outcome for note in notes] == [Outcome.OK, Outcome.OK]
        stopped_us, started_us = (at for _, at in servers.calls[:2])
        assert notes[0].requested_us is not None
        assert stopped_us <= notes[0].requested_us <= started_us
        assert webserver.requests[0][Tag.REQUESTED_AT] == str(notes[0].requested_us)

    @pytest.mark.parametrize("state", [ServerState.REPLACED, ServerState.FROM_ZERO])
    def test_one_that_cannot_be_ended_rejects_the_trial_and_is_started_all_the_same(
        self, instance: dg.DagsterInstance, state: ServerState
    ) -> None:
        servers = FakeServers()
        servers.refuses = "the sweep's service account may not scale it"
        notes, webserver = self.carry_out(instance, state, servers)
        assert [(note.outcome, note.reason) for note in notes] == [(Outcome.REJECTED, servers.refuses)] * 2
        assert [call for call, _ in servers.calls] == ["stop a10", "start a10"] * 2
        assert webserver.requests == []

    @pytest.mark.parametrize("state", [ServerState.REPLACED, ServerState.FROM_ZERO])
    def test_one_that_does_not_come_back_times_the_trial_out(
        self, instance: dg.DagsterInstance, state: ServerState
    ) -> None:
        servers = FakeServers(*[GONE] * 1_000)
        notes, webserver = self.carry_out(instance, state, servers, HASTY, lambda _s: time.sleep(0.05))
        assert [note.outcome for note in notes] == [Outcome.TIMED_OUT] * 2
        said = "the code server of a10 did not come back in time: error could not reach the server"
        assert {note.reason for note in notes} == {said}
        assert webserver.requests == []

    def test_the_old_one_is_not_taken_for_the_new(self, instance: dg.DagsterInstance) -> None:
        servers = FakeServers()
        servers.comes_back = False
        (note, _), _ = self.carry_out(instance, ServerState.REPLACED, servers, HASTY, lambda _s: time.sleep(0.05))
        assert (note.outcome, note.reason[-6:]) == (Outcome.TIMED_OUT, "loaded")

    def test_those_of_others_are_not_ended(self, instance: dg.DagsterInstance) -> None:
        notes, _ = self.carry_out(instance, ServerState.REPLACED, None)
        assert {(note.outcome, note.reason) for note in notes} == {
            (Outcome.REJECTED, "the sweep did not start the code server of a10 and may not stop it")
        }


class TestAnInterruption:
    @pytest.mark.parametrize("interruption", [KeyboardInterrupt, dg.DagsterExecutionInterruptedError])
    def test_it_terminates_the_trial_that_is_waited_for(
        self, instance: dg.DagsterInstance, interruption: type[BaseException]
    ) -> None:
        plan = make_plan()
        webserver = FakeWebserverWithRealRuns(instance, succeeds, hangs)

        def sleep(_seconds: float) -> None:
            if any(not run.finished for run in runs_of(instance, plan)) and not webserver.terminated:
                raise interruption

        trials = carry_out(instance, webserver, plan, sleep=sleep)
        assert next(trials).outcome is Outcome.OK
        with pytest.raises(interruption):
            next(trials)
        done, interrupted = runs_of(instance, plan)
        assert webserver.terminated == [interrupted.run_id]
        assert interrupted.status is RunStatus.CANCELED
        assert done.status is RunStatus.SUCCESS

    def test_it_terminates_a_trial_whose_request_was_under_way(self, instance: dg.DagsterInstance) -> None:
        def launches_and_is_interrupted(webserver: FakeWebserverWithRealRuns, tags: dict[str, str]) -> str:
            hangs(webserver, tags)
            raise KeyboardInterrupt

        plan = make_plan()
        webserver = FakeWebserverWithRealRuns(instance, launches_and_is_interrupted)
        with pytest.raises(KeyboardInterrupt):
            next(carry_out(instance, webserver, plan))
        assert [run.status for run in runs_of(instance, plan)] == [RunStatus.CANCELED]

    def test_closing_after_a_timeouts_note_still_terminates_the_run(self, instance: dg.DagsterInstance) -> None:
        plan = make_plan()
        webserver = FakeWebserverWithRealRuns(instance, hangs)
        trials = carry_out(instance, webserver, plan, HASTY, lambda _s: time.sleep(0.05))
        note = next(trials)
        trials.close()  # type: ignore[attr-defined]
        assert webserver.terminated == [note.run_id]

    def test_closing_between_trials_terminates_nothing(self, instance: dg.DagsterInstance) -> None:
        webserver = FakeWebserverWithRealRuns(instance, succeeds)
        trials = carry_out(instance, webserver, make_plan())
        next(trials)
        trials.close()  # type: ignore[attr-defined]
        assert webserver.terminated == []
        assert len(webserver.requests) == 1

    def test_a_webserver_that_is_away_as_well_does_not_hide_it(self, instance: dg.DagsterInstance) -> None:
        class GoneForGood(FakeWebserverWithRealRuns):
            def terminate(self, run_id: str) -> None:
                self.terminated.append(run_id)
                raise WebserverUnreachableError("The webserver does not answer.")

            def force_terminate(self, run_id: str) -> None:
                self.forced.append(run_id)
                raise WebserverUnreachableError("The webserver does not answer.")

        webserver = GoneForGood(instance, hangs)
        with pytest.MonkeyPatch.context() as patch:
            patch.setattr("bench_orchestrator.sweeps.runner.TERMINATION_GRACE_S", 0.0)
            trials = carry_out(instance, webserver, make_plan(), HASTY, lambda _s: time.sleep(0.05))
            next(trials)
            trials.close()  # type: ignore[attr-defined]
        assert webserver.terminated == webserver.forced != []


class TestThePace:
    def test_rests_come_from_the_seed_and_are_within_the_bounds(self, instance: dg.DagsterInstance) -> None:
        plan = make_plan(repeats=4)
        pace = Pace(timeout_s=60, pause_s=1.5, jitter_s=5)

        def rests(of: SweepPlan) -> list[float]:
            slept: list[float] = []
            list(carry_out(instance, FakeWebserverWithRealRuns(instance, succeeds), of, pace, slept.append))
            return slept

        first = rests(plan)
        assert len(first) == len(plan.trials)
        assert all(1.5 <= rest <= 6.5 for rest in first)
        assert len(set(first)) == len(first)
        assert rests(dataclasses.replace(plan, sweep_id="again")) == first
        assert rests(dataclasses.replace(plan, sweep_id="other", seed=plan.seed + 1)) != first
        rng = random.Random(plan.seed)
        assert first == [1.5 + rng.uniform(0, 5) for _ in first]

    def test_without_jitter_the_rest_is_the_pause(self, instance: dg.DagsterInstance) -> None:
        slept: list[float] = []
        webserver = FakeWebserverWithRealRuns(instance, succeeds)
        list(carry_out(instance, webserver, make_plan(), Pace(60, 2, 0), slept.append))
        assert set(slept) == {2.0}


class TestTheSweepsOwnDeployment:
    def carry_out(self, own: dg.DagsterInstance, action: Action) -> tuple[SweepPlan, list[TrialNote]]:
        """Return a sweep whose trials all run in a deployment with a separate instance."""
        plan = make_plan(locations=("a10",))
        plan = dataclasses.replace(
            plan,
            locations=tuple(dataclasses.replace(location, deployment="own") for location in plan.locations),
            trials=tuple(dataclasses.replace(trial, deployment="own") for trial in plan.trials),
        )
        webserver = FakeWebserverWithRealRuns(own, action)
        site = Site("own", webserver, own, UsageMeter(Path(own.root_directory)), {})
        return plan, list(run_trials(plan, {"own": site}, pace=PATIENT, sleep=no_sleep))

    @pytest.mark.parametrize(("action", "outcome"), [(succeeds, Outcome.OK), (fails, Outcome.FAILED)])
    def test_a_note_holds_all_that_is_to_be_known_of_its_run(
        self, instance: dg.DagsterInstance, action: Action, outcome: Outcome
    ) -> None:
        plan, (first, _) = self.carry_out(instance, action)
        (run, *_) = runs_of(instance, plan)
        assert first.outcome is outcome
        assert (first.run_id, first.created_us) == (run.run_id, run.created_us)
        assert first.log == read_run_log(instance, run.run_id)

    def test_the_harvest_needs_nothing_but_the_notes(self, instance: dg.DagsterInstance) -> None:
        with dg.DagsterInstance.ephemeral() as own:
            plan, notes = self.carry_out(own, succeeds)
        sweep = harvest_sweep(instance, run_sweep(instance, plan, notes))
        assert sweep is not None
        assert [trial.outcome for trial in sweep.trials] == [Outcome.OK, Outcome.OK]
        for trial, note in zip(sweep.trials, notes, strict=True):
            assert (trial.launch.run_id, trial.deployment) == (note.run_id, "own")
            assert trial.launch.time_to_code_us == sum(us for us in trial.launch.stages_us.values() if us is not None)
            assert (trial.launch.work, len(trial.launch.steps)) == (1, 1)
            assert trial.launch.work_us is not None
            assert trial.launch.work_us >= trial.launch.time_to_code_us
