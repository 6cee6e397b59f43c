"""The GraphQL client for a deployment's webserver.

It does not need Dagster. Its errors distinguish whether the webserver or its database is unreachable, the credentials
are rejected, or a launch is rejected.
"""

import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any
from urllib.parse import urlsplit

import requests

from bench_orchestrator.model.errors import UnusableError, one_line

ASSET_JOB = "__ASSET_JOB"
"""The implicit job of all assets of a code location."""

_GATEWAY_ERRORS = (502, 503, 504)
_NO_DATABASE = re.compile("OperationalError|too many retries for DB connection")
"""Errors of SQLAlchemy, and of dagster-postgres after its retries, for a database that is unreachable, restarting or
out of connections: temporary, and unrelated to the query."""
_NO_SERVER = "UNAVAILABLE"
"""The gRPC status of a code server that is being replaced, until the next one is up."""
_REFUSALS = (401, 403)


class WebserverError(UnusableError):
    """The webserver could not execute a request; the message tells what to do."""


class WebserverUnreachableError(WebserverError):
    """No answer: the request may or may not have been executed."""


class DatabaseTroubleError(WebserverUnreachableError):
    """The webserver's database does not answer; the request may have been executed in part."""


class AccessDeniedError(WebserverError):
    """The webserver rejects the credentials."""


class LaunchRejectedError(WebserverError):
    """The deployment rejected a launch; no run was created."""


class LocationAwayError(LaunchRejectedError):
    """The location temporarily has no code server; no run was created."""


@dataclass(frozen=True)
class LocationEntry:
    """A code location as the webserver lists it."""

    name: str
    state: str
    """`loaded`, `loading` or `error`."""
    repositories: tuple[str, ...] = ()
    error: str = ""
    server_id: str = ""
    """The id of the code server that it was loaded from, which changes with the server; empty if it is not loaded."""
    host: str = ""
    """The host of its code server; empty if it is not reached over a network."""

    @property
    def away(self) -> bool:
        """Whether it has no code server for the moment: it is being loaded, or its server is being replaced."""
        return self.state == "loading" or (self.state == "error" and _NO_SERVER in self.error)


@dataclass(frozen=True)
class BackfillEntry:
    """A backfill that may still launch runs."""

    backfill_id: str
    tags: Mapping[str, str]
    """Without hidden ones; its runs have them too."""


class Webserver:
    """One Dagster webserver, by its URL.

    Args:
        url: URL of the UI, including a path prefix: `http://127.0.0.1:3000`.
        authorization: value of the HTTP Authorization header, if the deployment requires one.
        timeout_s: seconds to wait for an answer.
    """

    def __init__(self, url: str, authorization: str | None = None, timeout_s: float = 120) -> None:
        parts = urlsplit(url)
        if parts.scheme not in ("http", "https") or not parts.hostname:
            raise ValueError(f"{url!r} is not the URL of a webserver. Example: http://127.0.0.1:3000")
        self.url = url.rstrip("/")
        self.headers = {"Authorization": authorization} if authorization else {}
        self._timeout_s = timeout_s
        # Local addresses bypass proxies that the environment may configure.
        self._is_local = parts.hostname in ("localhost", "127.0.0.1", "::1")

    def list_locations(self) -> dict[str, LocationEntry]:
        """Return the deployment's code locations by name."""
        data = self.query(_LOCATIONS)
        entries = data["workspaceOrError"].get("locationEntries")
        if entries is None:
            raise WebserverError(f"{self.url} cannot list its code locations: {data['workspaceOrError']}")
        return {entry["name"]: _location_entry(entry) for entry in entries}

    def list_assets(self, location: str, repository: str) -> dict[str, bool]:
        """Return the executable assets of a location: by key, whether each is partitioned."""
        selector = {"repositoryLocationName": location, "repositoryName": repository}
        answer = self.query(_ASSETS, {"selector": selector})["repositoryOrError"]
        if "assetNodes" not in answer:
            raise WebserverError(f"{location} cannot list its assets: {answer.get('message', answer)}")
        return {
            "/".join(node["assetKey"]["path"]): node["isPartitioned"]
            for node in answer["assetNodes"]
            if node["isMaterializable"]
        }

    def list_partitions(self, asset_key: str) -> list[str]:
        """Return an asset's partition keys, oldest first; empty if it is not partitioned."""
        answer = self.query(_PARTITIONS, {"assetKey": {"path": asset_key.split("/")}})["assetNodeOrError"]
        return list(answer.get("partitionKeys") or [])

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
        """Launch one run, of these assets or of a whole job, and return its id.

        Raises:
            LaunchRejectedError: the deployment rejected it; no run exists. LocationAwayError: a retry may succeed.
            WebserverUnreachableError: no answer; a run may exist.
            AccessDeniedError: the credentials were rejected.
        """
        selector = {
            "repositoryLocationName": location,
            "repositoryName": repository,
            "pipelineName": job,
            "assetSelection": [{"path": key.split("/")} for key in asset_keys] or None,
        }
        parameters = {
            "selector": selector,
            "mode": "default",
            "runConfigData": run_config or {},
            "executionMetadata": {"tags": [{"key": key, "value": value} for key, value in tags.items()]},
        }
        answer = self._data(_SUBMIT, {"executionParams": parameters})["launchPipelineExecution"]
        if "run" in answer:
            return str(answer["run"]["runId"])
        kind = answer["__typename"]
        if kind == "InvalidSubsetError":
            # The cause may be an unavailable code server, so check whether the selection itself is rejected.
            again = self.query(_SELECTION, {"selector": selector})["pipelineOrError"]
            raise self._rejection(location, one_line(again.get("message", "")))
        said = ": ".join([kind, *(str(value) for name, value in answer.items() if name != "__typename")])
        if _NO_DATABASE.search(said):
            raise self._error(said)
        raise self._rejection(location, one_line(said))

    def submit_backfill(self, *, asset_keys: Sequence[str], partitions: Sequence[str], tags: Mapping[str, str]) -> None:
        """Request a backfill of these partitions; the daemon launches its runs later, with these tags.

        Raises:
            LaunchRejectedError: the deployment rejected it.
            WebserverError: a subclass for each kind of failure.
        """
        parameters = {
            "assetSelection": [{"path": key.split("/")} for key in asset_keys],
            "partitionNames": list(partitions),
            "tags": [{"key": key, "value": value} for key, value in tags.items()],
        }
        answer = self.query(_BACKFILL, {"parameters": parameters})["launchPartitionBackfill"]
        if "backfillId" not in answer:
            raise LaunchRejectedError(one_line(answer.get("message") or str(answer)))

    def open_backfills(self, tags: Mapping[str, str]) -> list[BackfillEntry]:
        """Return the backfills with these tags that may still launch runs, latest first."""
        answer = self.query(_OPEN_BACKFILLS)["backfills"]
        if "results" not in answer:
            raise WebserverError(f"{self.url} cannot list its backfills: {answer.get('message', answer)}")
        entries = [
            BackfillEntry(found["id"], {tag["key"]: tag["value"] for tag in found["tags"]})
            for found in answer["results"]
        ]
        return [entry for entry in entries if tags.items() <= entry.tags.items()]

    def cancel_backfill(self, backfill_id: str) -> None:
        """Request the cancellation of a backfill and its runs; the daemon carries it out.

        Raises:
            WebserverError: it cannot be canceled.
        """
        answer = self.query(_CANCEL_BACKFILL, {"backfillId": backfill_id})["cancelPartitionBackfill"]
        if answer["__typename"] != "CancelBackfillSuccess":
            raise self._error(f"{answer['__typename']}: {answer.get('message', answer)}")

    def tick_times_s(self, *, location: str, repository: str, name: str, kind: str) -> dict[str, float]:
        """Return the times (s) of the latest ticks of a schedule or sensor (`kind`), by id of the runs created.

        Raises:
            WebserverError: there is no schedule or sensor with this name.
        """
        selector = {
            f"{kind}Name": name,
            "repositoryName": repository,
            "repositoryLocationName": location,
        }
        answer = self.query(_TICKS[kind], {"selector": selector})["instigator"]
        if "state" not in answer:
            raise WebserverError(f"There is no {kind} {name} in {location}: {answer}")
        ticks = answer["state"]["ticks"]
        return {run_id: float(tick["timestamp"]) for tick in ticks for run_id in tick["runIds"]}

    def terminate(self, run_id: str) -> None:
        """Request the termination of a run, like the UI's button.

        Raises:
            WebserverError: it cannot be terminated; the run may have ended in the meantime.
        """
        answer = self.query(_TERMINATE, {"runId": run_id})["terminateRun"]
        if answer["__typename"] != "TerminateRunSuccess":
            raise self._error(f"{answer['__typename']}: {answer.get('message', answer)}")

    def force_terminate(self, run_id: str) -> None:
        """Mark a run as canceled at once, whether or not its process can be reached."""
        self.query(_FORCE_TERMINATE, {"runId": run_id})

    def query(self, document: str, variables: Mapping[str, Any] | None = None) -> dict[str, Any]:
        """Execute a GraphQL document and return the answer's data.

        Raises:
            WebserverError: a subclass for each kind of failure; also for a PythonError that the document selects.
        """
        data = self._data(document, variables)
        for answer in data.values():
            if isinstance(answer, Mapping) and answer.get("__typename") == "PythonError":
                raise self._error(f"PythonError: {answer['message']}")
        return data

    def _data(self, document: str, variables: Mapping[str, Any] | None = None) -> dict[str, Any]:
        """Return the answer's data without checking it for a PythonError."""
        try:
            with requests.Session() as session:
                session.trust_env = not self._is_local
                response = session.post(
                    f"{self.url}/graphql",
                    json={"query": document, "variables": dict(variables or {})},
                    headers=self.headers,
                    timeout=self._timeout_s,
                )
        except requests.RequestException as error:
            raise self._unreachable() from error
        if response.status_code in _REFUSALS:
            raise AccessDeniedError(
                f"The webserver at {self.url} refuses the credentials (HTTP {response.status_code}). "
                "Set BENCH_WEBSERVER_AUTHORIZATION to the value of its Authorization header."
            )
        if response.status_code in _GATEWAY_ERRORS:
            raise self._unreachable()
        try:
            answer = response.json()
        except ValueError as error:
            raise self._error(f"HTTP {response.status_code}, no JSON: {response.text}") from error
        errors, data = (answer.get("errors"), answer.get("data")) if isinstance(answer, dict) else (None, None)
        if errors:
            raise self._error("; ".join(str(error.get("message", error)) for error in errors))
        if not isinstance(data, dict):
            raise self._error(f"HTTP {response.status_code}, no data: {response.text}")
        return data

    def _rejection(self, location: str, reason: str) -> LaunchRejectedError:
        """Return the error for a rejected launch; if the location has no server, with what is known about that.

        Args:
            reason: empty if it is no longer known.
        """
        status = self.list_locations().get(location, LocationEntry(location, "unknown"))
        said = "it loads" if status.state == "loading" else status.error or reason
        if status.state == "loading" or _NO_SERVER in said or not reason:
            return LocationAwayError(f"The code location {location} had no code server: {said or 'for a moment'}")
        return LaunchRejectedError(reason)

    def _unreachable(self) -> WebserverUnreachableError:
        return WebserverUnreachableError(
            f"The webserver at {self.url} does not answer. Start it with `bench up`, or set "
            "BENCH_WEBSERVER_URL to its URL."
        )

    def _error(self, said: str) -> WebserverError:
        """Return the error for an error answer."""
        said = one_line(said)
        if _NO_DATABASE.search(said):
            return DatabaseTroubleError(f"The webserver at {self.url} has trouble with its database: {said}")
        return WebserverError(f"The webserver at {self.url} answered with an error: {said}")


def _location_entry(entry: Mapping[str, Any]) -> LocationEntry:
    location = entry["locationOrLoadError"] or {}
    host = next((one["value"] for one in entry["displayMetadata"] if one["key"] == "host"), "")
    if entry["loadStatus"] == "LOADING" or not location:
        return LocationEntry(entry["name"], "loading", host=host)
    if location["__typename"] == "RepositoryLocation":
        names = tuple(repository["name"] for repository in location["repositories"])
        return LocationEntry(entry["name"], "loaded", names, server_id=location["serverId"] or "", host=host)
    # The first error states that the code could not be loaded, the last cause states why.
    reason = [location, *location.get("causes", ())][-1].get("message", "")
    return LocationEntry(entry["name"], "error", error=reason, host=host)


_LOCATIONS = """
query BenchLocations {
  workspaceOrError {
    ... on Workspace {
      locationEntries {
        name
        loadStatus
        displayMetadata { key value }
        locationOrLoadError {
          __typename
          ... on RepositoryLocation { serverId repositories { name } }
          ... on PythonError { message causes { message } }
        }
      }
    }
    ... on PythonError { message }
  }
}
"""

_ASSETS = """
query BenchAssets($selector: RepositorySelector!) {
  repositoryOrError(repositorySelector: $selector) {
    ... on Repository { assetNodes { assetKey { path } isMaterializable isPartitioned } }
    ... on PythonError { message }
    ... on RepositoryNotFoundError { message }
  }
}
"""

_PARTITIONS = """
query BenchPartitions($assetKey: AssetKeyInput!) {
  assetNodeOrError(assetKey: $assetKey) {
    ... on AssetNode { partitionKeys }
  }
}
"""

_SUBMIT = """
mutation BenchSubmit($executionParams: ExecutionParams!) {
  launchPipelineExecution(executionParams: $executionParams) {
    __typename
    ... on LaunchRunSuccess { run { runId } }
    ... on InvalidStepError { invalidStepKey }
    ... on InvalidOutputError { stepKey invalidOutputName }
    ... on RunConfigValidationInvalid { errors { __typename message path reason } }
    ... on Error { message }
  }
}
"""

_SELECTION = """
query BenchSelection($selector: PipelineSelector!) {
  pipelineOrError(params: $selector) {
    __typename
    ... on InvalidSubsetError { message }
    ... on PipelineNotFoundError { message }
    ... on PythonError { message }
  }
}
"""

_BACKFILL = """
mutation BenchBackfill($parameters: LaunchBackfillParams!) {
  launchPartitionBackfill(backfillParams: $parameters) {
    __typename
    ... on LaunchBackfillSuccess { backfillId }
    ... on PythonError { message }
    ... on UnauthorizedError { message }
    ... on PartitionSetNotFoundError { message }
    ... on PartitionKeysNotFoundError { message }
  }
}
"""

_OPEN_BACKFILLS = """
query BenchOpenBackfills {
  backfills: partitionBackfillsOrError(filters: {statuses: [REQUESTED]}) {
    __typename
    ... on PartitionBackfills { results { id tags { key value } } }
    ... on PythonError { message }
  }
}
"""

_CANCEL_BACKFILL = """
mutation BenchCancelBackfill($backfillId: String!) {
  cancelPartitionBackfill(backfillId: $backfillId) {
    __typename
    ... on UnauthorizedError { message }
    ... on PythonError { message }
  }
}
"""

_TICKS = {
    "schedule": """
query BenchScheduleTicks($selector: ScheduleSelector!) {
  instigator: scheduleOrError(scheduleSelector: $selector) {
    ... on Schedule { state: scheduleState { ticks(limit: 10) { timestamp runIds } } }
  }
}
""",
    "sensor": """
query BenchSensorTicks($selector: SensorSelector!) {
  instigator: sensorOrError(sensorSelector: $selector) {
    ... on Sensor { state: sensorState { ticks(limit: 10) { timestamp runIds } } }
  }
}
""",
}

_TERMINATE = """
mutation BenchTerminate($runId: String!) {
  terminateRun(runId: $runId) {
    __typename
    ... on TerminateRunFailure { message }
    ... on Error { message }
  }
}
"""

_FORCE_TERMINATE = """
mutation BenchForceTerminate($runId: String!) {
  terminateRun(runId: $runId, terminatePolicy: MARK_AS_CANCELED_IMMEDIATELY) { __typename }
}
"""
