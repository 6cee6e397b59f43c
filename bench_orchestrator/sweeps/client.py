"""The client of a sweep: start it, follow its progress, fetch its rows.

Everything goes over GraphQL, so `bench run` works the same with a local and a remote deployment.
"""

import logging
import time
import uuid
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import suppress
from dataclasses import dataclass, field, replace
from typing import Any, TypeVar

from tenacity import RetryCallState, Retrying, retry_if_exception_type, stop_after_delay, wait_fixed

from bench_orchestrator.model.launch import Sweep
from bench_orchestrator.model.runs import FINISHED, IN_PROGRESS, LOG_MESSAGE, Run, RunEvent, RunLog, RunStatus
from bench_orchestrator.model.tags import HARVEST_SENSOR, META_LOCATION, Tag
from bench_orchestrator.scenarios.registry import sweep_job_name, sweep_op_name
from bench_orchestrator.sources.graphql import find_runs, get_run, read_page, read_run_logs
from bench_orchestrator.sweeps.deriving import derive_sweep
from bench_orchestrator.sweeps.entries import NOTE, PLAN, Journal, fold_journal
from bench_orchestrator.timeline.run_log import RunLogFold, is_in_doubt
from bench_orchestrator.waiting import poll
from bench_orchestrator.webserver import (
    LaunchRejectedError,
    LocationAwayError,
    Webserver,
    WebserverError,
    WebserverUnreachableError,
)

_logger = logging.getLogger(__name__)

_POLL_S = 2.0
"""Polling interval in seconds, long enough not to disturb the trials."""

_PATIENCE_S = 120.0
"""Seconds for which a webserver may be unreachable, for instance during a restart."""

_CREATION_S = 10.0
"""Seconds that a webserver may take to launch a run that it has created."""

_SERVER_AWAY = "Could not reach user code server"
"""Dagster's reason for a run whose code server did not answer when the run was dequeued."""

_Answer = TypeVar("_Answer")


@dataclass
class Progress:
    """The progress of a sweep's run, from its event log."""

    status: RunStatus = RunStatus.QUEUED
    planned: int | None = None
    """Trials in its plan; None before there is one."""
    done: int = 0
    """Finished trials."""
    lines: list[str] = field(default_factory=list)
    """Lines for the user: the steps before there is a plan, then one line per finished trial."""
    failure: str = ""
    """Why the run failed, in one line."""

    @property
    def finished(self) -> bool:
        """Whether the run has ended."""
        return self.status in FINISHED

    @property
    def was_unlaunchable(self) -> bool:
        """Whether the run failed before it began, because the code server was away when the run was to be launched."""
        began = self.planned is not None or self.lines
        return self.status is RunStatus.FAILURE and not began and _SERVER_AWAY in self.failure


def start_sweep(
    webserver: Webserver, scenario: str, config: Mapping[str, Any], say: Callable[[str], None] = _logger.warning
) -> str:
    """Launch a scenario's job in the meta location and return its run id.

    Waits for a webserver or code server that is temporarily unavailable. A request without an answer may still have
    made the run, or make it later; the run that was made first is the sweep, and a later one refuses to begin.

    Args:
        say: receives a line if there is a wait.

    Raises:
        WebserverError: the meta location is missing or not loaded, or the deployment rejects the launch.
    """
    start = _Start(webserver, scenario, config)
    try:
        return _patiently(start.run_id, say)
    except LocationAwayError:
        raise
    except LaunchRejectedError as error:
        raise WebserverError(f"{META_LOCATION} refused the job {sweep_job_name(scenario)}: {error}") from error


@dataclass
class _Start:
    """One start of a sweep, which may take several requests."""

    webserver: Webserver
    scenario: str
    config: Mapping[str, Any]
    _tags: Mapping[str, str] = field(default_factory=lambda: {Tag.START.value: uuid.uuid4().hex})
    _asked: bool = False
    _dropped: set[str] = field(default_factory=set)

    def run_id(self) -> str:
        """Return the run of this start, after a request if there is none."""
        repository, again, self._asked = _meta_repository(self.webserver), self._asked, True
        if again and (made := self._first_made()):
            return made
        run_id = self.webserver.submit(
            location=META_LOCATION,
            repository=repository,
            job=sweep_job_name(self.scenario),
            run_config={"ops": {sweep_op_name(self.scenario): {"config": dict(self.config)}}},
            tags=self._tags,
        )
        return (again and self._first_made()) or run_id

    def _first_made(self) -> str | None:
        """Return the first run of all requests; cancel one whose webserver ended between creating and launching it."""
        for run in find_runs(self.webserver, self._tags):
            if run.run_id not in self._dropped and self._begins(run.run_id):
                return run.run_id
        return None

    def _begins(self, run_id: str) -> bool:
        run = poll(
            lambda: get_run(self.webserver, run_id),
            lambda run: run is None or run.status is not RunStatus.NOT_STARTED,
            patience_s=_CREATION_S,
            every_s=_POLL_S,
        )
        if run is not None and run.status is RunStatus.NOT_STARTED:
            self.webserver.force_terminate(run_id)
            self._dropped.add(run_id)
            return False
        return run is not None


def _meta_repository(webserver: Webserver) -> str:
    """Return the repository of the meta location.

    Raises:
        WebserverError: the location is missing or not loaded. LocationAwayError: it may be so later.
    """
    locations = webserver.list_locations()
    meta = locations.get(META_LOCATION)
    if meta is not None and meta.state == "loaded":
        return meta.repositories[0]
    if meta is not None and meta.away:
        raise LocationAwayError(f"The code location {META_LOCATION} of {webserver.url} has no code server yet.")
    found = meta.error or meta.state if meta else f"it has {', '.join(sorted(locations)) or 'none'}"
    raise WebserverError(
        f"The deployment at {webserver.url} has no usable code location {META_LOCATION!r}: {found}. "
        "Start it from this project's folder (`bench up`), or add the location to its workspace."
    )


def cancel_sweep(webserver: Webserver, run_id: str) -> None:
    """Request the termination of a sweep's run, which may have ended meanwhile."""
    with suppress(WebserverError):
        _patiently(lambda: webserver.terminate(run_id))


def sweep_in_the_way(webserver: Webserver, own_run_id: str) -> str | None:
    """Return the run id of another sweep in progress, for which a queued sweep waits."""
    runs = _patiently(lambda: find_runs(webserver, {Tag.KIND: "sweep"}, statuses=IN_PROGRESS))
    return next((run.run_id for run in reversed(runs) if run.run_id != own_run_id), None)


def follow(webserver: Webserver, run_id: str) -> Iterator[Progress]:
    """Yield the sweep's progress until its run has ended; if that is uncertain, until the sweep is harvested.

    Raises:
        WebserverError: no answer for two minutes; the sweep may continue without a webserver.
    """
    progress, folding = Progress(), RunLogFold()
    cursor: str | None = None
    while True:
        page = _patiently(lambda: read_page(webserver, run_id, cursor))  # noqa: B023  # called before the next turn
        progress.status, cursor = page.status, page.cursor
        for event in page.events:
            folding.take(event)
            with webserver.understanding():
                _take(progress, event, folding.failure)
        yield progress
        if page.has_more:
            continue
        in_doubt = progress.status is RunStatus.FAILURE and is_in_doubt(progress.failure)
        if progress.finished and (not in_doubt or _harvests(webserver, run_id)):
            return
        time.sleep(_POLL_S)


def fetch_sweep(
    webserver: Webserver, run_id: str, timeout_s: float, say: Callable[[str], None] = lambda _: None
) -> Sweep:
    """Return a finished sweep, derived from its runs as the harvest derives it; wait for the harvest first.

    While another sweep is in progress, it waits for as long as that takes, because the harvest does. A sweep that was
    not harvested in time is derived all the same: what was measured does not depend on the deployment's results.

    The webserver truncates the times of events to milliseconds, and so are the rows.

    Args:
        timeout_s: seconds to wait for the harvest while no other sweep is in progress.
        say: receives a line for each sweep that is waited for, and for a harvest that did not come.

    Raises:
        WebserverError: it has no plan, or no answer for two minutes.
        JournalError: its journal cannot be read.
    """
    other: str | None = None
    while not poll(lambda: _harvests(webserver, run_id), patience_s=timeout_s, every_s=_POLL_S):
        before, other = other, sweep_in_the_way(webserver, run_id)
        if other is None and before is None:
            say(
                f"The sweep of run {run_id} was not harvested within {timeout_s:g} s: the deployment's results do not "
                f"have it yet. {_why_not_harvested(webserver, run_id)} What follows is derived from its runs."
            )
            break
        if other != before and other is not None:
            say(f"Waiting for the sweep of run {other} to end; this one is harvested after it.")
    with webserver.understanding():
        sweep = derive_sweep(RemoteRuns(webserver), run_id)
    if sweep is None:
        raise WebserverError(f"The run {run_id} recorded no plan of a sweep.")
    return sweep


@dataclass(frozen=True)
class RemoteRuns:
    """The runs of a deployment, over GraphQL; a webserver that is unreachable is asked again."""

    webserver: Webserver
    resolution_us: int = 1_000

    def get_run(self, run_id: str) -> Run | None:
        """Return the run with this id; None if the deployment does not have it."""
        return _patiently(lambda: get_run(self.webserver, run_id))

    def find_trial_runs(self, sweep_id: str) -> list[Run]:
        """Return the runs launched for a sweep, oldest first; not what users re-executed."""
        runs = _patiently(lambda: find_runs(self.webserver, {Tag.KIND: "trial", Tag.SWEEP: sweep_id}))
        return [run for run in runs if not run.reexecuted]

    def read_run_logs(self, run_ids: Sequence[str]) -> dict[str, RunLog]:
        """Return the logs of runs by run id."""
        return _patiently(lambda: read_run_logs(self.webserver, run_ids))

    def read_journal(self, sweep_run_id: str) -> Journal | None:
        """Return a sweep's journal; None if it has no plan. Raises JournalError if it cannot be read."""
        journal = fold_journal(sweep_run_id, self._events(sweep_run_id))
        if journal is None or journal.plan.resumes is None:
            return journal
        earlier = self.read_journal(journal.plan.resumes) if self.get_run(journal.plan.resumes) else None
        return replace(journal, notes=(*(earlier.notes if earlier else ()), *journal.notes))

    def _events(self, run_id: str) -> Iterator[RunEvent]:
        cursor: str | None = None
        while True:
            page = _patiently(lambda: read_page(self.webserver, run_id, cursor))  # noqa: B023  # likewise
            yield from page.events
            if not page.has_more:
                return
            cursor = page.cursor


def _patiently(ask: Callable[[], _Answer], say: Callable[[str], None] = lambda _: None) -> _Answer:
    """Call `ask`; retry while the webserver or a code server is unreachable, after a line that says so."""

    def announce(state: RetryCallState) -> None:
        if state.attempt_number == 1 and state.outcome is not None:
            say(f"{state.outcome.exception()} (trying again for up to {_PATIENCE_S:g} s)")

    again = Retrying(
        retry=retry_if_exception_type((WebserverUnreachableError, LocationAwayError)),
        stop=stop_after_delay(_PATIENCE_S),
        wait=wait_fixed(_POLL_S),
        before_sleep=announce,
        reraise=True,
    )
    return again(ask)


def _take(progress: Progress, event: RunEvent, failure: str) -> None:
    """Update the progress with one event; `failure` is the failure in the run's log up to this event."""
    if PLAN in event.metadata:
        progress.planned = len(event.metadata[PLAN]["trials"])
    elif NOTE in event.metadata:
        progress.done += 1
        progress.lines.append(event.description)
    elif event.type == LOG_MESSAGE and progress.planned is None:
        progress.lines.append(event.message)
    elif failure != progress.failure:
        progress.failure = failure
        if is_in_doubt(failure):
            progress.lines.append("Dagster could not reach the sweep's worker and considers it dead; it may continue.")


def _why_not_harvested(webserver: Webserver, run_id: str) -> str:
    """Return where to look for the reason, in a sentence."""
    failed = _patiently(lambda: find_runs(webserver, {Tag.HARVEST_OF: run_id}, statuses=(RunStatus.FAILURE,)))
    if failed:
        return f"{webserver.run_url(failed[-1].run_id)} shows why its harvest failed; the sensor tries again."
    return f"Is `{HARVEST_SENSOR}` switched on? Its ticks on the UI's Automation page show why."


def _harvests(webserver: Webserver, run_id: str) -> list[str]:
    """Return the runs that harvested the sweep of a run, latest first."""
    runs = _patiently(lambda: find_runs(webserver, {Tag.HARVEST_OF: run_id}, statuses=(RunStatus.SUCCESS,)))
    return [run.run_id for run in reversed(runs)]
