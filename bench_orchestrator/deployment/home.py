"""A home, the folder of a Dagster instance, and its deployment: one at a time.

The supervisor holds `<home>/.bench/lock` while it lives; the kernel releases it even after a crash.
`<home>/.bench/deployment.json` describes the deployment.
"""

import json
import os
import socket
import time
from collections.abc import Mapping, Sequence
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import psutil
from filelock import FileLock, Timeout

from bench_orchestrator.atomic import replacing
from bench_orchestrator.model.errors import UnusableError

HOST = "127.0.0.1"

_STATE = {"url", "port", "pid", "pid_created_at", "locations", "started_at", "directory"}
"""The entries of the state file."""


class DeploymentError(UnusableError):
    """The deployment cannot be used; the message is for the user."""


@dataclass(frozen=True)
class RunningDeployment:
    """A running deployment, as its state file describes it."""

    url: str
    home: Path
    pid: int
    """The supervisor's."""
    locations: tuple[str, ...]
    started_at: float
    """Seconds since the epoch."""
    port: int

    @property
    def answers(self) -> bool:
        """Whether something listens on its port: its webserver may be starting."""
        return port_answers(self.port)


def find_home() -> Path:
    """Return DAGSTER_HOME, or the current directory if it contains a dagster.yaml.

    Raises DeploymentError, with a remedy, if neither can be used.
    """
    if configured := os.environ.get("DAGSTER_HOME"):
        home = Path(configured).expanduser()
        if not home.is_dir():
            raise DeploymentError(f"DAGSTER_HOME is {configured}, which is not a folder. Create it, or unset it.")
        return home.resolve()
    if (Path.cwd() / "dagster.yaml").exists():
        return Path.cwd()
    raise DeploymentError(
        f"There is no dagster.yaml in {Path.cwd()} and DAGSTER_HOME is not set. "
        "Run this in the project's folder, or set DAGSTER_HOME to the folder of a Dagster instance."
    )


def find_deployment(home: Path) -> RunningDeployment | None:
    """Return the deployment of this home, if its supervisor is alive; otherwise None."""
    state = _read_state(home)
    if state is None or not _supervisor_lives(state):
        return None
    return RunningDeployment(
        url=state["url"],
        home=home,
        pid=state["pid"],
        locations=tuple(state["locations"]),
        started_at=state["started_at"],
        port=state["port"],
    )


def _state_file(home: Path) -> Path:
    return home / ".bench" / "deployment.json"


def _read_state(home: Path) -> dict[str, Any] | None:
    """Return what `describe` wrote; None if there is no such file, or it holds something else."""
    try:
        state = json.loads(_state_file(home).read_text())
    except (FileNotFoundError, ValueError):
        return None
    return state if isinstance(state, dict) and _STATE.issubset(state) else None


def _supervisor_lives(state: Mapping[str, Any]) -> bool:
    try:
        created_at: float = psutil.Process(state["pid"]).create_time()
    except psutil.Error:
        return False
    return bool(abs(created_at - state["pid_created_at"]) < 1)


def port_answers(port: int) -> bool:
    """Return whether something listens on this local port."""
    with suppress(OSError), socket.create_connection((HOST, port), timeout=1):
        return True
    return False


class HomeLock:
    """The exclusive right to run a deployment in a home, and the state file that describes it."""

    def __init__(self, home: Path) -> None:
        """Take the lock. Raises DeploymentError, with its holder, if it is taken."""
        (home / ".bench").mkdir(exist_ok=True)
        self._home = home
        self._lock = FileLock(home / ".bench" / "lock", blocking=False, thread_local=False)
        try:
            self._lock.acquire()
        except Timeout:
            state = _read_state(home)
            where = f"at {state['url']}, process {state['pid']}" if state else "and is starting or stopping"
            raise DeploymentError(
                f"A deployment of {home} is up already, {where}. Use that one, or stop it first."
            ) from None

    def forget_leftover(self) -> Path | None:
        """Remove a killed supervisor's state file; return its socket directory, if that still exists."""
        state = _read_state(self._home)
        _state_file(self._home).unlink(missing_ok=True)
        return Path(state["directory"]) if state else None

    def describe(self, port: int, locations: Sequence[str], directory: Path) -> None:
        """Write the state file for this process's deployment."""
        state = {
            "url": f"http://{HOST}:{port}",
            "port": port,
            "pid": os.getpid(),
            "pid_created_at": psutil.Process().create_time(),
            "locations": list(locations),
            "started_at": time.time(),
            "directory": str(directory),
        }
        with replacing(_state_file(self._home)) as temporary:
            temporary.write_text(json.dumps(state, indent=2) + "\n")

    def release(self) -> None:
        """Remove the state file and release the lock."""
        _state_file(self._home).unlink(missing_ok=True)
        self._lock.release()
