"""A sweep as seen from outside the deployment that carries it out: start it, follow it, cancel it, fetch its rows.

All of it over GraphQL, so that `bench run` works the same against the deployment beside it and against a far one.
"""

import json
import time
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field
from typing import Any

from pydantic import TypeAdapter

from bench_orchestrator.deployment import META_LOCATION
from bench_orchestrator.model.launch import Sweep
from bench_orchestrator.model.tags import MEASUREMENTS_ASSET, Tag
from bench_orchestrator.scenarios.registry import sweep_job_name, sweep_op_name
from bench_orchestrator.sources.instance import IN_DOUBT, NO_REASON
from bench_orchestrator.webserver import LaunchRejectedError, Webserver, WebserverError, WebserverUnreachableError

FINISHED = ("SUCCESS", "FAILURE", "CANCELED")

_POLL_S = 2.0
"""Rarely enough not to disturb the trials that it follows."""

_PATIENCE_S = 120.0
"""How long a webserver may be away, for instance to be restarted."""

_SWEEP = TypeAdapter(Sweep)


@dataclass
class Progress:
    """How far a sweep's run has come, as its own log has it."""

    status: str = "QUEUED"
    planned: int | None = None
    """Trials in its plan; None before there is one."""
    done: int = 0
    """Trials that are over."""
    lines: list[str] = field(default_factory=list)
    """What a person should see: what it does before it has a plan, then one per trial that is over."""
    failure: str = ""
    """Why the run failed, in one line."""
    engine: str = ""
    """What Dagster's engine last said of the run."""

    @property
    def finished(self) -> bool:
        """Whether the run has ended."""
        return self.status in FINISHED


def start_sweep(webserver: Webserver, scenario: str, config: Mapping[str, Any]) -> str:
    """Launch a scenario's job in the meta location and return its run id.

    Raises:
        WebserverError: the meta location is not there, or the deployment refuses.
    """
    job = sweep_job_name(scenario)
    locations = webserver.list_locations()
    meta = locations.get(META_LOCATION)
    if meta is None or meta.state != "loaded":
        found = meta.error or meta.state if meta else f"it has {', '.join(sorted(locations)) or 'none'}"
        raise WebserverError(
            f"The deployment at {webserver.url} has no usable code location {META_LOCATION!r}: {found}. "
            "Start it from this project's folder (`bench up`), or add the location to its workspace."
        )
    try:
        return webserver.submit(
            location=META_LOCATION,
            repository=meta.repositories[0],
            job=job,
            run_config={"ops": {sweep_op_name(scenario): {"config": dict(config)}}},
            tags={},
        )
    except LaunchRejectedError as error:
        raise WebserverError(f"{META_LOCATION} refused the job {job}: {error}") from error


def sweep_in_the_way(webserver: Webserver, own_run_id: str) -> str | None:
    """The run id of another sweep that is under way, which is what a queued sweep waits for."""
    answer = _ask(
        webserver,
        _RUNS,
        {"tags": [{"key": Tag.KIND, "value": "sweep"}], "statuses": ["STARTING", "STARTED", "CANCELING"]},
    )
    runs = (run["runId"] for run in answer["runsOrError"]["results"])
    return next((run_id for run_id in runs if run_id != own_run_id), None)


def follow(webserver: Webserver, run_id: str) -> Iterator[Progress]:
    """The sweep's progress, again and again until its run has ended; where that is in doubt, until it is harvested.

    Raises:
        WebserverError: no answer for two minutes; the sweep may go on without a webserver.
    """
    progress = Progress()
    cursor: str | None = None
    while True:
        answer = _ask(webserver, _PROGRESS, {"runId": run_id, "cursor": cursor})
        # Status before events: what came with the last status is then in the events.
        progress.status = answer["runOrError"]["status"]
        log = answer["logsForRun"]
        cursor = log["cursor"]
        for event in log["events"]:
            _take(progress, event)
        yield progress
        if log["hasMore"]:
            continue
        in_doubt = progress.status == "FAILURE" and IN_DOUBT.search(progress.failure)
        if progress.finished and (not in_doubt or _harvests(webserver, run_id)):
            return
        time.sleep(_POLL_S)


def fetch_sweep(webserver: Webserver, run_id: str, timeout_s: float) -> Sweep:
    """A finished sweep's rows, from the run that harvested it; waits for that run.

    Raises:
        WebserverError: it was not harvested in time, or no answer for two minutes.
    """
    deadline = time.monotonic() + timeout_s
    while time.monotonic() < deadline:
        for harvest_run_id in _harvests(webserver, run_id):
            return _SWEEP.validate_json(_harvested(webserver, harvest_run_id))
        time.sleep(_POLL_S)
    raise WebserverError(
        f"The sweep of run {run_id} was not harvested within {timeout_s:g} s. Is `harvest_sensor` switched on? "
        "Its ticks on the UI's Automation page show why. Once the sweep is harvested, `bench report` shows it."
    )


def _ask(webserver: Webserver, query: str, variables: Mapping[str, Any]) -> dict[str, Any]:
    """What the webserver answers; one that is away is asked again."""
    deadline = time.monotonic() + _PATIENCE_S
    while True:
        try:
            return webserver.query(query, variables)
        except WebserverUnreachableError:
            if time.monotonic() > deadline:
                raise
        time.sleep(_POLL_S)


def _take(progress: Progress, event: Mapping[str, Any]) -> None:
    metadata = {entry["label"]: entry for entry in event.get("metadataEntries", ()) if "label" in entry}
    if "plan" in metadata:
        progress.planned = len(json.loads(metadata["plan"]["jsonString"])["trials"])
    elif "note" in metadata:
        progress.done += 1
        progress.lines.append(event["description"])
    elif event["__typename"] == "LogMessageEvent" and progress.planned is None:
        progress.lines.append(event["message"])
    elif event["__typename"] in ("ExecutionStepFailureEvent", "RunFailureEvent") and (
        not progress.failure or IN_DOUBT.search(progress.failure)
    ):
        described = (event.get("failureMetadata") or {}).get("description")
        progress.failure = " ".join((described or _message(event)).split())
        if progress.failure == NO_REASON and progress.engine:
            progress.failure = progress.engine
        if IN_DOUBT.search(progress.failure):
            progress.lines.append("Dagster could not ask for the sweep's worker, and takes it for dead; it may go on.")
    elif event["__typename"] == "EngineEvent":
        progress.engine = " ".join(_message(event).split())


def _message(event: Mapping[str, Any]) -> str:
    """What an event says; where it has an error the innermost cause, as Dagster wraps what was raised."""
    error = event.get("error") or {}
    causes = [link["error"] for link in error.get("errorChain", ())]
    return (causes or [error])[-1].get("message") or event.get("message") or ""


def _harvests(webserver: Webserver, run_id: str) -> list[str]:
    """The runs that harvested the sweep of a run, the latest first."""
    tags = [{"key": Tag.HARVEST_OF, "value": run_id}]
    answer = _ask(webserver, _RUNS, {"tags": tags, "statuses": ["SUCCESS"]})
    return [run["runId"] for run in answer["runsOrError"]["results"]]


def _harvested(webserver: Webserver, harvest_run_id: str) -> str:
    cursor: str | None = None
    while True:
        log = _ask(webserver, _PROGRESS, {"runId": harvest_run_id, "cursor": cursor})["logsForRun"]
        for event in log["events"]:
            if (event.get("assetKey") or {}).get("path") != [MEASUREMENTS_ASSET]:
                continue
            for entry in event["metadataEntries"]:
                if entry["label"] == "sweep":
                    return str(entry["jsonString"])
        if not log["hasMore"]:
            raise WebserverError(f"The harvest run {harvest_run_id} holds no sweep.")
        cursor = log["cursor"]


_RUNS = """
query BenchRuns($tags: [ExecutionTag!], $statuses: [RunStatus!]) {
  runsOrError(filter: {tags: $tags, statuses: $statuses}) {
    ... on Runs { results { runId status } }
    ... on PythonError { __typename message }
  }
}
"""

_PROGRESS = """
query BenchProgress($runId: ID!, $cursor: String) {
  runOrError(runId: $runId) {
    ... on Run { status }
    ... on PythonError { __typename message }
  }
  logsForRun(runId: $runId, afterCursor: $cursor) {
    ... on PythonError { __typename message }
    ... on EventConnection {
      cursor
      hasMore
      events {
        __typename
        ... on MaterializationEvent {
          assetKey { path }
          metadataEntries { label ... on JsonMetadataEntry { jsonString } }
        }
        ... on ObservationEvent {
          description
          metadataEntries { label ... on JsonMetadataEntry { jsonString } }
        }
        ... on ExecutionStepFailureEvent {
          error { message errorChain { error { message } } }
          failureMetadata { description }
        }
        ... on LogMessageEvent { message }
        ... on EngineEvent { message error { message errorChain { error { message } } } }
        ... on RunFailureEvent { message error { message errorChain { error { message } } } }
      }
    }
  }
}
"""
