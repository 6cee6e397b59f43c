"""Carries out a trial's workload: many runs, limits that change meanwhile, runs that are ended."""

import time
from collections import Counter
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path

from bench_orchestrator.model.errors import UnusableError
from bench_orchestrator.model.instants import now_us
from bench_orchestrator.model.launch import Outcome, RunNote, TrialNote
from bench_orchestrator.model.plan import Location, PlannedTrial, SweepPlan
from bench_orchestrator.model.runs import IN_PROGRESS, UNFINISHED, RunStatus
from bench_orchestrator.model.tags import Tag
from bench_orchestrator.model.workload import (
    Action,
    Await,
    Backfill,
    End,
    Fill,
    Rest,
    Schedule,
    SetPool,
    Submit,
    Way,
    Workload,
)
from bench_orchestrator.sources.instance import (
    clear_queue,
    count_trial_runs,
    fill_queue,
    find_started_fillers,
    find_trial_runs,
    read_run_log,
    read_run_logs,
)
from bench_orchestrator.sources.processes import kill_run
from bench_orchestrator.sweeps.deployments import Site
from bench_orchestrator.sweeps.ending import POLL_S, terminate
from bench_orchestrator.sweeps.launching import NotLaunchedError, trial_tags
from bench_orchestrator.timeline.workers import process_of_run
from bench_orchestrator.waiting import poll
from synthetic_locations.triggers import LaunchRequest, Trigger, clear_request, write_request

_USAGE_EVERY_S = 3.0
"""Seconds between two readings of the memory of all runs, which costs milliseconds per process."""


@dataclass
class WorkloadOfTrial:
    """The workload of one trial: does its actions, waits for its runs, and takes down what became of them."""

    plan: SweepPlan
    trial: PlannedTrial
    workload: Workload
    location: Location
    site: Site
    sleep: Callable[[float], None]
    acts_us: list[int] = field(default_factory=list)
    """When each action began, as far as it has come."""
    _read_at_s: float = 0.0

    def carry_out(self, deadline: float) -> None:
        """Do all actions in order, and wait until every run is over.

        Raises:
            UnusableError: a request was refused, or not answered; a run to be killed is not on this machine.
            NotLaunchedError: what an action waits for, or the end of the runs, did not come by the deadline.
        """
        for action in self.workload.actions:
            self.acts_us.append(now_us())
            self._do(action, deadline)
        expected = sum(self.workload.expected().values())
        self._await(lambda: self._count() >= expected and not self._count(UNFINISHED), deadline, "the end of its runs")

    def note(self, outcome: Outcome, reason: str = "", usage: Mapping[str, float] | None = None) -> TrialNote:
        """Return the note on the trial, with the logs of all its runs."""
        instance, sweep_id, number = self.site.instance, self.plan.sweep_id, self.trial.number
        runs = [*find_trial_runs(instance, sweep_id, number), *find_started_fillers(instance, sweep_id, number)]
        logs = read_run_logs(self.site.instance, [run.run_id for run in runs])
        notes = (
            RunNote(
                run.run_id,
                run.tags.get(Tag.ROLE, ""),
                run.status,
                run.request.at_us if run.request else None,
                run.created_us,
                logs[run.run_id],
            )
            for run in runs
        )
        return TrialNote(
            self.trial.number, outcome, reason, usage=usage or {}, runs=tuple(notes), acts_us=tuple(self.acts_us)
        )

    def withdraw(self) -> None:
        """Take out of the queue what only fills it, and end what has left it against the limit."""
        instance, sweep_id, number = self.site.instance, self.plan.sweep_id, self.trial.number
        if any(isinstance(action, Fill) for action in self.workload.actions):
            clear_queue(instance, sweep_id, number)
            for run in find_started_fillers(instance, sweep_id, number):
                if not run.finished:
                    terminate(self.site, run.run_id, self.sleep)

    def _do(self, action: Action, deadline: float) -> None:
        match action:
            case Submit():
                for _ in range(action.count):
                    self._submit(action)
            case Backfill():
                self._backfill(action)
            case Fill():
                fill_queue(
                    self.site.instance,
                    self.plan.sweep_id,
                    self.trial.number,
                    action.count,
                    role=action.role,
                    tags=action.tags,
                )
            case Schedule():
                self._schedule(action, deadline)
            case SetPool():
                self.site.instance.event_log_storage.set_concurrency_slots(action.pool, action.slots)
            case Await():
                what = f"{action.count} runs of {action.role!r} that are {' or '.join(action.statuses)}"
                self._await(lambda: self._count(action.statuses, action.role) >= action.count, deadline, what)
            case End():
                self._end(action)
            case Rest():
                self.sleep(action.seconds)

    def _submit(self, action: Submit) -> None:
        self.site.webserver.submit(
            location=self.location.name,
            repository=self.location.repository,
            job=action.job or self.location.job,
            asset_keys=() if action.job else self.trial.asset_keys[action.asset : action.asset + 1],
            tags=self._tags(action, self.trial),
        )

    def _backfill(self, action: Backfill) -> None:
        key = self.trial.asset_keys[action.asset]
        partitions = self.site.webserver.list_partitions(key)[-action.partitions :]
        # A partition among the tags would replace that of each run.
        tags = self._tags(action, replace(self.trial, partition_key=None))
        self.site.webserver.submit_backfill(asset_keys=[key], partitions=partitions, tags=tags)

    def _schedule(self, action: Schedule, deadline: float) -> None:
        """Have the single-flight schedule tick; its runs count from the times for which it meant them."""
        place, name = self.location, Trigger.SINGLE_FLIGHT
        request = LaunchRequest(
            run_key=f"{self.plan.sweep_id}/{self.trial.number}",
            asset_keys=self.trial.asset_keys[action.asset : action.asset + 1],
            tags={tag: value for tag, value in self._tags(action, self.trial).items() if tag != Tag.REQUESTED_AT},
        )
        since_s = time.time()

        def has_ticked() -> bool:
            statuses = Counter(
                self.site.webserver.tick_statuses(
                    location=place.name, repository=place.repository, schedule=name, since_s=since_s
                )
            )
            if statuses["FAILURE"]:
                raise UnusableError(f"the schedule {name} of {place.name} failed")
            return statuses["SUCCESS"] + statuses["SKIPPED"] >= action.ticks

        write_request(self.site.instance, place.name, name, request)
        try:
            schedule = self.site.webserver.start_schedule(
                location=place.name, repository=place.repository, schedule=name
            )
            try:
                self._await(has_ticked, deadline, f"{action.ticks} ticks of {name}")
            finally:
                self.site.webserver.stop_schedule(schedule)
        finally:
            clear_request(self.site.instance, place.name, name)

    def _tags(self, action: Submit | Backfill | Schedule, trial: PlannedTrial) -> dict[str, str]:
        own = {} if isinstance(action, Schedule) else action.tags
        return {**trial_tags(self.plan, trial, now_us()), str(Tag.ROLE): action.role, **own}

    def _end(self, action: End) -> None:
        for run in find_trial_runs(self.site.instance, self.plan.sweep_id, self.trial.number, statuses=IN_PROGRESS):
            if run.tags.get(Tag.ROLE) == action.role:
                match action.way:
                    case Way.CANCEL:
                        self.site.webserver.terminate(run.run_id)
                    case Way.KILL:
                        self._kill(run.run_id)

    def _kill(self, run_id: str) -> None:
        pid = process_of_run(read_run_log(self.site.instance, run_id).events)
        if pid is None or not kill_run(Path(self.site.instance.root_directory), pid):
            raise UnusableError(f"the processes of run {run_id} are not on this machine, so it cannot be killed")

    def _count(self, statuses: Sequence[RunStatus] = (), role: str = "") -> int:
        return count_trial_runs(self.site.instance, self.plan.sweep_id, self.trial.number, role=role, statuses=statuses)

    def _await(self, until: Callable[[], bool], deadline: float, what: str) -> None:
        def look() -> bool:
            if time.monotonic() >= self._read_at_s + _USAGE_EVERY_S:
                self.site.meter.look()
                self._read_at_s = time.monotonic()
            return until()

        if not poll(look, patience_s=deadline - time.monotonic(), every_s=POLL_S, sleep=self.sleep):
            raise NotLaunchedError(f"it waited in vain for {what}")
