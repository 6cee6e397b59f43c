"""A warm run is lost once its code server is gone or does not know it, and not while that is in doubt."""

import socket
import time
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import closing, contextmanager
from pathlib import Path
from typing import Any

import dagster as dg
import grpc
import pytest
from dagster._core.events import EngineEventData
from dagster._core.launcher import WorkerStatus
from dagster._grpc.__generated__ import dagster_api_pb2
from dagster._grpc.__generated__.dagster_api_pb2_grpc import DagsterApiServicer, add_DagsterApiServicer_to_server
from dagster._grpc.client import DagsterGrpcClient
from dagster._grpc.types import CanCancelExecutionRequest, CanCancelExecutionResult
from dagster._serdes import deserialize_value, serialize_value

from dagster_warm import health
from dagster_warm.health import RunHealth
from dagster_warm.launcher import LEAVING_TAG, POD_METADATA, WARM_MESSAGE

LOST_AFTER_S = 1.0


class Server(DagsterApiServicer):
    """Knows some runs, or answers otherwise."""

    def __init__(self) -> None:
        self.runs: set[str] = set()
        self.delay_s = 0.0
        self.refusal: grpc.StatusCode | None = None
        self.asked = 0

    def CanCancelExecution(self, request: Any, context: Any) -> Any:  # noqa: N802
        self.asked += 1
        time.sleep(self.delay_s)
        if self.refusal:
            context.abort(self.refusal, "")
        run_id = deserialize_value(request.serialized_can_cancel_execution_request, CanCancelExecutionRequest).run_id
        answer = serialize_value(CanCancelExecutionResult(can_cancel=run_id in self.runs))
        return dagster_api_pb2.CanCancelExecutionReply(serialized_can_cancel_execution_result=answer)


@contextmanager
def serving(address: str) -> Iterator[tuple[Server, int]]:
    """Yield a server at an address, and its port."""
    server = grpc.server(ThreadPoolExecutor(4))
    servicer = Server()
    add_DagsterApiServicer_to_server(servicer, server)  # type: ignore[no-untyped-call]
    port = server.add_insecure_port(address)
    server.start()
    try:
        yield servicer, port
    finally:
        server.stop(None).wait()


@pytest.fixture(scope="module")
def instance() -> Iterator[dg.DagsterInstance]:
    with dg.DagsterInstance.ephemeral() as instance:
        yield instance


@pytest.fixture
def run(instance: dg.DagsterInstance) -> dg.DagsterRun:
    run = instance.add_run(dg.DagsterRun("job", status=dg.DagsterRunStatus.STARTED))
    instance.report_engine_event(f"{WARM_MESSAGE}: forked", run)
    return run


@pytest.fixture
def server() -> Iterator[tuple[Server, int]]:
    with serving("localhost:0") as server:
        yield server


@pytest.fixture
def elsewhere(monkeypatch: pytest.MonkeyPatch) -> None:
    """Let the server be on another machine."""
    monkeypatch.setattr(health, "_is_here", lambda _: False)


def check(instance: dg.DagsterInstance, run: dg.DagsterRun, **address: Any) -> tuple[WorkerStatus, str]:
    result = RunHealth(LOST_AFTER_S).check(instance, run, DagsterGrpcClient(**address))
    return result.status, result.msg or ""


def free_port() -> int:
    with closing(socket.create_server(("localhost", 0))) as listener:
        port: int = listener.getsockname()[1]
        return port


HEALTHY = (WorkerStatus.RUNNING, "")


def test_a_run_that_its_server_knows_is_healthy(
    instance: dg.DagsterInstance, run: dg.DagsterRun, server: tuple[Server, int]
) -> None:
    server[0].runs.add(run.run_id)
    assert check(instance, run, port=server[1]) == HEALTHY


def test_a_run_that_was_never_launched_is_healthy(instance: dg.DagsterInstance, run: dg.DagsterRun) -> None:
    assert RunHealth(0).check(instance, run, None).status is WorkerStatus.RUNNING


class TestOnThisMachine:
    def test_a_run_whose_server_is_gone_is_lost_at_once(
        self, instance: dg.DagsterInstance, run: dg.DagsterRun, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        monkeypatch.setattr(time, "sleep", lambda _: pytest.fail("waits"))
        port = free_port()
        message = f"The code server at localhost:{port}, which had the run, is gone."
        assert check(instance, run, port=port) == (WorkerStatus.FAILED, message)
        never, left = tmp_path / "never", tmp_path / "left"
        with closing(socket.socket(socket.AF_UNIX)) as listener:
            listener.bind(str(left))
        for path in (never, left):
            status, message = check(instance, run, socket=str(path))
            assert status is WorkerStatus.FAILED
            assert str(path) in message

    def test_a_run_that_another_server_does_not_know_is_lost_at_once(
        self, instance: dg.DagsterInstance, run: dg.DagsterRun, server: tuple[Server, int]
    ) -> None:
        status, message = check(instance, run, port=server[1])
        assert (status, server[0].asked) == (WorkerStatus.FAILED, 1)
        assert message.endswith("was replaced, and does not know it.")

    def test_a_run_that_was_not_forked_is_unknown_to_a_stock_server_that_has_reloaded(
        self, instance: dg.DagsterInstance, server: tuple[Server, int]
    ) -> None:
        spawned = instance.add_run(dg.DagsterRun("job", status=dg.DagsterRunStatus.STARTED))
        assert check(instance, spawned, port=server[1]) == HEALTHY

    def test_a_run_that_has_ended_meanwhile_is_healthy(
        self, instance: dg.DagsterInstance, run: dg.DagsterRun, server: tuple[Server, int]
    ) -> None:
        instance.report_run_canceling(run)
        assert check(instance, run, port=server[1]) == HEALTHY

    def test_a_server_that_is_slow_or_fails_is_there(
        self,
        instance: dg.DagsterInstance,
        run: dg.DagsterRun,
        server: tuple[Server, int],
        monkeypatch: pytest.MonkeyPatch,
    ) -> None:
        monkeypatch.setattr(health, "_ANSWER_LIMIT_S", 1)
        server[0].refusal = grpc.StatusCode.INTERNAL
        assert check(instance, run, port=server[1]) == HEALTHY
        server[0].delay_s = 2
        assert check(instance, run, port=server[1]) == HEALTHY


@pytest.mark.usefixtures("elsewhere")
class TestOnAnotherMachine:
    def test_a_run_is_lost_if_its_server_stays_away(self, instance: dg.DagsterInstance, run: dg.DagsterRun) -> None:
        asked = RunHealth(LOST_AFTER_S)
        client = DagsterGrpcClient(port=free_port())
        began = time.monotonic()
        assert asked.check(instance, run, client).status is WorkerStatus.FAILED
        first_s = time.monotonic() - began
        assert asked.check(instance, run, client).status is WorkerStatus.FAILED
        assert first_s >= LOST_AFTER_S
        assert time.monotonic() - began - first_s < first_s  # it is not waited for again

    def test_a_server_that_is_back_in_time_has_its_runs(
        self, instance: dg.DagsterInstance, run: dg.DagsterRun, server: tuple[Server, int]
    ) -> None:
        server[0].refusal = grpc.StatusCode.UNAVAILABLE
        with ThreadPoolExecutor(1) as pool:
            checked = pool.submit(RunHealth(60).check, instance, run, DagsterGrpcClient(port=server[1]))
            while server[0].asked < 3:
                time.sleep(0.05)
            assert not checked.done()
            server[0].runs.add(run.run_id)
            server[0].refusal = None
            assert checked.result(30).status is WorkerStatus.RUNNING

    def test_a_run_that_its_server_still_finishes_is_healthy_until_its_time_is_over(
        self, instance: dg.DagsterInstance, run: dg.DagsterRun, server: tuple[Server, int]
    ) -> None:
        instance.add_run_tags(run.run_id, {LEAVING_TAG: str(time.time() + 600)})
        assert check(instance, run, port=server[1]) == HEALTHY
        assert check(instance, run, port=free_port()) == HEALTHY
        instance.add_run_tags(run.run_id, {LEAVING_TAG: str(time.time() - 1)})
        assert check(instance, run, port=server[1])[0] is WorkerStatus.FAILED

    def test_a_run_is_lost_at_once_if_kubernetes_knows_the_end_of_its_pod(
        self, instance: dg.DagsterInstance, server: tuple[Server, int], monkeypatch: pytest.MonkeyPatch
    ) -> None:
        run = instance.add_run(dg.DagsterRun("job", status=dg.DagsterRunStatus.STARTED))
        forked = EngineEventData(metadata={POD_METADATA: dg.MetadataValue.text("dagster/sales-7")})
        instance.report_engine_event(f"{WARM_MESSAGE}: forked", run, forked)
        instance.add_run_tags(run.run_id, {LEAVING_TAG: str(time.time() + 600)})
        ends = {"dagster/sales-7": ""}
        monkeypatch.setattr(health, "end_of", lambda pod, _: ends[pod])
        assert check(instance, run, port=server[1]) == HEALTHY
        ends["dagster/sales-7"] = "Its pod sales-7 was deleted."
        status, message = check(instance, run, port=server[1])
        assert (status, server[0].asked) == (WorkerStatus.FAILED, 2)
        assert message.endswith("does not know it. Its pod sales-7 was deleted.")
        server[0].runs.add(run.run_id)
        assert check(instance, run, port=server[1]) == HEALTHY

    def test_a_doubt_of_long_ago_does_not_count(
        self, instance: dg.DagsterInstance, run: dg.DagsterRun, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        now = [1000.0]
        monkeypatch.setattr(time, "monotonic", lambda: now[0])
        monkeypatch.setattr(time, "sleep", lambda step: now.__setitem__(0, now[0] + step))
        asked = RunHealth(LOST_AFTER_S)
        client = DagsterGrpcClient(port=free_port())
        for _ in range(2):
            began = now[0]
            asked.check(instance, run, client)
            assert now[0] - began >= LOST_AFTER_S
            now[0] += 100


def test_addresses_of_this_machine_are_known() -> None:
    assert health._is_here(DagsterGrpcClient(socket="/tmp/any"))
    assert health._is_here(DagsterGrpcClient(port=1, host="localhost"))
    assert health._is_here(DagsterGrpcClient(port=1, host="127.0.0.1"))
    assert not health._is_here(DagsterGrpcClient(port=1, host="192.0.2.1"))
    assert not health._is_here(DagsterGrpcClient(port=1, host="no-such-host.invalid"))
