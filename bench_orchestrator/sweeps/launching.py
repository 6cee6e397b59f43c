"""Asks for a trial's run, by the path that the trial is about, and never for two.

A webserver or a code server that is away for a while is waited for. What went wrong may have been carried out all the
same: a run that the request made is the trial's run.
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
from bench_orchestrator.model.runs import RunLog
from bench_orchestrator.model.tags import Tag
from bench_orchestrator.sources.instance import Run, find_trial_runs, get_run, read_run_log, to_us
from bench_orchestrator.sources.kubernetes import read_pod
from bench_orchestrator.sources.storage import describe_storage
from bench_orchestrator.sweeps.deployments import Site
from bench_orchestrator.sweeps.environment import kubernetes_namespace
from bench_orchestrator.waiting import poll
from bench_orchestrator.webserver import (
    DatabaseTroubleError,
    LocationAwayError,
    LocationStatus,
    WebserverError,
    WebserverUnreachableError,
)
from synthetic_locations.triggers import LaunchRequest, Trigger, clear_request, write_request

_logger = logging.getLogger(__name__)

POLL_S = 0.5
"""Between two looks at a trial's status."""

SERVER_POLL_S = 0.2
"""Between two looks whether a code server is back: part of what is measured, where a trial waits for that."""

_CODE_SERVER_PATIENCE_S = 180.0
"""How long a location may be without a code server: on Kubernetes it is without one whenever that moves."""

_Seen = TypeVar("_Seen")

_TRIGGERS = {LaunchPath.SCHEDULE: Trigger.SCHEDULE, LaunchPath.SENSOR: Trigger.SENSOR}


def trial_tags(plan: SweepPlan, trial: PlannedTrial, requested_us: int) -> dict[str, str]:
    """The tags of a trial's run: how the harvest finds it, and how a person filters for it."""
    tags = {
        Tag.KIND: "trial",
        Tag.SWEEP: plan.sweep_id,
        Tag.SCENARIO: plan.scenario,
        Tag.VARIANT: trial.variant,
        Tag.TRIAL: str(trial.number),
        Tag.WARMUP: str(trial.warmup).lower(),
        Tag.REQUESTED_AT: str(requested_us),
        # A run that Dagster retries by itself would be a second launch of the same trial.
        "dagster/max_retries": "0",
    }
    if trial.last_partition_key is not None and trial.partition_key is not None:
        tags["dagster/asset_partition_range_start"] = trial.partition_key
        tags["dagster/asset_partition_range_end"] = trial.last_partition_key
    elif trial.partition_key is not None and trial.path is LaunchPath.GRAPHQL:  # whatever else launches sets it itself
        tags["dagster/partition"] = trial.partition_key
    return {str(name): value for name, value in tags.items()}


class NotLaunchedError(Exception):
    """What was to launch a trial's run, a schedule or a daemon, did not do so in time."""


@dataclass(frozen=True)
class LaunchOfTrial:
    """One trial on its way: asks for its run, by the path that it is about, and never for two."""

    plan: SweepPlan
    trial: PlannedTrial
    location: Location
    site: Site
    sleep: Callable[[float], None]

    def restart_server(self, deadline: float) -> int:
        """End the location's code server, start another, and wait until the webserver has loaded the location from it.

        Returns:
            When the other was asked for.

        Raises:
            UnusableError: it cannot be ended or started.
            NotLaunchedError: it was not there, or not back, until the deadline.
        """
        servers = self.site.servers
        if servers is None:
            raise UnusableError(f"the sweep did not start the code server of {self.location.name} and may not stop it")
        earlier = self._await_location(lambda _: True, deadline)
        try:
            servers.stop_server(self.location.name)
        finally:  # whatever happens, a location does not stay without its server
            asked_us = now_us()
            servers.start_server(self.location.name)
        self._await_location(lambda now: now.state == "loaded" and now.server_id != earlier.server_id, deadline)
        return asked_us

    def _await_location(self, will_do: Callable[[LocationStatus], bool], deadline: float) -> LocationStatus:
        """What the webserver says of the location, as soon as that will do."""

        def look() -> LocationStatus | str:
            """The location's status, or why it will not do."""
            try:
                status = self.site.webserver.list_locations().get(self.location.name)
            except WebserverError as error:
                return str(error)
            if status is None:
                return "it is no longer in the workspace"
            return status if will_do(status) else f"{status.state} {status.error}".strip()

        seen = poll(
            look,
            lambda seen: isinstance(seen, LocationStatus),
            patience_s=deadline - time.monotonic(),
            every_s=SERVER_POLL_S,
            sleep=self.sleep,
        )
        if isinstance(seen, str):
            raise NotLaunchedError(f"the code server of {self.location.name} did not come back in time: {seen}")
        return seen

    def request(self, deadline: float, asked_us: int | None = None) -> tuple[str, int, str]:
        """The trial's run, when it was asked for, and the error if that made it all the same.

        A webserver or a code server that is away is waited for.

        Args:
            asked_us: when it was asked for, where that was before this.

        Raises:
            WebserverError: it refuses the launch, or what is away stayed so for too long.
            NotLaunchedError: nothing launched the run until the deadline.
        """
        first_us = asked_us or now_us()
        patience = {
            WebserverUnreachableError: deadline,
            DatabaseTroubleError: deadline,
            LocationAwayError: min(deadline, time.monotonic() + _CODE_SERVER_PATIENCE_S),
        }
        # Not by `poll`: how long to go on depends on the error, and a run is looked for before the request is repeated.
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
                # To the process's own output: the sweep's log may be in the very database.
                _logger.warning("trial %s: %s", self.trial.number, trouble)
                # Whatever went wrong, the request may have been carried out: a run that it made is this trial's run.
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
        """What is known of the trial; with its run's log, where the instance that holds it ends with the sweep."""
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
        """Have the location's schedule or sensor launch the run; it was asked for when that ticked."""
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
        times_s = self._poll(  # a tick is written down when it is over
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
        """What was launched for this trial since then: an interrupted sweep may have left older runs."""
        runs = find_trial_runs(self.site.instance, self.plan.sweep_id, self.trial.number)
        return [run for run in runs if run.requested_us is None or run.requested_us >= since_us]
