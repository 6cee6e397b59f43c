"""The operating-system side of a deployment: find its processes, keep one running, end them all.

Every process of a deployment, including run workers and step workers, inherits one environment variable, `MARKER`. It
finds processes that pid lists and process groups miss: orphans, processes in other sessions, and leftovers of a dead
supervisor. Linux and macOS both let users read the environment of their own processes.
"""

import os
import signal
import subprocess
import threading
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager, suppress
from dataclasses import dataclass, field
from pathlib import Path

import psutil

from bench_orchestrator.waiting import poll

MARKER = "BENCH_DEPLOYMENT"
"""`<deployment id> <home>` in the environment of every process of a deployment."""

_ORDERLY_STOP_S = 10.0
_FIRST_RESTART_DELAY_S = 0.5
_LAST_RESTART_DELAY_S = 10.0
_LONG_LIFE_S = 60.0
"""After this long a life, a death counts as the first: the restart delay is short again."""
_CANNOT_START = 127
"""The exit code of shells for a command that cannot be started."""
_HOPELESS_STARTS = 2
"""After this many deaths without an answer, a server is reported as broken, though restarts continue."""


def let_children_be_interrupted() -> None:
    """Make SIGINT and SIGTERM end this process's children, even if it was started with SIGINT ignored.

    Scripts (`command &`) and nohup start processes that way. Children inherit ignored signals but not handlers, and
    Dagster's servers treat SIGTERM like SIGINT. This process itself continues to ignore SIGINT. Does nothing outside
    the main thread, which alone can set handlers.
    """
    if threading.current_thread() is threading.main_thread() and signal.getsignal(signal.SIGINT) is signal.SIG_IGN:
        signal.signal(signal.SIGINT, lambda *_: None)


@contextmanager
def interrupted_by_sigterm() -> Iterator[None]:
    """Make SIGTERM interrupt this process within the block, as Ctrl-C does, so that it stops what it has started."""
    previous = signal.signal(signal.SIGTERM, signal.default_int_handler)
    try:
        yield
    finally:
        signal.signal(signal.SIGTERM, previous)


def processes_of(deployment_id: str | None = None, home: Path | None = None) -> list[psutil.Process]:
    """Return the living processes of one deployment, or of every deployment of a home; never this process."""
    found = []
    for process in psutil.process_iter():
        try:
            marked_id, _, marked_home = process.environ().get(MARKER, "").partition(" ")
            marked = marked_id == deployment_id or (home is not None and marked_home == str(home))
            if marked and process.pid != os.getpid():
                # Not psutil's cached object: it may be an earlier process with the same id, and would end nothing.
                found.append(psutil.Process(process.pid))
        except (psutil.Error, OSError):
            continue  # has just ended, is a zombie, or belongs to another user
    return found


def end_processes(find: Callable[[], list[psutil.Process]], grace_s: float = _ORDERLY_STOP_S) -> None:
    """End everything that `find` returns: SIGTERM, then SIGKILL for survivors after `grace_s` seconds.

    An interrupt (Ctrl-C) cuts the grace period short, not the work; it is raised afterwards.
    """
    try:
        for process in find():
            with suppress(psutil.NoSuchProcess):
                process.terminate()
        poll(find, lambda living: not living, patience_s=grace_s, every_s=0.1)
    finally:
        while remaining := find():
            for process in remaining:
                with suppress(psutil.NoSuchProcess):
                    process.kill()
            psutil.wait_procs(remaining, timeout=1)


@dataclass
class SupervisedProcess:
    """A server process: started, probed until it answers, and restarted whenever it dies.

    `poll` does all of this without blocking for long; call it a few times a second. Another thread may `hold` the
    server down meanwhile, and `release` it.
    """

    name: str
    command: Sequence[str]
    environment: Mapping[str, str]
    log_path: Path
    """The log of each start; emptied by the first."""
    answers: Callable[[float], bool]
    """Returns whether the server started at that time (seconds since the epoch) is ready."""
    working_directory: Path | None = None

    restarts: int = 0
    started_at: float | None = None
    """The time of the latest start, in seconds since the epoch."""
    up_after_s: float | None = None
    """Seconds from the latest start to the server's first answer; None until then."""
    _popen: subprocess.Popen[bytes] | None = field(default=None, repr=False)
    _held: bool = False
    _lock: threading.Lock = field(default_factory=threading.Lock, repr=False)
    _restart_at: float | None = None
    _failed_starts: int = 0
    _short_lives: int = 0

    @property
    def is_up(self) -> bool:
        """Whether it is running and has answered."""
        return self.up_after_s is not None

    @property
    def is_hopeless(self) -> bool:
        """Whether its latest starts all ended before it answered."""
        return self._failed_starts >= _HOPELESS_STARTS

    def start(self) -> None:
        """Start it in a separate session: a terminal's Ctrl-C must reach only the supervisor."""
        with self.log_path.open("wb" if self.started_at is None else "ab") as log:
            try:
                self._popen = subprocess.Popen(
                    self.command,
                    env=self.environment,
                    cwd=self.working_directory,
                    stdin=subprocess.DEVNULL,
                    stdout=log,
                    stderr=subprocess.STDOUT,
                    start_new_session=True,
                )
            except OSError as error:  # there is no such Python, or no such working directory
                self._popen = None
                log.write(f"{error}\n".encode(errors="replace"))
        self.started_at = time.time()

    def poll(self) -> str | None:
        """Handle a death, a due restart, or the first answer. Return a line to report, if any."""
        with self._lock:
            return self._poll()

    def _poll(self) -> str | None:
        if self.started_at is None or self._held:
            return None
        if self._restart_at is not None:
            if time.monotonic() >= self._restart_at:
                self._restart_at = None
                self.restarts += 1
                self.start()
        elif (code := self._popen.poll() if self._popen else _CANNOT_START) is not None:
            return self._died(code, time.time() - self.started_at)
        elif not self.is_up and self.answers(self.started_at):
            self.up_after_s = time.time() - self.started_at
            self._failed_starts = 0
            if self.restarts:
                return f"{self.name} is up again after {self.up_after_s:.1f} s (restart {self.restarts})"
        return None

    def _died(self, code: int, life_s: float) -> str:
        if life_s > _LONG_LIFE_S:
            self._short_lives = 0
        delay_s = min(_FIRST_RESTART_DELAY_S * 2**self._short_lives, _LAST_RESTART_DELAY_S)
        self._short_lives += 1
        self._failed_starts += not self.is_up
        self.up_after_s = None
        self._restart_at = time.monotonic() + delay_s
        how = f"was killed by signal {-code}" if code < 0 else f"ended with exit code {code}"
        return f"{self.name} {how}; restarting it in {delay_s:g} s (log: {self.log_path})"

    def hold(self, patience_s: float) -> None:
        """End it as `end` does, and keep it down."""
        with self._lock:
            self._held = True
        self.end(patience_s)
        self.reap()
        self.up_after_s = self._restart_at = None

    def release(self) -> None:
        """Start it again after `hold`."""
        with self._lock:
            self._held = False
            self.start()

    def end(self, patience_s: float) -> None:
        """End only this process: SIGTERM, and SIGKILL after `patience_s` seconds."""
        if self._popen is not None:
            self._popen.terminate()
            try:
                self._popen.wait(patience_s)
            except subprocess.TimeoutExpired:
                self._popen.kill()

    def reap(self) -> None:
        """Collect the exit status of an ended process."""
        if self._popen is not None:
            self._popen.wait()

    def log_tail(self, lines: int = 25) -> str:
        """Return the end of its log."""
        return "\n".join(self.log_path.read_text(errors="replace").splitlines()[-lines:])
