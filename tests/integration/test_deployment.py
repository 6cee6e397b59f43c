"""A real deployment starts, runs, survives the death of its processes, and leaves nothing behind."""

import json
import os
import signal
import subprocess
import sys
import time
import uuid
from collections.abc import Callable, Iterator
from contextlib import closing, contextmanager, suppress
from pathlib import Path

import psutil
import pytest
from click.testing import CliRunner
from dagster import DagsterRunStatus
from dagster_graphql import DagsterGraphQLClient

from bench_orchestrator.cli import main
from bench_orchestrator.deployment import (
    CodeLocation,
    Deployment,
    DeploymentError,
    LocationState,
    find_deployment,
    read_locations,
)
from bench_orchestrator.deployment.ports import HeldPort
from bench_orchestrator.deployment.processes import MARKER, processes_of
from integration.leftovers import assert_nothing_left

TinyLocation = Callable[[str], CodeLocation]
NewHome = Callable[..., Path]
StartDeployment = Callable[..., Deployment]


def launch(url: str, location: str, asset: str = "hello") -> str:
    client = DagsterGraphQLClient("127.0.0.1", port_number=int(url.rsplit(":", 1)[1]))
    run_id: str = client.submit_job_execution(
        "__ASSET_JOB",
        repository_location_name=location,
        repository_name="__repository__",
        asset_selection=[[location, asset]],
    )
    return run_id


def wait_for_run(url: str, run_id: str, wanted: DagsterRunStatus, timeout_s: float = 60) -> None:
    client = DagsterGraphQLClient("127.0.0.1", port_number=int(url.rsplit(":", 1)[1]))
    wait_until(lambda: client.get_run_status(run_id) == wanted, timeout_s)


def wait_until(condition: Callable[[], object], timeout_s: float = 60) -> None:
    deadline = time.monotonic() + timeout_s
    while not condition():
        assert time.monotonic() < deadline, "it did not happen in time"
        time.sleep(0.2)


def process_running(deployment: Deployment, *words: str) -> psutil.Process:
    """Return the deployment's process with these words in its command line."""
    found = [process for process in processes_of(deployment.id) if set(words) <= set(process.cmdline())]
    assert len(found) == 1
    return found[0]


def ignores_interrupts(process: psutil.Process) -> bool:
    """Return whether it ignores SIGINT."""
    status = Path(f"/proc/{process.pid}/status").read_text()
    (ignored,) = (line.split()[1] for line in status.splitlines() if line.startswith("SigIgn:"))
    return bool(int(ignored, 16) >> (signal.SIGINT - 1) & 1)


def state(deployment: Deployment) -> dict[str, object]:
    content: dict[str, object] = json.loads((deployment.home / ".bench" / "deployment.json").read_text())
    return content


@contextmanager
def bench_up(home: Path, *arguments: str, in_background: bool = False) -> Iterator[subprocess.Popen[str]]:
    """Run `bench up --json`; in the background of a script, it starts with SIGINT ignored."""
    background = ("sh", "-c", 'trap "" INT; exec "$@"', "sh") if in_background else ()
    process = subprocess.Popen(
        [*background, sys.executable, "-m", "bench_orchestrator", "up", "--json", *arguments],
        env={**os.environ, "DAGSTER_HOME": str(home)},
        stdout=subprocess.PIPE,
        stderr=subprocess.DEVNULL,
        text=True,
    )
    with process:
        try:
            yield process
        finally:
            process.kill()


def servers_of(home: Path, process: "subprocess.Popen[str]") -> list[psutil.Process]:
    """Return the servers that `bench up` has started: of each location, the webserver, the daemon."""
    found = []
    for server in processes_of(home=home):
        with suppress(psutil.NoSuchProcess):
            found += [server] if server.ppid() == process.pid else []
    return found


def ready(process: subprocess.Popen[str]) -> dict[str, object]:
    """Return what `bench up --json` prints once everything is loaded."""
    assert process.stdout is not None
    line: dict[str, object] = json.loads(process.stdout.readline())
    return line


def assert_diagnosed(url: str) -> None:
    """Assert what `bench doctor` says of the test's deployment."""
    result = CliRunner().invoke(main, ["doctor", "--url", url, "--json"])
    assert result.exit_code == 0, result.output
    data = json.loads(result.stdout)
    assert data["not_answered"] == []
    by_name = {location["location"]: location for location in data["locations"]}
    assert {name: location["state"] for name, location in by_name.items()} == {
        **dict.fromkeys(("tiny", "connected"), "loaded"),
        **dict.fromkeys(("broken", "away"), "error"),
    }
    tiny = by_name["tiny"]
    assert (tiny["assets"], tiny["partitioned"], tiny["jobs"], tiny["checks"]) == (2, 0, 0, 0)
    assert (tiny["runs_listed"], tiny["runs_read"]) == (3, 3)
    assert tiny["lag_s"]["n"] == 3
    assert tiny["median_launch"]["stages_s"]["worker_boot"] > 0
    (broken,) = [finding for finding in data["findings"] if finding["name"] == "broken_locations"]
    assert any("no such luck" in line for line in broken["evidence"])
    assert data["queued"] == []


@pytest.fixture
def free_port() -> Iterator[str]:
    with closing(HeldPort()) as port:
        yield str(port.number)


WORKSPACE = """
load_from:
  - python_file: {{relative_path: tiny.py, location_name: tiny}}
  - python_module: broken
  - grpc_server: {{socket: {socket}, location_name: connected}}
  - grpc_server: {{port: {port}, location_name: away}}
"""


def test_code_server_and_daemon_that_are_killed_come_back(
    start_deployment: StartDeployment, tiny_location: TinyLocation, new_home: NewHome, tmp_path: Path, free_port: str
) -> None:
    (tmp_path / "broken.py").write_text("raise RuntimeError('no such luck')")
    tiny_location("tiny")
    workspace = tmp_path / "workspace.yaml"
    workspace.write_text(WORKSPACE.format(port=free_port, socket=tmp_path / "tiny.sock"))
    _, *locations = read_locations(workspace)
    events: list[str] = []
    deployment = start_deployment(locations, home=new_home("with a space"), on_event=events.append)
    assert deployment._directory is not None
    # The server of `tiny` also is the one that somebody else runs.
    (tmp_path / "tiny.sock").symlink_to(deployment._directory / "0.sock")
    status = deployment.wait_until_loaded(timeout_s=90)

    by_name = {location.name: location for location in status.locations}
    assert by_name["tiny"].state is LocationState.LOADED
    assert by_name["tiny"].load_s is not None
    assert by_name["broken"].state is LocationState.ERROR
    assert "no such luck" in by_name["broken"].message
    assert by_name["connected"].state is LocationState.LOADED
    assert by_name["away"].state is LocationState.ERROR
    assert "Could not reach user code server" in by_name["away"].message
    found = find_deployment(deployment.home)
    assert found is not None
    assert (found.url, found.locations) == (deployment.url, ("tiny", "broken", "connected", "away"))
    with pytest.raises(DeploymentError, match=f"{deployment.url}, process {os.getpid()}"):
        start_deployment([], home=deployment.home)

    wait_for_run(deployment.url, launch(deployment.url, "tiny"), DagsterRunStatus.SUCCESS)

    process_running(deployment, "--location-name", "tiny").kill()
    wait_until(lambda: len(events) == 2)
    assert "tiny was killed by signal 9" in events[0]
    assert "tiny is up again" in events[1]
    assert deployment.status().locations[0].restarts == 1

    process_running(deployment, "dagster._daemon").kill()
    wait_for_run(deployment.url, launch(deployment.url, "tiny"), DagsterRunStatus.SUCCESS)
    assert "daemon was killed by signal 9" in events[2]

    endless = launch(deployment.url, "tiny", "endless")
    wait_for_run(deployment.url, endless, DagsterRunStatus.STARTED)
    assert_diagnosed(deployment.url)
    directory = Path(str(state(deployment)["directory"]))
    assert directory.stat().st_mode & 0o777 == 0o700
    started = time.monotonic()
    deployment.stop()
    assert time.monotonic() - started < 60
    assert not directory.exists()
    assert not (deployment.home / ".bench" / "deployment.json").exists()
    assert find_deployment(deployment.home) is None
    assert_nothing_left(deployment.home)


def test_bench_up_leaves_nothing_however_it_is_stopped(new_home: NewHome, free_port: str) -> None:
    home = new_home()
    arguments = ("--port", free_port, "--locations", "a10")
    with bench_up(home, *arguments) as process:  # killed as soon as its servers are started
        wait_until(lambda: len(servers_of(home, process)) >= 4, timeout_s=180)
        process.kill()
        process.wait()
        assert find_deployment(home) is None
        wait_until(lambda: not processes_of(home=home))

    with bench_up(home, *arguments, in_background=True) as process:
        line = ready(process)
        assert line["url"] == f"http://127.0.0.1:{free_port}"
        assert line["locations"] == {"bench_orchestrator": "loaded", "a10": "loaded"}
        if sys.platform == "linux":
            servers = servers_of(home, process)
            assert len(servers) == 4
            assert not any(map(ignores_interrupts, servers))
        process.send_signal(signal.SIGTERM)
        assert process.wait(60) == 0
        assert_nothing_left(home)

    with bench_up(home, *arguments) as process:  # interrupted repeatedly until it ends
        wait_until((home / ".bench" / "deployment.json").exists)
        while process.poll() is None:
            process.send_signal(signal.SIGINT)
            time.sleep(0.02)
        assert process.returncode == 0
        wait_until(lambda: not processes_of(home=home))


@pytest.mark.thorough
def test_bench_up_leaves_nothing_if_it_is_interrupted_again_while_it_stops(new_home: NewHome, free_port: str) -> None:
    home = new_home()
    with bench_up(home, "--port", free_port, "--locations", "a10") as process:
        wait_until((home / ".bench" / "deployment.json").exists)
        time.sleep(1)
        process.send_signal(signal.SIGINT)
        time.sleep(0.5)
        process.send_signal(signal.SIGINT)
        assert process.wait(60) == 0
        assert_nothing_left(home)


def test_a_deployment_within_another_ends_with_that(
    new_home: NewHome, free_port: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    home = new_home()
    outer = uuid.uuid4().hex
    monkeypatch.setenv(
        MARKER, f"{outer} /home/of/the/outer/one"
    )  # like a sweep's run that starts a separate deployment
    with bench_up(home, "--port", free_port, "--locations", "a10") as process:
        wait_until(lambda: len(processes_of(home=home)) >= 2)  # the code servers
        for supervisor in processes_of(outer):
            supervisor.kill()
        wait_until(lambda: not processes_of(home=home))
        process.wait()
    assert_nothing_left(home)


def test_bench_up_says_what_is_wrong_with_the_instance_and_the_port(new_home: NewHome, tmp_path: Path) -> None:
    def up(home: Path, *arguments: str) -> subprocess.CompletedProcess[str]:
        return subprocess.run(
            [sys.executable, "-m", "bench_orchestrator", "up", *arguments],
            env={**os.environ, "DAGSTER_HOME": str(home)},
            capture_output=True,
            text=True,
            check=False,
        )

    home = new_home()
    (home / "dagster.yaml").write_text("nonsense: true\n")
    done = up(home)
    assert done.returncode == 3
    assert "nonsense" in done.stderr
    assert "Traceback" not in done.stderr.splitlines()[0]

    done = up(tmp_path / "missing")
    assert done.returncode == 3
    assert "is not a folder" in done.stderr
    assert_nothing_left(home)
