"""Finds what a template must not hold, because its children would share it or lack it.

A forked child has a single thread and a copy of every descriptor. The parent's other threads are missing from it,
and the locks that they held stay locked. A connection would be used by several processes at once.
"""

import gc
import os
import socket
import threading
from collections.abc import Iterator, Sequence
from contextlib import suppress
from dataclasses import dataclass
from fnmatch import fnmatchcase
from pathlib import Path

_SELF = Path("/proc/self")
_HARMLESS_THREADS = ("jemalloc_bg_thd", "polars-ooc-clea")
"""Threads of compiled libraries that handle forks, or do without: jemalloc, bundled with pyarrow and polars, has a fork
handler; polars' cleaner removes files that a query spilled, which the next process with polars does as well."""
_HARMLESS_TARGETS = ("opentelemetry.sdk.",)
"""Modules whose Python threads are started anew in a forked process, by a handler of their own."""
_EVENT_LOOPS = ("anon_inode:[eventpoll]", "anon_inode:[io_uring]", "anon_inode:inotify")


@dataclass(frozen=True)
class Hazard:
    """Something that does not survive a fork."""

    name: str
    """The name that `--accept` matches: `thread metrics (app.stats:flush)`, `connection to 10.0.0.1:5432`."""
    remedy: str
    """How to avoid it."""
    entries: frozenset[str] = frozenset()
    """Where the system lists it, in the form of `list_entries`."""


_UNSEEN = Hazard(
    "unseen threads and connections", "this system has no /proc that would list them; accept this if there are none"
)


class UnsafeToForkError(Exception):
    """Importing the code created something that does not survive a fork; the message names it."""

    def __init__(self, hazards: Sequence[Hazard]) -> None:
        super().__init__(
            "Runs cannot be forked from this code: importing it creates what does not survive a fork: "
            + "; ".join(f"{hazard.name} ({hazard.remedy})" for hazard in hazards)
            + "."
        )


def open_descriptors() -> frozenset[int]:
    """Return the open descriptors; empty where the system does not list them."""
    try:
        entries = list((_SELF / "fd").iterdir())
    except FileNotFoundError:
        return frozenset()
    return frozenset(int(entry.name) for entry in entries if entry.is_symlink())  # drops the descriptor of the listing


def list_entries() -> frozenset[str]:
    """List this process's descriptors and threads: `fd/3`, `task/4711`."""
    threads = {f"task/{thread.native_id}" for thread in threading.enumerate()}
    with suppress(FileNotFoundError):
        threads |= {f"task/{task}" for task in os.listdir(_SELF / "task")}  # noqa: PTH208 - called often
        # One of the descriptors is that of the listing itself.
        descriptors = [fd for fd in os.listdir(_SELF / "fd") if _is_open(int(fd))]  # noqa: PTH208
        return frozenset(threads | {f"fd/{fd}" for fd in descriptors})
    return frozenset(threads)


def _is_open(fd: int) -> bool:
    try:
        os.fstat(fd)
    except OSError:
        return False
    return True


def find_hazards(harmless: frozenset[int] = frozenset(), accepted: Sequence[str] = ()) -> list[Hazard]:
    """Find the hazards in this process, without those that go with the garbage.

    Args:
        harmless: descriptors that were open before the user's code ran.
        accepted: name patterns of the hazards that the user accepts.
    """
    found = _look(harmless, accepted)
    if found:
        gc.collect()
        found = _look(harmless, accepted)
    return found


def _look(harmless: frozenset[int], accepted: Sequence[str]) -> list[Hazard]:
    found = [*_threads(), *_native_threads(), *_descriptors(harmless)]
    if not _SELF.exists():
        found.append(_UNSEEN)
    return [hazard for hazard in found if not any(fnmatchcase(hazard.name, pattern) for pattern in accepted)]


def _threads() -> Iterator[Hazard]:
    for thread in threading.enumerate():
        if thread is not threading.main_thread():
            target = getattr(thread, "_target", None) or type(thread).run
            if target.__module__.startswith(_HARMLESS_TARGETS):
                continue
            where = f"{target.__module__}:{target.__qualname__}"
            entries = frozenset({f"task/{thread.native_id}"})
            yield Hazard(f"thread {thread.name} ({where})", "start it when it is needed, not at import", entries)


def _native_threads() -> Iterator[Hazard]:
    """Yield the threads that no Python code started, except those that their library stops for a fork (OpenBLAS)."""
    if not hasattr(os, "fork") or not _find_native_threads():
        return
    if (pid := os.fork()) == 0:
        os._exit(0)
    os.waitpid(pid, 0)
    found = _find_native_threads()
    for name in sorted(set(found.values())):
        entries = frozenset(f"task/{task}" for task, one in found.items() if one == name)
        yield Hazard(f"native thread {name}", "a compiled library starts it; import and use it in the asset", entries)


def _find_native_threads() -> dict[str, str]:
    """Return the names of native threads by id; an unnamed thread has the program's name."""
    known = {str(thread.native_id) for thread in threading.enumerate()}
    known.add(str(os.getpid()))  # the main thread, whose id Python 3.11 does not update in a child
    names = {}
    with suppress(FileNotFoundError):
        for task in (_SELF / "task").iterdir():
            with suppress(OSError):  # the thread has just ended
                if task.name not in known:
                    names[task.name] = (task / "comm").read_text().strip()
    return {task: name for task, name in names.items() if name not in _HARMLESS_THREADS}


def _descriptors(harmless: frozenset[int]) -> Iterator[Hazard]:
    for fd in sorted(open_descriptors() - harmless):
        target = str((_SELF / "fd" / str(fd)).readlink())
        entries = frozenset({f"fd/{fd}"})
        if target.startswith("socket:["):
            inode = target.removeprefix("socket:[").removesuffix("]")
            name = _sockets().get(inode, "connection to another process")
            yield Hazard(name, "open it in a resource or an asset, not at import", entries)
        elif target.startswith("/dev/nvidia"):
            yield Hazard(f"GPU {target}", "use it in an asset, not at import", entries)
        elif target in _EVENT_LOOPS:
            yield Hazard(f"event loop {target}", "start it when it is needed, not at import", entries)


def _sockets() -> dict[str, str]:
    """Describe the sockets of this network namespace, by inode."""
    sockets = {}
    for version in ("tcp", "tcp6", "udp", "udp6"):
        try:
            lines = (_SELF / "net" / version).read_text().splitlines()[1:]
        except FileNotFoundError:
            continue
        for line in lines:
            fields = line.split()
            host, port = _address(fields[2])
            sockets[fields[9]] = f"connection to {host}:{port}" if port else "socket {}:{}".format(*_address(fields[1]))
    return sockets


def _address(encoded: str) -> tuple[str, int]:
    """Parse `0100007F:1538` as 127.0.0.1:5432. An IPv6 address is four little-endian words."""

    host, port = encoded.split(":")
    words = [bytes.fromhex(host[i : i + 8])[::-1] for i in range(0, len(host), 8)]
    family = socket.AF_INET if len(words) == 1 else socket.AF_INET6
    return socket.inet_ntop(family, b"".join(words)), int(port, 16)
