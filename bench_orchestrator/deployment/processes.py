"""The operating-system side of a deployment: find its processes, keep one running, end them all.

Every process of a deployment, run workers and step workers included, inherits one environment variable,
`MARKER`. It finds them where a list of process ids or a process group would not: after their parent was
killed, in a session of their own, or left behind by a supervisor that is gone. Linux and macOS both let a
user read the environment of the user's own processes.
"""

import os
import signal
import subprocess
import threading
import time
from collections.abc import Callable, Mapping, Sequence
from contextlib import suppress
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
"""After a life this long, a death counts as the first one: the delay before the restart is short again."""
_HOPELESS_STARTS = 2
"""A server that died so often without ever answering is reported as broken, though it is started again."""


def let_children_be_interrupted() -> None:
    """Make SIGINT and SIGTERM end what this process starts, though it was itself started to ignore SIGINT.

    It was where a script has started it with `&`, and by nohup. A child inherits that a signal is ignored, and not that
    it is handled; and Dagster's servers do for SIGTERM what they do for SIGINT. This process ignores it as before.
    Outside of the main thread, which alone can change that, nothing happens.
    """
    if threading.current_thread() is threading.main_thread() and signal.getsignal(signal.SIGINT) is signal.SIG_IGN:
        signal.signal(signal.SIGINT, lambda *_: None)


def processes_of(deployment_id: str | None = None, home: Path | None = None) -> list[psutil.Process]:
    """The living processes of one deployment, or of every deployment a home ever had; never this process."""
    found = []
    for process in psutil.process_iter():
        try:
            marked_id, _, marked_home = process.environ().get(MARKER, "").partition(" ")
            marked = marked_id == deployment_id or (home is not None and marked_home == str(home))
            if marked and process.pid != os.getpid():
                # Not psutil's own object, which it keeps: it may be of an earlier process of that id, and end nothing.
                found.append(psutil.Process(process.pid))
        except (psutil.Error, OSError):
            continue  # ended meanwhile, a zombie, or another user's
    return found


def end_processes(find: Callable[[], list[psutil.Process]], grace_s: float = _ORDERLY_STOP_S) -> None:
    """End everything that `find` returns: SIGTERM, then SIGKILL for what lives on after `grace_s` seconds.

    An interrupt (Ctrl-C) during the grace ends the grace, not the work; it is raised afterwards.
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
    """One server process: started, probed until it is up, and started again whenever it dies.

    `poll` does all of it and never blocks for long; someone calls it a few times a second. Another thread may `hold`
    the server down meanwhile, and `release` it.
    """

    name: str
    command: Sequence[str]
    environment: Mapping[str, str]
    log_path: Path
    """Of every start; emptied by the first."""
    answers: Callable[[float], bool]
    """Whether the server that was started then (seconds since the epoch) does its work by now."""
    working_directory: Path | None = None

    restarts: int = 0
    started_at: float | None = None
    """Of the latest start, in seconds since the epoch."""
    up_after_s: float | None = None
    """How long the latest start took until the server answered; None while it does not."""
    _popen: subprocess.Popen[bytes] | None = field(default=None, repr=False)
    _held: bool = False
    _lock: threading.Lock = field(default_factory=threading.Lock, repr=False)
    _restart_at: float | None = None
    _failed_starts: int = 0
    _short_lives: int = 0

    @property
    def is_up(self) -> bool:
        """Whether it runs and has answered."""
        return self.up_after_s is not None

    @property
    def is_hopeless(self) -> bool:
        """Whether its latest starts all ended before it answered."""
        return self._failed_starts >= _HOPELESS_STARTS

    def start(self) -> None:
        """Start it, in a session of its own: a terminal's Ctrl-C must reach the supervisor only."""
        with self.log_path.open("wb" if self.started_at is None else "ab") as log:
            self._popen = subprocess.Popen(
                self.command,
                env=self.environment,
                cwd=self.working_directory,
                stdin=subprocess.DEVNULL,
                stdout=log,
                stderr=subprocess.STDOUT,
                start_new_session=True,
            )
        self.started_at = time.time()

    def poll(self) -> str | None:
        """Notice a death, a restart that is due, or the first answer. Returns a line to report, if any."""
        with self._lock:
            return self._poll()

    def _poll(self) -> str | None:
        if self._popen is None or self.started_at is None or self._held:
            return None
        if self._restart_at is not None:
            if time.monotonic() >= self._restart_at:
                self._restart_at = None
                self.restarts += 1
                self.start()
        elif (code := self._popen.poll()) is not None:
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
        how = f"was ended by signal {-code}" if code < 0 else f"ended with exit code {code}"
        return f"{self.name} {how}; starting it again in {delay_s:g} s (log: {self.log_path})"

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
        """End this process alone: SIGTERM, and SIGKILL after `patience_s` seconds."""
        if self._popen is not None:
            self._popen.terminate()
            try:
                self._popen.wait(patience_s)
            except subprocess.TimeoutExpired:
                self._popen.kill()

    def reap(self) -> None:
        """Collect the exit status of a process that has been ended."""
        if self._popen is not None:
            self._popen.wait()

    def log_tail(self, lines: int = 25) -> str:
        """The end of its log."""
        return "\n".join(self.log_path.read_text(errors="replace").splitlines()[-lines:])
