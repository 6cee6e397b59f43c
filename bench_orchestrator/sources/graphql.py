"""Read runs and their logs over GraphQL, without Dagster; they equal those of `sources.instance`.

The webserver truncates event times to milliseconds, and omits hidden tags, which begin with `.dagster/`.
"""

import json
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from functools import reduce
from typing import Any, Protocol

from pydantic import TypeAdapter

from bench_orchestrator.model.instants import MICROSECONDS, read_instant_us
from bench_orchestrator.model.runs import LOG_MESSAGE, Run, RunError, RunEvent, RunLog, RunStatus
from bench_orchestrator.timeline.run_log import RunLogFold
from bench_orchestrator.webserver import (
    AccessDeniedError,
    Webserver,
    WebserverError,
    WebserverUnreachableError,
    message_of,
    understood,
)

_RUNS_PER_PAGE = 100
_LOGS_PER_QUERY = 25

_PIPELINE_TYPES = {
    f"RUN_{name}": f"PIPELINE_{name}"
    for name in ("ENQUEUED", "DEQUEUED", "STARTING", "START", "SUCCESS", "FAILURE", "CANCELING", "CANCELED")
}
"""Event types by the names that GraphQL has for them, where these differ."""

_WITH_METADATA = frozenset({"ENGINE_EVENT", "STEP_WORKER_STARTING", "ASSET_MATERIALIZATION", "ASSET_OBSERVATION"})


_RUN_OF, _EVENT_OF, _ERROR_OF = TypeAdapter(Run), TypeAdapter(RunEvent), TypeAdapter(RunError)
_NEXT_PAGE = TypeAdapter(tuple[str, bool])
_COUNT_OF = TypeAdapter(int)

LOCATION_FIELD = "repositoryOrigin { repositoryLocationName }"
"""What `location_of` reads of a run, as one of `more_fields`."""
_LOCATION_OF = TypeAdapter(str)


@dataclass(frozen=True)
class LogPage:
    """One page of a run's log, in log order."""

    status: RunStatus
    """The run's status, read before the events."""
    events: tuple[RunEvent, ...]
    cursor: str
    """The start of the next page."""
    has_more: bool


class Taker(Protocol):
    """What the events of a run are handed to, in log order."""

    def take(self, event: RunEvent) -> None:
        """Take the next event."""


@understood
def get_run(webserver: Webserver, run_id: str) -> Run | None:
    """Return the run with this id; None if the deployment does not have it."""
    answer = webserver.query(_run_fields() + _RUN, {"runId": run_id})["run"]
    return run_of(answer) if "runId" in answer else None


@understood
def find_runs(
    webserver: Webserver,
    tags: Mapping[str, str],
    *,
    statuses: Sequence[RunStatus] = (),
    updated_after_us: int | None = None,
    run_ids: Sequence[str] = (),
    most: int | None = None,
) -> list[Run]:
    """Return all runs with these tags, or the newest ones, oldest first; `updated_after_us` is exclusive.

    Args:
        run_ids: only these, if any are given.
        most: how many to return at most; None for all.
    """
    selected = {
        "runIds": list(run_ids) or None,
        "tags": [{"key": key, "value": value} for key, value in tags.items()],
        "statuses": list(statuses) or None,
        "updatedAfter": None if updated_after_us is None else updated_after_us / MICROSECONDS,
    }
    return [run_of(answer) for answer in list_runs(webserver, selected, most=most)][::-1]


@understood
def list_runs(
    webserver: Webserver,
    selected: Mapping[str, Any],
    *,
    most: int | None = None,
    before: str | None = None,
    more_fields: str = "",
) -> list[Mapping[str, Any]]:
    """Return the answers about the runs that a RunsFilter selects, newest first.

    Args:
        most: how many to return at most; None for all.
        before: only those that were created before the run with this id; None for all.
        more_fields: of each run, besides those that `run_of` reads.
    """
    found: list[Mapping[str, Any]] = []
    cursor = before
    while True:
        limit = _RUNS_PER_PAGE if most is None else min(_RUNS_PER_PAGE, most - len(found))
        variables = {"filter": selected, "cursor": cursor, "limit": limit}
        answer = webserver.query(_run_fields(more_fields) + _RUNS, variables)["runs"]
        if "results" not in answer:
            raise WebserverError(f"{webserver.url} cannot list its runs: {message_of(answer)}")
        found.extend(answer["results"])
        if len(answer["results"]) < limit or (most is not None and len(found) >= most):
            return found[:most]
        last = str(found[-1]["runId"])
        if cursor == last:
            raise ValueError("the same page of runs again")
        cursor = last


@understood
def count_runs(webserver: Webserver, selected: Mapping[str, Any]) -> int:
    """Return how many runs a RunsFilter selects."""
    answer = webserver.query(_COUNT, {"filter": selected})["runs"]
    if "count" not in answer:
        raise WebserverError(f"{webserver.url} cannot count its runs: {message_of(answer)}")
    return _COUNT_OF.validate_python(answer["count"])


@understood
def read_page(webserver: Webserver, run_id: str, cursor: str | None = None) -> LogPage:
    """Return the events of one run after the cursor, up to the webserver's page size.

    Raises:
        WebserverError: the deployment does not have the run.
    """
    answer = webserver.query(_PAGE, {"runId": run_id, "cursor": cursor})
    run, log = answer["run"], answer["log"]
    if "runId" not in run or "events" not in log:
        raise WebserverError(f"{webserver.url} does not know the run {run_id}: {message_of(log)}")
    return LogPage(RunStatus(run["status"]), tuple(_events(log)), *_next_page(log, cursor))


def read_run_log(webserver: Webserver, run_id: str) -> RunLog:
    """Return the log of one run; the log of an unknown run is empty."""
    return read_run_logs(webserver, [run_id])[run_id]


def read_run_logs(webserver: Webserver, run_ids: Sequence[str]) -> dict[str, RunLog]:
    """Return the logs of many runs by run id, with one query for several runs; the log of an unknown run is empty."""
    folds = {run_id: RunLogFold() for run_id in run_ids}
    read_events(webserver, folds)
    return {run_id: folding.log() for run_id, folding in folds.items()}


@understood
def read_events(
    webserver: Webserver,
    takers: Mapping[str, Taker],
    *,
    metadata: bool = True,
    page: int | None = None,
    enough: Callable[[str], bool] = lambda _: False,
) -> frozenset[str]:
    """Hand the events of many runs to their takers, with one query for several runs; an unknown run has none.

    A webserver cannot answer with a text that is not UTF-8. Such a run is read alone, without the texts of its log.

    Args:
        takers: by run id.
        metadata: whether events come with their metadata.
        page: the events of each run per query; None for the webserver's own number.
        enough: tells of a run, between two pages of its log, whether to leave out the rest.

    Returns:
        The runs of whose logs the rest was left out.
    """
    fields = _LOG_FIELDS if metadata else _LOG_FIELDS_WITHOUT_METADATA
    left: dict[str, str | None] = dict.fromkeys(takers)
    cut: set[str] = set()
    at_once = _LOGS_PER_QUERY
    while left:
        asked = list(left)[:at_once]
        runs = {f"run{n}": run_id for n, run_id in enumerate(asked)}
        cursors = {f"cursor{n}": left[run_id] for n, run_id in enumerate(asked)}
        try:
            answer = webserver.query(_logs_query(len(asked), fields, page), {**runs, **cursors})
        except (WebserverUnreachableError, AccessDeniedError):
            raise
        except WebserverError:
            if at_once > 1:
                at_once = 1
                continue
            answer = webserver.query(_logs_query(len(asked), _LOG_FIELDS_WITHOUT_TEXTS, page), {**runs, **cursors})
        for n, run_id in enumerate(asked):
            log = answer[f"log{n}"]
            for event in _events(log):
                takers[run_id].take(event)
            after, has_more = _next_page(log, left[run_id]) if "events" in log else ("", False)
            if has_more and enough(run_id):
                cut.add(run_id)
            if has_more and run_id not in cut:
                left[run_id] = after
            else:
                del left[run_id]
    return frozenset(cut)


def run_of(answer: Mapping[str, Any]) -> Run:
    """Return the run that an answer is about."""
    started_s = answer["startTime"]
    if started_s == answer["endTime"]:  # the webserver's answer for a run that ended before it started
        started_s = None
    return _RUN_OF.validate_python(
        {
            "run_id": answer["runId"],
            "status": answer["status"],
            "job": answer["jobName"],
            "tags": {tag["key"]: tag["value"] for tag in answer["tags"]},
            "created_us": to_us(answer["creationTime"]),
            "updated_us": to_us(answer["updateTime"]),
            "started_us": None if started_s is None else to_us(started_s),
        }
    )


def location_of(answer: Mapping[str, Any]) -> str:
    """Return the code location of the run that an answer with LOCATION_FIELD is about; empty if it has none."""
    origin = answer["repositoryOrigin"]
    return _LOCATION_OF.validate_python(origin["repositoryLocationName"] if origin else "")


def to_us(timestamp_s: float) -> int:
    """Convert a time of an answer, in seconds since the epoch, to microseconds."""
    return read_instant_us(round(timestamp_s * MICROSECONDS))


def _next_page(log: Mapping[str, Any], cursor: str | None) -> tuple[str, bool]:
    """Return the cursor of the page after this one, and whether there is one."""
    after, has_more = _NEXT_PAGE.validate_python((log["cursor"], log["hasMore"]))
    if has_more and after == cursor:
        raise ValueError("the same page of events again")
    return after, has_more


def _events(log: Mapping[str, Any]) -> Iterator[RunEvent]:
    return (_event(event) for event in log.get("events", ()) if "timestamp" in event)


def _event(event: Mapping[str, Any]) -> RunEvent:
    kind = event["eventType"] or LOG_MESSAGE
    kind = _PIPELINE_TYPES.get(kind, kind)
    described = kind in _WITH_METADATA
    description = event.get("description") if described else (event.get("failureMetadata") or {}).get("description")
    return _EVENT_OF.validate_python(
        {
            "type": kind,
            "time_us": read_instant_us(int(event["timestamp"]) * 1000),
            "step_key": event["stepKey"],
            "message": event.get("message", ""),
            "metadata": dict(_metadata(event.get("metadataEntries", ()))) if described else {},
            "error": _error(event.get("error")),
            "description": description or "",
        }
    )


def _error(error: Mapping[str, Any] | None) -> RunError | None:
    """Convert an error and its causes; the webserver returns at most ten."""
    if error is None:
        return None
    chain = [error, *error["causes"]]
    return reduce(_caused, reversed(chain), None)


def _caused(cause: RunError | None, error: Mapping[str, Any]) -> RunError:
    return _ERROR_OF.validate_python(
        {"message": error["message"], "class_name": error["className"] or "", "cause": cause}
    )


_PLAIN_METADATA: Mapping[str, tuple[str, Callable[[Any], Any]]] = {
    "TextMetadataEntry": ("text", str),
    "UrlMetadataEntry": ("url", str),
    "PathMetadataEntry": ("path", str),
    "MarkdownMetadataEntry": ("mdStr", str),
    "JsonMetadataEntry": ("jsonString", json.loads),
    "FloatMetadataEntry": ("floatRepr", lambda text: None if text == "None" else float(text)),
    "IntMetadataEntry": ("intRepr", lambda text: None if text == "None" else int(text)),
    "BoolMetadataEntry": ("boolValue", lambda value: value),
    "NullMetadataEntry": ("__typename", lambda _: None),
    "TimestampMetadataEntry": ("timestamp", float),
}
"""The types of metadata whose value is plain data: the field that holds the value, and its decoder."""


def _metadata(entries: Sequence[Mapping[str, Any]]) -> Iterator[tuple[str, Any]]:
    for entry in entries:
        field, decode = _PLAIN_METADATA.get(entry["__typename"], ("", str))
        if field in entry:
            yield entry["label"], decode(entry[field])


def _run_fields(more: str = "") -> str:
    fields = "runId status jobName tags { key value } creationTime updateTime startTime endTime"
    return f"fragment BenchRun on Run {{ {fields} {more} }}\n"


_RUN = """
query BenchRun($runId: ID!) {
  run: runOrError(runId: $runId) {
    __typename
    ... on Run { ...BenchRun }
    ... on Error { message }
  }
}
"""

_RUNS = """
query BenchRuns($filter: RunsFilter!, $cursor: String, $limit: Int!) {
  runs: runsOrError(filter: $filter, cursor: $cursor, limit: $limit) {
    __typename
    ... on Runs { results { ...BenchRun } }
    ... on Error { message }
  }
}
"""

_COUNT = """
query BenchRunCount($filter: RunsFilter!) {
  runs: runsOrError(filter: $filter, limit: 1) {
    __typename
    ... on Runs { count }
    ... on Error { message }
  }
}
"""

_TEXTS = """
fragment BenchError on PythonError { message className causes { message className } }

fragment BenchTexts on DagsterRunEvent {
  ... on MessageEvent { eventType timestamp stepKey message }
  ... on ErrorEvent { error { ...BenchError } }
  ... on ExecutionStepFailureEvent { failureMetadata { description } }
}
"""

_LOG_FIELDS_WITHOUT_METADATA = (
    _TEXTS
    + """
fragment BenchLog on EventConnection { cursor hasMore events { ...BenchTexts } }
"""
)

_LOG_FIELDS = (
    _TEXTS
    + """
fragment BenchLog on EventConnection {
  cursor
  hasMore
  events {
    ...BenchTexts
    ... on DisplayableEvent {
      description
      metadataEntries {
        __typename
        label
        ... on TextMetadataEntry { text }
        ... on UrlMetadataEntry { url }
        ... on PathMetadataEntry { path }
        ... on MarkdownMetadataEntry { mdStr }
        ... on JsonMetadataEntry { jsonString }
        ... on FloatMetadataEntry { floatRepr }
        ... on IntMetadataEntry { intRepr }
        ... on BoolMetadataEntry { boolValue }
        ... on TimestampMetadataEntry { timestamp }
      }
    }
  }
}
"""
)

_LOG_FIELDS_WITHOUT_TEXTS = """
fragment BenchLog on EventConnection {
  cursor
  hasMore
  events {
    ... on MessageEvent { eventType timestamp stepKey }
    ... on DisplayableEvent {
      metadataEntries {
        __typename
        label
        ... on FloatMetadataEntry { floatRepr }
        ... on IntMetadataEntry { intRepr }
      }
    }
  }
}
"""

_PAGE = (
    _LOG_FIELDS
    + """
query BenchPage($runId: ID!, $cursor: String) {
  run: runOrError(runId: $runId) {
    __typename
    ... on Run { runId status }
    ... on Error { message }
  }
  log: logsForRun(runId: $runId, afterCursor: $cursor) {
    __typename
    ... on EventConnection { ...BenchLog }
    ... on Error { message }
  }
}
"""
)


def _logs_query(runs: int, fields: str, page: int | None) -> str:
    """Return the query for these fields of the logs of this number of runs, each with its own cursor."""
    limit = "" if page is None else f", limit: {page}"
    arguments = ", ".join(f"$run{n}: ID!, $cursor{n}: String" for n in range(runs))
    logs = "\n".join(
        f"log{n}: logsForRun(runId: $run{n}, afterCursor: $cursor{n}{limit}) "
        "{ __typename ... on EventConnection { ...BenchLog } ... on Error { message } }"
        for n in range(runs)
    )
    return f"{fields}\nquery BenchLogs({arguments}) {{\n{logs}\n}}"
