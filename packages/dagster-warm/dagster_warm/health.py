"""The health of runs that were launched in their code server: the server is asked."""

import socket
import time
from contextlib import closing
from ipaddress import ip_address
from typing import NamedTuple

import grpc
from dagster import DagsterEventType, DagsterInstance, DagsterRun, DagsterRunStatus
from dagster._core.errors import DagsterUserCodeUnreachableError
from dagster._core.launcher import CheckRunHealthResult, WorkerStatus
from dagster._grpc.client import DagsterGrpcClient
from dagster._grpc.types import CanCancelExecutionRequest, CanCancelExecutionResult
from dagster._serdes import deserialize_value

from dagster_warm.launcher import LEAVING_TAG, POD_METADATA, WARM_MESSAGE
from dagster_warm.pods import end_of

_ANSWER_LIMIT_S = 5
_CONNECT_LIMIT_S = 2.0
_TICK_S = 0.5


class _Finding(NamedTuple):
    """What is known about a run."""

    loss: str = ""
    """How it seems to have been lost; empty if it was not."""
    is_sure: bool = True


class _Fork(NamedTuple):
    """A run's start in its code server."""

    at_s: float
    """A POSIX timestamp by the clock of the server."""
    pod: str
    """The server's pod; empty if it is in none."""


class RunHealth:
    """Checks whether runs still have their processes.

    A server on this machine that is gone, or has no such run, has lost it for sure. Elsewhere there may be a network,
    a service that has no endpoint for a moment, or another pod at the same address, while the run goes on. So the
    server is asked for a while, unless Kubernetes knows that its pod has ended.
    """

    def __init__(self, lost_after_s: float) -> None:
        self._lost_after_s = lost_after_s
        self._doubts: dict[tuple[str, str], tuple[float, float]] = {}
        """By server and message: since when, and when last."""

    def check(
        self, instance: DagsterInstance, run: DagsterRun, client: DagsterGrpcClient | None
    ) -> CheckRunHealthResult:
        """Return whether the run is in progress.

        Blocks while that is in doubt, up to `lost_after_s` seconds for all runs of a server together.

        Args:
            client: asks the server that launched the run; None if the run is over, or was never launched.
        """
        if client is None:
            return CheckRunHealthResult(WorkerStatus.RUNNING)
        while True:
            finding = self._look(client, instance, run)
            now = instance.get_run_by_id(run.run_id) if finding.loss else None
            if now is None or now.status is not DagsterRunStatus.STARTED:  # it is there, or has ended meanwhile
                return CheckRunHealthResult(WorkerStatus.RUNNING)
            fork = _fork_of(instance, run)
            end = end_of(fork.pod, fork.at_s) if fork and fork.pod else ""
            if end:
                return CheckRunHealthResult(WorkerStatus.FAILED, f"{finding.loss} {end}")
            if float(now.tags.get(LEAVING_TAG, 0)) > time.time():  # its server has left its address
                return CheckRunHealthResult(WorkerStatus.RUNNING)
            if finding.is_sure or self._doubt_s(_address(client), finding.loss) >= self._lost_after_s:
                return CheckRunHealthResult(WorkerStatus.FAILED, finding.loss)
            time.sleep(_TICK_S)

    def _look(self, client: DagsterGrpcClient, instance: DagsterInstance, run: DagsterRun) -> _Finding:
        server = f"The code server at {_address(client)}, which had the run,"
        try:
            if has_run(client, run.run_id):
                return _Finding()
        except DagsterUserCodeUnreachableError as error:
            code = error.__cause__.code() if isinstance(error.__cause__, grpc.RpcError) else None
            connection = _connect(client)
            if code is grpc.StatusCode.UNAVAILABLE or (code is grpc.StatusCode.DEADLINE_EXCEEDED and connection):
                is_refused = isinstance(connection, ConnectionRefusedError | FileNotFoundError)
                return _Finding(f"{server} is gone.", is_refused and _is_here(client))
            return _Finding()  # it is there, and slow
        # After a reload, Dagster's own server no longer knows the runs that it launched before.
        if _fork_of(instance, run) is None:
            return _Finding()
        return _Finding(f"{server} was replaced, and does not know it.", _is_here(client))

    def _doubt_s(self, address: str, loss: str) -> float:
        """Return for how long a server's runs have been in doubt, in seconds."""
        now_s = time.monotonic()
        since_s, last_s = self._doubts.get((address, loss), (now_s, now_s))
        if now_s - last_s > self._lost_after_s + _ANSWER_LIMIT_S + _CONNECT_LIMIT_S:  # that was another time
            since_s = now_s
        self._doubts[address, loss] = since_s, now_s
        return now_s - since_s


def has_run(client: DagsterGrpcClient, run_id: str) -> bool:
    """Return whether a code server has a run in progress.

    Raises:
        DagsterUserCodeUnreachableError: the server does not answer.
    """
    answer = client.can_cancel_execution(CanCancelExecutionRequest(run_id=run_id), timeout=_ANSWER_LIMIT_S)
    return deserialize_value(answer, CanCancelExecutionResult).can_cancel


def _fork_of(instance: DagsterInstance, run: DagsterRun) -> _Fork | None:
    """Return where and when a run was forked; None if it was not."""
    records = instance.get_records_for_run(run.run_id, of_type=DagsterEventType.ENGINE_EVENT).records
    for record in records:
        event = record.event_log_entry.dagster_event
        if event and (event.message or "").startswith(WARM_MESSAGE):
            pod = event.engine_event_data.metadata.get(POD_METADATA)
            return _Fork(record.timestamp, str(pod.value) if pod else "")
    return None


def _address(client: DagsterGrpcClient) -> str:
    return client.socket or f"{client.host}:{client.port}"


def _connect(client: DagsterGrpcClient) -> OSError | None:
    """Connect to a server; return the error, if any."""
    try:
        if client.socket:
            with closing(socket.socket(socket.AF_UNIX)) as connection:
                connection.settimeout(_CONNECT_LIMIT_S)
                connection.connect(client.socket)
        else:
            socket.create_connection((client.host, client.port), _CONNECT_LIMIT_S).close()
    except OSError as error:
        return error
    return None


def _is_here(client: DagsterGrpcClient) -> bool:
    """Return whether a server listens on a Unix socket or on loopback, where no network or service is in between."""
    if client.socket:
        return True
    try:
        found = socket.getaddrinfo(client.host, client.port)
    except OSError:
        return False
    return all(ip_address(address[0]).is_loopback for *_, address in found)
