"""The GraphQL client for a deployment's webserver.

It does not need Dagster. Its errors distinguish whether the webserver or its database is unreachable, the credentials
are rejected, or a launch is rejected.
"""

import re
from base64 import b64encode
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from functools import wraps
from typing import Any, Concatenate, ParamSpec, TypeVar
from urllib.parse import SplitResult, unquote, urlsplit

import requests
from pydantic import TypeAdapter
from requests.structures import CaseInsensitiveDict

from bench_orchestrator import settings
from bench_orchestrator.access import Access
from bench_orchestrator.model.errors import UnusableError, one_line
from bench_orchestrator.model.urls import shown_url, why_ambiguous, without_credentials

ASSET_JOB = "__ASSET_JOB"
"""The implicit job of all assets of a code location."""

_GATEWAY_ERRORS = (502, 503, 504)
_NO_DATABASE = re.compile("OperationalError|too many retries for DB connection")
"""Errors of SQLAlchemy, and of dagster-postgres after its retries, for a database that is unreachable, restarting or
out of connections: temporary, and unrelated to the query."""
_NO_SERVER = "UNAVAILABLE"
"""The gRPC status of a code server that is being replaced, until the next one is up."""
_REFUSALS = (401, 403)
_REFUSED_CERTIFICATE = re.compile("ALERT_[A-Z_]*(CERTIFICATE|UNKNOWN_CA|HANDSHAKE_FAILURE)")
"""OpenSSL's names of the alerts by which a server refuses a client's certificate, or the lack of one."""

_MISREAD = (LookupError, TypeError, ValueError, AttributeError, ArithmeticError, RecursionError)
"""What reading an answer raises that has another form than was asked for."""

_Arguments = ParamSpec("_Arguments")
_Answer = TypeVar("_Answer")


class WebserverError(UnusableError):
    """The webserver could not execute a request; the message tells what to do."""


class WebserverUnreachableError(WebserverError):
    """No answer: the request may or may not have been executed."""


class DatabaseTroubleError(WebserverUnreachableError):
    """The webserver's database does not answer; the request may have been executed in part."""


class AccessDeniedError(WebserverError):
    """The webserver rejects the credentials."""


class BadUrlError(WebserverError, ValueError):
    """The URL cannot be that of a webserver."""


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


def understood(
    ask: "Callable[Concatenate[Webserver, _Arguments], _Answer]",
) -> "Callable[Concatenate[Webserver, _Arguments], _Answer]":
    """Decorate a question to a webserver: an answer that cannot be read raises WebserverError."""

    @wraps(ask)
    def ask_and_understand(webserver: "Webserver", /, *args: _Arguments.args, **kwargs: _Arguments.kwargs) -> _Answer:
        with webserver.understanding():
            return ask(webserver, *args, **kwargs)

    return ask_and_understand


class Webserver:
    """One Dagster webserver, by its URL.

    Args:
        url: URL of the UI, including a path prefix: `http://127.0.0.1:3000`. Its user and password, if it has them,
            are sent as Basic authorization, in place of another Authorization header.
        access: headers and certificates, if the deployment requires them.
        timeout_s: seconds to wait for an answer.

    Raises:
        BadUrlError: the URL cannot be that of a webserver.
    """

    url: str
    """The URL without a slash at the end, and without user and password."""

    def __init__(self, url: str, access: Access | None = None, timeout_s: float = 120) -> None:
        parts = _split(url)
        self.url = parts._replace(netloc=parts.netloc.rpartition("@")[2]).geturl().rstrip("/")
        self.headers = CaseInsensitiveDict(access.headers if access else {})
        if parts.username or parts.password:
            credentials = f"{unquote(parts.username or '')}:{unquote(parts.password or '')}"
            self.headers["Authorization"] = f"Basic {b64encode(credentials.encode()).decode()}"
        self._access = access or Access()
        self._timeout_s = timeout_s
        # Local addresses bypass proxies that the environment may configure.
        self._is_local = parts.hostname in ("localhost", "127.0.0.1", "::1")

    def run_url(self, run_id: str) -> str:
        """Return the URL of a run's page."""
        return f"{self.url}/runs/{run_id}"

    @contextmanager
    def understanding(self) -> Iterator[None]:
        """Raise WebserverError where the block fails to read an answer, whatever a webserver or a proxy sends."""
        try:
            yield
        except _MISREAD as error:
            what = one_line(f"{type(error).__name__}: {error}")
            raise WebserverError(f"The webserver at {self.url} did not answer what it was asked: {what}") from error

    @understood
    def list_locations(self) -> dict[str, LocationEntry]:
        """Return the deployment's code locations by name."""
        data = self.query(_LOCATIONS)
        entries = data["workspaceOrError"].get("locationEntries")
        if entries is None:
            raise WebserverError(f"{self.url} cannot list its code locations: {message_of(data['workspaceOrError'])}")
        return {entry["name"]: _location_entry(entry) for entry in entries}

    @understood
    def list_assets(self, location: str, repository: str) -> dict[str, bool]:
        """Return the executable assets of a location: by key, whether each is partitioned."""
        selector = {"repositoryLocationName": location, "repositoryName": repository}
        answer = self.query(_ASSETS, {"selector": selector})["repositoryOrError"]
        if "assetNodes" not in answer:
            raise WebserverError(f"{location} cannot list its assets: {message_of(answer)}")
        assets = {
            "/".join(node["assetKey"]["path"]): node["isPartitioned"]
            for node in answer["assetNodes"]
            if node["isMaterializable"]
        }
        return _ASSETS_BY_KEY.validate_python(assets)

    @understood
    def list_partitions(self, asset_key: str) -> list[str]:
        """Return an asset's partition keys, oldest first; empty if it is not partitioned."""
        answer = self.query(_PARTITIONS, {"assetKey": {"path": asset_key.split("/")}})["assetNodeOrError"]
        return _PARTITION_KEYS.validate_python(answer.get("partitionKeys") or [])

    @understood
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

    @understood
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
            raise LaunchRejectedError(message_of(answer))

    @understood
    def open_backfills(self, tags: Mapping[str, str]) -> list[BackfillEntry]:
        """Return the backfills with these tags that may still launch runs, latest first."""
        answer = self.query(_OPEN_BACKFILLS)["backfills"]
        if "results" not in answer:
            raise WebserverError(f"{self.url} cannot list its backfills: {message_of(answer)}")
        entries = [
            BackfillEntry(found["id"], {tag["key"]: tag["value"] for tag in found["tags"]})
            for found in answer["results"]
        ]
        return [entry for entry in entries if tags.items() <= entry.tags.items()]

    @understood
    def cancel_backfill(self, backfill_id: str) -> None:
        """Request the cancellation of a backfill and its runs; the daemon carries it out.

        Raises:
            WebserverError: it cannot be canceled.
        """
        answer = self.query(_CANCEL_BACKFILL, {"backfillId": backfill_id})["cancelPartitionBackfill"]
        if answer["__typename"] != "CancelBackfillSuccess":
            raise self._error(f"{answer['__typename']}: {message_of(answer)}")

    @understood
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
            raise WebserverError(f"There is no {kind} {name} in {location}: {message_of(answer)}")
        ticks = answer["state"]["ticks"]
        return {str(run_id): float(tick["timestamp"]) for tick in ticks for run_id in tick["runIds"]}

    @understood
    def terminate(self, run_id: str) -> None:
        """Request the termination of a run, like the UI's button.

        Raises:
            WebserverError: it cannot be terminated; the run may have ended in the meantime.
        """
        answer = self.query(_TERMINATE, {"runId": run_id})["terminateRun"]
        if answer["__typename"] != "TerminateRunSuccess":
            raise self._error(f"{answer['__typename']}: {message_of(answer)}")

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
                raise self._error(f"PythonError: {answer.get('message')}")
        return data

    def _data(self, document: str, variables: Mapping[str, Any] | None = None) -> dict[str, Any]:
        """Return the answer's data without checking it for a PythonError."""
        try:
            with requests.Session() as session:
                session.trust_env = not self._is_local
                if "Authorization" in self.headers:
                    session.auth = _unchanged  # or requests would prefer an entry of ~/.netrc
                response = session.post(
                    f"{self.url}/graphql",
                    json={"query": document, "variables": dict(variables or {})},
                    headers=self.headers,
                    timeout=self._timeout_s,
                    verify=self._access.ca_file or True,
                    cert=self._access.certificate,
                    allow_redirects=False,  # the headers are meant for this host alone
                )
        except requests.RequestException as error:
            raise self._no_answer(error) from error
        if response.is_redirect:
            raise WebserverError(
                f"The webserver at {self.url} redirects to {shown_url(response.headers['Location'])}. Use its final "
                f"URL; if that is a log-in, set {settings.WEBSERVER_HEADERS}."
            )
        if response.status_code in _REFUSALS:
            raise AccessDeniedError(
                f"The webserver at {self.url} refuses the credentials (HTTP {response.status_code}). Set "
                f"{settings.WEBSERVER_AUTHORIZATION} to the value of its Authorization header, or "
                f"{settings.WEBSERVER_HEADERS} to other headers."
            )
        if response.status_code in _GATEWAY_ERRORS:
            raise self._unreachable()
        try:
            answer = response.json()
        except (ValueError, RecursionError) as error:
            raise self._error(f"HTTP {response.status_code}, no JSON: {response.text}") from error
        errors, data = (answer.get("errors"), answer.get("data")) if isinstance(answer, dict) else (None, None)
        if errors:
            with self.understanding():
                errors = "; ".join(str(error.get("message", error)) for error in errors)
            raise self._error(errors)
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

    def _no_answer(self, error: requests.RequestException) -> WebserverError:
        """Return the error for a request that failed."""
        said = str(error)
        if untrusted := re.search(r"certificate verify failed: ([^(]*\w)", said):
            return WebserverError(
                f"The certificate of the webserver at {self.url} is not trusted: {untrusted[1]}. Set "
                f"{settings.WEBSERVER_CA_FILE} to the PEM file of the authority that issued it."
            )
        if _REFUSED_CERTIFICATE.search(said):
            return AccessDeniedError(
                f"The webserver at {self.url} refuses the client's certificate, or requires one. Set "
                f"{settings.WEBSERVER_CERTIFICATE_FILE} to its PEM file."
            )
        if broken := re.search(r"([^'\[\]()]+) \(_ssl\.c", said):
            return WebserverUnreachableError(
                f"The TLS connection to the webserver at {self.url} failed: {broken[1].strip()}. If it requires a "
                f"client's certificate, set {settings.WEBSERVER_CERTIFICATE_FILE} to its PEM file."
            )
        return self._unreachable()

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


def _split(url: str) -> SplitResult:
    """Split the URL of a webserver; raise BadUrlError, which names it without its credentials, if it is none."""
    if ambiguous := why_ambiguous(url):
        raise BadUrlError(ambiguous)
    try:
        parts = urlsplit(url)
        named = parts.scheme in ("http", "https") and (parts.hostname or "").encode("idna")
        unusable = not named or parts.port == 0
    except ValueError:
        unusable = True
    if unusable:
        raise BadUrlError(f"{shown_url(url)!r} is not the URL of a webserver. Example: http://127.0.0.1:3000")
    if parts.query or parts.fragment:
        raise BadUrlError(
            f"{shown_url(url)!r} must end before the {'?' if parts.query else '#'}. What a proxy wants to know goes "
            f"into {settings.WEBSERVER_HEADERS}."
        )
    return parts


def message_of(answer: Mapping[str, Any]) -> str:
    """Return the message of an error answer in one line."""
    return one_line(str(answer.get("message") or answer))


def _unchanged(request: requests.PreparedRequest) -> requests.PreparedRequest:
    return request


_ASSETS_BY_KEY = TypeAdapter(dict[str, bool])
_PARTITION_KEYS = TypeAdapter(list[str])
_ENTRY = TypeAdapter(LocationEntry)


def _location_entry(entry: Mapping[str, Any]) -> LocationEntry:
    return _ENTRY.validate_python(_describe_location(entry))


def _describe_location(entry: Mapping[str, Any]) -> dict[str, Any]:
    location = entry["locationOrLoadError"] or {}
    host = next((one["value"] for one in entry["displayMetadata"] if one["key"] == "host"), "")
    known = {"name": entry["name"], "host": host}
    if entry["loadStatus"] == "LOADING" or not location:
        return known | {"state": "loading"}
    if location["__typename"] == "RepositoryLocation":
        names = tuple(repository["name"] for repository in location["repositories"])
        return known | {"state": "loaded", "repositories": names, "server_id": location["serverId"] or ""}
    # The first error states that the code could not be loaded, the last cause states why.
    reason = [location, *location.get("causes", ())][-1].get("message", "")
    return known | {"state": "error", "error": without_credentials(reason)}


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
