"""What a webserver is asked: its locations and assets, and to launch, list and end runs and backfills."""

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from functools import wraps
from typing import Any, Concatenate, ParamSpec, TypeVar

from pydantic import TypeAdapter

from bench_orchestrator.model.errors import one_line
from bench_orchestrator.model.urls import without_credentials
from bench_orchestrator.webserver import documents
from bench_orchestrator.webserver.connection import (
    Connection,
    DatabaseTroubleError,
    LaunchRejectedError,
    LocationAwayError,
    WebserverError,
)

ASSET_JOB = "__ASSET_JOB"
"""The implicit job of all assets of a code location."""

_NO_SERVER = "UNAVAILABLE"
"""The gRPC status of a code server that is being replaced, until the next one is up."""

_Arguments = ParamSpec("_Arguments")
_Answer = TypeVar("_Answer")


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
    since_s: float | None = field(default=None, compare=False)
    """Since when it is in this state, in seconds since the epoch; None if that is not known."""

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


class Webserver(Connection):
    """The questions to one Dagster webserver."""

    def run_url(self, run_id: str) -> str:
        """Return the URL of a run's page."""
        return f"{self.url}/runs/{run_id}"

    @understood
    def list_locations(self) -> dict[str, LocationEntry]:
        """Return the deployment's code locations by name."""
        data = self.query(documents.LOCATIONS)
        entries = data["workspaceOrError"].get("locationEntries")
        if entries is None:
            raise WebserverError(f"{self.url} cannot list its code locations: {message_of(data['workspaceOrError'])}")
        return {entry["name"]: _location_entry(entry) for entry in entries}

    @understood
    def list_assets(self, location: str, repository: str) -> dict[str, bool]:
        """Return the executable assets of a location: by key, whether each is partitioned."""
        selector = {"repositoryLocationName": location, "repositoryName": repository}
        answer = self.query(documents.ASSETS, {"selector": selector})["repositoryOrError"]
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
        answer = self.query(documents.PARTITIONS, {"assetKey": {"path": asset_key.split("/")}})["assetNodeOrError"]
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
        answer = self._data(documents.SUBMIT, {"executionParams": parameters})["launchPipelineExecution"]
        if "run" in answer:
            return str(answer["run"]["runId"])
        kind = answer["__typename"]
        if kind == "InvalidSubsetError":
            # The cause may be an unavailable code server, so check whether the selection itself is rejected.
            again = self.query(documents.SELECTION, {"selector": selector})["pipelineOrError"]
            raise self._rejection(location, one_line(again.get("message", "")))
        said = ": ".join([kind, *(str(value) for name, value in answer.items() if name != "__typename")])
        trouble = self._error(said)
        if isinstance(trouble, DatabaseTroubleError):
            raise trouble
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
        answer = self.query(documents.BACKFILL, {"parameters": parameters})["launchPartitionBackfill"]
        if "backfillId" not in answer:
            raise LaunchRejectedError(message_of(answer))

    @understood
    def open_backfills(self, tags: Mapping[str, str]) -> list[BackfillEntry]:
        """Return the backfills with these tags that may still launch runs, latest first."""
        answer = self.query(documents.OPEN_BACKFILLS)["backfills"]
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
        answer = self.query(documents.CANCEL_BACKFILL, {"backfillId": backfill_id})["cancelPartitionBackfill"]
        if answer["__typename"] != "CancelBackfillSuccess":
            raise self._error(f"{answer['__typename']}: {message_of(answer)}")

    @understood
    def tick_times_s(self, *, location: str, repository: str, name: str, kind: str) -> dict[str, float]:
        """Return the times (s) of the latest ticks of a schedule or sensor (`kind`), by id of the runs created.

        Raises:
            WebserverError: there is no schedule or sensor with this name.
        """
        ticks = self._latest_ticks(location, repository, name, kind)
        return {str(run_id): float(tick["timestamp"]) for tick in ticks for run_id in tick["runIds"]}

    @understood
    def tick_statuses(self, *, location: str, repository: str, schedule: str, since_s: float) -> list[str]:
        """Return the statuses of a schedule's ticks since then, at most ten, latest first: `SUCCESS`, `SKIPPED`.

        Raises:
            WebserverError: there is no schedule with this name.
        """
        ticks = self._latest_ticks(location, repository, schedule, "schedule")
        return [str(tick["status"]) for tick in ticks if float(tick["timestamp"]) >= since_s]

    @understood
    def start_schedule(self, *, location: str, repository: str, schedule: str) -> str:
        """Switch a schedule on and return the id by which it is stopped.

        Raises:
            WebserverError: it cannot be switched on.
        """
        selector = _selector(location, repository, schedule, "schedule")
        answer = self.query(documents.START_SCHEDULE, {"selector": selector})["answer"]
        if answer["__typename"] != "ScheduleStateResult":
            raise self._error(f"{answer['__typename']}: {message_of(answer)}")
        return str(answer["scheduleState"]["id"])

    @understood
    def stop_schedule(self, schedule_id: str) -> None:
        """Switch a schedule off.

        Raises:
            WebserverError: it cannot be switched off.
        """
        answer = self.query(documents.STOP_SCHEDULE, {"id": schedule_id})["answer"]
        if answer["__typename"] != "ScheduleStateResult":
            raise self._error(f"{answer['__typename']}: {message_of(answer)}")

    @understood
    def terminate(self, run_id: str) -> None:
        """Request the termination of a run, like the UI's button.

        Raises:
            WebserverError: it cannot be terminated; the run may have ended in the meantime.
        """
        answer = self.query(documents.TERMINATE, {"runId": run_id})["terminateRun"]
        if answer["__typename"] != "TerminateRunSuccess":
            raise self._error(f"{answer['__typename']}: {message_of(answer)}")

    def force_terminate(self, run_id: str) -> None:
        """Mark a run as canceled at once, whether or not its process can be reached."""
        self.query(documents.FORCE_TERMINATE, {"runId": run_id})

    def _latest_ticks(self, location: str, repository: str, name: str, kind: str) -> list[Mapping[str, Any]]:
        selector = _selector(location, repository, name, kind)
        answer = self.query(documents.TICKS[kind], {"selector": selector})["instigator"]
        if "state" not in answer:
            raise WebserverError(f"There is no {kind} {name} in {location}: {message_of(answer)}")
        return list(answer["state"]["ticks"])

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


def _selector(location: str, repository: str, name: str, kind: str) -> dict[str, str]:
    """Return what names a schedule or sensor (`kind`) to GraphQL."""
    return {f"{kind}Name": name, "repositoryName": repository, "repositoryLocationName": location}


def message_of(answer: Mapping[str, Any]) -> str:
    """Return the message of an error answer in one line."""
    return one_line(str(answer.get("message") or answer))


_ASSETS_BY_KEY = TypeAdapter(dict[str, bool])
_PARTITION_KEYS = TypeAdapter(list[str])
_ENTRY = TypeAdapter(LocationEntry)


def _location_entry(entry: Mapping[str, Any]) -> LocationEntry:
    return _ENTRY.validate_python(_describe_location(entry))


def _describe_location(entry: Mapping[str, Any]) -> dict[str, Any]:
    location = entry["locationOrLoadError"] or {}
    host = next((one["value"] for one in entry["displayMetadata"] if one["key"] == "host"), "")
    known = {"name": entry["name"], "host": host, "since_s": entry.get("updatedTimestamp")}
    if entry["loadStatus"] == "LOADING" or not location:
        return known | {"state": "loading"}
    if location["__typename"] == "RepositoryLocation":
        names = tuple(repository["name"] for repository in location["repositories"])
        return known | {"state": "loaded", "repositories": names, "server_id": location["serverId"] or ""}
    # The first error states that the code could not be loaded, the last cause states why.
    reason = [location, *location.get("causes", ())][-1].get("message", "")
    return known | {"state": "error", "error": without_credentials(reason)}
