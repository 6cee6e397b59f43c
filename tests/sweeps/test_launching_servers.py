"""Code servers that are replaced before a trial, or started by it."""

import dataclasses
import time
from collections.abc import Callable
from pathlib import Path

import dagster as dg
import pytest
from recording import make_plan
from scripted_launches import HASTY, PATIENT, FakeWebserverWithRealRuns, no_sleep, succeeds

from bench_orchestrator.model.errors import UnusableError
from bench_orchestrator.model.instants import now_us
from bench_orchestrator.model.launch import Outcome, TrialNote
from bench_orchestrator.model.plan import ServerState
from bench_orchestrator.model.tags import Tag
from bench_orchestrator.sources.processes import UsageMeter
from bench_orchestrator.sweeps.deployments import Site
from bench_orchestrator.sweeps.runner import Pace, run_trials
from bench_orchestrator.webserver import (
    LocationEntry,
    WebserverUnreachableError,
)


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
