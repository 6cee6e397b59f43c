"""Ends a forked process as the interpreter ends a program, but for what it has inherited.

An exit handler registered by an import belongs to the process that imported: in a forked one it would remove a folder
that others use, or wait for a thread that does not exist there. Handlers that deliver what a library has gathered, such
as spans, run in every process. A file's buffer is written once, by the process that filled it.
"""

import atexit
import gc
import inspect
import logging
import sys
import threading
import traceback
import weakref
from _io import _IOBase
from collections.abc import Callable, Iterable, Mapping, Sequence
from contextlib import suppress
from functools import partial, wraps
from types import FunctionType
from typing import Any

_DELIVERERS = ("concurrent.futures", "ddtrace", "opentelemetry", "sentry_sdk")
"""Packages whose exit handlers concern the process that runs them, and are known to be fit for forked ones."""

_handlers: list[tuple[Callable[..., Any], Sequence[Any], Mapping[str, Any]]] = []
"""The deliverers' exit handlers, in the order of their registration."""
_files: list[Any] = []
"""Open files that forked processes inherit."""
_loggers: list[weakref.ref[logging.Handler]] = []
"""Logging handlers that this process has inherited."""


def watch() -> None:
    """Note the deliverers' exit handlers from now on: Python keeps them where they cannot be listed."""
    register, unregister = atexit.register, atexit.unregister

    @wraps(register)  # type: ignore[arg-type]
    def note(function: Callable[..., Any], /, *args: Any, **kwargs: Any) -> Callable[..., Any]:
        if _delivers(function):
            _handlers.append((function, args, kwargs))
        return register(function, *args, **kwargs)

    @wraps(unregister)
    def forget(function: Callable[..., Any], /) -> None:
        _handlers[:] = [handler for handler in _handlers if handler[0] != function]
        unregister(function)

    atexit.register, atexit.unregister = note, forget


def flush_before_fork(objects: Iterable[object]) -> None:
    """Write what files and logging handlers hold back, so that no forked process writes it again.

    Args:
        objects: those among which to look for files.
    """
    _files.extend(_files_among(objects))
    for ref in logging._handlerList:  # type: ignore[attr-defined]
        _flush(ref())
    for file in [*_files, sys.stdout, sys.stderr]:
        _flush(file)


def disown() -> None:
    """Leave what this process has inherited to the process that made it."""
    gc.freeze()  # from now on, `gc.get_objects` lists what this process makes
    atexit._clear()
    for function, args, kwargs in tuple(_handlers):
        atexit.register(function, *args, **kwargs)
    threading._threading_atexits[:] = [call for call in threading._threading_atexits if _delivers(_registered(call))]  # type: ignore[attr-defined]
    for finalizer in list(weakref.finalize._registry):  # type: ignore[attr-defined]
        finalizer.atexit = False
    weakref.finalize._registered_with_atexit = False  # type: ignore[attr-defined]
    _loggers[:] = logging._handlerList  # type: ignore[attr-defined]


def finish() -> None:
    """Do what the interpreter does at the end of a program: exit handlers, logging, `__del__`, files."""
    with suppress(BaseException):
        atexit._run_exitfuncs()
    logging.shutdown([ref for ref in logging._handlerList if ref not in _loggers])  # type: ignore[attr-defined]
    for ref in _loggers:
        _flush(ref())
    made = gc.get_objects()
    files = _files_among(made)
    for file in [*_files, *files]:
        _flush(file)
    for one in made:
        delete = getattr(type(one), "__del__", None)
        if isinstance(delete, FunctionType):
            try:
                delete(one)
            except BaseException:
                print(f"Exception ignored in: {delete!r}", file=sys.stderr)
                traceback.print_exc()
    # A compressed or archived file writes its end into another file, which is closed after it.
    for file in sorted(files, key=lambda file: type(file).__module__ == "_io"):
        with suppress(Exception):
            file.close()
    for stream in (sys.stdout, sys.stderr):
        _flush(stream)


def _delivers(function: Any) -> bool:
    module = getattr(function, "__module__", None) or ""
    return any(module == package or module.startswith(f"{package}.") for package in _DELIVERERS)


def _registered(call: Any) -> Any:
    """Return the function that `threading` calls at exit: a partial object or, in Python 3.13, a closure."""
    return call.func if isinstance(call, partial) else inspect.getclosurevars(call).nonlocals.get("func")


def _files_among(objects: Iterable[object]) -> list[Any]:
    # `type`, because a proxy's `__class__` may run code.
    return [one for one in objects if issubclass(type(one), _IOBase)]


def _flush(file: Any) -> None:
    with suppress(Exception):
        file.flush()
