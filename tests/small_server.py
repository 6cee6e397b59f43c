"""A small HTTP server in place of a webserver, for answers that are hard to provoke."""

import json
import ssl
import threading
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Any

from bench_orchestrator.webserver import Webserver

LAUNCH: dict[str, Any] = {"location": "a10", "repository": "__repository__", "job": "__ASSET_JOB", "tags": {"a": "b"}}


@contextmanager
def small_server(
    status: int,
    body: str,
    *,
    delay_s: float = 0,
    headers: Mapping[str, str] | None = None,
    tls: ssl.SSLContext | None = None,
) -> Iterator[tuple[str, list[dict[str, Any]]]]:
    """Yield the URL of an HTTP server that gives every POST the same answer, and the requests that it received."""
    requests: list[dict[str, Any]] = []
    released = threading.Event()

    class Handler(BaseHTTPRequestHandler):
        def do_POST(self) -> None:
            content = self.rfile.read(int(self.headers["Content-Length"]))
            requests.append({"path": self.path, "headers": dict(self.headers), **json.loads(content)})
            released.wait(delay_s)
            self.send_response(status)
            self.send_header("Content-Length", str(len(body.encode())))
            for name, value in (headers or {}).items():
                self.send_header(name, value)
            self.end_headers()
            self.wfile.write(body.encode())

        def log_message(self, *_arguments: object) -> None:
            """Log nothing."""

    class Server(ThreadingHTTPServer):
        def handle_error(self, *_arguments: object) -> None:
            """Ignore clients that end a handshake."""

    with Server(("127.0.0.1", 0), Handler) as server:
        if tls:
            # The handshake is left to the thread of the request: one that fails must not end the server.
            server.socket = tls.wrap_socket(server.socket, server_side=True, do_handshake_on_connect=False)
        threading.Thread(target=server.serve_forever, daemon=True).start()
        yield f"http{'s' if tls else ''}://127.0.0.1:{server.server_port}", requests
        released.set()
        server.shutdown()


def uses(webserver: Webserver) -> Iterator[Any]:
    """Yield every kind of request to a webserver."""
    yield webserver.list_locations
    yield lambda: webserver.list_assets("a10", "__repository__")
    yield lambda: webserver.list_partitions("a10/asset_0")
    yield lambda: webserver.submit(**LAUNCH)
    yield lambda: webserver.terminate("4f2a")
    yield lambda: webserver.force_terminate("4f2a")
