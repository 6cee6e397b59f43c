"""Dagster's reloading code server, with an end that lets runs finish, and a health that is the runs' own."""

import logging
import subprocess
import threading
import time
from collections.abc import Iterable
from typing import Any

import grpc

from dagster_warm import internals
from dagster_warm.servicer import STOPPING

_WATCH_INTERVAL_S = 1.0
_MARGIN_S = 30.0
"""What a server may take to end its runs and to stop beyond its grace period, in seconds: much more than it needs."""


class WarmProxy(internals.DagsterProxyApiServicer):
    """Forwards all calls to a warm server in a process of its own, and replaces that on a reload."""

    def __init__(self, *, grace_s: float, logger: logging.Logger, **kwargs: Any) -> None:
        self._grace_s = grace_s
        self._is_ending = False
        super().__init__(logger=logger, **kwargs)
        threading.Thread(target=self._watch, name="server-watch", daemon=True).start()

    def StartRun(self, request: Any, context: Any) -> Any:  # noqa: N802
        """Launch a run in the current server; in its successor if it is being replaced."""
        if internals.is_stopping(self):
            return context.abort(grpc.StatusCode.UNAVAILABLE, STOPPING)
        for _ in range(2):
            try:
                return super().StartRun(request, context)  # type: ignore[no-untyped-call]
            except grpc.RpcError as error:
                code, details = error.code(), error.details()
                if details != STOPPING:
                    break
        return context.abort(code, details)

    def CanCancelExecution(self, request: Any, context: Any) -> Any:  # noqa: N802
        """Ask the server that has the run; after a reload, that is not the current one."""
        client = internals.client_of(self, request)
        if client is None:
            return super().CanCancelExecution(request, context)  # type: ignore[no-untyped-call]
        try:
            return client._get_response("CanCancelExecution", request)
        except grpc.RpcError as error:
            return context.abort(error.code(), error.details())

    def _watch(self) -> None:
        """Start another server whenever the current one dies; Dagster's proxy waits for a reload from the UI."""
        while not internals.termination_of(self).wait(_WATCH_INTERVAL_S) and not internals.is_stopping(self):
            server = internals.server_of(self)
            if server is not None and server.poll() is not None and not self._is_ending:
                self._logger.warning("The server (pid %d) ended with code %d.", server.pid, server.returncode)
                internals.replace_server(self, server)

    def cleanup(self) -> None:
        """Stop the servers, each after its runs."""
        self._is_ending = True
        _stop(internals.servers_of(self), self._grace_s + _MARGIN_S)
        super().cleanup()  # type: ignore[no-untyped-call]


def _stop(servers: Iterable[subprocess.Popen[Any]], limit_s: float) -> None:
    """Terminate servers; pass a second signal on to them, and kill those that remain after the limit in seconds."""
    deadline_s = time.monotonic() + limit_s
    for _ in range(2):
        for server in servers:
            server.terminate()
        try:
            for server in servers:
                server.wait(max(0, deadline_s - time.monotonic()))
            return
        except subprocess.TimeoutExpired:
            break
        except KeyboardInterrupt:
            continue
    for server in servers:
        server.kill()
