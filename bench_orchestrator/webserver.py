"""The bench's way into a deployment: everything it asks of a webserver over GraphQL.

Launching and terminating go through dagster-graphql's own client; the few questions that client has no method for
(locations, assets, partitions) are asked over the same transport. Failures are sorted into the three kinds that
callers must tell apart: the webserver cannot be reached, it refuses us, or it refuses this launch.
"""

import re
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from typing import Any
from urllib.parse import urlsplit

from dagster_graphql import DagsterGraphQLClient, DagsterGraphQLClientError
from gql import Client, GraphQLRequest
from gql.transport.exceptions import TransportConnectionFailed, TransportError, TransportServerError
from gql.transport.requests import RequestsHTTPTransport

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
class LocationStatus:
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

    def __init__(self, url: str, authorization: str | None = None, timeout_s: int = 120) -> None:
        parts = urlsplit(url)
        if parts.scheme not in ("http", "https") or not parts.hostname:
            raise ValueError(f"{url!r} is not the URL of a webserver. Example: http://127.0.0.1:3000")
        self.url = url.rstrip("/")
        transport = RequestsHTTPTransport(
            url=f"{self.url}/graphql",
            timeout=timeout_s,
            headers={"Authorization": authorization} if authorization else None,
        )
        self._gql = Client(transport=transport)
        self._dagster = DagsterGraphQLClient(parts.hostname, transport=transport)

    def list_locations(self) -> dict[str, LocationStatus]:
        """The deployment's code locations by name."""
        data = self.query(_LOCATIONS)
        entries = data["workspaceOrError"].get("locationEntries")
        if entries is None:
            raise WebserverError(f"{self.url} cannot list its code locations: {data['workspaceOrError']}")
        return {entry["name"]: _location_status(entry) for entry in entries}

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
        with self._errors():
            try:
                return self._dagster.submit_job_execution(
                    job,
                    repository_location_name=location,
                    repository_name=repository,
                    run_config=run_config,
                    tags=dict(tags),
                    asset_selection=[key.split("/") for key in asset_keys] or None,
                )
            except DagsterGraphQLClientError as error:
                if isinstance(error.__cause__, TransportError) or _NO_DATABASE.search(str(error)):
                    raise
                raise self._rejection(location, one_line(": ".join(str(part) for part in error.args))) from error
            except KeyError as error:
                # The client does not ask for the message of an InvalidSubsetError, and trips over its absence.
                selector = {
                    "repositoryLocationName": location,
                    "repositoryName": repository,
                    "pipelineName": job,
                    "assetSelection": [{"path": key.split("/")} for key in asset_keys] or None,
                }
                answer = self.query(_SELECTION, {"selector": selector})["pipelineOrError"]
                raise self._rejection(location, one_line(answer.get("message", ""))) from error

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
        with self._errors():
            self._dagster.terminate_run(run_id)

    def force_terminate(self, run_id: str) -> None:
        """Mark a run canceled at once, whether or not its process can be reached."""
        self.query(_FORCE_TERMINATE, {"runId": run_id})

    def query(self, document: str, variables: Mapping[str, Any] | None = None) -> dict[str, Any]:
        """The answer's data to any GraphQL document.

        Raises:
            WebserverError: of the kind that fits; also for a PythonError that the document asks to be told of.
        """
        with self._errors():
            data = dict(self._gql.execute(GraphQLRequest(document, variable_values=dict(variables or {}))))
            for answer in data.values():
                if isinstance(answer, Mapping) and answer.get("__typename") == "PythonError":
                    raise DagsterGraphQLClientError(answer["__typename"], answer["message"])  # type: ignore[no-untyped-call]
            return data

    def _rejection(self, location: str, reason: str) -> LaunchRejectedError:
        """The error for a launch that was refused: with what is known of the location where that has no server.

        Args:
            reason: empty where there is none any more.
        """
        status = self.list_locations().get(location, LocationStatus(location, "unknown"))
        said = "it loads" if status.state == "loading" else status.error or reason
        if status.state == "loading" or _NO_SERVER in said or not reason:
            return LocationAwayError(f"The code location {location} had no code server: {said or 'for a moment'}")
        return LaunchRejectedError(reason)

    @contextmanager
    def _errors(self) -> Iterator[None]:
        try:
            yield
        except WebserverError:
            raise
        except (DagsterGraphQLClientError, TransportError) as error:
            cause = error if isinstance(error, TransportError) else error.__cause__
            code = cause.code if isinstance(cause, TransportServerError) else None
            if code in _REFUSALS:
                raise AccessDeniedError(
                    f"The webserver at {self.url} refuses the credentials (HTTP {code}). "
                    "Set BENCH_WEBSERVER_AUTHORIZATION to the value of its Authorization header."
                ) from error
            if isinstance(cause, TransportConnectionFailed) or code in _GATEWAY_ERRORS:
                raise WebserverUnreachableError(
                    f"The webserver at {self.url} does not answer. Start it with `bench up`, or set "
                    "BENCH_WEBSERVER_URL to its URL."
                ) from error
            said = one_line(str(cause or error))
            if _NO_DATABASE.search(said):
                raise DatabaseTroubleError(
                    f"The webserver at {self.url} has trouble with its database: {said}"
                ) from error
            raise WebserverError(f"The webserver at {self.url} answered with an error: {said}") from error


def _location_status(entry: Mapping[str, Any]) -> LocationStatus:
    location = entry["locationOrLoadError"] or {}
    host = next((one["value"] for one in entry["displayMetadata"] if one["key"] == "host"), "")
    if entry["loadStatus"] == "LOADING" or not location:
        return LocationStatus(entry["name"], "loading", host=host)
    if location["__typename"] == "RepositoryLocation":
        names = tuple(repository["name"] for repository in location["repositories"])
        return LocationStatus(entry["name"], "loaded", names, server_id=location["serverId"] or "", host=host)
    # The first error says that the code could not be loaded, the last cause says why.
    reason = [location, *location.get("causes", ())][-1].get("message", "")
    return LocationStatus(entry["name"], "error", error=reason, host=host)


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

_FORCE_TERMINATE = """
mutation BenchForceTerminate($runId: String!) {
  terminateRun(runId: $runId, terminatePolicy: MARK_AS_CANCELED_IMMEDIATELY) { __typename }
}
"""
