"""Hazards are found and named, each in a separate interpreter; harmless resources are ignored."""

import json
import subprocess
import sys
from fnmatch import fnmatchcase

import pytest

from dagster_warm.safety import Hazard, UnsafeToForkError

LOOK = """
import json
from dagster_warm.safety import find_hazards, open_descriptors
before = open_descriptors()
{code}
print(json.dumps([hazard.name for hazard in find_hazards(before, {accepted!r})]))
"""

THREAD = """
import threading
def flush(): threading.Event().wait()
threading.Thread(target=flush, name="metrics", daemon=True).start()
"""
CONNECTION = """
import socket
server = socket.create_server(("127.0.0.1", 0))
client = socket.create_connection(server.getsockname())
accepted, _ = server.accept()
server.close()
"""
CONNECTION_6 = """
import socket
server = socket.create_server(("::1", 0), family=socket.AF_INET6)
client = socket.create_connection(server.getsockname()[:2])
accepted, _ = server.accept()
server.close()
"""
PAIR = """
import socket
pair = socket.socketpair()
"""
LISTENER = """
import socket
server = socket.create_server(("127.0.0.1", 0))
"""
EVENT_LOOP = """
import select
poll = select.epoll()
"""
NATIVE_THREAD = """
import duckdb
connection = duckdb.connect()
connection.execute("set threads to 3; select count(*) from range(10000000)").fetchall()
"""
NAMED_THREAD = """
import ctypes
libc, thread = ctypes.CDLL(None), ctypes.c_ulong()
libc.pthread_create(ctypes.byref(thread), None, libc.pause, None)
libc.pthread_setname_np(thread, b"{name}")
"""
FILES = """
import tempfile, os
file = tempfile.TemporaryFile()
pipe = os.pipe()
"""
OPENBLAS = """
import numpy
numpy.ones((500, 500)) @ numpy.ones((500, 500))
"""


def find(code: str, *accepted: str) -> list[str]:
    done = subprocess.run(
        [sys.executable, "-c", LOOK.format(code=code, accepted=accepted)], capture_output=True, text=True, check=True
    )
    names: list[str] = json.loads(done.stdout)
    return names


@pytest.mark.parametrize(
    ("code", "names"),
    [
        (THREAD, ["thread metrics (__main__:flush)"]),
        (CONNECTION, ["connection to 127.0.0.1:*"]),
        (CONNECTION_6, ["connection to ::1:*"]),
        (LISTENER, ["socket 127.0.0.1:*"]),
        (PAIR, ["connection to another process"]),
        (EVENT_LOOP, ["event loop anon_inode:?eventpoll?"]),
        (NATIVE_THREAD, ["native thread python*"]),
        (NAMED_THREAD.format(name="flusher"), ["native thread flusher"]),
    ],
    ids=[
        "thread",
        "connection",
        "connection over IPv6",
        "listening socket",
        "socket pair",
        "event loop",
        "native thread",
        "native thread with a name",
    ],
)
def test_what_does_not_survive_is_named(code: str, names: list[str]) -> None:
    found = find(code)
    assert found
    assert all(any(fnmatchcase(one, name) for name in names) for one in found), found


@pytest.mark.parametrize(
    "code",
    [
        "",
        FILES,
        OPENBLAS,
        NAMED_THREAD.format(name="jemalloc_bg_thd"),
        NAMED_THREAD.format(name="polars-ooc-clea"),
        THREAD.replace("threading.Thread", "flush.__module__ = 'opentelemetry.sdk.trace'\nthreading.Thread"),
    ],
    ids=["nothing", "files and pipes", "OpenBLAS", "jemalloc", "polars", "OpenTelemetry"],
)
def test_what_survives_is_not_reported(code: str) -> None:
    assert find(code) == []


def test_accepted_hazards_are_not_reported() -> None:
    assert find(THREAD + PAIR, "thread metrics *") == ["connection to another process"] * 2
    assert find(THREAD + PAIR, "thread*", "connection*") == []


def test_the_message_names_it_and_says_what_to_do() -> None:
    error = UnsafeToForkError([Hazard("thread metrics (app:flush)", "start it when it is needed, not at import")])
    assert "thread metrics (app:flush) (start it when it is needed, not at import)." in str(error)
