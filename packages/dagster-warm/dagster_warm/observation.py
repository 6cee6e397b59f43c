"""Observes user code while it is loaded: what it reads, and which lines leave threads and descriptors behind."""

import builtins
import os
import sys
import threading
import time
from collections.abc import Callable, Collection
from dataclasses import dataclass
from importlib.machinery import ExtensionFileLoader, SourceFileLoader
from pathlib import Path
from types import FrameType, TracebackType
from typing import Any

from dagster_warm import reads
from dagster_warm.own_code import LOOK, OwnCode, compile_with_looks
from dagster_warm.safety import list_entries

_INSTANT_NS = 2_000
"""Nothing that starts a thread or opens a descriptor takes less time; to list them takes ten times as long."""
_LOCKS = {type(threading.Lock()): "threading.Lock", type(threading.RLock()): "threading.RLock"}


@dataclass(frozen=True)
class Place:
    """A line of own code."""

    file: str | None = None
    """None if no own code was running."""
    line: int | None = None
    library: str | None = None
    """The library that the line was importing."""


@dataclass(frozen=True)
class Note:
    """Something that own code did."""

    kind: str
    """One of the kinds of `reads`."""
    what: str
    place: Place


class Observation:
    """The observation of this process, from its creation to the end of the process."""

    def __init__(self, own: OwnCode, *, looking: bool = True) -> None:
        """Begin to observe.

        Args:
            own: which code is the user's.
            looking: whether it is compiled with looks. Without them no functions that read are noted.
        """
        self.notes: dict[Note, None] = {}
        """What own code did so far, each once, in order."""
        self._own = own
        self.looking = looking
        self._files: set[str] = set()
        """The files of own code that were loaded."""
        self._running = Place()
        """What is running, as far as known."""
        self._entries = list_entries()
        self._origins: dict[str, Place] = {}
        self._looked_at_ns = 0
        self._acquired: dict[int, tuple[Any, Place]] = {}
        """The locks that own code acquired, by identity, and where."""
        self._seeded: set[str] = set()
        self._is_noting = True
        self._thread = threading.get_ident()
        self._reads = reads.find_reads(sys.modules)
        self._types = set(map(type, self._reads))
        setattr(builtins, LOOK, self._look)
        for loader, method in (
            (SourceFileLoader, "exec_module"),
            (ExtensionFileLoader, "create_module"),  # runs some extensions; exec_module runs the others
            (ExtensionFileLoader, "exec_module"),
        ):
            setattr(loader, method, self._observed(getattr(loader, method)))
        self._observe_environment()
        sys.addaudithook(self._hear)

    def end(self) -> None:
        """Note nothing from now on. Threads and descriptors keep being attributed."""
        self._look_around()
        for lock, place in self._acquired.values():
            is_held = getattr(lock, "locked", None) or lock._is_owned
            if is_held():
                self._note(reads.LOCK, _LOCKS[type(lock)], place)
        self._is_noting = False

    def origin(self, entries: Collection[str]) -> Place:
        """Return where one of these threads or descriptors, in the form of `list_entries`, was first seen."""
        self._look_around()
        return next((self._origins[entry] for entry in sorted(entries) if entry in self._origins), Place())

    def place_of(self, traceback: TracebackType | None) -> Place:
        """Return the innermost line of own code in a traceback."""
        place = Place()
        while traceback:
            if traceback.tb_frame.f_code.co_filename in self._files:
                place = Place(traceback.tb_frame.f_code.co_filename, traceback.tb_lineno)
            traceback = traceback.tb_next
        return place

    def _note(self, kind: str, what: str, place: Place | None) -> None:
        if place and self._is_noting:
            self.notes[Note(kind, what, place)] = None

    def _look(self, function: Any, arguments: int) -> Any:
        """Look at what own code is about to call; return it."""
        frame = sys._getframe(1)
        if threading.get_ident() == self._thread:
            if time.perf_counter_ns() - self._looked_at_ns > _INSTANT_NS:
                self._look_around()
            self._running = _place(frame)
        if self._is_noting and type(function) in self._types:
            self._consider(function, arguments, frame)
        self._looked_at_ns = time.perf_counter_ns()
        return function

    def _consider(self, function: Any, arguments: int, frame: FrameType) -> None:
        read = self._reads.get(function)
        if read is None:
            holder = getattr(function, "__self__", None)
            if type(holder) in _LOCKS and function.__name__ == "acquire":
                self._acquired[id(holder)] = (holder, _place(frame))
        elif read.reads(arguments) and not (read.kind == reads.RANDOMNESS and read.module in self._seeded):
            if read.kind == reads.SEED:
                self._seeded.add(read.module)
            self._note(read.kind, read.name, _place(frame))

    def _look_around(self) -> None:
        """Attribute new threads and descriptors to what has been running."""
        entries = list_entries()
        for entry in entries - self._entries:
            self._origins[entry] = self._running
        self._entries = entries

    def _observed(self, load: Callable[[Any, Any], Any]) -> Callable[[Any, Any], Any]:
        """Observe a loader's method that runs a module."""

        def observed(loader: Any, module: Any) -> Any:  # create_module is given the module's spec
            if threading.get_ident() != self._thread:
                return load(loader, module)
            self._look_around()
            before = self._running
            name = getattr(module, "__name__", None) or module.name
            try:
                if isinstance(loader, SourceFileLoader) and self._own.includes(name, Path(loader.path)):
                    return self._load_own(load, loader, module)
                importer = self._find_own(sys._getframe(1)) or Place()
                self._running = Place(importer.file, importer.line, name.partition(".")[0])
                return load(loader, module)
            finally:
                self._look_around()
                self._running = before
                self._learn(name)

        return observed

    def _load_own(self, load: Callable[[Any, Any], Any], loader: SourceFileLoader, module: Any) -> None:
        self._files.add(loader.path)
        self._running = Place(loader.path, 1)
        if self.looking and type(loader) is SourceFileLoader:
            exec(compile_with_looks(loader.get_data(loader.path), loader.path), module.__dict__)
        else:
            load(loader, module)

    def _learn(self, module: str) -> None:
        """Learn which functions of a module that has just been imported read something."""
        if module in reads.MODULES and module in sys.modules:
            found = reads.find_reads({module: sys.modules[module]})
            self._reads |= found
            self._types |= set(map(type, found))

    def _observe_environment(self) -> None:
        environment = type(os.environ)
        read = environment.__getitem__

        def observed(variables: Any, name: Any) -> Any:
            if self._is_noting and variables is os.environ:
                self._note(reads.ENVIRONMENT, str(name), self._find_own(sys._getframe(1), _reads_for_others))
            return read(variables, name)

        environment.__getitem__ = observed  # type: ignore[method-assign]

    def _hear(self, event: str, arguments: tuple[Any, ...]) -> None:
        """Note an event of Python's audit system."""
        describe = _EVENTS.get(event)
        if describe is None or not self._is_noting:
            return
        kind, what = describe(*arguments)
        passes = _is_tempfile if kind == reads.TEMPORARY_FILE else _is_no_import
        place = self._find_own(sys._getframe(1), passes)
        if event != "socket.connect" or not self._is_resolved(what, place):
            self._note(kind, what, place)

    def _is_resolved(self, address: str, place: Place | None) -> bool:
        """Return whether a line has asked for this address under its name."""
        port = address.rpartition(":")[2]
        return any(n.kind == reads.NETWORK and n.place == place and n.what.endswith(f":{port}") for n in self.notes)

    def _find_own(self, frame: FrameType | None, passes: Callable[[FrameType], bool] = lambda _: True) -> Place | None:
        """Return the line of own code that is running; None if there is none, or `passes` rejects a frame before it."""
        while frame:
            if frame.f_code.co_filename in self._files:
                return _place(frame)
            if not passes(frame):
                return None
            frame = frame.f_back
        return None


def _place(frame: FrameType) -> Place:
    return Place(frame.f_code.co_filename, frame.f_lineno)


def _reads_for_others(frame: FrameType) -> bool:
    if frame.f_code.co_name == "setdefault":
        return False
    module = frame.f_globals.get("__name__", "")
    return module in reads.READING_FOR_OTHERS or module.partition(".")[0] in reads.READING_FOR_OTHERS


def _is_tempfile(frame: FrameType) -> bool:
    return frame.f_globals.get("__name__") == "tempfile"


def _is_no_import(frame: FrameType) -> bool:
    return frame.f_code.co_filename != "<frozen importlib._bootstrap>"


def _connection(host: Any, port: Any = None, *_: Any) -> tuple[str, str]:
    return reads.NETWORK, f"{_text(host)}:{port}" if port else _text(host)


def _subprocess(program: Any, arguments: Any, *_: Any) -> tuple[str, str]:
    command = [_text(one) for one in (arguments if isinstance(arguments, (list, tuple)) else [arguments])]
    if command[1:2] == ["-c"] and Path(_text(program)).name in ("sh", "bash"):
        return _shell(command[2])
    return reads.SUBPROCESS, Path(_text(program)).name


def _shell(command: Any) -> tuple[str, str]:
    return reads.SUBPROCESS, Path((_text(command).split() or ["sh"])[0]).name


def _text(value: Any) -> str:
    return os.fsdecode(value) if isinstance(value, (str, bytes, os.PathLike)) else str(value)


_EVENTS: dict[str, Callable[..., tuple[str, str]]] = {
    "socket.getaddrinfo": _connection,
    "socket.connect": lambda _, address: _connection(*address) if isinstance(address, tuple) else _connection(address),
    "subprocess.Popen": _subprocess,
    "os.system": _shell,
    "os.fork": lambda: (reads.SUBPROCESS, "fork"),
    "os.forkpty": lambda: (reads.SUBPROCESS, "fork"),
    "tempfile.mkdtemp": lambda path: (reads.TEMPORARY_FILE, _text(path)),
    "tempfile.mkstemp": lambda path: (reads.TEMPORARY_FILE, _text(path)),
}
"""What is noted of Python's audit events: kind and description, without arguments, which may be secret."""
