"""A template that cannot be made never takes the location down: its runs are launched the stock way, and say why."""

import errno
import logging
import os
import subprocess
import sys
import threading
from multiprocessing import popen_spawn_posix
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest
from dagster_shared.libraries import DagsterLibraryRegistry
from lone_server import PATIENCE_S, is_alive, processes_of, serve, wait_until

from dagster_warm import safety
from dagster_warm.warmth import Options, Warmth, reasons_cold

LOGGING: Any = None
"""Only a template takes it down."""
LOADED: Any = SimpleNamespace(definitions_by_name={}, code_pointers_by_repo_name={}, reconstructables_by_name={})


def no_fork(patch: pytest.MonkeyPatch) -> None:
    patch.delattr(os, "fork")
    patch.setattr(safety, "_find_native_threads", lambda: {"4711": "a library's"})


def no_proc(patch: pytest.MonkeyPatch) -> None:
    patch.setattr(safety, "_SELF", Path("/nowhere"))


def no_descriptors(patch: pytest.MonkeyPatch) -> None:
    def fail() -> None:
        raise OSError(errno.EMFILE, os.strerror(errno.EMFILE))

    patch.setattr(os, "pipe", fail)


def no_processes(patch: pytest.MonkeyPatch) -> None:
    def fail() -> None:
        raise BlockingIOError(errno.EAGAIN, os.strerror(errno.EAGAIN))

    patch.setattr(os, "fork", fail)


def no_preparation(patch: pytest.MonkeyPatch) -> None:
    def fail(*_: object) -> None:
        raise ValueError("a step of the preparation")

    patch.setattr(Warmth, "_prepare", fail)


OBSTACLES = pytest.mark.parametrize(
    ("obstacle", "reason"),
    [
        (no_fork, "This system cannot fork processes."),
        (no_proc, "no /proc that would list them"),
        (no_descriptors, "No template can be made: OSError: [Errno 24] Too many open files."),
        (no_processes, "No template can be made: BlockingIOError: [Errno 11] Resource temporarily unavailable."),
        (no_preparation, "a step of the preparation"),
    ],
    ids=["no fork", "no /proc", "no descriptors", "no processes", "no preparation"],
)


ACCEPTED = ("thread *", "native thread *", "connection *", "socket *", "event loop *")
"""What the process of the tests holds."""


def warmth(**options: Any) -> Warmth:
    return Warmth(Options(accepted=ACCEPTED, **options), ["false"], None, logging.getLogger("warmth"))


@pytest.fixture(autouse=True)
def _libraries(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(DagsterLibraryRegistry, "_libraries", DagsterLibraryRegistry.get())


@OBSTACLES
def test_its_runs_are_launched_the_stock_way(
    obstacle: Any, reason: str, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    one = warmth()
    with monkeypatch.context() as patch:
        obstacle(patch)
        one.begin(LOADED, None, frozenset(), LOGGING)
    (line,) = caplog.messages
    assert reason in line
    assert line.endswith("Runs are launched the stock way.")
    assert DagsterLibraryRegistry.get()["dagster-warm"].startswith("cold. ")
    assert reason in DagsterLibraryRegistry.get()["dagster-warm"]

    reasons: list[str] = []
    token = reasons_cold.set(reasons)
    monkeypatch.setattr(popen_spawn_posix, "Popen", lambda process: process)
    assert one.launch("a process") == "a process"  # type: ignore[arg-type]
    reasons_cold.reset(token)
    assert len(reasons) == 1
    assert reason in reasons[0]


@OBSTACLES
def test_it_is_an_error_on_request(obstacle: Any, reason: str, monkeypatch: pytest.MonkeyPatch) -> None:
    obstacle(monkeypatch)
    with pytest.raises(Exception) as raised:  # noqa: PT011 - of several types
        warmth(refuse_hazards=True).begin(LOADED, None, frozenset(), LOGGING)
    assert str(raised.value).rstrip(".") in reason or reason in str(raised.value)


def test_a_template_that_cannot_be_renewed_serves_on(
    monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    def fail(*_: object, **__: object) -> None:
        raise OSError(errno.ENOMEM, os.strerror(errno.ENOMEM))

    one = warmth(max_age_s=0)
    present: Any = object()
    one._template, one._loaded = present, LOADED
    descriptors = safety.open_descriptors()
    monkeypatch.setattr(subprocess, "Popen", fail)
    one._renew()
    assert one._template is present
    assert caplog.messages == ["The template cannot be renewed, and serves on: [Errno 12] Cannot allocate memory."]
    wait_until(lambda: safety.open_descriptors() <= descriptors)


def test_a_renewal_that_hangs_is_given_up(caplog: pytest.LogCaptureFixture) -> None:
    one = Warmth(Options(max_age_s=0, load_limit_s=0.5), ["sleep", "600"], None, logging.getLogger("warmth"))
    present: Any = object()
    one._template, one._loaded = present, LOADED
    one._renew()
    renewal: Any = one._next

    def is_over() -> bool:
        one._take_over(renewal)
        return one._next is None

    wait_until(is_over)
    assert one._template is present
    assert caplog.messages == ["The template could not be renewed, and serves on. It was not prepared within 0.5 s."]
    assert not is_alive(renewal.pid)


@pytest.mark.filterwarnings("ignore:unclosed:ResourceWarning")  # a launch may still use a dead template's socket
def test_templates_that_hang_are_replaced_and_in_the_end_the_location_is_cold(
    caplog: pytest.LogCaptureFixture,
) -> None:
    one = Warmth(Options(load_limit_s=0.5), ["sleep", "600"], None, logging.getLogger("warmth"))
    one._loaded = LOADED
    one._template = one._start_next()
    stopped = threading.Event()
    watch = threading.Thread(target=one.watch, args=(stopped,))
    watch.start()
    try:
        wait_until(lambda: bool(one._why_cold))
    finally:
        stopped.set()
        watch.join()
        one.stop()
    assert "was not prepared in time. It was the last of 5." in caplog.messages[-1]


THREADED = """
import threading
import time

import dagster as dg

threading.Thread(target=time.sleep, args=(3600,), name="metrics", daemon=True).start()

@dg.op
def nothing(): ...

@dg.job(executor_def=dg.in_process_executor)
def quick():
    nothing()

defs = dg.Definitions(jobs=[quick])
"""


def test_a_run_and_its_location_say_why_they_are_cold(tmp_path: Path) -> None:
    (tmp_path / "served.py").write_text(THREADED)
    with serve(tmp_path, ["--no-reload", "--python-file", "served.py"]) as server:
        told = server.finish(server.launch("quick"))
        assert told["warmth"] == {}
        assert told["cold"].startswith("Launched cold: Runs cannot be forked from this code")
        assert "thread metrics (time:sleep)" in told["cold"]
        with server.workspace() as workspace:
            versions = workspace.get_code_location("it").get_dagster_library_versions()
        assert "thread metrics (time:sleep)" in versions["dagster-warm"]


LASTING = THREADED.replace("daemon=True", "daemon=False")
"""The interpreter waits for such a thread at its end, as Dagster's server does."""


@pytest.mark.parametrize(
    "options",
    [
        pytest.param(["--no-reload"], marks=pytest.mark.thorough),
        ["--reload"],
        pytest.param(["--reload", "--on-hazard", "refuse"], marks=pytest.mark.thorough),
    ],
    ids=str,
)
def test_a_thread_of_an_import_does_not_keep_a_server_from_its_end(tmp_path: Path, options: list[str]) -> None:
    (tmp_path / "served.py").write_text(LASTING)
    with serve(tmp_path, [*options, "--python-file", "served.py"]) as server:
        server.process.terminate()
        assert server.process.wait(PATIENCE_S) == 0
    wait_until(lambda: not processes_of(server))


def test_code_that_is_refused_ends_the_server_with_the_reason(tmp_path: Path) -> None:
    (tmp_path / "served.py").write_text(LASTING)
    command = [sys.executable, "-m", "dagster_warm", "--no-reload", "--on-hazard", "refuse", "-f", "served.py"]
    done = subprocess.run([*command, "-p", "1"], cwd=tmp_path, capture_output=True, timeout=PATIENCE_S, check=False)
    assert done.returncode == 1
    assert b"thread metrics (time:sleep)" in done.stderr
