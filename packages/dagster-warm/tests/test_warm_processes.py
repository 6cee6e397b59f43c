"""Forked processes behave like others: arguments, queues, events, exit codes; and they leave nothing behind."""

import atexit
import errno
import multiprocessing
import os
import queue
import random
import signal
import subprocess
import sys
import threading
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest

from dagster_warm import processes
from dagster_warm.processes import (
    ForkFailedError,
    TemplateGoneError,
    TemplateSilentError,
    WarmContext,
    WarmPopen,
    WarmProcess,
)
from dagster_warm.template import Channel

HOST = Path(__file__).with_name("template_host.py")
PATIENCE_S = 20


class Host:
    """A template in its own process."""

    def __init__(self, *options: str) -> None:
        channel, lifeline = Channel.open()
        self._lifelines = [lifeline]
        self.client = channel.client
        prepared_r, prepared_w = os.pipe()
        fds = (*channel.descriptors, prepared_w)
        self.popen = subprocess.Popen(
            [sys.executable, str(HOST), ",".join(map(str, fds)), *options],
            pass_fds=fds,
            env={**os.environ, "PYTHONPATH": os.pathsep.join(sys.path)},
        )
        channel.leave_to_template()
        os.close(prepared_w)
        with os.fdopen(prepared_r) as prepared:
            assert prepared.read() == "prepared"

    def launch(self, process: Any) -> WarmPopen:
        """Launch a process as this template's context does."""
        return WarmPopen(process, self.client)

    def open_descriptors(self) -> int:
        """Return how many descriptors the template holds."""
        return len(list(Path(f"/proc/{self.popen.pid}/fd").iterdir()))

    def release(self) -> None:
        """Close its lifeline, if still open."""
        while self._lifelines:
            os.close(self._lifelines.pop())


@pytest.fixture
def host(monkeypatch: pytest.MonkeyPatch, request: pytest.FixtureRequest) -> Iterator[Host]:
    host = Host(*getattr(request, "param", []))
    monkeypatch.setattr(WarmContext, "launch", staticmethod(host.launch))
    yield host
    host.popen.kill()
    host.popen.wait()
    host.release()
    host.client.shared.close()


@pytest.fixture
def context(host: Host) -> WarmContext:
    assert host.popen.poll() is None
    return WarmContext()


def wait_until(true: Callable[[], bool]) -> None:
    deadline = time.monotonic() + PATIENCE_S
    while not true():
        assert time.monotonic() < deadline
        time.sleep(0.01)


def answer(replies: Any, question: Any) -> None:
    replies.put((question, os.getpid(), str(Path.cwd()), os.environ.get("GREETING")))


def obey(replies: Any, stop: Any) -> None:
    replies.put("ready")
    replies.put(stop.wait(PATIENCE_S))


def leave(how: str) -> None:
    if how == "exit":
        sys.exit(3)
    if how == "raise":
        raise RuntimeError("no such luck")
    if how == "os._exit":
        os._exit(4)
    if how == "kill":
        os.kill(os.getpid(), signal.SIGKILL)
    if how == "interrupt":
        os.kill(os.getpid(), signal.SIGINT)


def leave_after(stop: Any, how: str) -> None:
    stop.wait(PATIENCE_S)
    leave(how)


def nap(seconds: float) -> None:
    time.sleep(seconds)


def draw(replies: Any) -> None:
    replies.put(random.random())


def say_goodbye(replies: Any) -> None:
    atexit.register(replies.put, "goodbye")


def flood(replies: Any, count: int) -> None:
    for number in range(count):
        replies.put(str(number) * 1_000)


def test_it_runs_the_target_where_its_parent_is(
    context: WarmContext, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("GREETING", "hello")
    replies = context.Queue()
    process = context.Process(target=answer, args=(replies, {"a": 1}))
    assert isinstance(process, WarmProcess)
    process.start()
    assert replies.get(timeout=PATIENCE_S) == ({"a": 1}, process.pid, str(tmp_path), "hello")
    process.join(PATIENCE_S)
    assert process.exitcode == 0
    assert not process.is_alive()
    with pytest.raises(queue.Empty):
        replies.get_nowait()


def test_an_event_goes_both_ways(context: WarmContext) -> None:
    replies, stop = context.Queue(), context.Event()
    process = context.Process(target=obey, args=(replies, stop))
    process.start()
    assert replies.get(timeout=PATIENCE_S) == "ready"
    assert not stop.is_set()
    assert process.is_alive()
    stop.set()
    stop.set()
    assert replies.get(timeout=PATIENCE_S) is True
    process.join(PATIENCE_S)
    assert stop.is_set()
    stop.clear()
    assert not stop.is_set()


def test_events_are_what_dagster_takes_for_events(context: WarmContext) -> None:
    assert isinstance(context.Event(), type(multiprocessing.Event()))


@pytest.mark.parametrize(
    ("how", "code"),
    [("return", 0), ("exit", 3), ("raise", 1), ("os._exit", 4), ("kill", -signal.SIGKILL), ("interrupt", 1)],
)
def test_the_exit_code_is_that_of_the_process(context: WarmContext, how: str, code: int) -> None:
    process = context.Process(target=leave, args=(how,))
    process.start()
    process.join(PATIENCE_S)
    assert process.exitcode == code


def test_a_process_can_be_terminated_and_killed(context: WarmContext) -> None:
    for end, code in ((WarmProcess.terminate, -signal.SIGTERM), (WarmProcess.kill, -signal.SIGKILL)):
        process = context.Process(target=nap, args=(PATIENCE_S,))
        process.start()
        assert process.is_alive()
        end(process)
        process.join(PATIENCE_S)
        assert process.exitcode == code


def test_each_draws_its_own_random_numbers(context: WarmContext) -> None:
    replies = [context.Queue() for _ in range(3)]
    for reply in replies:
        context.Process(target=draw, args=(reply,)).start()
    assert len({reply.get(timeout=PATIENCE_S) for reply in replies}) == 3


def test_exit_handlers_run_as_in_any_process(context: WarmContext) -> None:
    replies = context.Queue()
    context.Process(target=say_goodbye, args=(replies,)).start()
    assert replies.get(timeout=PATIENCE_S) == "goodbye"


def test_everything_that_was_put_arrives_also_after_the_end(context: WarmContext) -> None:
    replies = context.Queue()
    process = context.Process(target=flood, args=(replies, 300))
    process.start()
    assert [replies.get(timeout=PATIENCE_S) for _ in range(300)] == [str(number) * 1_000 for number in range(300)]
    process.join(PATIENCE_S)
    assert process.exitcode == 0


def test_a_parent_that_stopped_reading_does_not_block_the_child(context: WarmContext) -> None:
    replies = context.Queue()
    process = context.Process(target=flood, args=(replies, 300))
    process.start()
    replies.close()
    process.join(PATIENCE_S)
    assert process.exitcode == 0


def test_many_at_once_leave_nothing_behind(host: Host, context: WarmContext) -> None:
    context.Process(target=leave, args=("return",)).start()
    ours, theirs = len(list(Path("/proc/self/fd").iterdir())), host.open_descriptors()
    for _ in range(3):
        processes = [context.Process(target=nap, args=(0.05,)) for _ in range(20)]
        for process in processes:
            process.start()
        for process in processes:
            process.join(PATIENCE_S)
            assert process.exitcode == 0
            process.close()
    wait_until(lambda: host.open_descriptors() <= theirs)
    assert len(list(Path("/proc/self/fd").iterdir())) <= ours + 2
    children = Path(f"/proc/{host.popen.pid}/task/{host.popen.pid}/children")
    wait_until(lambda: children.read_text() == "")


class TestATemplateThatDies:
    def test_before_forking_has_run_nothing(self, host: Host, context: WarmContext, tmp_path: Path) -> None:
        host.popen.send_signal(signal.SIGSTOP)
        process = context.Process(target=Path.touch, args=(tmp_path / "ran",))

        def kill_soon() -> None:
            time.sleep(0.3)
            host.popen.kill()

        threading.Thread(target=kill_soon).start()
        with pytest.raises(TemplateGoneError):
            process.start()
        assert not (tmp_path / "ran").exists()
        with pytest.raises(TemplateGoneError):
            context.Process(target=nap, args=(0,)).start()

    def test_leaves_its_children_running(self, host: Host, context: WarmContext) -> None:
        replies, stop = context.Queue(), context.Event()
        process = context.Process(target=obey, args=(replies, stop))
        process.start()
        assert replies.get(timeout=PATIENCE_S) == "ready"
        host.popen.kill()
        host.popen.wait(PATIENCE_S)
        assert process.is_alive()
        stop.set()
        assert replies.get(timeout=PATIENCE_S) is True
        process.join(PATIENCE_S)
        assert not process.is_alive()
        assert process.exitcode is not None


class TestATemplateThatDoesNotAnswer:
    @pytest.fixture(autouse=True)
    def limits(self, monkeypatch: pytest.MonkeyPatch) -> None:
        monkeypatch.setattr(processes, "ANSWER_LIMIT_S", 0.5)
        monkeypatch.setattr(processes, "_REAPING_LIMIT_S", 0.2)

    def test_has_forked_nothing_and_never_will(self, host: Host, context: WarmContext, tmp_path: Path) -> None:
        host.popen.send_signal(signal.SIGSTOP)
        for _ in range(3):
            with pytest.raises(TemplateSilentError, match=r"did not answer within 0\.5 s"):
                context.Process(target=Path.touch, args=(tmp_path / "ran",)).start()
        host.popen.send_signal(signal.SIGCONT)
        self.serve_another(host, context)
        assert not (tmp_path / "ran").exists()

    @pytest.mark.parametrize("host", [["hung"], ["late"]], indirect=True)
    def test_because_of_a_hook_forks_nothing_later(self, host: Host, context: WarmContext, tmp_path: Path) -> None:
        with pytest.raises(TemplateSilentError):
            context.Process(target=Path.touch, args=(tmp_path / "ran",)).start()
        time.sleep(2.5)
        assert not (tmp_path / "ran").exists()
        assert host.popen.poll() is None

    def test_does_not_read_a_long_request(self, host: Host, context: WarmContext) -> None:
        host.popen.send_signal(signal.SIGSTOP)
        with pytest.raises(TemplateSilentError, match="does not read"):
            context.Process(target=len, args=("long" * 1_000_000,)).start()
        host.popen.send_signal(signal.SIGCONT)
        self.serve_another(host, context)

    @pytest.mark.parametrize(("how", "code"), [("os._exit", 4), ("kill", -signal.SIGKILL)])
    def test_leaves_the_exit_code_to_be_found(self, host: Host, context: WarmContext, how: str, code: int) -> None:
        stop = context.Event()
        process = context.Process(target=leave_after, args=(stop, how))
        process.start()
        host.popen.send_signal(signal.SIGSTOP)
        stop.set()
        process.join(PATIENCE_S)
        assert process.exitcode == code
        assert not process.is_alive()

    def serve_another(self, host: Host, context: WarmContext) -> None:
        """Wait until the template has dealt with all that it was asked for."""
        processes.ANSWER_LIMIT_S = PATIENCE_S
        process = context.Process(target=leave, args=("exit",))
        process.start()
        process.join(PATIENCE_S)
        assert process.exitcode == 3
        wait_until(lambda: not Path(f"/proc/{host.popen.pid}/task/{host.popen.pid}/children").read_text())


def test_a_process_can_end_with_its_parent(host: Host) -> None:
    script = (
        "import socket, sys, time\n"
        "from dagster_warm.processes import TemplateClient, WarmContext, WarmPopen\n"
        "template = TemplateClient(socket.socket(fileno=int(sys.argv[1])))\n"
        "WarmContext.launch = staticmethod(lambda process: WarmPopen(process, template, ends_with_parent=True))\n"
        "process = WarmContext().Process(target=time.sleep, args=(600,))\n"
        "process.start()\n"
        "print(process.pid, flush=True)\n"
        "time.sleep(600)\n"
    )
    channel = host.client.shared.fileno()
    command = [sys.executable, "-c", script, str(channel)]
    environ = {**os.environ, "PYTHONPATH": os.pathsep.join(sys.path)}
    with subprocess.Popen(command, stdout=subprocess.PIPE, text=True, env=environ, pass_fds=[channel]) as parent:
        assert parent.stdout is not None
        child = Path(f"/proc/{int(parent.stdout.readline())}")
        parent.kill()
    wait_until(lambda: not child.exists())


def test_a_template_serves_its_processes_to_the_last(host: Host, context: WarmContext) -> None:
    replies, stop = context.Queue(), context.Event()
    process = context.Process(target=obey, args=(replies, stop))
    process.start()
    host.release()
    step = context.Process(target=leave, args=("exit",))
    step.start()
    step.join(PATIENCE_S)
    assert step.exitcode == 3
    stop.set()
    process.join(PATIENCE_S)
    assert process.exitcode == 0
    assert host.popen.wait(PATIENCE_S) == 0


def test_a_template_that_is_terminated_leaves_its_processes_running(host: Host, context: WarmContext) -> None:
    process = context.Process(target=nap, args=(60,))
    process.start()
    host.popen.terminate()
    assert host.popen.wait(PATIENCE_S) == 128 + signal.SIGTERM
    assert process.is_alive()
    process.terminate()
    process.join(PATIENCE_S)
    assert not process.is_alive()


@pytest.mark.parametrize("host", [["terminated"]], indirect=True)
def test_a_termination_while_it_forks_ends_both(host: Host, context: WarmContext) -> None:
    # The process ends before it reports its pid; whether the template notices before its own end is random.
    with pytest.raises((TemplateGoneError, ForkFailedError)):
        context.Process(target=nap, args=(60,)).start()
    assert host.popen.wait(PATIENCE_S) == 128 + signal.SIGTERM


@pytest.mark.parametrize("host", [["killed"]], indirect=True)
def test_a_process_killed_before_it_began_is_an_error_that_says_so(host: Host, context: WarmContext) -> None:
    with pytest.raises(ForkFailedError, match="was killed by SIGKILL before it began"):
        context.Process(target=nap, args=(60,)).start()
    assert host.popen.poll() is None


@pytest.mark.parametrize("host", [["mocked"]], indirect=True)
def test_a_mocked_fork_that_fails_is_an_error_that_says_why(host: Host, context: WarmContext) -> None:
    with pytest.raises(ForkFailedError, match="cannot fork: Resource temporarily unavailable") as raised:
        context.Process(target=nap, args=(60,)).start()
    assert raised.value.errno == errno.EAGAIN
    assert host.popen.poll() is None
