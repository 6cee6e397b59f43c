"""Requests a trial's run, by the trial's launch path, and never more than one.

Waits for a webserver or code server that is temporarily unavailable. A failed request may still have created a run;
that run is then the trial's run.
"""

import logging
import time
from collections.abc import Callable, Mapping
from dataclasses import dataclass, replace
from typing import TypeVar

from bench_orchestrator.model.errors import UnusableError
from bench_orchestrator.model.instants import now_us
from bench_orchestrator.model.launch import Outcome, TrialNote
from bench_orchestrator.model.plan import LaunchPath, Location, PlannedTrial, SweepPlan
from bench_orchestrator.model.runs import Run, RunLog
from bench_orchestrator.model.tags import NO_RETRIES, Tag
from bench_orchestrator.sources.instance import find_trial_runs, get_run, read_run_log, to_us
from bench_orchestrator.sources.kubernetes import read_pod
from bench_orchestrator.sources.storage import describe_storage
from bench_orchestrator.sweeps.deployments import Site
from bench_orchestrator.sweeps.environment import kubernetes_namespace
from bench_orchestrator.waiting import poll
from bench_orchestrator.webserver import (
    DatabaseTroubleError,
    LocationAwayError,
    LocationEntry,
    WebserverError,
    WebserverUnreachableError,
)
from synthetic_locations.triggers import LaunchRequest, Trigger, clear_request, write_request

_logger = logging.getLogger(__name__)

POLL_S = 0.5
"""Polling interval for a trial's status, in seconds."""

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


class NotLaunchedError(Exception):
    """A schedule, sensor or daemon did not launch a trial's run in time."""


@dataclass(frozen=True)
class LaunchOfTrial:
    """The launch of one trial: requests its run, by the trial's launch path, and never more than one."""

    plan: SweepPlan
    trial: PlannedTrial
    location: Location
    site: Site
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

    def request(self, deadline: float, asked_us: int | None = None) -> tuple[str, int, str]:
        """Return the trial's run id, the time of its request, and the error if the request failed but created the run.

        Waits for a webserver or code server that is temporarily unavailable.

        Args:
            asked_us: time of the request in microseconds, if it was before this call.

        Raises:
            WebserverError: the launch was rejected, or a server was unavailable for too long.
            NotLaunchedError: no run was launched by the deadline.
        """
        first_us = asked_us or now_us()
        patience = {
            WebserverUnreachableError: deadline,
            DatabaseTroubleError: deadline,
            LocationAwayError: min(deadline, time.monotonic() + _CODE_SERVER_PATIENCE_S),
        }
        # Not `poll`: the patience depends on the error, and each retry first checks for a run of the last request.
        while True:
            requested_us = asked_us or now_us()
            tags = trial_tags(self.plan, self.trial, requested_us)
            try:
                match self.trial.path:
                    case LaunchPath.GRAPHQL:
                        return self._submit(tags), requested_us, ""
                    case LaunchPath.BACKFILL:
                        self._submit_backfill(tags)
                        return self._await_run(first_us, deadline).run_id, requested_us, ""
                    case LaunchPath.SCHEDULE | LaunchPath.SENSOR:
                        return *self._await_tick(tags, first_us, deadline), ""
            except WebserverError as error:
                trouble = error
                if isinstance(error, DatabaseTroubleError):
                    trouble = DatabaseTroubleError(f"{error} {describe_storage(self.site.instance)}")
                # To the process's own output, because the sweep's log may be in the failing database.
                _logger.warning("trial %s: %s", self.trial.number, trouble)
                # The failed request may still have created a run: that is this trial's run.
                self.sleep(2 * POLL_S)
                for run in self._runs(first_us):
                    return run.run_id, run.requested_us or requested_us, str(trouble)
                if time.monotonic() >= patience.get(type(error), 0):
                    raise trouble from error.__cause__

    def note(
        self,
        outcome: Outcome,
        run_id: str,
        requested_us: int,
        reason: str = "",
        usage: Mapping[str, float] | None = None,
    ) -> TrialNote:
        """Return the note on the trial; with its run's log if the run's instance ends with the sweep."""
        on_kubernetes = kubernetes_namespace(self.site.instance) is not None
        log = read_run_log(self.site.instance, run_id) if self.site.name or on_kubernetes else RunLog()
        pod = read_pod(*log.kubernetes_job) if log.kubernetes_job else None
        note = TrialNote(self.trial.number, outcome, reason, run_id, requested_us, usage=usage or {}, pod=pod)
        if not self.site.name:
            return note
        run = get_run(self.site.instance, run_id)
        return replace(note, created_us=run.created_us if run else None, log=log)

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

    def _await_tick(self, tags: dict[str, str], first_us: int, deadline: float) -> tuple[str, int]:
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
        times_s = self._poll(  # a tick is recorded when it ends
            lambda: self.site.webserver.tick_times_s(
                location=self.location.name,
                repository=self.location.repository,
                name=trigger,
                kind=self.trial.path,
            ),
            lambda times_s: run.run_id in times_s,
            deadline,
        )
        if run.run_id not in times_s:
            raise NotLaunchedError(f"the tick of the {self.trial.path} that launched run {run.run_id} is not known")
        return run.run_id, to_us(times_s[run.run_id])

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
        return [run for run in runs if run.requested_us is None or run.requested_us >= since_us]
