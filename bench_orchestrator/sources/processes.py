"""What the processes of a deployment use, as far as they run on this machine: CPU, memory, throttling.

Everything is read from outside, from the operating system, while the deployment works on what is measured. So a look
must cost next to nothing: the servers are searched for once, and afterwards only the few processes of a trial are
read. What cannot be known for certain is left out, never guessed.
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

from bench_orchestrator.waiting import poll
from synthetic_locations.process import read_throttling

MEASURES: Mapping[str, str] = MappingProxyType(
    {
        "run_cpu_s": (
            "CPU seconds of the run worker and its step processes, from their start to their end; unknown where the "
            "steps come from a fork server"
        ),
        "run_peak_rss_bytes": (
            "largest sum of the resident memory, in bytes, of the run worker and its step processes in any look; "
            "what they share counts for each of them"
        ),
        "run_peak_pss_bytes": (
            "largest sum of the proportional set size, in bytes, of the run worker and its step processes in any look; "
            "what several processes share, the code server among them, is divided between them"
        ),
        "code_server_cpu_s": (
            "CPU seconds of the location's code server itself and of the process that it forks its runs from, if it "
            "has one; without the runs"
        ),
        "webserver_cpu_s": "CPU seconds of the webserver",
        "daemon_cpu_s": "CPU seconds of the daemon",
        "code_server_bytes": (
            "memory of the location's code server after the run, and of the process that it forks its runs from, in "
            "bytes: their proportional set size, or their resident memory where that is unknown"
        ),
        "throttled_s": "seconds for which the CPU quota of the code server's cgroup held its processes back",
        "wall_s": "seconds over which all of this was read, from before the request until after the run's end",
    }
)
"""What a trial's usage may consist of, each with its unit."""

AT_REST_CPUS = 0.5
"""What the servers of a deployment with some twenty locations may use at rest, to answer each other's questions."""

_LOOK_S = 3.0
_POLL_S = 0.1


class UsageMeter:
    """What one trial costs, read from the processes of the deployment whose instance is in `home`.

    A trial is `begin`, any number of `look`s, and `end`. Other runs in the same location at the same time count as the
    trial's.
    """

    def __init__(self, home: Path) -> None:
        self._home = home
        self._servers = _Servers()
        self._trial: _Trial | None = None

    def servers_cpu_s(self) -> float | None:
        """The CPU seconds that the deployment's servers have used so far; None where they are not on this machine."""
        self._servers = _find_servers(self._home)
        used_s = None
        for server in self._servers.all:
            with suppress(psutil.Error):
                used_s = (used_s or 0.0) + _cpu_s(server)
        return used_s

    def begin(self, location: str) -> None:
        """Read where a trial in this location starts from, before its request."""
        if not self._servers.live_for(location):
            self._servers = _find_servers(self._home)
        self._trial = None
        if location in self._servers.code:
            with suppress(psutil.Error):
                self._trial = _Trial.begin(self._servers, location)

    def look(self) -> None:
        """Read the memory of the trial's run worker and steps, now and then while they work."""
        if self._trial is not None:
            self._trial.look()

    def end(self, patience_s: float = 10.0, sleep: Callable[[float], None] = time.sleep) -> dict[str, float]:
        """What the trial used, by `MEASURES`, without what is unknown; after its run's end.

        Empty where the location's code server is not on this machine. Waits `patience_s` seconds at most until the
        run's processes are gone: their CPU is known only then. A code server looks after those that ended every half
        second.
        """
        trial, self._trial = self._trial, None
        if trial is None:
            return {}
        poll(trial.look, lambda lives: not lives, patience_s=patience_s, every_s=_POLL_S, sleep=sleep)
        return {name: round(value, 6) for name, value in trial.usage().items()}


def settle(meters: Sequence[UsageMeter], patience_s: float, say: Callable[[str], None]) -> None:
    """Wait until the servers of all these deployments have come to rest, as far as they are on this machine.

    On a fresh instance the daemon writes an event for every asset that there is; launches beside that are slower.

    Args:
        patience_s: how long to wait at most.
        say: gets a line if there is anything to wait for, and one if it was in vain.
    """
    deadline = time.monotonic() + patience_s
    waited = False
    while time.monotonic() < deadline:
        busy_cpus = _busy_cpus(meters)
        if busy_cpus <= AT_REST_CPUS:
            return
        if not waited:
            say(f"Waiting until the servers have come to rest; they keep {busy_cpus:.1f} CPUs busy ...")
            waited = True
    if waited:
        say(f"They still do, after {patience_s:g} s; launches may be slower for it.")


def _busy_cpus(meters: Sequence[UsageMeter]) -> float:
    """How many CPUs the servers of the busiest deployment use."""
    began_at = time.monotonic()
    before_s = [meter.servers_cpu_s() for meter in meters]
    time.sleep(_LOOK_S)
    used_s = [(meter.servers_cpu_s() or 0.0) - (before or 0.0) for meter, before in zip(meters, before_s, strict=True)]
    return max(used_s, default=0.0) / (time.monotonic() - began_at)


def server_memory(home: Path) -> dict[str, float]:
    """The memory of each code server by its location's name, in bytes, as in `code_server_bytes`."""
    sizes = dict[str, float]()
    for location, servers in _find_servers(home).code.items():
        with suppress(psutil.Error):  # ended meanwhile
            sizes[location] = sum(map(_memory_bytes, servers))
    return sizes


@dataclass(frozen=True)
class _Servers:
    """The servers of a deployment, those of which there is exactly one."""

    code: Mapping[str, tuple[psutil.Process, ...]] = field(default_factory=dict)
    """By the location's name: the code server and, of a warm one, the process that it forks its runs from."""
    webserver: psutil.Process | None = None
    daemon: psutil.Process | None = None

    @property
    def all(self) -> tuple[psutil.Process, ...]:
        """Every one that is known."""
        code = [server for servers in self.code.values() for server in servers]
        return tuple(filter(None, (*code, self.webserver, self.daemon)))

    def live_for(self, location: str) -> bool:
        """Whether all that a trial in this location needs are known and live."""
        needed = (*self.code.get(location, (None,)), self.webserver, self.daemon)
        return all(server is not None and _lives(server) for server in needed)


@dataclass
class _Trial:
    """The readings of one trial."""

    code_server: tuple[psutil.Process, ...]
    """And the process that it forks its runs from, if it has one."""
    cpu_s: Mapping[str, tuple[tuple[psutil.Process, ...], float]]
    """Of each measure of a server: its processes, and the CPU they had used at the beginning."""
    ended_cpu_s: float
    """CPU of the processes that the code server had started, and that had ended, at the beginning."""
    earlier: frozenset[int]
    """Processes that the code server had started before."""
    throttled_s: float | None
    began_at: float
    peak_rss_bytes: int = 0
    peak_pss_bytes: int = 0
    seen: bool = False
    """Whether there was a process of the run at any look."""
    ended: bool = False
    """Whether there was none at the latest look."""
    loses_cpu: bool = False
    """Whether a process was seen whose CPU is not counted when it ends."""

    @classmethod
    def begin(cls, servers: _Servers, location: str) -> Self:
        """The first reading. Raises psutil.Error if a server dies meanwhile."""
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
        """Read the run's processes. Whether there are any."""
        rss_bytes, pss_bytes, self.ended = 0, 0, True
        for pid, command in self._run_processes():
            self.seen, self.ended = True, False
            # Nobody waits for a fork server, so that nobody is charged with its CPU and that of the steps it forked.
            self.loses_cpu |= "multiprocessing.forkserver" in command
            with suppress(psutil.Error):
                memory = psutil.Process(pid).memory_full_info()
                rss_bytes += memory.rss
                pss_bytes += getattr(memory, "pss", 0)
        self.peak_rss_bytes = max(self.peak_rss_bytes, rss_bytes)
        self.peak_pss_bytes = max(self.peak_pss_bytes, pss_bytes)
        return not self.ended

    def usage(self) -> dict[str, float]:
        """What was used until now, without what is unknown."""
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
        """Nothing where none of its processes was seen: they ran elsewhere."""
        used = dict[str, float]()
        if self.peak_rss_bytes:
            used["run_peak_rss_bytes"] = self.peak_rss_bytes
        if self.peak_pss_bytes:  # only Linux knows it
            used["run_peak_pss_bytes"] = self.peak_pss_bytes
        cpu_s = sum(map(_ended_cpu_s, self.code_server)) - self.ended_cpu_s
        nothing_else_ended = self.earlier.issubset(_started_by(self.code_server))
        # Only Linux counts the CPU of processes that ended.
        if cpu_s > 0 and self.seen and self.ended and nothing_else_ended and not self.loses_cpu:
            used["run_cpu_s"] = cpu_s
        return used

    def _run_processes(self) -> Iterator[tuple[int, str]]:
        """What the code server has started since the beginning, and their descendants, with their command lines.

        Those that ended are among them until their parent takes notice: it is then that it is charged with their CPU.
        """
        pids = [pid for pid in _started_by(self.code_server) if pid not in self.earlier]
        while pids:
            pid = pids.pop()
            command = ""
            with suppress(psutil.Error):
                command = " ".join(psutil.Process(pid).cmdline())
            if "multiprocessing.resource_tracker" not in command:  # comes with the server's first run, and stays
                yield pid, command
                pids += _children(pid)


def _find_servers(home: Path) -> _Servers:
    """Search all processes of this machine."""
    found = defaultdict[tuple[str, str], list[psutil.Process]](list)
    for process in psutil.process_iter():
        with suppress(psutil.Error, OSError):
            role = _role(process.cmdline())
            if role and _is_in(home, process):
                # Not psutil's own object, which it keeps: it may be of an earlier process of that id.
                found[role].append(psutil.Process(process.pid))
    only = {role: processes[0] for role, processes in found.items() if len(processes) == 1}
    families = {location: _family(processes) for (kind, location), processes in found.items() if kind == "code server"}
    return _Servers(
        code={location: family for location, family in families.items() if family},
        webserver=only.get(("webserver", "")),
        daemon=only.get(("daemon", "")),
    )


def _family(processes: Sequence[psutil.Process]) -> tuple[psutil.Process, ...]:
    """A code server and what it forks its runs from, of all processes with its command line; none if it is not one.

    Whatever is forked has the command line of the process that it was forked from, the runs too.
    """
    with suppress(psutil.Error):
        parents = {process.pid: process.ppid() for process in processes}
        roots = [process for process in processes if parents[process.pid] not in parents]
        if len(roots) == 1:
            return (roots[0], *(process for process in processes if parents[process.pid] == roots[0].pid))
    return ()


def _role(command: Sequence[str]) -> tuple[str, str] | None:
    """Which server this is and of which location; None for other processes, and for a server of unknown location."""
    match _program(command):
        # `dagster dev` starts `dagster code-server start` for each location, and that in its turn this:
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
    """The module or script that a Python process runs, without its folder, and the arguments."""
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
    """The processes that a process has started and has not taken notice of the end of."""
    found: list[int] = []
    with suppress(psutil.Error, OSError):
        if not _kernel_lists_children():
            return [child.pid for child in psutil.Process(pid).children()]  # reads every process of the machine
        for thread in Path(f"/proc/{pid}/task").iterdir():
            with suppress(OSError):
                found += map(int, (thread / "children").read_text().split())
    return found


def _started_by(processes: Sequence[psutil.Process]) -> set[int]:
    """What these have started, without themselves."""
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
