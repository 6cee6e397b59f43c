"""Processes forked from a template, behind `multiprocessing`'s interface: context, process, queue, event.

A parent requests a process from the template over a Unix socket. The request carries the ends of several pipes:

- the *life* pipe: the new process holds its writing end until it dies. The process first reports its pid, before
  any other code, and finally its exit status. If it crashes, the template reports the status. End-of-file without
  a pid means that nothing has run, even if the template died: retrying with another template is safe. If no
  process could be created, the reason arrives in place of the pid.
- the *parent* pipe: tells the process that its parent has died.
- the pipes of the queues and events among its arguments.

This module does not depend on Dagster.
"""

import errno
import multiprocessing.context
import multiprocessing.process
import multiprocessing.util
import os
import pickle
import queue
import select
import signal
import socket
import struct
import threading
import time
from collections.abc import Callable, Sequence
from contextlib import suppress
from dataclasses import dataclass, field
from io import BytesIO
from multiprocessing import connection, popen_spawn_posix, reduction, synchronize
from pathlib import Path
from typing import Any

METHOD = "warm"
"""The name of this start method, next to `spawn`, `fork` and `forkserver`."""

UNKNOWN_EXIT_CODE = 255
"""Exit code of a process that outlived its template, as in the standard library's fork server."""

_LENGTH = struct.Struct("!Q")
_STATUS = struct.Struct("!i")
_CANNOT_FORK = -1_000
"""First statuses at or below this encode an error number, as the difference. Negative ones above are signals."""
_MAX_FDS = 64


class TemplateGoneError(Exception):
    """The template died before it forked the process; nothing has run."""


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


class PipeEvent(synchronize.Event):
    """An event without a named semaphore, which a killed process would leak.

    The event is set while its pipe contains a byte.
    """

    def __init__(self) -> None:
        self._keep(*os.pipe())

    def is_set(self) -> bool:
        """Return whether the event is set."""
        return self.wait(0)

    def set(self) -> None:
        """Set the event and wake all waiters, in all processes."""
        if not self.is_set():
            os.write(self._writer, b"!")

    def clear(self) -> None:
        """Clear the event."""
        while self.is_set():
            os.read(self._reader, 1)

    def wait(self, timeout: float | None = None) -> bool:
        """Wait up to `timeout` seconds for the event; return whether it is set."""
        waiter = select.poll()
        waiter.register(self._reader, select.POLLIN)
        return bool(waiter.poll(None if timeout is None else timeout * 1000))

    def _keep(self, reader: int, writer: int) -> None:
        self._reader, self._writer = reader, writer
        multiprocessing.util.Finalize(self, _close, args=(reader, writer))

    def __getstate__(self) -> tuple[Any, Any]:
        return reduction.DupFd(self._reader), reduction.DupFd(self._writer)

    def __setstate__(self, ends: tuple[Any, Any]) -> None:
        self._keep(*(end.detach() for end in ends))


class PipeQueue:
    """A queue from a child to its parent, without threads or semaphores.

    The parent keeps the reading end and the child gets the writing end. The parent receives every item that the child
    wrote completely, and end-of-file once the child is dead.
    """

    def __init__(self) -> None:
        self._reader, self._writer = connection.Pipe(duplex=False)
        self._lock = threading.Lock()

    def put(self, item: Any) -> None:
        """Send an item to the parent; do nothing if the parent has exited."""
        with self._lock, suppress(BrokenPipeError):
            self._writer.send(item)

    def get(self, block: bool = True, timeout: float | None = None) -> Any:
        """Return the next item.

        Raises:
            queue.Empty: no item arrived in time, or the writers are gone.
        """
        try:
            if self._reader.poll(timeout if block else 0):
                return self._reader.recv()
        except EOFError:
            pass
        raise queue.Empty

    def get_nowait(self) -> Any:
        """Return the next item without waiting."""
        return self.get(block=False)

    def close(self) -> None:
        """Close the pipe."""
        self._reader.close()
        self._writer.close()

    def __getstate__(self) -> connection.Connection:
        popen: Any = multiprocessing.context.get_spawning_popen()
        if isinstance(popen, WarmPopen):
            popen.when_launched(self._writer.close)
        return self._writer

    def __setstate__(self, writer: connection.Connection) -> None:
        self._writer = writer
        self._lock = threading.Lock()


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

    def __init__(self, process: multiprocessing.process.BaseProcess, template: "TemplateClient") -> None:
        self.returncode: int | None = None
        self.pid = 0
        self._fds: list[int] = []
        self._launched: list[Callable[[], None]] = []
        self._lock = threading.Lock()
        parent_r, self._parent_w = os.pipe()
        try:
            self.sentinel = self._launch(Request(self._pickle(process)), parent_r, template)
        except BaseException:
            os.close(self._parent_w)
            raise
        finally:
            os.close(parent_r)
        for done in self._launched:
            done()
        self._finalizer = multiprocessing.util.Finalize(self, _close, args=(self.sentinel, self._parent_w))

    def duplicate_for_child(self, fd: int) -> int:
        """Add a descriptor to the request; called while the process object is pickled."""
        self._fds.append(fd)
        return len(self._fds) - 1

    def when_launched(self, callback: Callable[[], None]) -> None:
        """Register a callback for the process's start; called while the process object is pickled."""
        self._launched.append(callback)

    def poll(self, flag: int = os.WNOHANG) -> int | None:
        """Return the exit code. With WNOHANG, return None while the process is alive; otherwise wait."""
        with self._lock:
            if self.returncode is None and (flag == 0 or connection.wait([self.sentinel], 0)):
                self.returncode = self._read_exit_code()
            return self.returncode

    def wait(self, timeout: float | None = None) -> int | None:
        """Return the exit code, or None if the process is still alive after `timeout` seconds."""
        if self.returncode is None and timeout is not None and not connection.wait([self.sentinel], timeout):
            return None
        return self.poll(0)

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
        """Request the fork; return the reading end of the process's life pipe."""
        life_r, life_w = os.pipe()
        try:
            try:
                template.send(request, [life_w, parent_r, *self._fds])
            finally:
                os.close(life_w)
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
        except BaseException:
            os.close(life_r)
            raise
        return life_r

    def _read_exit_code(self) -> int:
        status = _read_exactly(self.sentinel, _STATUS.size)
        if status is not None:
            return int(_STATUS.unpack(status)[0])
        try:  # an orphan is a child of the process that adopts orphans, which may be this one
            _, wait_status = os.waitpid(self.pid, 0)
        except ChildProcessError:
            return UNKNOWN_EXIT_CODE
        return os.waitstatus_to_exitcode(wait_status)


@dataclass(frozen=True)
class TemplateClient:
    """Sends requests to a template."""

    address: Path
    """The template's Unix socket."""

    def send(self, request: Request, fds: Sequence[int]) -> None:
        """Request a process with these descriptors.

        Raises:
            TemplateGoneError: the template has exited.
        """
        payload = pickle.dumps(request)
        with socket.socket(socket.AF_UNIX, socket.SOCK_STREAM) as client:
            try:
                client.connect(str(self.address))
                socket.send_fds(client, [_LENGTH.pack(len(payload))], list(fds))
                client.sendall(payload)
                client.shutdown(socket.SHUT_WR)
            except (FileNotFoundError, ConnectionError) as error:
                raise TemplateGoneError from error


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
        _close(*fds)
        raise


def report(life_w: int, status: int) -> None:
    """Report a number to the parent: first the pid, at the end the exit code."""
    with suppress(BrokenPipeError):
        os.write(life_w, _STATUS.pack(status))


def report_no_process(life_w: int, error: OSError) -> None:
    """Report why there is no process, in place of its pid."""
    report(life_w, _CANNOT_FORK - (error.errno or 1))


def run(request: Request, fds: Sequence[int]) -> int:
    """Run the requested process in this fork; return its exit code."""
    os.environ.clear()
    os.environ.update(request.environ)
    os.chdir(request.cwd)
    _, parent_r, *InheritedFd.received = fds
    process = pickle.loads(request.process)
    return int(process._bootstrap(parent_sentinel=parent_r))


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


def _close(*fds: int) -> None:
    for fd in fds:
        os.close(fd)


def _read_exactly(fd: int, size: int) -> bytes | None:
    """Read `size` bytes; return None if the stream ends first."""
    data = b""
    while len(data) < size:
        chunk = os.read(fd, size - len(data))
        if not chunk:
            return None
        data += chunk
    return data
