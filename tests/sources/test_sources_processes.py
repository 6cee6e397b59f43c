"""The usage meter on a small tree of real processes: stand-ins with the command lines of Dagster's servers."""

import os
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from pathlib import Path

import psutil
import pytest

from bench_orchestrator.sources import processes
from bench_orchestrator.sources.processes import MEASURES, UsageMeter, server_memory, settle

STAND_IN = """
import os, subprocess, sys, time

def fork(work):
    pid = os.fork()
    if pid == 0:
        work()
        os._exit(0)
    return pid

def be_template():
    while os.read(asked, 1):
        os.waitpid(fork(lambda: (spin(0.3), time.sleep(0.3))), 0)

def spin(cpu_s):
    end = time.process_time() + cpu_s
    while time.process_time() < end: pass

def start(*arguments):
    return subprocess.Popen([sys.executable, *arguments], stdin=subprocess.PIPE, stdout=subprocess.PIPE)

asked, ask = os.pipe()
print(flush=True)
for line in sys.stdin:
    exec(line)
    print(flush=True)
"""
"""Replaces a server: executes the commands that it reads, and confirms each."""

WORKER = """
import subprocess, sys, time
while time.process_time() < 0.2: pass
subprocess.run([sys.executable, "-c", "import time\\nwhile time.process_time() < 0.3: pass\\ntime.sleep(0.3)"])
"""
"""Replaces a run worker: 0.2 s of CPU, and a child in place of a step with another 0.3 s."""

WORKER_WITH_STEP = """
import subprocess, sys
step = subprocess.Popen([sys.executable, "-c", "import time; time.sleep(600)"])
print(step.pid, flush=True)
step.wait()
"""
"""Replaces a run worker that waits for its step."""

on_linux = pytest.mark.skipif(sys.platform != "linux", reason="only Linux counts the CPU of processes that ended")

API_GRPC = ("dagster", "api", "grpc", "--lazy-load-user-code", "--location-name")


class StandIn:
    """A process that looks like a server of the deployment in `home`."""

    def __init__(self, home: Path, command: list[str], environment: dict[str, str]) -> None:
        self.popen = subprocess.Popen(
            command,
            cwd=home.anchor,  # where there is nothing to import
            env={**os.environ, **environment, "DAGSTER_HOME": str(home)},
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            text=True,
        )
        self._await()

    def do(self, line: str) -> None:
        assert self.popen.stdin is not None
        self.popen.stdin.write(f"{line}\n")
        self.popen.stdin.flush()
        self._await()

    def _await(self) -> None:
        assert self.popen.stdout is not None
        assert self.popen.stdout.readline() == "\n"

    def kill(self) -> None:
        for child in psutil.Process(self.popen.pid).children(recursive=True):
            child.kill()
        self.popen.kill()
        self.popen.communicate()


class Deployment:
    """Yield a home with stand-ins for its servers."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        self.home = folder / "home"
        self.home.mkdir()
        self.started: list[StandIn] = []
        for module in ("dagster", "dagster/_daemon", "dagster_webserver", "dagster_warm"):
            (folder / "modules" / module).mkdir(parents=True)
            (folder / "modules" / module / "__init__.py").touch()
            (folder / "modules" / module / "__main__.py").write_text(STAND_IN)

    def start(self, module: str, *arguments: str, home: Path | None = None) -> StandIn:
        """Start `python -m <module> <arguments>`."""
        command = [sys.executable, "-X", "utf8", "-m", module, *arguments]
        return self._started(StandIn(home or self.home, command, {"PYTHONPATH": str(self.folder / "modules")}))

    def start_script(self, name: str, *arguments: str) -> StandIn:
        """Start `python <folder>/<name> <arguments>`, as an installed command does."""
        (self.folder / "bin").mkdir(exist_ok=True)
        (self.folder / "bin" / name).write_text(STAND_IN)
        return self._started(StandIn(self.home, [sys.executable, str(self.folder / "bin" / name), *arguments], {}))

    def _started(self, server: StandIn) -> StandIn:
        self.started.append(server)
        return server


@pytest.fixture
def deployment(tmp_path: Path) -> Iterator[Deployment]:
    deployment = Deployment(tmp_path)
    yield deployment
    for server in deployment.started:
        if server.popen.poll() is None:
            server.kill()


@pytest.fixture
def code_server(deployment: Deployment) -> StandIn:
    return deployment.start(*API_GRPC, "tiny")


def taking_notice(server: StandIn) -> Callable[[float], None]:
    """Sleep while the stand-in reaps its worker, as Dagster's server does occasionally."""

    def sleep(seconds: float) -> None:
        time.sleep(seconds)
        server.do("worker.poll()")

    return sleep


@on_linux
@pytest.mark.parametrize("kernel_lists_children", [True, False])
def test_a_trial_with_a_worker_and_a_step(
    deployment: Deployment, code_server: StandIn, monkeypatch: pytest.MonkeyPatch, kernel_lists_children: bool
) -> None:
    if not kernel_lists_children:
        monkeypatch.setattr(processes, "_kernel_lists_children", lambda: False)
    webserver, daemon = deployment.start("dagster_webserver", "-p", "0"), deployment.start("dagster._daemon", "run")
    meter = UsageMeter(deployment.home)
    began = time.monotonic()
    meter.begin("tiny")
    code_server.do(f"worker = start('-c', {WORKER!r})")
    meter.look()
    webserver.do("spin(0.2)")
    meter.look()
    daemon.do("spin(0.1)")
    measured = meter.end(patience_s=20, sleep=taking_notice(code_server))
    elapsed = time.monotonic() - began

    assert measured.keys() - {"throttled_s"} == MEASURES.keys() - {"throttled_s"}
    assert 0.46 <= measured["run_cpu_s"] < 1.5  # each of two times of each process is cut to 0.01 s
    assert 2 * 4e6 < measured["run_peak_rss_bytes"] < 2 * 40e6
    assert 0 <= measured["code_server_cpu_s"] < 0.1
    assert 0.18 <= measured["webserver_cpu_s"] < 0.3
    assert 0.08 <= measured["daemon_cpu_s"] < 0.2
    assert 1e6 < measured["code_server_bytes"] < 40e6
    assert elapsed - 0.5 < measured["wall_s"] <= elapsed
    assert all(value >= 0 for value in measured.values())
    assert meter.end() == {}  # a trial has one end


def test_launches_wait_until_the_servers_are_at_rest(
    deployment: Deployment, code_server: StandIn, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(processes, "_LOOK_S", 0.5)
    monkeypatch.setattr(processes, "AT_REST_CPUS", 0.05)  # what spins may get little of a busy machine
    said: list[str] = []
    daemon = deployment.start("dagster._daemon", "run")
    meter = UsageMeter(deployment.home)
    settle([meter], 60, said.append)
    assert said == []

    daemon.do("import threading; busy = threading.Thread(target=spin, args=(1,)); busy.start()")
    settle([meter, UsageMeter(deployment.folder / "elsewhere")], 60, said.append)
    assert [line.split(";")[0] for line in said] == ["Waiting until the servers are idle"]
    used_s = meter.servers_cpu_s()
    assert used_s is not None
    assert used_s >= 0.7
    assert code_server.popen.poll() is None


def test_but_not_indefinitely(deployment: Deployment, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(processes, "_LOOK_S", 0.5)
    monkeypatch.setattr(processes, "AT_REST_CPUS", 0.05)
    said: list[str] = []
    deployment.start("dagster._daemon", "run").do("import threading; threading.Thread(target=spin, args=(60,)).start()")
    monkeypatch.setattr(processes, "spaced", lambda say: say)
    settle([UsageMeter(deployment.home)], 1, said.append)
    assert [line.split(";")[0] for line in said[:-1]] == ["Waiting until the servers are idle"] * (len(said) - 1)
    assert len(said) > 2
    assert said[-1] == "They are still busy after 1 s; launches may be slower."
    told = list(said)
    settle([UsageMeter(deployment.home)], 0, said.append)
    assert said == told


def test_servers_elsewhere_are_not_waited_for(tmp_path: Path) -> None:
    assert UsageMeter(tmp_path).servers_cpu_s() is None


def test_a_run_whose_processes_stay_has_no_cpu(deployment: Deployment, code_server: StandIn) -> None:
    meter = UsageMeter(deployment.home)
    meter.begin("tiny")
    code_server.do("worker = start('-c', 'import time; time.sleep(60)')")
    measured = meter.end(patience_s=0.3)
    assert "run_cpu_s" not in measured
    assert measured["run_peak_rss_bytes"] > 4e6

    meter.begin("tiny")  # it is not the next trial's process, but its end would count for that
    code_server.do("worker.kill(); worker.wait(); start('-c', 'pass').wait()")
    assert "run_cpu_s" not in meter.end()


@on_linux
def test_an_ended_process_counts_when_its_server_takes_notice(deployment: Deployment, code_server: StandIn) -> None:
    def run_unnoticed() -> None:
        code_server.do("worker = start('-c', 'pass')")
        [worker] = psutil.Process(code_server.popen.pid).children()
        while worker.status() != psutil.STATUS_ZOMBIE:
            time.sleep(0.02)

    meter = UsageMeter(deployment.home)
    meter.begin("tiny")
    run_unnoticed()
    assert "run_cpu_s" not in meter.end(patience_s=0.2)

    code_server.do("worker.wait()")
    meter.begin("tiny")
    run_unnoticed()
    measured = meter.end(patience_s=20, sleep=taking_notice(code_server))
    assert measured["run_cpu_s"] > 0
    assert "run_peak_rss_bytes" not in measured


@on_linux
def test_the_tracker_that_comes_with_a_first_run_is_not_waited_for(
    deployment: Deployment, code_server: StandIn
) -> None:
    meter = UsageMeter(deployment.home)
    meter.begin("tiny")
    code_server.do("start('-c', 'import time; time.sleep(60)', 'multiprocessing.resource_tracker')")
    code_server.do("worker = start('-c', 'import time; time.sleep(0.3)')")
    meter.look()
    assert meter.end(patience_s=20, sleep=taking_notice(code_server))["run_cpu_s"] > 0


def test_a_fork_server_hides_the_cpu_of_its_steps(deployment: Deployment, code_server: StandIn) -> None:
    meter = UsageMeter(deployment.home)
    meter.begin("tiny")
    code_server.do("worker = start('-c', 'import time; time.sleep(0.3)', 'multiprocessing.forkserver')")
    time.sleep(0.1)
    meter.look()
    measured = meter.end(patience_s=20, sleep=taking_notice(code_server))
    assert "run_cpu_s" not in measured
    assert "run_peak_rss_bytes" in measured


def test_a_run_that_was_never_seen_ran_elsewhere(deployment: Deployment, code_server: StandIn) -> None:
    meter = UsageMeter(deployment.home)
    meter.begin("tiny")
    code_server.do("spin(0.1)")
    measured = meter.end()
    assert measured["code_server_cpu_s"] >= 0.09
    assert {"run_cpu_s", "run_peak_rss_bytes"}.isdisjoint(measured)


def test_a_server_that_was_restarted_has_no_growth_and_is_found_again(
    deployment: Deployment, code_server: StandIn
) -> None:
    webserver = deployment.start("dagster_webserver")
    meter = UsageMeter(deployment.home)
    meter.begin("tiny")
    code_server.kill()
    deployment.start(*API_GRPC, "tiny")
    assert meter.end().keys() == {"wall_s", "webserver_cpu_s"}

    meter.begin("tiny")
    webserver.kill()
    measured = meter.end()
    assert "webserver_cpu_s" not in measured
    assert "code_server_cpu_s" in measured
    deployment.start("dagster_webserver")
    meter.begin("tiny")
    assert "webserver_cpu_s" in meter.end()


def test_throttling_is_that_of_the_code_servers_cgroup(
    deployment: Deployment, code_server: StandIn, monkeypatch: pytest.MonkeyPatch
) -> None:
    readings = [{"throttled_s": 1.5}, {"throttled_s": 4.0}, {}, {"throttled_s": 4.0}]

    def read(membership: Path) -> dict[str, float]:
        assert membership == Path(f"/proc/{code_server.popen.pid}/cgroup")
        return readings.pop(0)

    monkeypatch.setattr(processes, "read_throttling", read)
    meter = UsageMeter(deployment.home)
    meter.begin("tiny")
    assert meter.end()["throttled_s"] == 2.5
    meter.begin("tiny")
    assert "throttled_s" not in meter.end()


def test_servers_are_searched_for_once(
    deployment: Deployment, code_server: StandIn, monkeypatch: pytest.MonkeyPatch
) -> None:
    deployment.start("dagster_webserver")
    deployment.start("dagster._daemon", "run")
    searches = []

    def search() -> Iterator[psutil.Process]:
        searches.append(1)
        return process_iter()

    process_iter = psutil.process_iter
    monkeypatch.setattr(psutil, "process_iter", search)
    meter = UsageMeter(deployment.home)
    for _ in range(3):
        meter.begin("tiny")
        meter.look()
        meter.end()
    assert len(searches) == 1
    code_server.kill()
    meter.begin("tiny")
    assert len(searches) == 2


@on_linux
def test_a_warm_server_and_its_template_are_one_and_what_that_forks_is_the_run(deployment: Deployment) -> None:
    server = deployment.start("dagster_warm", "--no-reload", "--location-name", "tiny")
    server.do("template = fork(be_template)")
    [template] = psutil.Process(server.popen.pid).children()
    meter = UsageMeter(deployment.home)
    for _ in range(2):
        meter.begin("tiny")
        server.do("os.write(ask, b'!')")
        while not template.children():
            time.sleep(0.01)
        found = processes._find_servers(deployment.home).code["tiny"]
        assert [process.pid for process in found] == [server.popen.pid, template.pid]
        meter.look()
        measured = meter.end(patience_s=20)
        assert 0.25 <= measured["run_cpu_s"] < 1
        assert 0 < measured["run_peak_pss_bytes"] < measured["run_peak_rss_bytes"]
        assert measured["code_server_cpu_s"] < 0.1
        assert server_memory(deployment.home)["tiny"] > psutil.Process(server.popen.pid).memory_full_info().pss


def test_dagster_dev_has_the_code_server_behind_a_proxy(deployment: Deployment) -> None:
    proxy = deployment.start("dagster", "code-server", "start", "--location-name", "tiny")
    proxy.do("server = start('-m', 'dagster', 'api', 'grpc', '--location-name', 'tiny', '--module-name', 'mine')")
    proxy.do("server.stdout.readline()")
    [server] = psutil.Process(proxy.popen.pid).children()
    found = processes._find_servers(deployment.home)
    assert {name: [process.pid for process in family] for name, family in found.code.items()} == {"tiny": [server.pid]}


def test_servers_that_are_installed_commands_are_found(deployment: Deployment) -> None:
    code_server = deployment.start_script("dagster", "api", "grpc", "-p", "4000", "--location-name", "tiny", "-m", "x")
    warm = deployment.start_script("dagster-warm", "--no-reload", "-p", "4001", "--location-name", "warm", "-m", "x")
    webserver, daemon = deployment.start_script("dagster-webserver"), deployment.start_script("dagster-daemon", "run")
    found = processes._find_servers(deployment.home)
    pids = {name: [process.pid for process in family] for name, family in found.code.items()}
    assert pids == {"tiny": [code_server.popen.pid], "warm": [warm.popen.pid]}
    assert found.webserver is not None
    assert found.webserver.pid == webserver.popen.pid
    assert found.daemon is not None
    assert found.daemon.pid == daemon.popen.pid


def test_what_is_not_this_deployments_or_ambiguous_is_not_measured(deployment: Deployment, tmp_path: Path) -> None:
    deployment.start(*API_GRPC, "twice")
    deployment.start(*API_GRPC, "twice")
    deployment.start(*API_GRPC, "elsewhere", home=tmp_path / "other")
    deployment.start("dagster", "api", "grpc", "-p", "4000")
    meter = UsageMeter(deployment.home)
    for location in ("twice", "elsewhere", "missing", ""):
        meter.begin(location)
        meter.look()
        assert meter.end() == {}
    assert server_memory(deployment.home) == {}


def test_memory_of_all_code_servers(
    deployment: Deployment, code_server: StandIn, monkeypatch: pytest.MonkeyPatch
) -> None:
    big = deployment.start(*API_GRPC, "big")
    big.do("held = bytes(range(256)) * 200_000")
    (deployment.folder / "link").symlink_to(deployment.home)
    sizes = server_memory(deployment.folder / "link")
    assert sizes.keys() == {"tiny", "big"}
    assert 50e6 < sizes["big"] - sizes["tiny"] < 60e6

    def denied(_: psutil.Process) -> None:
        raise psutil.AccessDenied

    monkeypatch.setattr(psutil.Process, "memory_full_info", denied)
    assert server_memory(deployment.home)["tiny"] == psutil.Process(code_server.popen.pid).memory_info().rss


class TestKill:
    def test_a_run_and_its_steps_are_killed_at_once(self, deployment: Deployment, code_server: StandIn) -> None:
        code_server.do(f"worker = start('-c', {WORKER_WITH_STEP!r}); worker.stdout.readline()")
        (worker,) = psutil.Process(code_server.popen.pid).children()
        (step,) = worker.children()
        assert processes.kill_run(deployment.home, worker.pid)
        code_server.do("assert worker.wait() == -9")
        step.wait(10)
        assert code_server.popen.poll() is None

    def test_a_process_of_another_deployment_is_left_alone(self, deployment: Deployment, code_server: StandIn) -> None:
        assert not processes.kill_run(deployment.folder, code_server.popen.pid)
        code_server.do("")

    def test_one_that_has_ended_is_not_there(self, deployment: Deployment, code_server: StandIn) -> None:
        code_server.kill()
        assert not processes.kill_run(deployment.home, code_server.popen.pid)
