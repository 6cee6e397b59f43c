"""A warm server without a webserver or daemon; `dagster job launch` requests its runs.

Imports only Dagster, so that tests can use it in other environments.
"""

import json
import os
import socket
import subprocess
import sys
import time
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import dagster as dg
import grpc
from grpc_health.v1.health_pb2 import HealthCheckRequest, HealthCheckResponse
from grpc_health.v1.health_pb2_grpc import HealthStub

PATIENCE_S = 120.0
SETTINGS: Mapping[str, Any] = {
    "telemetry": {"enabled": False},
    "run_coordinator": {"module": "dagster.core.run_coordinator", "class": "DefaultRunCoordinator"},
}


@dataclass(frozen=True)
class LoneServer:
    """A warm server, with a folder for its instance."""

    home: Path
    python: Path
    instance: dg.DagsterInstance

    def run(self, job: str, repository: str = "__repository__", **tags: str) -> dict[str, Any]:
        """Launch a job and wait for its end; return the metadata of its launch and its steps."""
        where = ["--workspace", "workspace.yaml", "--location", "it", "--repository", repository]
        launcher = self._dagster("job", "launch", *where, "--job", job, "--tags", json.dumps(tags))
        (run,) = self.instance.get_runs(limit=1)
        deadline = time.monotonic() + PATIENCE_S
        while not run.is_finished:
            assert time.monotonic() < deadline, self._story(run.run_id)
            time.sleep(0.05)
            run = self.instance.get_run_by_id(run.run_id) or run
        assert run.status is dg.DagsterRunStatus.SUCCESS, self._story(run.run_id)
        told: dict[str, Any] = {"launcher": launcher, "warmth": {}}
        for entry in self.instance.all_logs(run.run_id):
            event = entry.dagster_event
            if event and (event.message or "").startswith("Launched warm"):
                told["warmth"] = _values(event.engine_event_data.metadata)
            if event and event.event_type is dg.DagsterEventType.STEP_OUTPUT:
                told[event.step_key or ""] = _values(event.step_output_data.metadata)
        return told

    def _dagster(self, *arguments: str) -> int:
        """Run a Dagster command; return its process id."""
        output = self.home / "output"
        command = [str(self.python), "-m", "dagster", *arguments]
        with output.open("w") as log:
            done = subprocess.Popen(command, cwd=self.home, env=_environment(self), stdout=log, stderr=log)
            assert done.wait(PATIENCE_S) == 0, output.read_text()
        return done.pid

    def _story(self, run_id: str) -> list[str]:
        """Return the run's log, for the message of a failed test."""
        return [entry.user_message for entry in self.instance.all_logs(run_id)]


@contextmanager
def serve(
    home: Path,
    options: Sequence[str],
    folder: Path | None = None,
    python: Path = Path(sys.executable),
    port: int | None = None,
    knows_home: bool = True,
    **settings: Any,
) -> Iterator[LoneServer]:
    """Start a server.

    Args:
        home: the instance's folder.
        folder: the working directory, if different.
        python: the interpreter of its environment.
        port: a free one by default.
        knows_home: whether the server can open the instance by itself.
        settings: instance settings in addition to the common ones.
    """
    with socket.create_server(("127.0.0.1", port or 0)) as listener:
        port = listener.getsockname()[1]
    (home / "dagster.yaml").write_text(json.dumps({**SETTINGS, **settings}))
    address = {"host": "127.0.0.1", "port": port, "location_name": "it"}
    (home / "workspace.yaml").write_text(json.dumps({"load_from": [{"grpc_server": address}]}))
    command = [str(python), "-m", "dagster_warm", *options, "--port", str(port)]
    with dg.DagsterInstance.from_config(str(home)) as instance:
        server = LoneServer(home, python, instance)
        environment = {**_environment(server), **({} if knows_home else {"DAGSTER_HOME": ""})}
        with subprocess.Popen(command, cwd=folder or home, env=environment) as process:
            try:
                _wait_for_answer(process, port)
                yield server
            finally:
                process.terminate()


def _wait_for_answer(process: "subprocess.Popen[bytes]", port: int) -> None:
    deadline = time.monotonic() + PATIENCE_S
    with grpc.insecure_channel(f"127.0.0.1:{port}") as channel:
        health = HealthStub(channel)
        while True:
            assert process.poll() is None
            assert time.monotonic() < deadline
            with suppress(grpc.RpcError):
                if health.Check(HealthCheckRequest(service="DagsterApi")).status == HealthCheckResponse.SERVING:
                    return
            time.sleep(0.1)


def _environment(server: LoneServer) -> dict[str, str]:
    """Return an environment in which the interpreter's virtual environment is active."""
    path = os.pathsep.join([str(server.python.parent), os.environ.get("PATH", os.defpath)])
    return {**os.environ, "PATH": path, "DAGSTER_HOME": str(server.home)}


def _values(metadata: Mapping[str, dg.MetadataValue[Any]]) -> dict[str, Any]:
    return {name.removeprefix("bench/"): value.value for name, value in metadata.items()}
