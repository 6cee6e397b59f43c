"""Dagster's code server, with runs forked from a template."""

import logging
import multiprocessing
import os
import subprocess
import tempfile
import threading
import time
from collections.abc import Sequence
from contextvars import ContextVar
from dataclasses import dataclass, field
from functools import cached_property, partial
from importlib import import_module
from multiprocessing import popen_spawn_posix
from multiprocessing.process import BaseProcess
from pathlib import Path
from typing import Any

from dagster_warm import internals, shortcuts
from dagster_warm.launcher import COLD_TAG
from dagster_warm.processes import (
    METHOD,
    Request,
    TemplateClient,
    TemplateGoneError,
    WarmContext,
    WarmPopen,
)
from dagster_warm.safety import UnsafeToForkError, find_hazards, open_descriptors
from dagster_warm.template import (
    Listener,
    PreparationError,
    Template,
    be_template,
    fork_template,
    listen,
)

_MOST_TEMPLATES = 5
"""How many templates a server tries before it launches its runs the stock way."""

_cold: ContextVar[bool] = ContextVar("cold", default=False)


@dataclass(frozen=True)
class Options:
    """The options of a warm server, in addition to Dagster's."""

    refuse_hazards: bool = False
    """Whether code that cannot be forked is an error; otherwise its runs are launched the stock way."""
    accepted: tuple[str, ...] = ()
    """Name patterns of the hazards that the user accepts."""
    after_fork: tuple[str, ...] = ()
    """Functions, as `module:function`, to call first in every forked process."""
    warm_steps: bool = True
    """Whether multiprocess executors also fork their steps."""


@dataclass
class Warmth:
    """Owns the template of one server: creates it, replaces it if it dies, and launches processes from it."""

    options: Options
    command: Sequence[str]
    """Starts a server like this one, so that a replacement loads the code in the same way."""
    replaces: Listener | None
    """In a process started as a replacement template: the socket for its requests."""
    logger: logging.Logger
    _generation: int = 0
    _template: Template | None = None
    _lock: threading.Lock = field(default_factory=threading.Lock)

    @cached_property
    def _directory(self) -> Path:
        """The directory of the templates' sockets; the last template removes it."""
        return Path(tempfile.mkdtemp(prefix="dagster-warm-"))

    def begin(
        self, loaded: internals.LoadedRepositories, instance_ref: internals.InstanceRef | None, harmless: frozenset[int]
    ) -> None:
        """Fork the first template from this process, which has just loaded the code; or become a template.

        Raises:
            UnsafeToForkError: the code cannot be forked, and `refuse_hazards` is set.
        """
        prepare = partial(self._prepare, loaded, instance_ref, harmless)
        if self.replaces:
            be_template(self.replaces, prepare, self._enter_child)
        self._generation = 1
        try:
            self._check_for_hazards(harmless)
            self._template = fork_template(self._directory, "1", prepare, self._enter_child)
        except (UnsafeToForkError, PreparationError) as error:
            if self.options.refuse_hazards:
                raise
            self.logger.warning("%s Runs are launched the stock way.", error)

    def launch(self, process: BaseProcess) -> Any:
        """Start a process from the template; the stock way if it is cold or there is no template."""
        for _ in range(_MOST_TEMPLATES):
            template = self._template
            if template is None or _cold.get():
                break
            try:
                return WarmPopen(process, template.client)
            except TemplateGoneError:
                self._replace(template)
        return popen_spawn_posix.Popen(process)

    def stop(self) -> None:
        """Stop the template; the processes that it forked continue."""
        with self._lock:
            if self._template:
                self._template.release()
                self._template = None

    def _replace(self, gone: Template) -> None:
        """Start another template, unless another thread already has. It loads the code itself."""
        with self._lock:
            if self._template is not gone:
                return
            gone.reap()
            self._template = None
            if self._generation >= _MOST_TEMPLATES:
                self.logger.error("%d templates have died; runs are now launched the stock way.", self._generation)
                return
            self._generation += 1
            self.logger.warning("The template (pid %d) died; template %d replaces it.", gone.pid, self._generation)
            listener, lifeline = listen(self._directory, str(self._generation))
            fds = (listener.socket.fileno(), listener.lifeline)
            environ = {**os.environ, LISTENER_VARIABLE: f"{fds[0]},{fds[1]},{listener.address}"}
            replacement = subprocess.Popen(self.command, env=environ, pass_fds=fds)
            listener.close()
            self._template = Template(replacement.pid, TemplateClient(listener.address), lifeline)
            replacement.returncode = 0  # reaped by pid, like a forked template

    def _check_for_hazards(self, harmless: frozenset[int]) -> None:
        hazards = find_hazards(harmless, self.options.accepted)
        if hazards:
            raise UnsafeToForkError(hazards)

    def _prepare(
        self,
        loaded: internals.LoadedRepositories,
        instance_ref: internals.InstanceRef | None,
        harmless: frozenset[int],
    ) -> None:
        self._born_at_s = time.time()
        harmless |= open_descriptors()  # the template's own
        internals.hold(loaded)
        shortcuts.keep_migrations()
        shortcuts.keep_engines()
        shortcuts.let_tail_watch()
        internals.select_by_index(loaded)
        internals.rehearse(loaded, instance_ref)
        self._check_for_hazards(harmless)
        internals.announce(self._describe)
        if self.options.warm_steps:
            internals.start_all_steps_by(METHOD)
        address = self.replaces.address if self.replaces else self._directory / "1"
        self._generation, self._pid = int(address.name), os.getpid()
        WarmContext.launch = staticmethod(partial(_launch_step, TemplateClient(address)))
        self._hooks = [_find(name) for name in self.options.after_fork]
        self._assets = internals.count_assets(loaded)

    def _enter_child(self, request: Request) -> None:
        self._asked_at_s = request.asked_at_s
        self._forked_at_s = time.time()
        for hook in self._hooks:
            hook()

    def _describe(self) -> tuple[str, dict[str, Any]]:
        fork_ms = 1000 * (self._forked_at_s - self._asked_at_s)
        age_s = self._asked_at_s - self._born_at_s
        return (
            f"Launched warm: forked within {fork_ms:.0f} ms from template {self._generation} (pid {self._pid}), "
            f"{age_s:.0f} s old, which holds {self._assets:,} assets.",
            {
                "bench/fork_ms": round(fork_ms, 3),
                "bench/template_pid": self._pid,
                "bench/template_generation": self._generation,
                "bench/template_age_s": round(age_s, 3),
                "bench/template_assets": self._assets,
            },
        )


LISTENER_VARIABLE = "DAGSTER_WARM_LISTENER"
"""Marks a process as a replacement and passes the descriptors it inherits: `socket,lifeline,address`."""


class WarmApiServer(internals.DagsterApiServer):
    """Serves Dagster's gRPC interface and launches its runs from a template."""

    def __init__(self, *, warmth: Warmth, **kwargs: Any) -> None:
        harmless = open_descriptors()
        self._warmth = warmth

        def begin(loaded: internals.LoadedRepositories) -> None:
            instance = internals.instance_of(self)
            warmth.begin(loaded, instance.get_ref() if instance else None, harmless)

        with internals.when_loaded(begin):
            super().__init__(**kwargs)
        WarmContext.launch = staticmethod(warmth.launch)
        internals.set_context(self, multiprocessing.get_context(METHOD))

    def StartRun(self, request: Any, context: Any) -> Any:  # noqa: N802
        """Launch a run from the template, or the stock way if the run's tag asks for it."""
        token = _cold.set(self._is_to_be_cold(request))
        try:
            return super().StartRun(request, context)
        finally:
            _cold.reset(token)

    def cleanup(self) -> None:
        """Stop the template after the last call."""
        super().cleanup()
        self._warmth.stop()

    def _is_to_be_cold(self, request: Any) -> bool:
        instance = internals.instance_of(self)
        run = instance.get_run_by_id(internals.run_of(request)[0]) if instance else None
        return run is not None and run.tags.get(COLD_TAG) == "true"


def _launch_step(template: TemplateClient, process: BaseProcess) -> Any:
    try:
        return WarmPopen(process, template)
    except TemplateGoneError:
        return popen_spawn_posix.Popen(process)


def _find(name: str) -> Any:
    module, _, function = name.partition(":")
    return getattr(import_module(module), function)
