"""Kills for lack of memory: whom the kernel should choose, and how to know that it has."""

import signal
from contextlib import suppress
from pathlib import Path

from dagster_warm.processes import UNKNOWN_EXIT_CODE

_PREFERENCE = 500
"""Added to the score of forked processes, of 1,000 at most: the kernel kills them rather than the server."""
_HIGHEST_SCORE = 1_000


def be_killed_first() -> None:
    """Let the kernel choose this process when memory runs out, rather than those that all runs need."""
    score = Path("/proc/self/oom_score_adj")
    with suppress(OSError):
        score.write_text(str(min(_HIGHEST_SCORE, int(score.read_text()) + _PREFERENCE)))


class Kills:
    """Counts the kernel's kills for lack of memory in the control group of this process, from now on."""

    def __init__(self) -> None:
        self._before = _count()

    def explain(self, exit_code: int) -> str:
        """Return a sentence about a process that such a kill may have ended; nothing if there was none."""
        kills = _count() - self._before
        if exit_code not in (-signal.SIGKILL, UNKNOWN_EXIT_CODE) or kills < 1:
            return ""
        return f" Kills for lack of memory by the kernel, in this container since its code server began: {kills}."


def _count(root: Path = Path("/sys/fs/cgroup"), membership: Path = Path("/proc/self/cgroup")) -> int:
    """Return how many processes were killed in the control group of version 2 or 1; 0 if it does not tell."""
    with suppress(OSError):
        for line in membership.read_text().splitlines():
            _, controllers, group = line.split(":", 2)
            if controllers in ("", "memory"):
                folder = root / controllers
                # In a container, the group of its own is mounted as the root.
                for path in (folder / group.lstrip("/"), folder):
                    for name in ("memory.events", "memory.oom_control"):
                        with suppress(OSError):
                            for entry in (path / name).read_text().splitlines():
                                if entry.startswith("oom_kill "):
                                    return int(entry.split()[1])
    return 0
