"""Processes that are forked from a template, with the interface of `multiprocessing`: context, process, queue, event.

A parent asks the template for a process by a request over a Unix socket. The ends of a few pipes come with it:

- the *life* pipe, whose writing end the new process holds until it dies. On it come its pid, before anything else runs
  in it, and its exit status: from itself if it ends in good order, else from the template. So the end of the pipe
  without a pid means that nothing has run, whatever became of the template, and asking another one for the same process
  is safe. In place of the pid may come why there is no process.
- the *parent* pipe, which tells the process that the one that asked for it has died.
- those of the queues and events among its arguments.

Nothing here knows Dagster.
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
"""The name of this start method, beside `spawn`, `fork` and `forkserver`."""

UNKNOWN_EXIT_CODE = 255
"""Of a process whose template has died before it, as the standard library's fork server has it."""

_LENGTH = struct.Struct("!Q")
_STATUS = struct.Struct("!i")
_CANNOT_FORK = -1_000
"""A first status from here down tells an error number, what it is below this; one above, but below zero, a signal."""
_MAX_FDS = 64


class TemplateGoneError(Exception):
    """The template died before it forked the process; nothing has run."""


class ForkFailedError(OSError):
    """The template could not fork, or the fork was killed before it began; nothing has run."""


@dataclass(frozen=True)
class Request:
    """What a template needs to fork a process."""

    process: bytes
    """The pickled process object."""
    environ: dict[str, str] = field(default_factory=lambda: dict(os.environ))
    cwd: str = field(default_factory=os.getcwd)
    asked_at_s: float = field(default_factory=time.time)


class PipeEvent(synchronize.Event):
    """An event without a named semaphore, which a killed process would leave behind.

    It is set while there is a byte in its pipe.
    """

    def __init__(self) -> None:
        self._keep(*os.pipe())

    def is_set(self) -> bool:
        """Return whether it is set."""
        return self.wait(0)

    def set(self) -> None:
        """Set it, and wake all that wait, in all processes."""
        if not self.is_set():
            os.write(self._writer, b"!")

    def clear(self) -> None:
        """Unset it."""
        while self.is_set():
            os.read(self._reader, 1)

    def wait(self, timeout: float | None = None) -> bool:
        """Wait until it is set, for `timeout` seconds at most; return whether it is."""
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
    """A queue from a child to its parent that needs no thread and no semaphore.

    The reading end stays with the parent, the writing end goes to the child: the parent reads everything that a child
    managed to write whole, and nothing more comes once it is dead.
    """

    def __init__(self) -> None:
        self._reader, self._writer = connection.Pipe(duplex=False)
        self._lock = threading.Lock()

    def put(self, item: Any) -> None:
        """Send to the parent; do nothing if it has ended."""
        with self._lock, suppress(BrokenPipeError):
            self._writer.send(item)

    def get(self, block: bool = True, timeout: float | None = None) -> Any:
        """Return the next item.

        Raises:
            queue.Empty: there is none in time, or there will never be one.
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
    """A descriptor that is sent to a new process: its index among those that come with the request."""

    received: Sequence[int] = ()
    """In a new process, those that came with the request for it."""

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
        """Send this descriptor along; called while the process object is pickled."""
        self._fds.append(fd)
        return len(self._fds) - 1

    def when_launched(self, callback: Callable[[], None]) -> None:
        """Call back when the process has started; called while the process object is pickled."""
        self._launched.append(callback)

    def poll(self, flag: int = os.WNOHANG) -> int | None:
        """Return the exit code; with WNOHANG, None while the process lives, else wait for it."""
        with self._lock:
            if self.returncode is None and (flag == 0 or connection.wait([self.sentinel], 0)):
                self.returncode = self._read_exit_code()
            return self.returncode

    def wait(self, timeout: float | None = None) -> int | None:
        """Return the exit code, or None if the process still lives after `timeout` seconds."""
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
        """Have the process forked; return the reading end of its life pipe."""
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
                raise ForkFailedError(errno.ECHILD, f"The process was ended by {name} before it began")
            self.pid = first
        except BaseException:
            os.close(life_r)
            raise
        return life_r

    def _read_exit_code(self) -> int:
        status = _read_exactly(self.sentinel, _STATUS.size)
        if status is not None:
            return int(_STATUS.unpack(status)[0])
        try:  # without its template it is a child of the process that adopts orphans, which may be this one
            _, wait_status = os.waitpid(self.pid, 0)
        except ChildProcessError:
            return UNKNOWN_EXIT_CODE
        return os.waitstatus_to_exitcode(wait_status)


@dataclass(frozen=True)
class TemplateClient:
    """Sends requests to a template."""

    address: Path
    """Its Unix socket."""

    def send(self, request: Request, fds: Sequence[int]) -> None:
        """Ask for a process with these descriptors.

        Raises:
            TemplateGoneError: the template has ended.
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
    """Receive what `TemplateClient.send` sent.

    Raises:
        ConnectionError: the sender ended in the middle of it.
    """
    header, fds, _, _ = socket.recv_fds(client, _LENGTH.size, _MAX_FDS)
    try:
        if len(header) < _LENGTH.size:
            raise ConnectionError("the request broke off")
        (length,) = _LENGTH.unpack(header)
        with client.makefile("rb") as stream:
            payload = stream.read(length)
        if len(payload) < length:
            raise ConnectionError("the request broke off")
        return pickle.loads(payload), fds
    except BaseException:
        _close(*fds)
        raise


def report(life_w: int, status: int) -> None:
    """Report to the parent: the pid first, the exit code at the end."""
    with suppress(BrokenPipeError):
        os.write(life_w, _STATUS.pack(status))


def report_no_process(life_w: int, error: OSError) -> None:
    """Report the reason why there is no process, in place of its pid."""
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
    """What it starts other processes by, unless they are to be warm, too: as in Dagster's run workers."""

    @staticmethod
    def _Popen(process: multiprocessing.process.BaseProcess) -> Any:  # noqa: N802 - the library's name
        return WarmContext.launch(process)


class WarmContext(multiprocessing.context.BaseContext):
    """`multiprocessing.get_context("warm")`."""

    _name = METHOD
    Process = WarmProcess

    launch: Callable[[multiprocessing.process.BaseProcess], Any] = staticmethod(popen_spawn_posix.Popen)
    """How processes are started: spawned, as long as there is no template."""

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
    """Read `size` bytes; return None if the stream ends before."""
    data = b""
    while len(data) < size:
        chunk = os.read(fd, size - len(data))
        if not chunk:
            return None
        data += chunk
    return data
