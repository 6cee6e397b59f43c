"""Resource usage of a deployment's local processes: CPU, memory, throttling.

Everything is read from the operating system while the deployment executes the measured launches, so sampling must be
cheap. The servers are searched for once; afterwards only a trial's few processes are read. Values that cannot be
determined reliably are left out.
"""

import time
from collections import defaultdict
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import suppress
from dataclasses import dataclass, field
from functools import cache
from pathlib import Path
from types import MappingProxyType
from typing import Self

import psutil

from bench_orchestrator.waiting import poll, spaced
from synthetic_locations.process import read_throttling

MEASURES: Mapping[str, str] = MappingProxyType(
    {
        "run_cpu_s": (
            "CPU seconds of the run worker and its step processes, from their start to their end; unknown if a "
            "forkserver starts the steps"
        ),
        "run_peak_rss_bytes": (
            "largest sampled sum of the resident memory, in bytes, of the run worker and its step processes; shared "
            "memory counts for each process"
        ),
        "run_peak_pss_bytes": (
            "largest sampled sum of the proportional set size, in bytes, of the run worker and its step processes; "
            "memory shared with other processes, such as the code server, is divided between them"
        ),
        "code_server_cpu_s": (
            "CPU seconds of the location's code server and of the process that it forks its runs from, if any; without "
            "the runs"
        ),
        "webserver_cpu_s": "CPU seconds of the webserver",
        "daemon_cpu_s": "CPU seconds of the daemon",
        "code_server_bytes": (
            "memory of the location's code server, and of the process that it forks its runs from, in bytes after the "
            "run: the proportional set size, or the resident memory if that is unknown"
        ),
        "throttled_s": "seconds for which the CPU quota of the code server's cgroup throttled its processes",
        "wall_s": "seconds of the whole measurement, from before the request until after the run's end",
    }
)
"""The possible entries of a trial's usage, with their units."""

AT_REST_CPUS = 0.5
"""Maximum CPUs that the idle servers of a deployment use; about twenty locations still poll each other."""

_LOOK_S = 3.0
_POLL_S = 0.1


class UsageMeter:
    """Measures the usage of a trial from the processes of the deployment whose instance is in `home`.

    For each trial, call `begin`, any number of `look`s, and `end`. Concurrent runs in the same location are included.
    """

    def __init__(self, home: Path) -> None:
        self._home = home
        self._servers = _Servers()
        self._trial: _Trial | None = None

    def servers_cpu_s(self) -> float | None:
        """Return the CPU seconds used by the deployment's servers so far; None if they are not on this machine."""
        self._servers = _find_servers(self._home)
        used_s = None
        for server in self._servers.all:
            with suppress(psutil.Error):
                used_s = (used_s or 0.0) + _cpu_s(server)
        return used_s

    def begin(self, location: str) -> None:
        """Take the initial reading for a trial in this location, before its request."""
        if not self._servers.live_for(location):
            self._servers = _find_servers(self._home)
        self._trial = None
        if location in self._servers.code:
            with suppress(psutil.Error):
                self._trial = _Trial.begin(self._servers, location)

    def look(self) -> None:
        """Sample the memory of the trial's run worker and steps; call repeatedly during the run."""
        if self._trial is not None:
            self._trial.look()

    def end(self, patience_s: float = 10.0, sleep: Callable[[float], None] = time.sleep) -> dict[str, float]:
        """Return the trial's usage by `MEASURES`, without unknown values; call after the run's end.

        Empty if the location's code server is not on this machine. Waits up to `patience_s` seconds until the run's
        processes are gone, because their CPU time is known only then. A code server reaps its children every 0.5 s.
        """
        trial, self._trial = self._trial, None
        if trial is None:
            return {}
        poll(trial.look, lambda lives: not lives, patience_s=patience_s, every_s=_POLL_S, sleep=sleep)
        return {name: round(value, 6) for name, value in trial.usage().items()}


def settle(meters: Sequence[UsageMeter], patience_s: float, say: Callable[[str], None]) -> None:
    """Wait until the local servers of all these deployments are idle.

    On a fresh instance the daemon first writes an event for every asset, which slows down launches.

    Args:
        patience_s: maximum wait in seconds.
        say: receives a line if there is a wait, one for each further minute, and one if the servers are still busy
            after it.
    """
    deadline = time.monotonic() + patience_s
    say_on = spaced(say)
    waited = False
    while time.monotonic() < deadline:
        busy_cpus = _busy_cpus(meters)
        if busy_cpus <= AT_REST_CPUS:
            return
        line = f"Waiting until the servers are idle; they use {busy_cpus:.1f} CPUs ..."
        (say_on if waited else say)(line)
        waited = True
    if waited:
        say(f"They are still busy after {patience_s:g} s; launches may be slower.")


def _busy_cpus(meters: Sequence[UsageMeter]) -> float:
    """Return the number of CPUs that the servers of the busiest deployment use."""
    began_at = time.monotonic()
    before_s = [meter.servers_cpu_s() for meter in meters]
    time.sleep(_LOOK_S)
    used_s = [(meter.servers_cpu_s() or 0.0) - (before or 0.0) for meter, before in zip(meters, before_s, strict=True)]
    return max(used_s, default=0.0) / (time.monotonic() - began_at)


def kill_run(home: Path, pid: int) -> bool:
    """Kill a run worker of the deployment whose instance is in `home`, and all that it has started, at once.

    Returns:
        Whether there was such a process. None of another deployment is killed.
    """
    try:
        worker = psutil.Process(pid)
        if not _is_in(home, worker):
            return False
        steps = worker.children(recursive=True)
        worker.kill()  # first, so that it cannot report the ends of its steps
    except (psutil.Error, OSError):
        return False
    for step in steps:
        with suppress(psutil.Error):
            step.kill()
    return True


def server_memory(home: Path) -> dict[str, float]:
    """Return the memory of each code server by location, in bytes, as in `code_server_bytes`."""
    sizes = dict[str, float]()
    for location, servers in _find_servers(home).code.items():
        with suppress(psutil.Error):  # ended meanwhile
            sizes[location] = sum(map(_memory_bytes, servers))
    return sizes


@dataclass(frozen=True)
class _Servers:
    """The servers of a deployment; roles with several candidate processes are left out."""

    code: Mapping[str, tuple[psutil.Process, ...]] = field(default_factory=dict)
    """By location: the code server and, if it is warm, the process that it forks its runs from."""
    webserver: psutil.Process | None = None
    daemon: psutil.Process | None = None

    @property
    def all(self) -> tuple[psutil.Process, ...]:
        """Return all known processes."""
        code = [server for servers in self.code.values() for server in servers]
        return tuple(filter(None, (*code, self.webserver, self.daemon)))

    def live_for(self, location: str) -> bool:
        """Return whether all servers needed for a trial in this location are known and alive."""
        needed = (*self.code.get(location, (None,)), self.webserver, self.daemon)
        return all(server is not None and _lives(server) for server in needed)


@dataclass
class _Trial:
    """The readings of one trial."""

    code_server: tuple[psutil.Process, ...]
    """The code server and the process that it forks its runs from, if any."""
    cpu_s: Mapping[str, tuple[tuple[psutil.Process, ...], float]]
    """For each server's measure: its processes, and the CPU seconds that they had used at the beginning."""
    ended_cpu_s: float
    """CPU seconds, at the beginning, of the code server's child processes that had ended."""
    earlier: frozenset[int]
    """Processes that the code server had started before the trial."""
    throttled_s: float | None
    began_at: float
    peak_rss_bytes: int = 0
    peak_pss_bytes: int = 0
    seen: bool = False
    """Whether any sample found a process of the run."""
    ended: bool = False
    """Whether the latest sample found none."""
    loses_cpu: bool = False
    """Whether a process was found whose CPU time is lost when it ends."""

    @classmethod
    def begin(cls, servers: _Servers, location: str) -> Self:
        """Take the first reading. Raises psutil.Error if a server dies meanwhile."""
        code_server = servers.code[location]
        measured = {
            "code_server_cpu_s": code_server,
            "webserver_cpu_s": (servers.webserver,) if servers.webserver else (),
            "daemon_cpu_s": (servers.daemon,) if servers.daemon else (),
        }
        return cls(
            code_server=code_server,
            cpu_s={name: (processes, sum(map(_cpu_s, processes))) for name, processes in measured.items() if processes},
            ended_cpu_s=sum(map(_ended_cpu_s, code_server)),
            earlier=frozenset(_started_by(code_server)),
            throttled_s=_throttled_s(code_server[0]),
            began_at=time.monotonic(),
        )

    def look(self) -> bool:
        """Sample the run's processes; return whether there are any."""
        rss_bytes, pss_bytes, self.ended = 0, 0, True
        for pid, command in self._run_processes():
            self.seen, self.ended = True, False
            # No process waits for a forkserver, so its CPU time and that of its steps is never added to a parent's.
            self.loses_cpu |= "multiprocessing.forkserver" in command
            with suppress(psutil.Error):
                memory = psutil.Process(pid).memory_full_info()
                rss_bytes += memory.rss
                pss_bytes += getattr(memory, "pss", 0)
        self.peak_rss_bytes = max(self.peak_rss_bytes, rss_bytes)
        self.peak_pss_bytes = max(self.peak_pss_bytes, pss_bytes)
        return not self.ended

    def usage(self) -> dict[str, float]:
        """Return the usage so far, without unknown values."""
        used = {"wall_s": time.monotonic() - self.began_at}
        for name, (servers, before_s) in self.cpu_s.items():
            with suppress(psutil.Error):
                if all(map(_lives, servers)):
                    used[name] = sum(map(_cpu_s, servers)) - before_s
        with suppress(psutil.Error):
            if all(map(_lives, self.code_server)):
                used |= self._usage_of_run()
                throttled_s = _throttled_s(self.code_server[0])
                if throttled_s is not None and self.throttled_s is not None:
                    used["throttled_s"] = throttled_s - self.throttled_s
                used["code_server_bytes"] = sum(map(_memory_bytes, self.code_server))
        return used

    def _usage_of_run(self) -> dict[str, float]:
        """Return the run's part of the usage; empty if no process was found, because they ran elsewhere."""
        used = dict[str, float]()
        if self.peak_rss_bytes:
            used["run_peak_rss_bytes"] = self.peak_rss_bytes
        if self.peak_pss_bytes:  # available on Linux only
            used["run_peak_pss_bytes"] = self.peak_pss_bytes
        cpu_s = sum(map(_ended_cpu_s, self.code_server)) - self.ended_cpu_s
        nothing_else_ended = self.earlier.issubset(_started_by(self.code_server))
        # Only Linux accounts for the CPU time of ended processes.
        if cpu_s > 0 and self.seen and self.ended and nothing_else_ended and not self.loses_cpu:
            used["run_cpu_s"] = cpu_s
        return used

    def _run_processes(self) -> Iterator[tuple[int, str]]:
        """Yield the processes that the code server has started since the beginning, and their descendants.

        Each comes with its command line. Ended processes are included until their parent reaps them and is charged
        with their CPU time.
        """
        pids = [pid for pid in _started_by(self.code_server) if pid not in self.earlier]
        while pids:
            pid = pids.pop()
            command = ""
            with suppress(psutil.Error):
                command = " ".join(psutil.Process(pid).cmdline())
            if "multiprocessing.resource_tracker" not in command:  # starts with the server's first run and stays
                yield pid, command
                pids += _children(pid)


def _find_servers(home: Path) -> _Servers:
    """Search all processes of this machine."""
    found = defaultdict[tuple[str, str], list[psutil.Process]](list)
    for process in psutil.process_iter():
        with suppress(psutil.Error, OSError):
            role = _role(process.cmdline())
            if role and _is_in(home, process):
                # Not the object that psutil caches: it may belong to an earlier process with the same id.
                found[role].append(psutil.Process(process.pid))
    only = {role: processes[0] for role, processes in found.items() if len(processes) == 1}
    families = {location: _family(processes) for (kind, location), processes in found.items() if kind == "code server"}
    return _Servers(
        code={location: family for location, family in families.items() if family},
        webserver=only.get(("webserver", "")),
        daemon=only.get(("daemon", "")),
    )


def _family(processes: Sequence[psutil.Process]) -> tuple[psutil.Process, ...]:
    """Find a code server, and the process that it forks runs from, among all processes with its command line.

    Forked processes, including runs, keep the command line of their parent. Empty if there is not exactly one server.
    """
    with suppress(psutil.Error):
        parents = {process.pid: process.ppid() for process in processes}
        roots = [process for process in processes if parents[process.pid] not in parents]
        if len(roots) == 1:
            return (roots[0], *(process for process in processes if parents[process.pid] == roots[0].pid))
    return ()


def _role(command: Sequence[str]) -> tuple[str, str] | None:
    """Return the server's role and its location; None for other processes and servers of unknown locations."""
    match _program(command):
        # `dagster dev` starts `dagster code-server start` for each location, which in turn starts this:
        case ["dagster" | "dagster_warm", "api", "grpc", *options] if "--location-name" in options[:-1]:
            return "code server", options[options.index("--location-name") + 1]
        case ["dagster_warm" | "dagster-warm", *options] if {"--location-name", "--no-reload"} <= set(options[:-1]):
            return "code server", options[options.index("--location-name") + 1]
        case ["dagster_webserver" | "dagster-webserver", *_]:
            return "webserver", ""
        case ["dagster._daemon" | "dagster-daemon", *_]:
            return "daemon", ""
    return None


def _program(command: Sequence[str]) -> list[str]:
    """Return the module or script (without its directory) that a Python process runs, and the arguments."""
    words = iter(command[1:])
    for word in words:
        if word == "-m":
            return list(words)
        if word in ("-X", "-W"):
            next(words, None)
        elif not word.startswith("-"):
            return [Path(word).name, *words]
    return []


def _is_in(home: Path, process: psutil.Process) -> bool:
    configured = process.environ().get("DAGSTER_HOME", "")
    return configured != "" and Path(configured).expanduser().resolve() == home.resolve()


def _children(pid: int) -> list[int]:
    """Return the ids of a process's children, including ended ones that it has not reaped."""
    found: list[int] = []
    with suppress(psutil.Error, OSError):
        if not _kernel_lists_children():
            return [child.pid for child in psutil.Process(pid).children()]  # reads every process of the machine
        for thread in Path(f"/proc/{pid}/task").iterdir():
            with suppress(OSError):
                found += map(int, (thread / "children").read_text().split())
    return found


def _started_by(processes: Sequence[psutil.Process]) -> set[int]:
    """Return the ids of the children of these processes, without these processes themselves."""
    started = {child for process in processes for child in _children(process.pid)}
    return started - {process.pid for process in processes}


@cache
def _kernel_lists_children() -> bool:
    return Path("/proc/thread-self/children").exists()


def _lives(process: psutil.Process) -> bool:
    with suppress(psutil.Error):
        return process.is_running() and process.status() != psutil.STATUS_ZOMBIE
    return False


def _cpu_s(process: psutil.Process) -> float:
    times = process.cpu_times()
    return times.user + times.system


def _ended_cpu_s(process: psutil.Process) -> float:
    times = process.cpu_times()
    return times.children_user + times.children_system


def _throttled_s(process: psutil.Process) -> float | None:
    return read_throttling(membership=Path(f"/proc/{process.pid}/cgroup")).get("throttled_s")


def _memory_bytes(process: psutil.Process) -> int:
    with suppress(psutil.AccessDenied):
        memory = process.memory_full_info()
        return int(getattr(memory, "pss", memory.rss))
    return int(process.memory_info().rss)
