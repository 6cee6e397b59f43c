"""Read what a code location of a deployment holds, and its ticks, over GraphQL."""

from collections.abc import Iterator, Mapping, Sequence
from typing import Any

from pydantic import TypeAdapter

from bench_orchestrator.model.deployment_reading import FailedTick, LatestTick
from bench_orchestrator.model.errors import one_line
from bench_orchestrator.model.sampling import spread_evenly
from bench_orchestrator.sources.graphql import to_us
from bench_orchestrator.webserver import ASSET_JOB, Webserver, WebserverError, message_of, understood

COUNTED_PARTITIONS = 3
"""Of how many partitioned assets of a location the partitions are counted: each answer holds all their keys."""

_TICK_OF, _LATEST_TICK_OF = TypeAdapter(FailedTick), TypeAdapter(LatestTick)
_NAMES = TypeAdapter(list[str])


def count_partitions(webserver: Webserver, partitioned: Sequence[str]) -> tuple[int, int]:
    """Return the most partitions of one of these assets, and at how many of them was looked."""
    chosen = spread_evenly(partitioned)[:COUNTED_PARTITIONS]
    return max((len(webserver.list_partitions(key)) for key in chosen), default=0), len(chosen)


@understood
def count_jobs(webserver: Webserver, location: str, repository: str) -> int:
    """Return the number of jobs, without the implicit one of all assets."""
    jobs = _ask(webserver, _JOBS, location, repository)["jobs"]
    names = _NAMES.validate_python([job["name"] for job in jobs])
    return sum(not name.startswith(ASSET_JOB) for name in names)


@understood
def count_checks(webserver: Webserver, location: str, repository: str) -> int:
    """Return the number of asset checks."""
    nodes = _ask(webserver, _CHECKS, location, repository)["assetNodes"]
    return sum(len(node["assetChecksOrError"].get("checks", ())) for node in nodes)


@understood
def read_failed_ticks(webserver: Webserver, location: str, repository: str) -> list[FailedTick]:
    """Return the latest failed ticks of each schedule and sensor."""
    answer = _ask(webserver, _FAILED_TICKS, location, repository)
    return [
        _TICK_OF.validate_python(
            {
                "location": location,
                "kind": kind,
                "name": instigator["name"],
                "at_us": to_us(tick["timestamp"]),
                "error": one_line(_whole_message(tick["error"])),
            }
        )
        for kind in ("schedule", "sensor")
        for instigator in answer[f"{kind}s"]
        for tick in instigator["state"]["ticks"]
        if tick["error"]
    ]


@understood
def read_latest_ticks(webserver: Webserver) -> tuple[LatestTick, ...]:
    """Return the latest tick of each schedule and sensor that is switched on, of all loaded locations, in one query."""
    answer = webserver.query(_LATEST_TICKS)["workspace"]
    if "locationEntries" not in answer:
        raise WebserverError(f"{webserver.url} cannot list its code locations: {message_of(answer)}")
    return tuple(
        tick
        for entry in answer["locationEntries"]
        for repository in (entry["locationOrLoadError"] or {}).get("repositories", ())
        for kind in ("schedule", "sensor")
        for tick in _latest_ticks(entry["name"], kind, repository[f"{kind}s"])
    )


def _latest_ticks(location: str, kind: str, instigators: Sequence[Mapping[str, Any]]) -> Iterator[LatestTick]:
    for instigator in instigators:
        if instigator["state"]["status"] == "RUNNING":
            latest = next(iter(instigator["state"]["ticks"]), None)
            yield _LATEST_TICK_OF.validate_python(
                {
                    "location": location,
                    "kind": kind,
                    "name": instigator["name"],
                    "at_us": to_us(latest["timestamp"]) if latest else None,
                    "failed": latest is not None and latest["status"] == "FAILURE",
                    "least_interval_s": instigator.get("minIntervalSeconds"),
                }
            )


def _whole_message(error: Mapping[str, Any]) -> str:
    return " ".join(str(one["message"]) for one in (error, *error["causes"]))


def _ask(webserver: Webserver, document: str, location: str, repository: str) -> Mapping[str, Any]:
    selector = {"repositoryLocationName": location, "repositoryName": repository}
    answer: Mapping[str, Any] = webserver.query(document, {"selector": selector})["repository"]
    if "name" not in answer:
        raise WebserverError(f"{location} does not tell: {message_of(answer)}")
    return answer


def _query(name: str, fields: str) -> str:
    """Return the query for fields of a repository."""
    return f"""
query {name}($selector: RepositorySelector!) {{
  repository: repositoryOrError(repositorySelector: $selector) {{
    __typename
    ... on Repository {{ name {fields} }}
    ... on Error {{ message }}
  }}
}}
"""


_JOBS = _query("BenchJobs", "jobs { name }")

_CHECKS = _query("BenchChecks", "assetNodes { assetChecksOrError { ... on AssetChecks { checks { name } } } }")

_TICKS = "ticks(limit: 3, statuses: [FAILURE]) { timestamp error { message causes { message } } }"

_FAILED_TICKS = _query(
    "BenchFailedTicks",
    f"schedules {{ name state: scheduleState {{ {_TICKS} }} }} sensors {{ name state: sensorState {{ {_TICKS} }} }}",
)

_LATEST_TICK = "{ status ticks(limit: 1) { timestamp status } }"

_LATEST_TICKS = f"""
query BenchLatestTicks {{
  workspace: workspaceOrError {{
    __typename
    ... on Workspace {{
      locationEntries {{
        name
        locationOrLoadError {{
          ... on RepositoryLocation {{
            repositories {{
              schedules {{ name state: scheduleState {_LATEST_TICK} }}
              sensors {{ name minIntervalSeconds state: sensorState {_LATEST_TICK} }}
            }}
          }}
        }}
      }}
    }}
    ... on PythonError {{ message }}
  }}
}}
"""
