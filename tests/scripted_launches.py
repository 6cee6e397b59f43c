"""A stand-in for a webserver whose launches follow a script, with real runs that Dagster executes in this process."""

from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import suppress
from pathlib import Path
from typing import Any

import dagster as dg
from recording import broken, end_run, make_run, measured

from bench_orchestrator.model.launch import TrialNote
from bench_orchestrator.model.plan import SweepPlan
from bench_orchestrator.model.runs import Run, RunStatus
from bench_orchestrator.model.tags import BACKFILL_TAG
from bench_orchestrator.sources.instance import find_trial_runs
from bench_orchestrator.sources.processes import UsageMeter
from bench_orchestrator.sweeps.deployments import Site
from bench_orchestrator.sweeps.runner import Pace, run_trials
from bench_orchestrator.webserver import (
    AccessDeniedError,
    BackfillEntry,
    LaunchRejectedError,
    LocationAwayError,
    Webserver,
    WebserverError,
    WebserverUnreachableError,
)

Action = Callable[["FakeWebserverWithRealRuns", dict[str, str]], str]

PATIENT = Pace(timeout_s=60, pause_s=0, jitter_s=0)
HASTY = Pace(timeout_s=0.2, pause_s=0, jitter_s=0)


class FakeWebserverWithRealRuns(Webserver):
    """Creates the runs itself; each launch takes the next action, and the last action repeats.

    Its clock is the sum of all sleeps of the sweep that uses its `sleep`.
    """

    def __init__(self, instance: dg.DagsterInstance, *actions: Action) -> None:
        self.instance = instance
        self.actions = list(actions)
        self.requests: list[dict[str, str]] = []
        self.terminated: list[str] = []
        self.forced: list[str] = []
        self.obeys = True
        self.slept_s = 0.0
        self.later: list[tuple[float, Callable[[], object]]] = []
        self.backfills: dict[str, dict[str, str]] = {}
        self.backfilled: list[list[str]] = []
        self.canceled_backfills: list[str] = []
        self.tick_times: list[dict[str, float] | WebserverError] = []
        self.tick: Callable[[], str] | None = None
        """What the schedule does at each look while it is switched on: returns the status of its tick."""
        self.ticks: list[str] = []
        self.running_schedules: set[str] = set()

    def after(self, seconds: float, act: Callable[[], object]) -> None:
        """Do something later."""
        self.later.append((self.slept_s + seconds, act))

    def sleep(self, seconds: float) -> None:
        """Let that time pass at once, and do what is due."""
        self.slept_s += seconds
        due = [act for at_s, act in self.later if at_s <= self.slept_s]
        self.later = [(at_s, act) for at_s, act in self.later if at_s > self.slept_s]
        for act in due:
            with suppress(WebserverError):  # nobody hears of it
                act()

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
        return self._act(tags)

    def submit_backfill(self, *, asset_keys: Sequence[str], partitions: Sequence[str], tags: Mapping[str, str]) -> None:
        assert asset_keys
        self.backfilled.append(list(partitions))
        self._act(tags)

    def list_partitions(self, asset_key: str) -> list[str]:
        assert asset_key == "a10/asset_0"
        return ["monday", "tuesday", "wednesday"]

    def _act(self, tags: Mapping[str, str]) -> str:
        self.requests.append(dict(tags))
        action = self.actions.pop(0) if len(self.actions) > 1 else self.actions[0]
        return action(self, dict(tags))

    def open_backfills(self, tags: Mapping[str, str]) -> list[BackfillEntry]:
        return [
            BackfillEntry(backfill_id, of_backfill)
            for backfill_id, of_backfill in self.backfills.items()
            if backfill_id not in self.canceled_backfills and tags.items() <= of_backfill.items()
        ]

    def cancel_backfill(self, backfill_id: str) -> None:
        self.canceled_backfills.append(backfill_id)

    def tick_times_s(self, *, location: str, repository: str, name: str, kind: str) -> dict[str, float]:
        assert (location, repository, name) == ("a10", "__repository__", f"launch_on_{kind}")
        said = self.tick_times.pop(0)
        if isinstance(said, WebserverError):
            raise said
        return said

    def start_schedule(self, *, location: str, repository: str, schedule: str) -> str:
        assert (location, repository) == ("a10", "__repository__")
        self.running_schedules.add(schedule)
        return schedule

    def tick_statuses(self, *, location: str, repository: str, schedule: str, since_s: float) -> list[str]:
        assert (location, repository, since_s > 0) == ("a10", "__repository__", True)
        assert schedule in self.running_schedules
        if self.tick is not None:
            self.ticks.append(self.tick())
        return self.ticks

    def stop_schedule(self, schedule_id: str) -> None:
        self.running_schedules.remove(schedule_id)

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


def takes(seconds: float) -> Action:
    """Launch a run that succeeds after that time, unless it is canceled before."""

    def launch(webserver: FakeWebserverWithRealRuns, tags: dict[str, str]) -> str:
        def succeed() -> None:
            run = webserver.instance.get_run_by_id(run_id)
            assert run is not None
            if not run.is_finished:
                webserver.instance.report_dagster_event(dg.DagsterEvent("PIPELINE_SUCCESS", run.job_name), run_id)

        run_id = hangs(webserver, tags)
        webserver.after(seconds, succeed)
        return run_id

    return launch


def is_lost(action: Action, after_s: float = 0) -> Action:
    """Do something after that time, if at all, without an answer."""

    def launch(webserver: FakeWebserverWithRealRuns, tags: dict[str, str]) -> str:
        if after_s:
            webserver.after(after_s, lambda: action(webserver, tags))
        else:
            action(webserver, tags)
        raise WebserverUnreachableError("HTTP 504")

    return launch


def opens_backfill(action: Action, after_s: float = 0) -> Action:
    """Record a backfill that launches its run after that time, unless it is canceled before."""

    def launch(webserver: FakeWebserverWithRealRuns, tags: dict[str, str]) -> str:
        def launch_run() -> None:
            if backfill_id not in webserver.canceled_backfills:
                action(webserver, {**tags, BACKFILL_TAG: backfill_id})

        backfill_id = f"backfill{len(webserver.backfills)}"
        webserver.backfills[backfill_id] = tags
        webserver.after(after_s, launch_run)
        return backfill_id

    return launch


def no_sleep(_seconds: float) -> None:
    """Return at once."""


def carry_out(
    instance: dg.DagsterInstance,
    webserver: Webserver,
    plan: SweepPlan,
    pace: Pace = PATIENT,
    sleep: Callable[[float], None] = no_sleep,
    warn: Callable[[str], None] = print,
) -> Iterator[TrialNote]:
    site = Site("", webserver, instance, UsageMeter(Path(instance.root_directory)), {})
    return run_trials(plan, {"": site}, pace=pace, sleep=sleep, warn=warn)


def runs_of(instance: dg.DagsterInstance, plan: SweepPlan) -> list[Run]:
    return find_trial_runs(instance, plan.sweep_id)
