"""Processes forked from a template, behind `multiprocessing`'s interface: context and process.

A parent requests a process from the template over a socket. The request carries the ends of several pipes:

- the *life* pipe: the new process holds its writing end until it dies. The process first reports its pid, before
  any other code, and finally its exit status. If it crashes, the template reports the status. End-of-file without
  a pid means that nothing has run, even if the template died: retrying with another template is safe. If no
  process could be created, the reason arrives in place of the pid.
- the *parent* pipe: tells the process that it may begin, and later that its parent has died. A parent that waited
  in vain for the pid closes the pipe: then the process ends without having run anything, however late it is.
- the pipes of the queues and events among its arguments.

This module does not depend on Dagster.
"""

import errno
import multiprocessing.context
import multiprocessing.process
import multiprocessing.util
import os
import pickle
import select
import signal
import socket
import struct
import threading
import time
from array import array
from collections.abc import Callable, Sequence
from contextlib import suppress
from dataclasses import dataclass, field
from io import BytesIO
from multiprocessing import connection, popen_spawn_posix, reduction
from pathlib import Path
from typing import Any

from dagster_warm.pipes import PipeEvent, PipeQueue, close_all

METHOD = "warm"
"""The name of this start method, next to `spawn`, `fork` and `forkserver`."""

UNKNOWN_EXIT_CODE = 255
"""Exit code of a process that outlived its template, as in the standard library's fork server."""

_LENGTH = struct.Struct("!Q")
_STATUS = struct.Struct("!i")
_CANNOT_FORK = -1_000
"""First statuses at or below this encode an error number, as the difference. Negative ones above are signals."""
_MAX_FDS = 64
_MAY_BEGIN = b"!"

ANSWER_LIMIT_S = 10.0
"""How long a template may take until the process that it was asked for has begun, in seconds."""
_REAPING_LIMIT_S = 5.0
"""How long a dead process waits for its template to tell its exit code, in seconds."""
_INTERRUPTION_LIMIT_S = 5.0
"""How long a process may take to end once its parent has died, in seconds; then it is killed."""
_LOOK_INTERVAL_S = 1.0


class TemplateGoneError(Exception):
    """The template died before it forked the process; nothing has run."""


class TemplateSilentError(Exception):
    """The template has not forked the process in time; nothing has run, and nothing will."""


class ForkFailedError(OSError):
    """The template could not fork, or the child was killed before it began; nothing has run."""


@dataclass(frozen=True)
class Request:
    """Everything that a template needs to fork a process."""

    process: bytes
    """The pickled process object."""
    environ: dict[str, str] = field(default_factory=lambda: dict(os.environ))
    cwd: str = field(default_factory=os.getcwd)
    asked_at_s: float = field(default_factory=time.time)
    ends_with_parent: bool = False
    """Whether the process is interrupted when its parent dies."""


class InheritedFd:
    """A descriptor sent to a new process, as its index among the request's descriptors."""

    received: Sequence[int] = ()
    """In the new process: the descriptors that arrived with its request."""

    def __init__(self, place: int) -> None:
        self._place = place

    def detach(self) -> int:
        """Return the descriptor in the new process."""
        return self.received[self._place]


class WarmPopen:
    """A forked process, seen from its parent."""

    method = METHOD
    DupFd = InheritedFd

    def __init__(
        self,
        process: multiprocessing.process.BaseProcess,
        template: "TemplateClient",
        *,
        ends_with_parent: bool = False,
    ) -> None:
        self.returncode: int | None = None
        self.pid = 0
        self._fds: list[int] = []
        self._launched: list[Callable[[], None]] = []
        self._dead_since_s: float | None = None
        self._lock = threading.Lock()
        parent_r, self._parent_w = os.pipe()
        try:
            request = Request(self._pickle(process), ends_with_parent=ends_with_parent)
            self.sentinel = self._launch(request, parent_r, template)
        except BaseException:
            os.close(self._parent_w)
            raise
        finally:
            os.close(parent_r)
        for done in self._launched:
            done()
        self._finalizer = multiprocessing.util.Finalize(self, close_all, args=(self.sentinel, self._parent_w))

    def duplicate_for_child(self, fd: int) -> int:
        """Add a descriptor to the request; called while the process object is pickled."""
        self._fds.append(fd)
        return len(self._fds) - 1

    def when_launched(self, callback: Callable[[], None]) -> None:
        """Register a callback for the process's start; called while the process object is pickled."""
        self._launched.append(callback)

    def poll(self, flag: int = os.WNOHANG) -> int | None:
        """Return the exit code. With WNOHANG, return None while the process is alive; otherwise wait."""
        if flag == 0:
            return self.wait()
        with self._lock:
            if self.returncode is None:
                is_reported = connection.wait([self.sentinel], 0)
                self.returncode = self._read_exit_code() if is_reported else self._find_exit_code()
            return self.returncode

    def wait(self, timeout: float | None = None) -> int | None:
        """Return the exit code, or None if the process is still alive after `timeout` seconds."""
        deadline_s = None if timeout is None else time.monotonic() + timeout
        while (code := self.poll()) is None:
            left_s = _LOOK_INTERVAL_S if deadline_s is None else min(_LOOK_INTERVAL_S, deadline_s - time.monotonic())
            if left_s <= 0:
                return None
            connection.wait([self.sentinel], left_s)
        return code

    def terminate(self) -> None:
        """Send SIGTERM."""
        self._signal(signal.SIGTERM)

    def kill(self) -> None:
        """Send SIGKILL."""
        self._signal(signal.SIGKILL)

    def close(self) -> None:
        """Close the pipes."""
        self._finalizer()

    def _signal(self, number: int) -> None:
        if self.poll() is None:
            with suppress(ProcessLookupError):
                os.kill(self.pid, number)

    def _pickle(self, process: multiprocessing.process.BaseProcess) -> bytes:
        buffer = BytesIO()
        multiprocessing.context.set_spawning_popen(self)  # type: ignore[arg-type]
        try:
            reduction.dump(process, buffer)
        finally:
            multiprocessing.context.set_spawning_popen(None)
        return buffer.getvalue()

    def _launch(self, request: Request, parent_r: int, template: "TemplateClient") -> int:
        """Request the fork and let the process begin; return the reading end of its life pipe."""
        life_r, life_w = os.pipe()
        deadline_s = time.monotonic() + ANSWER_LIMIT_S
        try:
            try:
                template.send(request, [life_w, parent_r, *self._fds])
            finally:
                os.close(life_w)
            if not connection.wait([life_r], max(0, deadline_s - time.monotonic())):
                raise TemplateSilentError(f"The template did not answer within {ANSWER_LIMIT_S:g} s.")
            status = _read_exactly(life_r, _STATUS.size)
            if status is None:
                raise TemplateGoneError
            (first,) = _STATUS.unpack(status)
            if first <= _CANNOT_FORK:
                number = _CANNOT_FORK - first
                raise ForkFailedError(number, f"The template cannot fork: {os.strerror(number)}")
            if first < 0:
                name = signal.Signals(-first).name
                raise ForkFailedError(errno.ECHILD, f"The process was killed by {name} before it began")
            self.pid = first
            with suppress(BrokenPipeError):  # it has just died; its exit code follows
                os.write(self._parent_w, _MAY_BEGIN)
        except BaseException:
            os.close(life_r)
            raise
        return life_r

    def _read_exit_code(self) -> int:
        status = _read_exactly(self.sentinel, _STATUS.size)
        if status is not None:
            return int(_STATUS.unpack(status)[0])
        try:  # an orphan is a child of the process that adopts orphans, which may be this one
            waited_s = 0.0
            while (waited := os.waitpid(self.pid, os.WNOHANG)) == (0, 0) and waited_s < _LOOK_INTERVAL_S:
                time.sleep(0.01)  # its descriptors are closed a moment before its end
                waited_s += 0.01
        except ChildProcessError:
            return UNKNOWN_EXIT_CODE
        return os.waitstatus_to_exitcode(waited[1]) if waited[0] else UNKNOWN_EXIT_CODE

    def _find_exit_code(self) -> int | None:
        """Return the exit code of a process that died some time ago, although its template has not told it."""
        code = _exit_code_of_dead(self.pid)
        if code is None:
            self._dead_since_s = None
            return None
        self._dead_since_s = self._dead_since_s or time.monotonic()
        return code if time.monotonic() - self._dead_since_s > _REAPING_LIMIT_S else None


@dataclass(frozen=True)
class TemplateClient:
    """Sends requests to a template."""

    shared: socket.socket
    """The end of a connection to the template that all its clients share: each sends it a connection of its own."""

    def send(self, request: Request, fds: Sequence[int]) -> None:
        """Request a process with these descriptors.

        Raises:
            TemplateGoneError: the template has exited.
            TemplateSilentError: the template does not read the request.
        """
        payload = pickle.dumps(request)
        ours, theirs = socket.socketpair()
        with ours:
            ours.settimeout(ANSWER_LIMIT_S)
            try:
                with theirs:
                    self._hand_over(theirs)
                socket.send_fds(ours, [_LENGTH.pack(len(payload))], list(fds))
                ours.sendall(payload)
                ours.shutdown(socket.SHUT_WR)
            except ConnectionError as error:
                raise TemplateGoneError from error
            except (TimeoutError, BlockingIOError) as error:  # too many requests wait for it
                raise TemplateSilentError("The template does not read its requests.") from error

    def _hand_over(self, theirs: socket.socket) -> None:
        # A time limit of the shared socket would be that of all processes that share it.
        waiter = select.poll()
        waiter.register(self.shared, select.POLLOUT)
        waiter.poll(ANSWER_LIMIT_S * 1000)
        ancillary = [(socket.SOL_SOCKET, socket.SCM_RIGHTS, array("i", [theirs.fileno()]))]
        self.shared.sendmsg([b"!"], ancillary, socket.MSG_DONTWAIT)


def receive(client: socket.socket) -> tuple[Request, list[int]]:
    """Receive a request from `TemplateClient.send`.

    Raises:
        ConnectionError: the sender disconnected before the request was complete.
    """
    header, fds, _, _ = socket.recv_fds(client, _LENGTH.size, _MAX_FDS)
    try:
        if len(header) < _LENGTH.size:
            raise ConnectionError("the request is incomplete")
        (length,) = _LENGTH.unpack(header)
        with client.makefile("rb") as stream:
            payload = stream.read(length)
        if len(payload) < length:
            raise ConnectionError("the request is incomplete")
        return pickle.loads(payload), fds
    except BaseException:
        close_all(*fds)
        raise


def report(life_w: int, status: int) -> None:
    """Report a number to the parent: first the pid, at the end the exit code."""
    with suppress(BrokenPipeError):
        os.write(life_w, _STATUS.pack(status))


def report_no_process(life_w: int, error: OSError) -> None:
    """Report why there is no process, in place of its pid."""
    report(life_w, _CANNOT_FORK - (error.errno or 1))


def begin(fds: Sequence[int]) -> None:
    """Report this fork's pid, and go on once its parent has read it; exit if the parent has given up or died."""
    life_w, parent_r, *_ = fds
    report(life_w, os.getpid())
    if os.read(parent_r, len(_MAY_BEGIN)) != _MAY_BEGIN:
        os._exit(0)


def run(request: Request, fds: Sequence[int]) -> int:
    """Run the requested process in this fork; return its exit code."""
    os.environ.clear()
    os.environ.update(request.environ)
    os.chdir(request.cwd)
    _, parent_r, *InheritedFd.received = fds
    is_over = threading.Event()
    if request.ends_with_parent:
        threading.Thread(target=_end_with_parent, args=(parent_r, is_over), name="parent-watch", daemon=True).start()
    process = pickle.loads(request.process)
    code = int(process._bootstrap(parent_sentinel=parent_r))
    is_over.set()
    return code


class WarmProcess(multiprocessing.process.BaseProcess):
    """A process that its context's template forks."""

    _start_method = "spawn"
    """How this process starts others unless asked for warm ones; the same as in Dagster's run workers."""

    @staticmethod
    def _Popen(process: multiprocessing.process.BaseProcess) -> Any:  # noqa: N802 - the library's name
        return WarmContext.launch(process)


class WarmContext(multiprocessing.context.BaseContext):
    """`multiprocessing.get_context("warm")`."""

    _name = METHOD
    Process = WarmProcess

    launch: Callable[[multiprocessing.process.BaseProcess], Any] = staticmethod(popen_spawn_posix.Popen)
    """Starts the processes: by spawning, until there is a template."""

    def Queue(self, maxsize: int = 0) -> Any:  # noqa: ARG002, N802
        """Create a queue from the child to the parent."""
        return PipeQueue()

    def Event(self) -> Any:  # noqa: N802
        """Create an event that parent and child share."""
        return PipeEvent()


multiprocessing.context._concrete_contexts[METHOD] = WarmContext()  # type: ignore[attr-defined]


def _read_exactly(fd: int, size: int) -> bytes | None:
    """Read `size` bytes; return None if the stream ends first."""
    data = b""
    while len(data) < size:
        chunk = os.read(fd, size - len(data))
        if not chunk:
            return None
        data += chunk
    return data


def _exit_code_of_dead(pid: int) -> int | None:
    """Return the exit code of a process that is dead, reaped or not; None if it is alive, or that is not known."""
    if not Path("/proc/self/stat").exists():
        return None
    try:
        fields = Path(f"/proc/{pid}/stat").read_bytes().rpartition(b")")[2].split()
    except (FileNotFoundError, ProcessLookupError):
        return UNKNOWN_EXIT_CODE
    return os.waitstatus_to_exitcode(int(fields[-1])) if fields[0] in (b"Z", b"X") else None


def _end_with_parent(parent_r: int, is_over: threading.Event) -> None:
    """Interrupt this process when its parent dies before it is over; kill it if it goes on."""
    connection.wait([parent_r])
    if not is_over.is_set():
        os.kill(os.getpid(), signal.SIGTERM)
        if not is_over.wait(_INTERRUPTION_LIMIT_S):
            os.kill(os.getpid(), signal.SIGKILL)
