"""Starts, supervises and stops the processes of a local deployment.

A separate process creates the instance before all others start: several processes that open a new SQLite instance at
the same time can leave its schema with two heads. Code servers start next, a few at a time. The webserver and the
daemon follow once all of them answer, because a webserver shows a location without a server as broken for up to ten
seconds.
"""

import logging
import os
import shutil
import signal
import socket
import subprocess
import sys
import tempfile
import threading
import time
import uuid
from collections.abc import Callable, Mapping, Sequence
from contextlib import suppress
from pathlib import Path
from types import TracebackType
from typing import Any, Self

import yaml

from bench_orchestrator import settings
from bench_orchestrator.deployment.cpu_limits import (
    CgroupParent,
    create_recorded,
    entering,
    find_cgroup_parent,
    remove_recorded,
)
from bench_orchestrator.deployment.home import HOST, DeploymentError, HomeLock, port_answers
from bench_orchestrator.deployment.instance import instance_home
from bench_orchestrator.deployment.locations import CodeLocation, ConnectedLocation
from bench_orchestrator.deployment.ports import HeldPort
from bench_orchestrator.deployment.processes import (
    MARKER,
    SupervisedProcess,
    end_processes,
    let_children_be_interrupted,
    processes_of,
)
from bench_orchestrator.deployment.status import DeploymentStatus, daemon_beats, location_status, workspace_entries
from bench_orchestrator.model.text import path_segment
from bench_orchestrator.model.urls import shown_url, without_credentials
from bench_orchestrator.waiting import poll

_logger = logging.getLogger(__name__)

_LOADING_AT_ONCE = os.cpu_count() or 1
_HOLD_UP_S = 300.0
"""A code server that loads longer than this no longer delays the webserver."""
_PATIENCE_S = 10.0
"""Grace period of a code server after SIGTERM."""
_LONGEST_SOCKET_DIRECTORY = 80
"""Unix socket paths are limited to 104 bytes on macOS and 108 on Linux."""


class Deployment:
    """A local deployment, from `start` to `stop`. As a context manager it also stops on SIGTERM and Ctrl-C.

    `on_event` receives a line for each event worth reporting: deaths and restarts. The supervising thread calls it.
    """

    home: Path
    url: str
    """The webserver's URL, without a trailing slash; known after `start`."""
    port: int
    instance_home: Path
    """The DAGSTER_HOME of its processes: `home`, or the folder in it for the instance on PostgreSQL."""

    def __init__(
        self,
        home: Path,
        locations: Sequence[CodeLocation | ConnectedLocation],
        port: int | None = None,
        on_event: Callable[[str], None] = _logger.warning,
        postgres_url: str | None = None,
    ) -> None:
        """Plan a deployment in `home`, by default on any free port.

        `postgres_url` is the database for runs and events; by default the home's dagster.yaml decides.
        """
        self.home = home.resolve()
        self._postgres_url = postgres_url
        self.locations = tuple(locations)
        self._served = [location for location in self.locations if isinstance(location, CodeLocation)]
        self.id = uuid.uuid4().hex
        self._asked_port = port
        self._on_event = on_event
        self._lock: HomeLock | None = None
        self._held_port: HeldPort | None = None
        self._guard: subprocess.Popen[bytes] | None = None
        self._directory: Path | None = None
        self._cgroup_parent: CgroupParent | None = None
        self._servers: tuple[SupervisedProcess, ...] = ()
        self._stopping = threading.Event()
        self._supervisor = threading.Thread(target=self._supervise, name="supervisor", daemon=True)
        self._previous_sigterm: Any = None

    def __enter__(self) -> Self:
        if threading.current_thread() is threading.main_thread():
            self._previous_sigterm = signal.signal(signal.SIGTERM, signal.default_int_handler)
        try:
            self.start()
        except BaseException:
            self._restore_sigterm()
            raise
        return self

    def __exit__(
        self,
        exception_type: type[BaseException] | None,
        exception: BaseException | None,
        traceback: TracebackType | None,
    ) -> None:
        try:
            self.stop()
        finally:
            self._restore_sigterm()

    def _restore_sigterm(self) -> None:
        if self._previous_sigterm is not None:
            signal.signal(signal.SIGTERM, self._previous_sigterm)

    def start(self) -> None:
        """Create the instance and begin to start the servers; `wait_until_loaded` waits for them.

        Raises DeploymentError if another deployment holds this home, the port is taken, Dagster cannot open the
        instance, or a location's CPU limit cannot be set. Nothing is left running in that case.
        """
        let_children_be_interrupted()
        try:
            self._lock = HomeLock(self.home)
            self._clear_leftovers(self._lock)
            self._held_port = HeldPort(self._asked_port)
            self.port = self._held_port.number
            if any(location.cpus is not None for location in self._served):
                self._cgroup_parent = find_cgroup_parent()
            self.url = f"http://{HOST}:{self.port}"
            self.instance_home = instance_home(self.home, self._postgres_url)
            self._environment = {
                **os.environ,
                MARKER: f"{self.id} {self.home}",
                "DAGSTER_HOME": str(self.instance_home),
                settings.POSTGRES_URL: self._postgres_url or "",
                settings.RESULTS_DIR: str(settings.results_directory(self.home)),
                settings.WEBSERVER_URL: self.url,
                "PYTHONUNBUFFERED": "1",
            }
            self._create_instance()
            self._directory = _socket_directory()
            self._guard = self._start_guard(self._directory)
            self._plan_servers(self._directory)
            self._lock.describe(self.port, [location.name for location in self.locations], self._directory)
            self._supervisor.start()
        except BaseException:
            self.stop()
            raise

    def wait_until_loaded(
        self,
        timeout_s: float = 900.0,
        on_progress: Callable[[DeploymentStatus], None] | None = None,
    ) -> DeploymentStatus:
        """Wait until every location is loaded or in error, and the webserver and the daemon work.

        Calls `on_progress` about twice a second. A location in error is a result, not an exception.
        Raises DeploymentError if the webserver or the daemon cannot start, and after `timeout_s`.
        """

        def look() -> DeploymentStatus:
            status = self.status()
            if on_progress:
                on_progress(status)
            for server in (self._webserver, self._daemon):
                if server.is_hopeless and not status.settled:
                    end = server.log_tail()
                    raise DeploymentError(f"The {server.name} does not start. {server.log_path} ends:\n{end}")
            return status

        status = poll(look, lambda status: status.settled, patience_s=timeout_s, every_s=0.5)
        if not status.settled:
            raise DeploymentError(
                f"The deployment is not ready after {timeout_s:g} s. Still waiting for "
                f"{', '.join(status.missing)}. The logs are in {self._logs}"
            )
        return status

    def status(self) -> DeploymentStatus:
        """Return the current state of each part."""
        entries = workspace_entries(self.url) if self._webserver.is_up else {}
        servers = {server.name: server for server in self._code_servers}
        return DeploymentStatus(
            locations=tuple(
                location_status(location.name, servers.get(location.name), entries.get(location.name))
                for location in self.locations
            ),
            webserver_up=self._webserver.is_up,
            daemon_up=self._daemon.is_up,
        )

    def stop_server(self, location: str) -> None:
        """End the code server of a location and keep it down."""
        self._code_server_of(location).hold(_PATIENCE_S)

    def start_server(self, location: str) -> None:
        """Start the code server of a location again, without waiting for it."""
        self._code_server_of(location).release()

    def _code_server_of(self, location: str) -> SupervisedProcess:
        for server in self._code_servers:
            if server.name == location:
                return server
        raise DeploymentError(f"The code server of {location} was not started here.")

    def stop(self) -> None:
        """End every process of this deployment, including runs in progress; remove its sockets, cgroups and state file.

        The daemon ends first, so that nothing new is launched. Run workers get SIGTERM and report their runs as failed.
        Takes a few seconds, 15 at most; an interrupt kills the rest at once. Idempotent.
        """
        self._stopping.set()
        try:
            if self._supervisor.is_alive():
                self._supervisor.join()
                self._daemon.end(patience_s=4)
        finally:
            try:
                end_processes(lambda: processes_of(self.id))
            finally:
                self._clean_up()

    def _clean_up(self) -> None:
        for server in self._servers:
            server.reap()
        if self._directory is not None:
            _remove_directory(self._directory)
        if self._guard is not None:
            self._guard.communicate()  # closes its standard input, its signal to look for leftovers
        if self._held_port is not None:
            self._held_port.close()
        if self._lock is not None:
            self._lock.release()
            self._lock = None

    def _clear_leftovers(self, lock: HomeLock) -> None:
        """End and remove what a killed supervisor left behind, in case its guard was killed too."""
        end_processes(lambda: processes_of(home=self.home))
        if directory := lock.forget_leftover():
            _remove_directory(directory)

    def _create_instance(self) -> None:
        command = [sys.executable, "-m", "dagster", "instance", "info"]
        done = subprocess.run(command, env=self._environment, capture_output=True, text=True, check=False)
        if done.returncode:
            reason = without_credentials("\n".join((done.stdout + done.stderr).splitlines()[-15:]))
            where = f" with the database {shown_url(self._postgres_url)}" if self._postgres_url else ""
            raise DeploymentError(f"Dagster cannot open the instance in {self.home}{where}:\n{reason}")

    def _start_guard(self, directory: Path) -> subprocess.Popen[bytes]:
        return subprocess.Popen(
            [sys.executable, "-m", "bench_orchestrator.deployment.guard", self.id, str(directory)],
            # Has no marker: if this deployment is part of a sweep, the guard must outlive the surrounding deployment.
            env={name: value for name, value in os.environ.items() if name != MARKER},
            stdin=subprocess.PIPE,
            stdout=subprocess.DEVNULL,
            stderr=subprocess.DEVNULL,
            start_new_session=True,
        )

    def _plan_servers(self, directory: Path) -> None:
        self._logs = self.home / ".bench" / "logs"
        self._logs.mkdir(exist_ok=True)
        sockets = {location.name: directory / f"{number}.sock" for number, location in enumerate(self._served)}
        entries = [
            {"grpc_server": {**_address(location, sockets), "location_name": location.name}}
            for location in self.locations
        ]
        workspace_file = directory / "workspace.yaml"
        workspace_file.write_text(yaml.safe_dump({"load_from": entries}))

        self._code_servers = tuple(self._code_server(location, sockets[location.name]) for location in self._served)
        self._webserver = self._server(
            "webserver",
            ["dagster_webserver", "-h", HOST, "-p", str(self.port), "-w", str(workspace_file)],
            answers=lambda _: port_answers(self.port),
        )
        self._daemon = self._server(
            "daemon",
            # `dagster dev` starts this module too: the public `dagster-daemon` is only a script.
            ["dagster._daemon", "run", "-w", str(workspace_file)],
            answers=lambda since: self._webserver.is_up and daemon_beats(self.url, since),
        )
        self._servers = (*self._code_servers, self._webserver, self._daemon)

    def _code_server(self, location: CodeLocation, socket_path: Path) -> SupervisedProcess:
        # Dagster still loads the code at once; the flag keeps a server with an import error alive to report it.
        arguments = [*location.arguments, "--socket", str(socket_path), "--lazy-load-user-code"]
        server = self._server(location.name, arguments, lambda _: _socket_answers(socket_path), location.python)
        server.environment = {**self._environment, **location.environment}
        server.working_directory = location.working_directory
        if location.cpus is not None:
            server.command = entering(self._cgroup(socket_path, location.cpus), server.command)
        return server

    def _cgroup(self, socket_path: Path, cpus: float) -> Path:
        """Create a cgroup for the server of that socket."""
        assert self._cgroup_parent is not None
        name = f"bench-{self.id}-{socket_path.stem}"
        return create_recorded(self._cgroup_parent, name, cpus, socket_path.parent)

    def _server(
        self, name: str, arguments: Sequence[str], answers: Callable[[float], bool], python: str | None = None
    ) -> SupervisedProcess:
        return SupervisedProcess(
            name=name,
            command=[python or sys.executable, "-m", *arguments],
            environment=self._environment,
            log_path=self._logs / f"{path_segment(name)}.log",
            answers=answers,
        )

    def _supervise(self) -> None:
        while not self._stopping.wait(0.1):
            self._start_next()
            for server in self._servers:
                if not self._stopping.is_set() and (line := server.poll()):
                    self._on_event(line)

    def _start_next(self) -> None:
        """Start what is due: as many code servers at a time as there are CPUs, then everything else."""
        loading = sum(_holds_up(server) for server in self._code_servers)
        waiting = [server for server in self._code_servers if server.started_at is None]
        for server in waiting[: max(0, _LOADING_AT_ONCE - loading)]:
            server.start()
        if not loading and not waiting and self._webserver.started_at is None:
            self._webserver.start()
            self._daemon.start()


def _address(location: CodeLocation | ConnectedLocation, sockets: Mapping[str, Path]) -> dict[str, Any]:
    """Return where the webserver and the daemon find a location's server, as in a workspace file."""
    if isinstance(location, ConnectedLocation):
        return dict(location.address)
    return {"socket": str(sockets[location.name])}


def _holds_up(server: SupervisedProcess) -> bool:
    """Return whether the webserver and further code servers should wait for this one."""
    if server.started_at is None or server.is_up or server.is_hopeless:
        return False
    return time.time() - server.started_at < _HOLD_UP_S


def _socket_directory() -> Path:
    """Create a directory of mode 700 whose path is short enough for Unix sockets."""
    directory = Path(tempfile.mkdtemp(prefix="bench-"))
    if len(os.fsencode(directory)) <= _LONGEST_SOCKET_DIRECTORY:
        return directory
    directory.rmdir()
    return Path(tempfile.mkdtemp(prefix="bench-", dir="/tmp"))


def _remove_directory(directory: Path) -> None:
    """Remove a deployment's directory and the cgroups recorded in it."""
    remove_recorded(directory)
    shutil.rmtree(directory, ignore_errors=True)


def _socket_answers(path: Path) -> bool:
    """Return whether the socket accepts connections: Dagster binds it once the definitions are loaded."""
    with socket.socket(socket.AF_UNIX) as client, suppress(OSError):
        client.connect(str(path))
        return True
    return False
