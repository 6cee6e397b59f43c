"""Starts a run on its code server, as Dagster's default launcher does, but for one step that takes longer than a fork.

Dagster's client opens the whole instance anew, to log there that the server has not answered. `DagsterInstance` logs
what a launcher raises, too.
"""

from typing import Any

from dagster import DagsterInstance, DagsterRun, DefaultRunLauncher
from dagster._grpc.__generated__.dagster_api_pb2 import StartRunRequest
from dagster._grpc.client import DagsterGrpcClient
from dagster._grpc.types import ExecuteExternalJobArgs
from dagster._serdes import serialize_value


def start_run(instance: DagsterInstance, run: DagsterRun, client: DagsterGrpcClient) -> None:
    """Note on the run which code server has it, and ask that server to start it.

    Raises:
        DagsterUserCodeUnreachableError: the server has not answered.
        DagsterLaunchFailedError: the server could not start the run.
    """
    DefaultRunLauncher.launch_run_from_grpc_client(instance, run, _Starter(client))  # type: ignore[arg-type]


class _Starter:
    """Has a client's attributes, but does not open the instance."""

    def __init__(self, client: DagsterGrpcClient) -> None:
        self._client = client

    def __getattr__(self, name: str) -> Any:
        return getattr(self._client, name)

    def start_run(self, args: ExecuteExternalJobArgs) -> str:
        """Send the request and return the serialized answer."""
        answer = self._client._query("StartRun", StartRunRequest, serialized_execute_run_args=serialize_value(args))
        return str(answer.serialized_start_run_result)
