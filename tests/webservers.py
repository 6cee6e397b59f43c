"""Real webservers in the process of the tests."""

import socket
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

import uvicorn
from dagster._core.workspace.context import WorkspaceProcessContext
from dagster_webserver.app import create_app_from_workspace_process_context


@contextmanager
def running_webserver(workspace: WorkspaceProcessContext) -> Iterator[str]:
    """Yield the URL of a webserver for a workspace, on a free port; stop it afterwards."""
    with socket.create_server(("127.0.0.1", 0)) as listener:
        app: Any = create_app_from_workspace_process_context(workspace)
        server = uvicorn.Server(uvicorn.Config(app, log_level="warning"))
        thread = threading.Thread(target=server.run, kwargs={"sockets": [listener]}, daemon=True)
        thread.start()
        try:
            yield f"http://127.0.0.1:{listener.getsockname()[1]}"
        finally:
            server.should_exit = True
            thread.join(timeout=30)
