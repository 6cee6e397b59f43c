"""Measures the current process: how it started, what it used, and whether it was throttled.

A launch spends its time in processes that cannot be observed from outside (run workers, step workers, pods), so the
synthetic assets report on their own process. Values that the platform does not offer are omitted, never guessed: macOS
and Windows have no /proc and no cgroups.
"""

import os
import sys
import time
from collections.abc import Iterator
from dataclasses import dataclass, field
from pathlib import Path


@dataclass(frozen=True)
class Elapsed:
    """Seconds that a process spent on something that it does once."""

    seconds: float
    pid: int = field(default_factory=os.getpid)

    @property
    def here_s(self) -> float:
        """Return the seconds spent in this process: a forked child inherits the figure, not the work."""
        return self.seconds if self.pid == os.getpid() else 0.0


def process_age_s() -> float | None:
    """Return the seconds since this process started, to about 0.01 s, or None where the platform does not say.

    A forked process starts with its fork; any other with its program.
    """
    if sys.platform != "linux":
        return None
    try:
        stat = Path("/proc/self/stat").read_text()
    except OSError:
        return None
    # The command in field 2 may contain spaces and parentheses; the start time is field 22.
    started_ticks = int(stat.rpartition(")")[2].split()[19])
    age_s = time.clock_gettime(time.CLOCK_BOOTTIME) - started_ticks / os.sysconf("SC_CLK_TCK")
    return age_s if age_s >= 0 else None


_AGE_AT_IMPORT_S = process_age_s()
IMPORTED = None if _AGE_AT_IMPORT_S is None else Elapsed(_AGE_AT_IMPORT_S)
"""From the start of the process to the import of this module: the interpreter, `import dagster`, and Dagster's other
work before the user's code. Measured at import because it cannot be determined later."""


def measure_process() -> dict[str, float]:
    """Return measurements of this process, without those that the platform does not offer.

    - `pid`
    - `process_age_s`: time since the process started
    - `import_s`: time from its start to the import of this package (see `IMPORTED`); 0 in a process forked after the
      import
    - `cpu_s`: user and system time of all its threads
    - `rss_bytes`, `peak_rss_bytes`: current and peak resident memory
    - `cgroup_periods`, `cgroup_throttled_periods`, `throttled_s`: how its cgroup's CPU quota was enforced, over all
      processes in the cgroup since its creation
    """
    age_s = process_age_s()
    return {
        "pid": os.getpid(),
        **({} if age_s is None else {"process_age_s": age_s}),
        **({} if IMPORTED is None else {"import_s": IMPORTED.here_s}),
        "cpu_s": time.process_time(),
        **read_memory(),
        **read_throttling(),
    }


def read_memory(status: Path = Path("/proc/self/status")) -> dict[str, float]:
    """Return `rss_bytes` and `peak_rss_bytes`, as far as the status file has them.

    Not from `getrusage`, whose peak survives `exec`: a child of a large process would report its parent's peak.
    """
    names = {"VmRSS": "rss_bytes", "VmHWM": "peak_rss_bytes"}
    try:
        lines = status.read_text().splitlines()
    except OSError:
        return {}
    values_kib = {key: value.split()[0] for key, _, value in (line.partition(":") for line in lines) if key in names}
    return {names[key]: int(kib) * 1024 for key, kib in values_kib.items()}


def read_throttling(
    membership: Path = Path("/proc/self/cgroup"), mount: Path = Path("/sys/fs/cgroup")
) -> dict[str, float]:
    """Return `cgroup_periods`, `cgroup_throttled_periods` and `throttled_s`, from cgroups version 1 or 2.

    Empty where they are not counted, for instance without a CPU controller.
    """
    try:
        lines = membership.read_text().splitlines()
    except OSError:
        return {}
    for folder in _cgroup_folders(lines, mount):
        try:
            counters = dict(line.split() for line in (folder / "cpu.stat").read_text().splitlines())
        except OSError:
            continue
        if "nr_periods" in counters:
            throttled_s = (
                int(counters["throttled_usec"]) / 1e6
                if "throttled_usec" in counters
                else int(counters["throttled_time"]) / 1e9
            )
            return {
                "cgroup_periods": int(counters["nr_periods"]),
                "cgroup_throttled_periods": int(counters["nr_throttled"]),
                "throttled_s": throttled_s,
            }
    return {}


def _cgroup_folders(membership: list[str], mount: Path) -> Iterator[Path]:
    """Yield where the counters may be: version 1 has a hierarchy per controller, version 2 a single one."""
    for line in membership:
        _, controllers, path = line.split(":", 2)
        if not controllers:
            roots = [mount, mount / "unified"]
        elif "cpu" in controllers.split(","):
            roots = [mount / controllers, mount / "cpu"]
        else:
            continue
        for root in roots:
            yield root / path.lstrip("/")
            # Without a cgroup namespace, a container sees the host's path here but only its own cgroup mounted.
            yield root
