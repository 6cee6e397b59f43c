"""A server that is told to stop, or is killed, loses no run in silence."""

import os
import signal
import time
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path

import dagster as dg
import pytest
from dagster._core.errors import DagsterUserCodeUnreachableError
from dagster._core.launcher import LaunchRunContext
from dagster._core.utils import make_new_run_id
from dagster._grpc.client import DagsterGrpcClient
from dagster._grpc.types import CanCancelExecutionRequest, CanCancelExecutionResult
from dagster._serdes import deserialize_value
from lone_server import PATIENCE_S, LoneServer, is_alive, processes_of, serve, wait_until

STARTED, SUCCESS, FAILURE = dg.DagsterRunStatus.STARTED, dg.DagsterRunStatus.SUCCESS, dg.DagsterRunStatus.FAILURE
REASON = "The code server was told to stop, as a deploy does"

MODULE = """
import os, signal, time
from pathlib import Path

import dagster as dg

def hold(name):
    Path(name).write_text(str(os.getpid()))
    while Path(name).exists():
        time.sleep(0.02)

@dg.op
def wait(context):
    hold(context.job_name)

@dg.op
def refuse():
    signal.signal(signal.SIGINT, signal.SIG_IGN)
    signal.signal(signal.SIGTERM, signal.SIG_IGN)
    while True:
        try:
            hold("refusing")
        except BaseException:
            pass

@dg.job
def waiting():
    wait()

@dg.job(executor_def=dg.in_process_executor)
def waiting_in_process():
    wait()

@dg.job
def refusing():
    refuse()

@dg.job
def quick():
    dg.op(name="nothing")(lambda: None)()

defs = dg.Definitions(jobs=[waiting, waiting_in_process, refusing, quick])
"""


@pytest.fixture(params=[pytest.param("--no-reload", marks=pytest.mark.thorough), "--reload"])
def mode(request: pytest.FixtureRequest) -> str:
    """Return whether a proxy stands before the server."""
    return str(request.param)


def parent_of(pid: int) -> int:
    return int(Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()[1])


def can_cancel(client: DagsterGrpcClient, run_id: str) -> bool:
    """Return what run monitoring asks: whether the server has the run."""
    answer = client.can_cancel_execution(CanCancelExecutionRequest(run_id=run_id), timeout=10)
    return deserialize_value(answer, CanCancelExecutionResult).can_cancel


def answers(client: DagsterGrpcClient) -> bool:
    with suppress(DagsterUserCodeUnreachableError):
        return bool(client.ping(""))
    return False


@contextmanager
def deployed(tmp_path: Path, *options: str) -> Iterator[LoneServer]:
    (tmp_path / "served.py").write_text(MODULE)
    monitoring = {"cancellation_thread_poll_interval_seconds": 1}
    options = (*options, *(["--heartbeat-ttl", "3"] if "--reload" in options else []))
    with serve(tmp_path, [*options, "--python-file", "served.py"], run_monitoring=monitoring) as server:
        try:
            yield server
        finally:
            for name in ("waiting", "waiting_in_process", "refusing"):
                (tmp_path / name).unlink(missing_ok=True)
    wait_until(lambda: not processes_of(server))


@pytest.fixture(scope="module")
def reloading(tmp_path_factory: pytest.TempPathFactory) -> Iterator[LoneServer]:
    """Yield a server behind a proxy, which outlives its tests."""
    with deployed(tmp_path_factory.mktemp("home"), "--reload", "--startup-timeout", "30") as server:
        yield server


def failure_of(server: LoneServer, run_id: str) -> str:
    """Return why a run failed."""
    (failure,) = server.instance.all_logs(run_id, of_type=dg.DagsterEventType.RUN_FAILURE)
    assert failure.dagster_event is not None
    return failure.dagster_event.message or ""


def begin(server: LoneServer, job: str) -> tuple[str, int]:
    """Launch a job; return its run and the process in which its step waits."""
    run_id = server.launch(job)
    held = server.home / job
    wait_until(lambda: held.exists() and held.read_text())
    return run_id, int(held.read_text())


class TestSigterm:
    def test_lets_runs_in_flight_finish_and_takes_no_new_ones(self, tmp_path: Path, mode: str) -> None:
        with deployed(tmp_path, mode, "--grace", "60") as server:
            run_id, _ = begin(server, "waiting")
            with server.workspace() as workspace:
                server.process.terminate()
                time.sleep(1)
                (earlier,) = server.instance.get_runs()
                late = server.instance.add_run(
                    earlier._replace(run_id=make_new_run_id(), status=dg.DagsterRunStatus.NOT_STARTED)
                )
                with pytest.raises(DagsterUserCodeUnreachableError, match="UNAVAILABLE"):
                    server.instance.run_launcher.launch_run(LaunchRunContext(late, workspace))
            assert server.process.poll() is None
            assert server.status(run_id) is STARTED
            (tmp_path / "waiting").unlink()
            assert server.wait_for(run_id) is SUCCESS, server.story(run_id)
            assert server.process.wait(PATIENCE_S) is not None
            assert not any(REASON in line for line in server.story(run_id))

    def test_ends_the_others_after_the_grace_period_with_a_reason(self, tmp_path: Path, mode: str) -> None:
        with deployed(tmp_path, mode, "--grace", "1") as server:
            begun = [begin(server, job) for job in ("waiting", "waiting_in_process", "refusing")]
            server.process.terminate()
            for run_id, _ in begun:
                assert server.wait_for(run_id) is FAILURE
                assert REASON in failure_of(server, run_id)
            server.process.wait(PATIENCE_S)
            wait_until(lambda: not any(is_alive(step) for _, step in begun))

    def test_twice_ends_the_grace_period(self, tmp_path: Path) -> None:
        with deployed(tmp_path, "--reload", "--grace", "600") as server:
            run_id, _ = begin(server, "waiting")
            server.process.terminate()
            time.sleep(1)
            server.process.terminate()
            assert server.wait_for(run_id) is FAILURE
            assert REASON in failure_of(server, run_id)
            server.process.wait(PATIENCE_S)


class TestSigkill:
    def test_of_the_server_leaves_its_runs_to_themselves_or_to_whoever_watches_them(
        self, tmp_path: Path, mode: str
    ) -> None:
        with deployed(tmp_path, mode) as server:
            finishing, _ = begin(server, "waiting")
            ended, step = begin(server, "waiting_in_process")
            server.process.kill()
            server.process.wait()
            time.sleep(2)
            assert server.status(finishing) is server.status(ended) is STARTED
            run = server.instance.get_run_by_id(ended)
            assert run is not None
            server.instance.report_run_failed(run, "The server is gone.")
            wait_until(lambda: not is_alive(step))
            assert server.status(finishing) is STARTED
            (tmp_path / "waiting").unlink()
            assert server.wait_for(finishing) is SUCCESS, server.story(finishing)

    def test_of_the_server_behind_a_proxy_has_it_replaced(self, reloading: LoneServer) -> None:
        server = reloading
        run_id, _ = begin(server, "waiting")
        with server.workspace() as workspace:
            client = workspace.get_code_location("it").client
        (behind,) = (pid for pid in processes_of(server) if parent_of(pid) == server.process.pid)
        assert can_cancel(client, run_id)
        os.kill(behind, signal.SIGKILL)
        wait_until(lambda: answers(client))
        assert server.wait_for(server.launch("quick")) is SUCCESS
        (server.home / "waiting").unlink()
        assert server.wait_for(run_id) is SUCCESS, server.story(run_id)

    def test_of_a_run_worker_ends_its_steps(self, reloading: LoneServer) -> None:
        server = reloading
        run_id, step = begin(server, "refusing")
        (worker,) = (
            int(line.partition("(pid: ")[2].rstrip(").")) for line in server.story(run_id) if "process for run" in line
        )
        os.kill(worker, signal.SIGKILL)
        assert server.wait_for(run_id) is FAILURE
        assert any("terminated by signal 9" in line for line in server.story(run_id))
        wait_until(lambda: not is_alive(step))


def test_a_reload_that_hangs_is_given_up(reloading: LoneServer) -> None:
    server = reloading
    run_id, _ = begin(server, "waiting")
    with server.workspace() as workspace:
        client = workspace.get_code_location("it").client
    (server.home / "served.py").write_text("import time\ntime.sleep(600)\n")
    client.reload_code(timeout=int(PATIENCE_S))
    assert "Timed out" in client.list_repositories()
    (server.home / "served.py").write_text(MODULE)
    client.reload_code(timeout=int(PATIENCE_S))
    (server.home / "waiting").unlink()
    assert server.wait_for(run_id) is SUCCESS, server.story(run_id)
    assert server.wait_for(server.launch("quick")) is SUCCESS


def test_a_run_that_began_before_a_reload_is_known_to_its_server(reloading: LoneServer) -> None:
    server = reloading
    run_id, _ = begin(server, "waiting")
    with server.workspace() as workspace:
        client = workspace.get_code_location("it").client
        client.reload_code(timeout=int(PATIENCE_S))
    assert can_cancel(client, run_id)
    assert not can_cancel(client, "no such run")
    (server.home / "waiting").unlink()
    assert server.wait_for(run_id) is SUCCESS, server.story(run_id)
    with suppress(DagsterUserCodeUnreachableError):  # its server has ended with it
        wait_until(lambda: not can_cancel(client, run_id))
