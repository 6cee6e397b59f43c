"""The status of a deployment: of its locations from the webserver, of its servers from the supervisor."""

from collections.abc import Mapping
from contextlib import suppress
from dataclasses import dataclass
from enum import StrEnum
from typing import Any

from bench_orchestrator.deployment.processes import SupervisedProcess
from bench_orchestrator.model.errors import one_line
from bench_orchestrator.webserver import Webserver, WebserverError

_UNREACHABLE = "DagsterUserCodeUnreachableError"


class LocationState(StrEnum):
    """The state of a code location."""

    WAITING = "waiting"
    """Its server has not started yet: others load first."""
    LOADING = "loading"
    LOADED = "loaded"
    ERROR = "error"


@dataclass(frozen=True)
class LocationStatus:
    """A code location as the webserver and the supervisor see it."""

    name: str
    state: LocationState
    message: str = ""
    """What is wrong, if the state is `error`."""
    load_s: float | None = None
    """Seconds from the start of its server until it answered with its definitions loaded."""
    restarts: int = 0


@dataclass(frozen=True)
class DeploymentStatus:
    """The status of the whole deployment."""

    locations: tuple[LocationStatus, ...]
    webserver_up: bool
    daemon_up: bool

    @property
    def settled(self) -> bool:
        """Whether every location is loaded or in error, and everything else is up."""
        return not self.missing

    @property
    def missing(self) -> tuple[str, ...]:
        """The names of the parts that are not up yet."""
        done = (LocationState.LOADED, LocationState.ERROR)
        names = [location.name for location in self.locations if location.state not in done]
        names += ["webserver"] * (not self.webserver_up) + ["daemon"] * (not self.daemon_up)
        return tuple(names)


def location_status(name: str, server: SupervisedProcess | None, entry: Mapping[str, Any] | None) -> LocationStatus:
    """Combine the supervisor's view of the server with the webserver's entry, if there is one.

    Without a supervised server the location is connected to; one that cannot be reached is then an error.
    """
    content = entry["locationOrLoadError"] if entry else None
    if server is None:
        state = LocationState.LOADING if content is None else LocationState.LOADED
        if content is None or content["__typename"] != "PythonError":
            return LocationStatus(name, state)
        # The cause of an unreachable server is gRPC's own report, of many lines.
        unreachable = content.get("className") == _UNREACHABLE
        message = one_line(content["message"]) if unreachable else _reason(content)
        return LocationStatus(name, LocationState.ERROR, message)
    message = ""
    if server.is_hopeless:
        state, message = LocationState.ERROR, f"Its code server does not start.\n{server.log_tail()}"
    elif server.started_at is None:
        state = LocationState.WAITING
    elif not server.is_up or content is None or content.get("className") == _UNREACHABLE:
        state = LocationState.LOADING
    elif content["__typename"] == "PythonError":
        state, message = LocationState.ERROR, f"{_reason(content)} (log: {server.log_path})"
    else:
        state = LocationState.LOADED
    return LocationStatus(name, state, message, server.up_after_s, server.restarts)


def _reason(error: Mapping[str, Any]) -> str:
    """Return the last cause, which says why; the first message says that the code could not be loaded."""
    return str([error, *error["causes"]][-1]["message"].strip())


def workspace_entries(url: str) -> dict[str, Mapping[str, Any]]:
    """Return the webserver's entry for each location; empty while it does not answer."""
    query = """{ workspaceOrError { ... on Workspace { locationEntries {
        name locationOrLoadError { __typename ... on PythonError { message className causes { message } } }
    } } } }"""
    answer = _ask(url, query)
    entries = answer["workspaceOrError"].get("locationEntries", []) if answer else []
    return {entry["name"]: entry for entry in entries}


def daemon_beats(url: str, since: float) -> bool:
    """Return whether every required daemon has sent a heartbeat after `since` (epoch seconds).

    Dagster considers a daemon healthy for half an hour after its last heartbeat, even one of an earlier process.
    """
    query = "{ instance { daemonHealth { allDaemonStatuses { required lastHeartbeatTime } } } }"
    answer = _ask(url, query)
    return answer is not None and all(
        (status["lastHeartbeatTime"] or 0) > since
        for status in answer["instance"]["daemonHealth"]["allDaemonStatuses"]
        if status["required"]
    )


def _ask(url: str, query: str) -> dict[str, Any] | None:
    """Return the data of the webserver's answer; None while it does not answer."""
    with suppress(WebserverError):
        return Webserver(url, timeout_s=3).query(query)
    return None
