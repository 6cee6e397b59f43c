"""A warm server without a webserver or daemon; `dagster job launch`, or the test's own process, requests its runs.

Imports only Dagster, so that tests can use it in other environments.
"""

import json
import os
import socket
import subprocess
import sys
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import dagster as dg
import grpc
from dagster._cli.job import _create_run
from dagster._core.workspace.context import WorkspaceProcessContext
from dagster._core.workspace.load_target import WorkspaceFileTarget
from grpc_health.v1.health_pb2 import HealthCheckRequest, HealthCheckResponse
from grpc_health.v1.health_pb2_grpc import HealthStub

PATIENCE_S = 120.0
SETTINGS: Mapping[str, Any] = {
    "telemetry": {"enabled": False},
    "run_coordinator": {"module": "dagster.core.run_coordinator", "class": "DefaultRunCoordinator"},
}


def wait_until(true: Callable[[], object]) -> None:
    """Wait until something holds."""
    deadline = time.monotonic() + PATIENCE_S
    while not true():
        assert time.monotonic() < deadline
        time.sleep(0.02)


@dataclass(frozen=True)
class LoneServer:
    """A warm server, with a folder for its instance."""

    home: Path
    python: Path
    instance: dg.DagsterInstance
    process: "subprocess.Popen[bytes]"

    @property
    def log(self) -> str:
        """What the server has printed."""
        return (self.home / "server.log").read_text()

    def launch(self, job: str, repository: str = "__repository__", **tags: str) -> str:
        """Launch a job from this process; return the run's id."""
        run_id = self.plan(job, repository, **tags)
        self.launch_planned(run_id)
        return run_id

    def plan(self, job: str, repository: str = "__repository__", **tags: str) -> str:
        """Create a run as the server's present definitions have it; return its id."""
        with self.workspace() as workspace:
            location = workspace.get_code_location("it")
            found = location.get_repository(repository)
            run = _create_run(self.instance, location, found, found.get_full_job(job), {}, tags, None, None)
        return str(run.run_id)

    def launch_planned(self, run_id: str) -> None:
        """Launch a run that was created before."""
        with self.workspace() as workspace:
            self.instance.launch_run(run_id, workspace)

    @contextmanager
    def workspace(self) -> Iterator[Any]:
        """Yield the workspace with this server, as a webserver or daemon holds it."""
        target = WorkspaceFileTarget([str(self.home / "workspace.yaml")])
        with WorkspaceProcessContext(self.instance, target) as process:
            yield process.create_request_context()

    def wait_for(self, run_id: str, *statuses: dg.DagsterRunStatus) -> dg.DagsterRunStatus:
        """Wait until the run has one of the statuses, or has ended; return its status."""
        deadline = time.monotonic() + PATIENCE_S
        while not (run := self._of(run_id)).is_finished and run.status not in statuses:
            assert time.monotonic() < deadline, self.story(run_id)
            time.sleep(0.05)
        return run.status

    def status(self, run_id: str) -> dg.DagsterRunStatus:
        """Return the run's status."""
        return self._of(run_id).status

    def _of(self, run_id: str) -> dg.DagsterRun:
        run = self.instance.get_run_by_id(run_id)
        assert run is not None
        return run

    def run(self, job: str, repository: str = "__repository__", **tags: str) -> dict[str, Any]:
        """Launch a job and wait for its success; return the metadata of its launch and its steps."""
        return self.finish(self.launch(job, repository, **tags))

    def run_by_command(self, job: str, **tags: str) -> tuple[int, dict[str, Any]]:
        """Launch a job by `dagster job launch`; return the command's process id, and what `run` returns."""
        where = ["--workspace", "workspace.yaml", "--location", "it", "--repository", "__repository__"]
        launcher = self._dagster("job", "launch", *where, "--job", job, "--tags", json.dumps(tags))
        (run,) = self.instance.get_runs(limit=1)
        return launcher, self.finish(run.run_id)

    def finish(self, run_id: str) -> dict[str, Any]:
        """Wait for the run's success; return the metadata of its launch and its steps."""
        assert self.wait_for(run_id) is dg.DagsterRunStatus.SUCCESS, self.story(run_id)
        return self.told(run_id)

    def told(self, run_id: str) -> dict[str, Any]:
        """Return the metadata of the run's launch and its steps."""
        told: dict[str, Any] = {"warmth": {}, "cold": None}
        for entry in self.instance.all_logs(run_id):
            event = entry.dagster_event
            if event and (event.message or "").startswith("Launched warm"):
                told["warmth"] = _values(event.engine_event_data.metadata)
            if event and (event.message or "").startswith("Launched cold"):
                told["cold"] = event.message
            if event and event.event_type is dg.DagsterEventType.STEP_OUTPUT:
                told[event.step_key or ""] = _values(event.step_output_data.metadata)
        return told

    def _dagster(self, *arguments: str) -> int:
        """Run a Dagster command; return its process id."""
        output = self.home / "output"
        command = [str(self.python), "-m", "dagster", *arguments]
        with output.open("w") as log:
            environment = _environment(self.home, self.python)
            done = subprocess.Popen(command, cwd=self.home, env=environment, stdout=log, stderr=log)
            assert done.wait(PATIENCE_S) == 0, output.read_text()
        return done.pid

    def story(self, run_id: str) -> list[str]:
        """Return the run's log, for the message of a failed test."""
        return [entry.message or entry.user_message for entry in self.instance.all_logs(run_id)]


@contextmanager
def serve(
    home: Path,
    options: Sequence[str],
    folder: Path | None = None,
    python: Path = Path(sys.executable),
    port: int | None = None,
    module: str = "dagster_warm",
    knows_home: bool = True,
    **settings: Any,
) -> Iterator[LoneServer]:
    """Start a server.

    Args:
        home: the instance's folder.
        folder: the working directory, if different.
        python: the interpreter of its environment.
        port: a free one by default.
        module: what to run: `dagster` with the options `api grpc` is Dagster's own server.
        knows_home: whether the server can open the instance by itself.
        settings: instance settings in addition to the common ones.
    """
    held = socket.socket()  # so that nobody else is given the port before the server listens
    held.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
    held.bind(("127.0.0.1", port or 0))
    port = held.getsockname()[1]
    (home / "dagster.yaml").write_text(json.dumps({**SETTINGS, **settings}))
    address = {"host": "127.0.0.1", "port": port, "location_name": "it"}
    (home / "workspace.yaml").write_text(json.dumps({"load_from": [{"grpc_server": address}]}))
    command = [str(python), "-m", module, *options, "--port", str(port)]
    environ = {**_environment(home, python), **({} if knows_home else {"DAGSTER_HOME": ""})}
    with (
        held,
        dg.DagsterInstance.from_config(str(home)) as instance,
        (home / "server.log").open("a") as log,
        subprocess.Popen(command, cwd=folder or home, env=environ, stdout=log, stderr=log) as process,
    ):
        try:
            _wait_for_answer(process, port, home / "server.log")
            yield LoneServer(home, python, instance, process)
        finally:
            process.terminate()


def is_alive(pid: int) -> bool:
    """Return whether a process has not ended."""
    with suppress(FileNotFoundError, ProcessLookupError):
        return Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()[0] not in "ZX"
    return False


def processes_of(server: LoneServer) -> set[int]:
    """Return the living processes of the server's folder, apart from this one."""
    found = set()
    for path in Path("/proc").glob("[0-9]*/environ"):
        with suppress(OSError):
            if f"DAGSTER_HOME={server.home}".encode() in path.read_bytes().split(b"\0"):
                found.add(int(path.parent.name))
    return {pid for pid in found if is_alive(pid) and pid != os.getpid()}


def _wait_for_answer(process: "subprocess.Popen[bytes]", port: int, log: Path) -> None:
    deadline = time.monotonic() + PATIENCE_S
    with grpc.insecure_channel(f"127.0.0.1:{port}") as channel:
        health = HealthStub(channel)
        while True:
            assert process.poll() is None, log.read_text()
            assert time.monotonic() < deadline
            with suppress(grpc.RpcError):
                if health.Check(HealthCheckRequest(service="DagsterApi")).status == HealthCheckResponse.SERVING:
                    return
            time.sleep(0.1)


def _environment(home: Path, python: Path) -> dict[str, str]:
    """Return an environment in which the interpreter's virtual environment is active."""
    path = os.pathsep.join([str(python.parent), os.environ.get("PATH", os.defpath)])
    return {**os.environ, "PATH": path, "DAGSTER_HOME": str(home)}


def _values(metadata: Mapping[str, dg.MetadataValue[Any]]) -> dict[str, Any]:
    return {name.removeprefix("bench/"): value.value for name, value in metadata.items()}
