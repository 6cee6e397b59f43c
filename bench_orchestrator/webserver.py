"""The bench's way into a deployment: the one client for a webserver's GraphQL.

It needs no Dagster. Failures are sorted into the kinds that callers must tell apart: the webserver cannot be reached,
its database cannot, it refuses the credentials, or it refuses this launch.
"""

import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any
from urllib.parse import urlsplit

import requests

from bench_orchestrator.model.errors import UnusableError, one_line

ASSET_JOB = "__ASSET_JOB"
"""The job that Dagster makes of all assets of a code location."""

_GATEWAY_ERRORS = (502, 503, 504)
_NO_DATABASE = re.compile("OperationalError|too many retries for DB connection")
"""What SQLAlchemy, and dagster-postgres once it has tried again, call a database that is away, restarts or has no room:
for a while, and not by what was asked."""
_NO_SERVER = "UNAVAILABLE"
"""What gRPC says of a code server that is being replaced, until the next one is up."""
_REFUSALS = (401, 403)


class WebserverError(UnusableError):
    """The webserver could not do what it was asked; the message says what to do."""


class WebserverUnreachableError(WebserverError):
    """No answer: the request may or may not have been carried out."""


class DatabaseTroubleError(WebserverUnreachableError):
    """The webserver answers that its database does not; what it was asked may have been carried out in part."""


class AccessDeniedError(WebserverError):
    """The webserver wants other credentials."""


class LaunchRejectedError(WebserverError):
    """The deployment refused a launch; no run was made."""


class LocationAwayError(LaunchRejectedError):
    """The location has no code server for the time being; no run was made."""


@dataclass(frozen=True)
class LocationEntry:
    """A code location as the webserver lists it."""

    name: str
    state: str
    """`loaded`, `loading` or `error`."""
    repositories: tuple[str, ...] = ()
    error: str = ""
    server_id: str = ""
    """Of the code server that it was loaded from; another one has another. Empty where it is not loaded."""
    host: str = ""
    """Where its code server is; empty where it is not reached over a network."""


class Webserver:
    """One Dagster webserver, by its URL.

    Args:
        url: where the UI is, path prefix included: `http://127.0.0.1:3000`.
        authorization: value of the HTTP Authorization header, where the deployment wants one.
        timeout_s: seconds to wait for an answer.
    """

    def __init__(self, url: str, authorization: str | None = None, timeout_s: float = 120) -> None:
        parts = urlsplit(url)
        if parts.scheme not in ("http", "https") or not parts.hostname:
            raise ValueError(f"{url!r} is not the URL of a webserver. Example: http://127.0.0.1:3000")
        self.url = url.rstrip("/")
        self.headers = {"Authorization": authorization} if authorization else {}
        self._timeout_s = timeout_s
        # No proxy is asked for a local address, whatever the environment says.
        self._is_local = parts.hostname in ("localhost", "127.0.0.1", "::1")

    def list_locations(self) -> dict[str, LocationEntry]:
        """The deployment's code locations by name."""
        data = self.query(_LOCATIONS)
        entries = data["workspaceOrError"].get("locationEntries")
        if entries is None:
            raise WebserverError(f"{self.url} cannot list its code locations: {data['workspaceOrError']}")
        return {entry["name"]: _location_entry(entry) for entry in entries}

    def list_assets(self, location: str, repository: str) -> dict[str, bool]:
        """The assets that can be launched in a location: whether each is partitioned, by its key."""
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
        """An asset's partition keys, oldest first; none where it is not partitioned."""
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
            LaunchRejectedError: the deployment refused; no run exists. LocationAwayError: it may not the next time.
            WebserverUnreachableError: no answer came; whether a run exists must be looked up.
            AccessDeniedError: the credentials do not do.
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
            # It may be of a code server that was away; whether the selection is refused is asked again.
            again = self.query(_SELECTION, {"selector": selector})["pipelineOrError"]
            raise self._rejection(location, one_line(again.get("message", "")))
        said = ": ".join([kind, *(str(value) for name, value in answer.items() if name != "__typename")])
        if _NO_DATABASE.search(said):
            raise self._error(said)
        raise self._rejection(location, one_line(said))

    def submit_backfill(self, *, asset_keys: Sequence[str], partitions: Sequence[str], tags: Mapping[str, str]) -> None:
        """Ask for a backfill of these partitions; the daemon launches its runs, with these tags, when it gets to it.

        Raises:
            LaunchRejectedError: the deployment refused.
            WebserverError: of the kind that fits.
        """
        parameters = {
            "assetSelection": [{"path": key.split("/")} for key in asset_keys],
            "partitionNames": list(partitions),
            "tags": [{"key": key, "value": value} for key, value in tags.items()],
        }
        answer = self.query(_BACKFILL, {"parameters": parameters})["launchPartitionBackfill"]
        if "backfillId" not in answer:
            raise LaunchRejectedError(one_line(answer.get("message") or str(answer)))

    def tick_times_s(self, *, location: str, repository: str, name: str, kind: str) -> dict[str, float]:
        """When the latest ticks of a schedule or a sensor (`kind`) were, in seconds, by the id of each run they made.

        Raises:
            WebserverError: there is none of that name.
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
        """Ask for a run to be canceled, as the UI's button does.

        Raises:
            WebserverError: it cannot be; the run may have ended in the meantime.
        """
        answer = self.query(_TERMINATE, {"runId": run_id})["terminateRun"]
        if answer["__typename"] != "TerminateRunSuccess":
            raise self._error(f"{answer['__typename']}: {answer.get('message', answer)}")

    def force_terminate(self, run_id: str) -> None:
        """Mark a run canceled at once, whether or not its process can be reached."""
        self.query(_FORCE_TERMINATE, {"runId": run_id})

    def query(self, document: str, variables: Mapping[str, Any] | None = None) -> dict[str, Any]:
        """The answer's data to any GraphQL document.

        Raises:
            WebserverError: of the kind that fits; also for a PythonError that the document asks to be told of.
        """
        data = self._data(document, variables)
        for answer in data.values():
            if isinstance(answer, Mapping) and answer.get("__typename") == "PythonError":
                raise self._error(f"PythonError: {answer['message']}")
        return data

    def _data(self, document: str, variables: Mapping[str, Any] | None = None) -> dict[str, Any]:
        """The answer's data, whatever it says."""
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
        """The error for a launch that was refused: with what is known of the location where that has no server.

        Args:
            reason: empty where there is none any more.
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
        """Return the error for an answer that is one."""
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
    # The first error says that the code could not be loaded, the last cause says why.
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
