"""Requests a trial's run, by the trial's launch path.

Waits for a webserver or code server that is temporarily unavailable. A failed request may still have created a run, or
create it later. Of several runs, the first is the trial's run, and counts from the request that made it.
"""

import logging
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import suppress
from dataclasses import dataclass, replace
from typing import TypeVar

from bench_orchestrator.model.errors import UnusableError
from bench_orchestrator.model.instants import now_us, read_instant_us
from bench_orchestrator.model.launch import Outcome, TrialNote
from bench_orchestrator.model.plan import LaunchPath, Location, PlannedTrial, SweepPlan
from bench_orchestrator.model.runs import Run, RunLog
from bench_orchestrator.model.tags import NO_RETRIES, Tag
from bench_orchestrator.sources.instance import find_trial_runs, get_run, read_run_log, to_us
from bench_orchestrator.sources.kubernetes import read_pod
from bench_orchestrator.sources.storage import describe_storage
from bench_orchestrator.sweeps.deployments import Site
from bench_orchestrator.sweeps.deriving import SEVERAL_RUNS
from bench_orchestrator.sweeps.ending import POLL_S, Strays
from bench_orchestrator.sweeps.environment import kubernetes_namespace
from bench_orchestrator.waiting import poll
from bench_orchestrator.webserver import (
    AccessDeniedError,
    DatabaseTroubleError,
    LaunchRejectedError,
    LocationAwayError,
    LocationEntry,
    WebserverError,
    WebserverUnreachableError,
)
from synthetic_locations.triggers import LaunchRequest, Trigger, clear_request, write_request

_logger = logging.getLogger(__name__)

SERVER_POLL_S = 0.2
"""Polling interval for a replaced code server, in seconds; a cold-start trial includes it in its measurement."""

_CODE_SERVER_PATIENCE_S = 180.0
"""Seconds for which a location may lack a code server, as it does on Kubernetes whenever the pod moves."""

_Seen = TypeVar("_Seen")

_TRIGGERS = {LaunchPath.SCHEDULE: Trigger.SCHEDULE, LaunchPath.SENSOR: Trigger.SENSOR}


def trial_tags(plan: SweepPlan, trial: PlannedTrial, requested_us: int) -> dict[str, str]:
    """Return the tags of a trial's run, by which the harvest finds it and users can filter."""
    tags = {
        Tag.KIND: "trial",
        Tag.SWEEP: plan.sweep_id,
        Tag.SCENARIO: plan.scenario,
        Tag.VARIANT: trial.variant,
        Tag.TRIAL: str(trial.number),
        Tag.WARMUP: str(trial.warmup).lower(),
        Tag.REQUESTED_AT: str(requested_us),
        **NO_RETRIES,
    }
    if trial.last_partition_key is not None and trial.partition_key is not None:
        tags["dagster/asset_partition_range_start"] = trial.partition_key
        tags["dagster/asset_partition_range_end"] = trial.last_partition_key
    elif trial.partition_key is not None and trial.path is LaunchPath.GRAPHQL:  # the other paths set it themselves
        tags["dagster/partition"] = trial.partition_key
    return {str(name): value for name, value in tags.items()}


def withdraw_requests(plan: SweepPlan, sites: Mapping[str, Site]) -> None:
    """Empty the mailboxes of the plan's schedules and sensors; a killed sweep may have left a request in one."""
    places = {(trial.deployment, trial.location, trial.path) for trial in plan.trials}
    for deployment, location, path in places:
        if path in _TRIGGERS:
            clear_request(sites[deployment].instance, location, _TRIGGERS[path])


class NotLaunchedError(Exception):
    """A schedule, sensor or daemon did not launch a trial's run in time."""


@dataclass(frozen=True)
class Requested:
    """The run of a trial, and the request that made it."""

    run_id: str
    requested_us: int
    """When that request was sent, in microseconds."""
    trouble: str = ""
    """What it was answered with, if that was an error."""


@dataclass(frozen=True)
class LaunchOfTrial:
    """The launch of one trial: requests its run, by the trial's launch path."""

    plan: SweepPlan
    trial: PlannedTrial
    location: Location
    site: Site
    strays: Strays
    sleep: Callable[[float], None]

    def restart_server(self, deadline: float) -> int:
        """Replace the location's code server, and wait until the webserver has loaded the location from the new one.

        Returns:
            The time at which the new server was requested, in microseconds.

        Raises:
            UnusableError: the server cannot be stopped or started.
            NotLaunchedError: the server was not up, or not back, by the deadline.
        """
        servers = self.site.servers
        if servers is None:
            raise UnusableError(f"the sweep did not start the code server of {self.location.name} and may not stop it")
        earlier = self._await_location(lambda _: True, deadline)
        try:
            servers.stop_server(self.location.name)
        finally:  # never leave a location without its server
            asked_us = now_us()
            servers.start_server(self.location.name)
        self._await_location(lambda now: now.state == "loaded" and now.server_id != earlier.server_id, deadline)
        return asked_us

    def _await_location(self, will_do: Callable[[LocationEntry], bool], deadline: float) -> LocationEntry:
        """Return the webserver's status of the location once it satisfies `will_do`."""

        def look() -> LocationEntry | str:
            """Return the location's status, or why it does not satisfy `will_do`."""
            try:
                status = self.site.webserver.list_locations().get(self.location.name)
            except WebserverError as error:
                return str(error)
            if status is None:
                return "it is no longer in the workspace"
            return status if will_do(status) else f"{status.state} {status.error}".strip()

        seen = poll(
            look,
            lambda seen: isinstance(seen, LocationEntry),
            patience_s=deadline - time.monotonic(),
            every_s=SERVER_POLL_S,
            sleep=self.sleep,
        )
        if isinstance(seen, str):
            raise NotLaunchedError(f"the code server of {self.location.name} did not come back in time: {seen}")
        return seen

    def request(self, deadline: float, asked_us: int | None = None) -> Requested:
        """Request the trial's run and return it.

        Waits for a webserver or code server that is temporarily unavailable.

        Args:
            asked_us: time of the request in microseconds, if it was before this call.

        Raises:
            WebserverError: the launch was rejected, or a server was unavailable for too long.
            NotLaunchedError: no run was launched by the deadline.
        """
        first_us = asked_us or now_us()
        if self.trial.path in _TRIGGERS:
            return self._await_tick(trial_tags(self.plan, self.trial, first_us), first_us, deadline)
        patience = {
            WebserverUnreachableError: deadline,
            DatabaseTroubleError: deadline,
            LocationAwayError: min(deadline, time.monotonic() + _CODE_SERVER_PATIENCE_S),
        }
        unanswered = False
        # Not `poll`: the patience depends on the error, and each retry first checks for a run of the last request.
        while True:
            tags = trial_tags(self.plan, self.trial, asked_us or now_us())
            try:
                return self._ask(tags, first_us, deadline, again=unanswered)
            except WebserverError as error:
                trouble = error
                if isinstance(error, DatabaseTroubleError):
                    trouble = DatabaseTroubleError(f"{error} {describe_storage(self.site.instance)}")
                # To the process's own output, because the sweep's log may be in the failing database.
                _logger.warning("trial %s: %s", self.trial.number, trouble)
                if not isinstance(error, LaunchRejectedError | AccessDeniedError):
                    unanswered = True
                    self.strays.expect()
                # The failed request may still have created a run: that is this trial's run.
                self.sleep(2 * POLL_S)
                for run in self._runs(first_us):
                    return self._requested(run, str(trouble))
                if time.monotonic() >= patience.get(type(error), 0):
                    raise trouble from error.__cause__

    def _ask(self, tags: dict[str, str], first_us: int, deadline: float, *, again: bool) -> Requested:
        """Send a request and return the first run of all requests since `first_us`.

        Args:
            again: whether an earlier request may still be carried out.
        """
        if self.trial.path is LaunchPath.BACKFILL:
            if not (again and self._is_backfill_open(first_us)):
                self._submit_backfill(tags)
            return self._requested(self._await_run(first_us, deadline))
        run_id = self._submit(tags)
        for run in self._runs(first_us) if again else ():
            return self._requested(run)
        return Requested(run_id, int(tags[Tag.REQUESTED_AT]))

    def _is_backfill_open(self, first_us: int) -> bool:
        own: dict[str, str] = {Tag.SWEEP: self.plan.sweep_id, Tag.TRIAL: str(self.trial.number)}
        for backfill in self.site.webserver.open_backfills(own):
            with suppress(ValueError):  # a person's backfill with copied tags
                if read_instant_us(backfill.tags.get(Tag.REQUESTED_AT)) >= first_us:
                    return True
        return False

    def _requested(self, run: Run, trouble: str = "") -> Requested:
        assert run.requested_us is not None  # as `_runs` has seen to
        return Requested(run.run_id, run.requested_us, trouble)

    def note(
        self,
        outcome: Outcome,
        requested: Requested,
        reason: str = "",
        usage: Mapping[str, float] | None = None,
        beside: Sequence[Run] = (),
    ) -> TrialNote:
        """Return the note on the trial; with its run's log if the run's instance ends with the sweep.

        Args:
            beside: runs of the sweep that were in progress during the trial.
        """
        on_kubernetes = kubernetes_namespace(self.site.instance) is not None
        run_id = requested.run_id
        log = read_run_log(self.site.instance, run_id) if self.site.name or on_kubernetes else RunLog()
        note = TrialNote(
            self.trial.number,
            outcome,
            reason,
            run_id,
            requested.requested_us,
            usage=usage or {},
            pod=read_pod(*log.kubernetes_job) if log.kubernetes_job else None,
            warnings=tuple(dict.fromkeys(self._doubts(requested, beside))),
        )
        if not self.site.name:
            return note
        run = get_run(self.site.instance, run_id)
        return replace(note, created_us=run.created_us if run else None, log=log)

    def _doubts(self, requested: Requested, beside: Sequence[Run]) -> Iterator[str]:
        """Yield what may have disturbed the trial's measurement."""
        if requested.trouble:
            yield f"its request made the run, and was answered with: {requested.trouble}"
        for run in beside:
            if run.tags.get(Tag.TRIAL) == str(self.trial.number):
                yield SEVERAL_RUNS
            else:
                yield f"run {run.run_id} of trial {run.tags.get(Tag.TRIAL)} was in progress beside it"

    def _submit(self, tags: dict[str, str]) -> str:
        return self.site.webserver.submit(
            location=self.location.name,
            repository=self.location.repository,
            job=self.location.job,
            asset_keys=self.trial.asset_keys,
            tags=tags,
        )

    def _submit_backfill(self, tags: dict[str, str]) -> None:
        partitions = [key for key in (self.trial.partition_key,) if key is not None]
        self.site.webserver.submit_backfill(asset_keys=self.trial.asset_keys, partitions=partitions, tags=tags)

    def _await_tick(self, tags: dict[str, str], first_us: int, deadline: float) -> Requested:
        """Have the location's schedule or sensor launch the run; the tick counts as the request."""
        request = LaunchRequest(
            run_key=f"{self.plan.sweep_id}/{self.trial.number}/{first_us}",
            asset_keys=self.trial.asset_keys,
            tags=tags,
            partition_key=self.trial.partition_key,
        )
        trigger = _TRIGGERS[self.trial.path]
        write_request(self.site.instance, self.location.name, trigger, request)
        try:
            run = self._await_run(first_us, deadline)
        finally:
            clear_request(self.site.instance, self.location.name, trigger)
        times_s = self._poll(self._tick_times_s, lambda times_s: run.run_id in times_s, deadline)
        if run.run_id not in times_s:
            raise NotLaunchedError(f"the tick of the {self.trial.path} that launched run {run.run_id} is not known")
        return Requested(run.run_id, to_us(times_s[run.run_id]))

    def _tick_times_s(self) -> dict[str, float]:
        """Return the known ticks by their runs; a tick is recorded when it ends."""
        try:
            return self.site.webserver.tick_times_s(
                location=self.location.name,
                repository=self.location.repository,
                name=_TRIGGERS[self.trial.path],
                kind=self.trial.path,
            )
        except WebserverUnreachableError as error:
            _logger.warning("trial %s: %s", self.trial.number, error)
            return {}

    def _await_run(self, first_us: int, deadline: float) -> Run:
        runs = self._poll(lambda: self._runs(first_us), bool, deadline)
        if not runs:
            raise NotLaunchedError(f"the {self.trial.path} launched no run in time")
        return runs[0]

    def _poll(self, look: Callable[[], _Seen], until: Callable[[_Seen], bool], deadline: float) -> _Seen:
        return poll(look, until, patience_s=deadline - time.monotonic(), every_s=POLL_S, sleep=self.sleep)

    def _runs(self, since_us: int) -> list[Run]:
        """Return the runs launched for this trial since then; an interrupted sweep may have left older ones."""
        runs = find_trial_runs(self.site.instance, self.plan.sweep_id, self.trial.number)
        return [run for run in runs if (run.requested_us or 0) >= since_us]
