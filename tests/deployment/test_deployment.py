"""The parts of a deployment that do not need Dagster: names, homes, locks, and processes, cooperative or not."""

import json
import os
import signal
import socket
import subprocess
import sys
import time
import uuid
from collections.abc import Callable
from pathlib import Path

import psutil
import pytest

from bench_orchestrator.deployment import (
    STOCK_SERVER,
    WARM_SERVER,
    CodeLocation,
    Deployment,
    DeploymentError,
    find_deployment,
    find_home,
    read_locations,
    shape_location,
)
from bench_orchestrator.deployment.ports import HeldPort
from bench_orchestrator.deployment.processes import (
    MARKER,
    SupervisedProcess,
    end_processes,
    interrupted_by_sigterm,
    processes_of,
)

WORKSPACE = """
load_from:
  - python_module: {module_name: bench_orchestrator.definitions, location_name: bench_orchestrator}
  - python_module: {module_name: synthetic_locations.catalog, attribute: a10, location_name: floor}
  - python_module: {module_name: mine, working_directory: sub}
  - python_module: other
"""


@pytest.fixture
def workspace_file(tmp_path: Path) -> Path:
    path = tmp_path / "workspace.yaml"
    path.write_text(WORKSPACE)
    return path


def test_locations_of_a_workspace_file(workspace_file: Path) -> None:
    base = workspace_file.parent
    assert read_locations(workspace_file) == [
        CodeLocation("bench_orchestrator", "bench_orchestrator.definitions", None, base, server=WARM_SERVER),
        CodeLocation("floor", "synthetic_locations.catalog", "a10", base),
        CodeLocation("mine", "mine", None, base / "sub"),
        CodeLocation("other", "other", None, base),
    ]


def test_the_meta_location_is_served_warm_and_what_is_measured_is_not(workspace_file: Path) -> None:
    for file in (workspace_file, Path("nowhere.yaml")):
        found = read_locations(file, ["floor", "a3"] if file is workspace_file else ["a3"])
        meta, *others = (location for location in found if isinstance(location, CodeLocation))
        assert meta.server == WARM_SERVER
        assert {location.server for location in others} == {STOCK_SERVER}


def test_named_locations_come_with_the_meta_location_and_may_be_shapes(workspace_file: Path) -> None:
    chosen = read_locations(workspace_file, ["floor", "a750", "floor"])
    assert [location.name for location in chosen] == ["bench_orchestrator", "floor", "a750"]
    assert chosen[2] == CodeLocation("a750", "synthetic_locations.catalog", "a750")
    assert [location.name for location in read_locations(Path("nowhere.yaml"), ["a3"])] == [
        "bench_orchestrator",
        "a3",
    ]


def test_a_name_that_is_neither_location_nor_shape_is_refused(workspace_file: Path) -> None:
    with pytest.raises(DeploymentError, match="nonsense is neither a location of"):
        read_locations(workspace_file, ["nonsense"])


def test_a_shape_is_a_location_with_or_without_a_limit() -> None:
    assert shape_location("a750") == CodeLocation("a750", "synthetic_locations.catalog", "a750")
    assert shape_location("a10", cpus=0.5).cpus == 0.5
    with pytest.raises(DeploymentError, match="'nonsense' is not the name of a shape"):
        shape_location("nonsense")


def test_home_is_dagster_home_or_a_folder_with_dagster_yaml(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv("DAGSTER_HOME", raising=False)
    monkeypatch.chdir(tmp_path)
    with pytest.raises(DeploymentError, match="set DAGSTER_HOME"):
        find_home()
    (tmp_path / "dagster.yaml").touch()
    assert find_home() == tmp_path
    (tmp_path / "other").mkdir()
    monkeypatch.setenv("DAGSTER_HOME", str(tmp_path / "other"))
    assert find_home() == tmp_path / "other"
    monkeypatch.setenv("DAGSTER_HOME", str(tmp_path / "missing"))
    with pytest.raises(DeploymentError, match="not a folder"):
        find_home()


def test_a_port_in_use_is_refused_before_anything_starts(tmp_path: Path) -> None:
    with socket.create_server(("127.0.0.1", 0)) as server:
        port = server.getsockname()[1]
        deployment = Deployment(tmp_path, [], port)
        with pytest.raises(DeploymentError, match=f"Port {port} is in use"):
            deployment.start()
    assert not (tmp_path / ".bench" / "deployment.json").exists()
    assert not (tmp_path / "history").exists()


@pytest.mark.skipif(sys.platform != "linux", reason="elsewhere no port can be held")
def test_nobody_is_given_the_port_before_the_webserver_listens(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def take_the_port(deployment: Deployment) -> None:
        with socket.socket() as other, pytest.raises(OSError, match="in use"):
            other.bind(("127.0.0.1", deployment.port))
        raise DeploymentError("tried")

    monkeypatch.setattr(Deployment, "_create_instance", take_the_port)
    deployment = Deployment(tmp_path, [])
    with pytest.raises(DeploymentError, match="tried"):
        deployment.start()
    HeldPort(deployment.port).close()  # free again


@pytest.mark.parametrize("pid_created_at", [0.0, None], ids=["the id of another process", "no such process"])
def test_a_state_file_whose_supervisor_is_gone_is_no_deployment(tmp_path: Path, pid_created_at: float | None) -> None:
    pid = os.getpid()
    if pid_created_at is None:
        with subprocess.Popen([sys.executable, "-c", ""]) as process:
            pid = process.pid
    (tmp_path / ".bench").mkdir()
    (tmp_path / ".bench" / "deployment.json").write_text(
        json.dumps({"pid": pid, "pid_created_at": pid_created_at or 0.0, "port": 1})
    )
    assert find_deployment(tmp_path) is None


def test_processes_are_found_by_their_mark_and_ended_even_if_they_will_not(tmp_path: Path) -> None:
    marked = uuid.uuid4().hex
    stubborn = "import signal, time; signal.signal(signal.SIGTERM, signal.SIG_IGN); print(flush=True)"
    process = subprocess.Popen(
        [sys.executable, "-c", f"{stubborn}; time.sleep(60)"],
        env={**os.environ, MARKER: f"{marked} {tmp_path}"},
        stdout=subprocess.PIPE,
        start_new_session=True,
    )
    with process:
        assert process.stdout is not None
        process.stdout.readline()
        assert [found.pid for found in processes_of(marked)] == [process.pid]
        assert [found.pid for found in processes_of(home=tmp_path)] == [process.pid]
        assert processes_of(uuid.uuid4().hex, home=tmp_path / "other") == []
        end_processes(lambda: processes_of(marked), grace_s=0.2)
    assert processes_of(marked) == []


def test_a_process_whose_id_was_another_processs_before_is_found_as_itself(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    marked = uuid.uuid4().hex
    command = [sys.executable, "-c", "import sys; print(flush=True); sys.stdin.read()"]
    environment = {**os.environ, MARKER: f"{marked} {tmp_path}"}
    with subprocess.Popen(command, env=environment, stdin=subprocess.PIPE, stdout=subprocess.PIPE) as process:
        assert process.stdout is not None
        process.stdout.readline()
        earlier = psutil.Process(process.pid)
        monkeypatch.setattr(earlier, "_ident", (process.pid, 0.0))
        monkeypatch.setattr(psutil, "process_iter", lambda: [earlier])
        assert not earlier.is_running()
        assert processes_of(marked)[0].is_running()


def test_a_server_that_never_answers_is_restarted_ever_later_and_reported(tmp_path: Path) -> None:
    server = _server(tmp_path, "print('no'); raise SystemExit(7)", answers=lambda _: False)
    lines = _poll_until(server, lambda: server.is_hopeless)
    assert "ended with exit code 7; restarting it in 0.5 s" in lines[0]
    assert "restarting it in 1 s" in lines[1]
    assert server.restarts == 1
    assert server.log_tail() == "no\nno"


def test_a_server_that_answered_is_not_hopeless_when_it_dies(tmp_path: Path) -> None:
    server = _server(tmp_path, "import time; time.sleep(0.3)", answers=lambda _: True)
    lines = _poll_until(server, lambda: server.restarts == 2 and server.is_up)
    assert [" is up again" in line for line in lines] == [False, True, False, True]
    assert not server.is_hopeless
    server.end(patience_s=5)


def test_a_server_that_is_held_stays_down_until_it_is_released(tmp_path: Path) -> None:
    server = _server(tmp_path, "import time; time.sleep(60)", answers=lambda _: True)
    assert _poll_until(server, lambda: server.is_up) == []
    server.hold(patience_s=5)
    down_at = time.monotonic()
    while time.monotonic() < down_at + 1:
        assert server.poll() is None
        assert not server.is_up
    server.release()
    assert _poll_until(server, lambda: server.is_up, start=False) == []
    assert server.restarts == 0
    server.end(patience_s=5)
    server.reap()


def test_a_server_that_is_held_while_it_waits_for_its_restart_is_released_at_once(tmp_path: Path) -> None:
    server = _server(tmp_path, "import time; time.sleep(0.1)", answers=lambda _: False)
    _poll_until(server, lambda: server.is_hopeless)
    server.hold(patience_s=5)
    server.release()
    before = server.restarts
    assert "ended with exit code 0" in _poll_until(server, lambda: server._restart_at is not None, start=False)[0]
    assert server.restarts == before
    server.reap()


def _server(folder: Path, code: str, answers: Callable[[float], bool]) -> SupervisedProcess:
    return SupervisedProcess("server", [sys.executable, "-c", code], {}, folder / "server.log", answers)


@pytest.mark.parametrize("python", ["/nowhere/python", sys.executable])
def test_a_server_that_cannot_be_started_is_hopeless_and_its_log_says_why(tmp_path: Path, python: str) -> None:
    working_directory = tmp_path / "nowhere" if python == sys.executable else None
    command = [python, "-c", ""]
    server = SupervisedProcess("server", command, {}, tmp_path / "log", lambda _: False, working_directory)
    lines = _poll_until(server, lambda: server.is_hopeless)
    assert "server ended with exit code 127" in lines[0]
    assert "No such file or directory" in server.log_tail()
    server.end(patience_s=1)


def _poll_until(server: SupervisedProcess, condition: Callable[[], bool], start: bool = True) -> list[str]:
    lines = []
    if start:
        server.start()
    deadline = time.monotonic() + 30
    while not condition():
        assert time.monotonic() < deadline
        if line := server.poll():
            lines.append(line)
        time.sleep(0.02)
    return lines


def test_help_needs_no_dagster() -> None:
    code = "import sys, bench_orchestrator.cli.up; sys.exit('dagster' in sys.modules)"
    assert subprocess.run([sys.executable, "-c", code], check=False).returncode == 0


def test_sigterm_interrupts_within_the_block_alone() -> None:
    before = signal.getsignal(signal.SIGTERM)
    with pytest.raises(KeyboardInterrupt), interrupted_by_sigterm():
        signal.raise_signal(signal.SIGTERM)
    assert signal.getsignal(signal.SIGTERM) is before
