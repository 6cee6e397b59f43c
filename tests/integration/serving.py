"""Code servers in a real deployment, with a webserver and a daemon: launch runs and inspect them."""

import os
import sqlite3
from collections.abc import Iterator, Mapping
from contextlib import closing, contextmanager
from dataclasses import dataclass, replace
from itertools import pairwise
from pathlib import Path
from typing import Any

import dagster as dg
import pods
import psutil
import pytest
import yaml

from bench_orchestrator.deployment import CodeLocation, Deployment
from bench_orchestrator.deployment.processes import processes_of
from bench_orchestrator.webserver import Webserver
from integration.leftovers import assert_nothing_left
from integration.sweeping import wait_for

LOCATION = "behaviours"
DAGSTER_YAML: Mapping[str, Any] = {
    "telemetry": {"enabled": False},
    "freshness": {"enabled": False},
    "run_coordinator": {
        "module": "dagster.core.run_coordinator",
        "class": "QueuedRunCoordinator",
        "config": {
            "dequeue_interval_seconds": 1,
            # The daemon notices repaired code later than the webserver does.
            "max_user_code_failure_retries": 10,
            "user_code_failure_retry_delay": 1,
        },
    },
    "concurrency": {
        "runs": {"max_concurrent_runs": 10, "tag_concurrency_limits": [{"key": "held", "limit": 0}]},
        "pools": {"default_limit": 1},
    },
    "run_monitoring": {"enabled": True, "poll_interval_seconds": 1},
    "run_retries": {"enabled": True, "max_retries": 0},
}


AT_ONCE: Mapping[str, Any] = {
    "module": "dagster_warm.queue",
    "class": "PromptRunCoordinator",
    "config": {**DAGSTER_YAML["run_coordinator"]["config"], "dequeue_interval_seconds": 3_600},
}
"""The queue that is looked at when it changes; its interval is longer than the tests' patience."""


def _is_locked(history: Path) -> bool:
    """Return whether a process is about to write into one of an instance's databases."""
    for path in (history / "runs.db", history / "runs" / "index.db"):
        with closing(sqlite3.connect(path, timeout=0, isolation_level=None)) as connection:
            try:
                connection.execute("BEGIN IMMEDIATE")
            except sqlite3.OperationalError:
                return True
            connection.execute("ROLLBACK")
    return False


@dataclass(frozen=True)
class Server:
    """A code server in a deployment."""

    location: str
    deployment: Deployment
    webserver: Webserver
    instance: dg.DagsterInstance

    def launch(self, job: str, tags: Mapping[str, str] | None = None, repository: str = "main", **ops: Path) -> str:
        """Launch a run of a job, with a path for those of its ops that take one."""
        config = {"ops": {op: {"config": {"path": str(path)}} for op, path in ops.items()}} if ops else {}
        return self.webserver.submit(
            location=self.location, repository=repository, job=job, tags=tags or {}, run_config=config
        )

    def run(self, run_id: str) -> dg.DagsterRun:
        """Return the run's current state."""
        run = self.instance.get_run_by_id(run_id)
        assert run is not None
        return run

    def wait_for_end(self, run_id: str) -> dg.DagsterRunStatus:
        """Wait for the run's end; return its status."""
        wait_for(f"the end of {run_id}", lambda: self.run(run_id).is_finished)
        return self.run(run_id).status

    def finish(self, job: str, **options: Any) -> str:
        """Launch a run, wait for its end, and check that it succeeded."""
        run_id = self.launch(job, **options)
        assert self.wait_for_end(run_id) is dg.DagsterRunStatus.SUCCESS, self.story(run_id)
        return run_id

    def events(self, run_id: str, kind: dg.DagsterEventType) -> list[dg.DagsterEvent]:
        """Return the events of a type, in order."""
        return [
            entry.dagster_event
            for entry in self.instance.all_logs(run_id, of_type=kind)
            if entry.dagster_event is not None
        ]

    def story(self, run_id: str) -> list[str]:
        """Return the run's log, for the message of a failed test."""
        return [entry.message or entry.user_message for entry in self.instance.all_logs(run_id)]

    def saw(self, run_id: str, step: str) -> dict[str, Any]:
        """Return what a step reported about itself."""
        for event in self.events(run_id, dg.DagsterEventType.STEP_OUTPUT):
            if event.step_key == step:
                return {name: value.value for name, value in event.step_output_data.metadata.items()}
        raise AssertionError(f"{step} has put out nothing: {self.story(run_id)}")

    def steps(self, run_id: str, kind: dg.DagsterEventType = dg.DagsterEventType.STEP_SUCCESS) -> list[str]:
        """Return the names of the steps with such an event."""
        return sorted(str(event.step_key) for event in self.events(run_id, kind))

    def process_in(self, path: Path) -> psutil.Process:
        """Wait for a process to write its id there; return the process."""
        return psutil.Process(wait_for(f"{path}", lambda: int(path.read_text() or 0) if path.exists() else 0))

    def query(self, text: str, **variables: Any) -> Any:
        """Query the webserver."""
        return self.webserver.query(text, variables)

    @property
    def process(self) -> psutil.Process:
        """The code server."""
        (found,) = (
            process
            for process in processes_of(home=self.deployment.home)
            if process.ppid() == os.getpid() and ("--location-name", self.location) in pairwise(process.cmdline())
        )
        return found

    @property
    def daemon(self) -> psutil.Process:
        """The deployment's daemon."""
        (found,) = (one for one in processes_of(home=self.deployment.home) if "dagster._daemon" in one.cmdline())
        return found

    @contextmanager
    def daemon_held(self) -> Iterator[None]:
        """Suspend the daemon at a moment when it locks no database, and resume it afterwards."""
        daemon = self.daemon

        def hold() -> bool:
            daemon.suspend()
            if not _is_locked(self.deployment.home / "history"):
                return True
            daemon.resume()
            return False

        try:
            wait_for("a moment at which the daemon locks no database", hold, every_s=0.05)
            yield
        finally:
            daemon.resume()

    @property
    def temporary(self) -> Path:
        """Where its processes create temporary files."""
        return self.deployment.home / "tmp"

    @property
    def log(self) -> str:
        """The code server's output."""
        return (self.deployment.home / ".bench" / "logs" / f"{self.location}.log").read_text()

    def cancel(self, run_id: str, policy: str = "SAFE_TERMINATE") -> str:
        """Cancel a run; return why that is not possible, or nothing."""
        answer = self.query(
            """mutation($run: String!, $policy: TerminateRunPolicy) {
                terminateRun(runId: $run, terminatePolicy: $policy) {
                    ... on TerminateRunFailure { message } ... on PythonError { message }
                }
            }""",
            run=run_id,
            policy=policy,
        )
        return str(answer["terminateRun"].get("message", ""))


@contextmanager
def serve(home: Path, *locations: CodeLocation, **settings: Any) -> Iterator[dict[str, Server]]:
    """Yield the server of each location by name, in a deployment of these locations, with these settings."""
    (home / "dagster.yaml").write_text(yaml.safe_dump({**DAGSTER_YAML, **settings}))
    temporary = home / "tmp"
    temporary.mkdir()
    environment = {"TMPDIR": str(temporary), "GREETING": "hello"}
    served = [replace(location, environment=environment) for location in locations]
    with _importable_pods(), Deployment(home, served, on_event=print) as deployment:
        deployment.wait_until_loaded(timeout_s=180)
        with dg.DagsterInstance.from_config(str(home)) as instance:
            webserver = Webserver(deployment.url)
            yield {location.name: Server(location.name, deployment, webserver, instance) for location in served}
    assert_nothing_left(home)
    assert not list(temporary.glob("bench-*"))


def behaviours(server: tuple[str, ...], name: str = LOCATION) -> CodeLocation:
    """Return the location with a job for each behaviour, served by this command."""
    return CodeLocation(name, LOCATION, working_directory=Path(__file__).parent, server=server)


@contextmanager
def _importable_pods() -> Iterator[None]:
    """Let all processes that are started in this context import the launcher that stands in for Kubernetes."""
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("PYTHONPATH", str(Path(pods.__file__).parent), prepend=os.pathsep)
        yield


def beside_pods(folder: Path, **config: Any) -> dict[str, Any]:
    """Return the settings of the warm run launcher, with the one that stands in for Kubernetes as the cold one."""
    cold = {"module": "pods", "class": "PodLauncher", "config": {"folder": str(folder)}}
    return {"module": "dagster_warm.launcher", "class": "WarmRunLauncher", "config": {"cold": cold, **config}}


def gone(process: psutil.Process) -> bool:
    """Return whether it has ended."""
    return not process.is_running() or process.status() == psutil.STATUS_ZOMBIE
