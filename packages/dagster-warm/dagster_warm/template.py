"""The template: a single-threaded process that has everything loaded and only forks.

It is forked from a process that has loaded the code but not yet started a thread. It reaps its children and passes
their exit codes to their parents. It exits once that process and all its children have exited.
"""

import gc
import os
import selectors
import signal
import socket
import sys
import time
import traceback
from collections.abc import Callable, Iterator
from contextlib import ExitStack, contextmanager, suppress
from dataclasses import dataclass, field
from multiprocessing import connection
from typing import Any, NoReturn, Self

from dagster_warm import exits, seeds
from dagster_warm.pipes import close_all
from dagster_warm.processes import Request, TemplateClient, begin, receive, report, report_no_process, run

_REQUEST_TIMEOUT_S = 10.0
"""Limits how long an interrupted client can block the others, in seconds."""


_PREPARED = "prepared"


SUCCESSION_VARIABLE = "DAGSTER_WARM_SUCCESSION"
"""Marks a process that is to be a later template, and passes its descriptors and its generation."""


class PreparationError(Exception):
    """The template could not be created; the message is the last that it reported."""


@dataclass(frozen=True)
class Channel:
    """The way to a template: a pair of sockets without an address, so that it needs no folder and is nobody else's."""

    requests: socket.socket
    """The end at which the template receives."""
    client: TemplateClient
    """The end that is inherited by all processes that may ask."""
    lifeline: int
    """The reading end of a pipe; at end-of-file, the template exits."""

    @classmethod
    def open(cls) -> tuple[Self, int]:
        """Create a channel, which keeps requests until a template exists; return it and the end of its lifeline."""
        lifeline_r, lifeline_w = os.pipe()
        try:
            asking, requests = socket.socketpair()
        except OSError:
            close_all(lifeline_r, lifeline_w)
            raise
        return cls(requests, TemplateClient(asking), lifeline_r), lifeline_w

    @classmethod
    def inherit(cls, asking: int, requests: int, lifeline: int) -> Self:
        """Take over the channel with these descriptors, which are those of another process."""
        return cls(socket.socket(fileno=requests), TemplateClient(socket.socket(fileno=asking)), lifeline)

    @property
    def descriptors(self) -> tuple[int, int, int]:
        """The descriptors that a process needs to be the template."""
        return self.client.shared.fileno(), self.requests.fileno(), self.lifeline

    def close(self) -> None:
        """Close it in this process altogether."""
        self.leave_to_template()
        self.client.shared.close()

    def leave_to_template(self) -> None:
        """Close in this process what only the template may hold."""
        self.requests.close()
        os.close(self.lifeline)


@dataclass(frozen=True)
class Succession:
    """What a process inherits that is started to be a later template."""

    channel: Channel
    prepared_w: int
    """The descriptor on which it reports that it is prepared."""
    generation: int
    state: bytes
    """What it needs to make the definitions that its server has."""

    @classmethod
    def parse(cls, text: str) -> Self:
        """Take over the descriptors that the value of `SUCCESSION_VARIABLE` names."""
        asking, requests, lifeline, prepared_w, state_r, generation = map(int, text.split(","))
        with os.fdopen(state_r, "rb") as state:
            return cls(Channel.inherit(asking, requests, lifeline), prepared_w, generation, state.read())

    def fail(self) -> NoReturn:
        """Exit, because the code cannot be loaded."""
        with suppress(BrokenPipeError), os.fdopen(self.prepared_w, "w") as prepared:
            prepared.write("The code cannot be loaded any more.")
        sys.exit(1)


@dataclass(frozen=True)
class Template:
    """A template, seen from the process that created it."""

    pid: int
    client: TemplateClient
    lifeline: int
    """The writing end of the lifeline."""
    preparation: int
    """The reading end of the pipe on which it reports that it is prepared."""
    state: Any = None
    """What its definitions are made from, beside code."""
    since_s: float = field(default_factory=time.monotonic)
    """When it was created."""

    def is_prepared(self) -> bool:
        """Return whether it forks on request now; True as well if it failed to prepare itself, and is dead."""
        return bool(connection.wait([self.preparation], 0))

    def is_overdue(self, limit_s: float | None) -> bool:
        """Return whether it has prepared itself for longer than this, in seconds; without a limit, it may."""
        return limit_s is not None and time.monotonic() - self.since_s > limit_s and not self.is_prepared()

    def check_prepared(self, limit_s: float | None = None) -> None:
        """Wait until it is prepared.

        Raises:
            PreparationError: it failed, died during it, or takes longer than `limit_s` seconds since its creation.
        """
        left_s = None if limit_s is None else max(0, self.since_s + limit_s - time.monotonic())
        if not connection.wait([self.preparation], left_s):
            raise PreparationError(f"It was not prepared within {limit_s:g} s.")
        with os.fdopen(os.dup(self.preparation)) as preparation:
            answer = preparation.read()
        if answer != _PREPARED:
            raise PreparationError(answer or "It died during its preparation.")

    def is_dead(self) -> bool:
        """Return whether it has died; it is reaped later."""
        with suppress(ChildProcessError):
            return os.waitid(os.P_PID, self.pid, os.WEXITED | os.WNOHANG | os.WNOWAIT) is not None
        return True

    def reap(self) -> None:
        """Reap a dead template, or end one that does not answer."""
        self.release()
        with suppress(ChildProcessError, ProcessLookupError):
            os.kill(self.pid, signal.SIGKILL)
            os.waitpid(self.pid, 0)

    def discard(self) -> None:
        """Reap or end a template that nobody has asked for a process yet."""
        self.reap()
        self.client.shared.close()

    def release(self) -> None:
        """Let the template exit once all its children have exited."""
        close_all(self.lifeline, self.preparation)

    def is_reaped(self) -> bool:
        """Reap it if it has exited; return whether it has."""
        with suppress(ChildProcessError):
            return os.waitpid(self.pid, os.WNOHANG) != (0, 0)
        return True


@dataclass(frozen=True)
class Opening:
    """What a template and the process that creates it open for each other."""

    channel: Channel
    lifeline_w: int
    prepared_r: int
    prepared_w: int

    @classmethod
    @contextmanager
    def open(cls) -> Iterator[Self]:
        """Open all of it, and close it again if the block fails to create the template."""
        with ExitStack() as opened:
            channel, lifeline_w = Channel.open()
            opened.callback(os.close, lifeline_w)
            opened.callback(channel.close)
            prepared_r, prepared_w = os.pipe()
            opened.callback(close_all, prepared_r, prepared_w)
            yield cls(channel, lifeline_w, prepared_r, prepared_w)
            opened.pop_all()

    def leave_to_creator(self) -> None:
        """Close in the template what only its creator may hold."""
        close_all(self.lifeline_w, self.prepared_r)

    def template(self, pid: int, state: Any) -> Template:
        """Return the template that this process has created; close what only the template may hold."""
        self.channel.leave_to_template()
        os.close(self.prepared_w)
        return Template(pid, self.channel.client, self.lifeline_w, self.prepared_r, state)


def fork_template(
    prepare: Callable[[TemplateClient], None],
    enter_child: Callable[[Request], None],
    state: Any = None,
    limit_s: float | None = None,
) -> Template:
    """Fork a template from this process; only the parent returns.

    Args:
        prepare: called in the template before it serves, to load what its children will need.
        enter_child: called first in every child of the template.
        state: what the definitions in this process are made from, beside code.
        limit_s: how long `prepare` may take, in seconds.

    Raises:
        PreparationError: `prepare` failed or took too long, the template died during it, or this system has no forks.
        OSError: the system grants no process or no descriptors.
    """
    if not hasattr(os, "fork"):
        raise PreparationError("This system cannot fork processes.")
    with Opening.open() as opening:
        _freeze()
        pid = os.fork()
    if pid == 0:
        opening.leave_to_creator()
        return be_template(opening.channel, prepare, enter_child, opening.prepared_w)
    # Objects stay frozen in the parent too: each collection would write to pages that the two processes share.
    template = opening.template(pid, state)
    try:
        template.check_prepared(limit_s)
    except PreparationError:
        template.discard()
        raise
    return template


def be_template(
    channel: Channel,
    prepare: Callable[[TemplateClient], None],
    enter_child: Callable[[Request], None],
    prepared_w: int,
    *,
    is_importer: bool = False,
) -> NoReturn:
    """Serve as a template until the lifeline and all children have ended; then exit this process.

    Args:
        prepared_w: descriptor on which to report that the template is prepared, or why it cannot be.
        is_importer: whether this process has imported the code itself, so that the import's exit handlers are its own.
    """
    code = 1
    try:
        word = _PREPARED
        try:
            prepare(channel.client)
            _freeze()
        except BaseException as error:
            word = str(error) or type(error).__name__
            raise
        finally:
            with suppress(BrokenPipeError), os.fdopen(prepared_w, "w") as prepared:
                prepared.write(word)
        server = _Server(channel, enter_child)
        code = server.serve()
        if is_importer and not server.has_children:
            gc.unfreeze()
            exits.finish()
    except BaseException:  # a fork must never return into its parent's code
        traceback.print_exc()
    finally:
        sys.stderr.flush()
        os._exit(code)


def _freeze() -> None:
    """Put all objects out of the garbage collector's reach, so that forked processes share their memory."""
    gc.collect()
    objects = gc.get_objects()
    exits.flush_before_fork(objects)
    seeds.note_before_fork(objects)
    del objects
    gc.freeze()
    gc.collect()  # counts what is left, which is little: Python puts off a full collection by what it last counted


class _Server:
    def __init__(self, channel: Channel, enter_child: Callable[[Request], None]) -> None:
        self._channel = channel
        self._enter_child = enter_child
        self._lives: dict[int, int] = {}
        """The life pipes of the children that have not been reaped, by pid."""
        self._is_terminated = False

    @property
    def has_children(self) -> bool:
        """Whether any child has not been reaped."""
        return bool(self._lives)

    def serve(self) -> int:
        """Fork on request until the lifeline and the last child have ended, or until SIGTERM.

        Returns:
            The exit code for this process.
        """
        # Ctrl-C in the terminal is meant for the process that created this one.
        signal.signal(signal.SIGINT, signal.SIG_IGN)
        signal.signal(signal.SIGTERM, self._note_termination)
        signal.signal(signal.SIGCHLD, lambda *_: None)
        self._woken_r, self._woken_w = os.pipe()
        os.set_blocking(self._woken_r, False)
        os.set_blocking(self._woken_w, False)
        signal.set_wakeup_fd(self._woken_w, warn_on_full_buffer=False)
        requests, lifeline = self._channel.requests, self._channel.lifeline
        with selectors.DefaultSelector() as self._selector:
            for source in (requests, lifeline, self._woken_r):
                self._selector.register(source, selectors.EVENT_READ)
            is_needed = True
            # Runs in progress may still request step processes, with the code that they started with.
            while (is_needed or self._lives) and not self._is_terminated:
                ready = {key.fileobj for key, _ in self._selector.select()}
                if self._woken_r in ready:
                    with suppress(BlockingIOError):
                        os.read(self._woken_r, 4096)
                if requests in ready:
                    self._accept()
                elif lifeline in ready:
                    self._selector.unregister(lifeline)
                    is_needed = False
                self._reap()
        return 128 + signal.SIGTERM if self._is_terminated else 0

    def _note_termination(self, *_: object) -> None:
        # Raises nothing: an exception inside a fork or garbage-collection callback would be lost.
        self._is_terminated = True

    def _accept(self) -> None:
        with suppress(OSError):  # a client that disconnected early has requested nothing
            _, (descriptor, *_), _, _ = socket.recv_fds(self._channel.requests, 1, 1)
            with socket.socket(fileno=descriptor) as client:
                client.settimeout(_REQUEST_TIMEOUT_S)
                request, fds = receive(client)
            self._fork(request, fds)

    def _fork(self, request: Request, fds: list[int]) -> None:
        life_w, *others = fds
        signal.pthread_sigmask(signal.SIG_BLOCK, [signal.SIGTERM])  # a child would lose one during its fork
        try:
            pid = os.fork()
        except OSError as error:
            report_no_process(life_w, error)
            os.close(life_w)
        else:
            if pid == 0:
                self._be_child(request, fds)
            self._lives[pid] = life_w
        finally:
            signal.pthread_sigmask(signal.SIG_UNBLOCK, [signal.SIGTERM])
            for fd in others:
                os.close(fd)

    def _be_child(self, request: Request, fds: list[int]) -> NoReturn:
        code = 1
        try:
            try:
                signal.signal(signal.SIGTERM, signal.SIG_DFL)
                signal.pthread_sigmask(signal.SIG_UNBLOCK, [signal.SIGTERM])
                begin(fds)
                self._leave()
                self._enter_child(request)
                code = run(request, fds)
            except BaseException:
                traceback.print_exc()
            exits.finish()
            report(fds[0], code)  # the template may be dead
        finally:  # a fork must never return into its parent's code, even if it is interrupted here
            os._exit(code)

    def _leave(self) -> None:
        """Close the template's resources in a child."""
        signal.set_wakeup_fd(-1)
        signal.signal(signal.SIGCHLD, signal.SIG_DFL)
        signal.signal(signal.SIGINT, signal.default_int_handler)
        self._selector.close()
        self._channel.leave_to_template()
        for fd in (self._woken_r, self._woken_w, *self._lives.values()):
            os.close(fd)
        exits.disown()
        seeds.reseed()

    def _reap(self) -> None:
        while self._lives:
            try:
                pid, status = os.waitpid(-1, os.WNOHANG)
            except ChildProcessError:
                return
            if pid == 0:
                return
            life_w = self._lives.pop(pid, None)
            if life_w is not None:
                report(life_w, os.waitstatus_to_exitcode(status))
                os.close(life_w)
