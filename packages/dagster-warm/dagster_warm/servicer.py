"""Dagster's code server, with runs forked from a template."""

import logging
import multiprocessing
import os
import subprocess
import tempfile
import threading
import time
from collections.abc import Sequence
from contextlib import ExitStack, suppress
from contextvars import ContextVar
from dataclasses import dataclass, field
from functools import cached_property, partial
from importlib import import_module
from multiprocessing import popen_spawn_posix
from multiprocessing.process import BaseProcess
from pathlib import Path
from typing import Any

import grpc

from dagster_warm import exits, internals, seeds
from dagster_warm.draining import Drain
from dagster_warm.launcher import COLD_TAG
from dagster_warm.processes import (
    METHOD,
    ForkFailedError,
    Request,
    TemplateClient,
    TemplateGoneError,
    TemplateSilentError,
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

_WATCH_INTERVAL_S = 1.0

STOPPING = "The code server is shutting down."
"""Refuses a run; the caller takes the server for one that cannot be reached, and may ask its successor."""

_cold: ContextVar[bool] = ContextVar("cold", default=False)
_fallback: ContextVar[list[str] | None] = ContextVar("fallback", default=None)
"""Collects why a run was not launched warm."""


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
    grace_s: float = 20.0
    """How long runs may go on after the server was told to stop, in seconds."""


@dataclass
class Warmth:
    """Owns the template of one server: creates it, replaces it if it dies, and launches processes from it."""

    options: Options
    command: Sequence[str]
    """Starts a server like this one, so that a replacement loads the code in the same way."""
    replaces: tuple[Listener, int] | None
    """In a process started as a replacement template: the socket for its requests, and where it reports readiness."""
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
            listener, prepared_w = self.replaces
            be_template(listener, prepare, self._enter_child, prepared_w)
        self._generation = 1
        try:
            self._check_for_hazards(harmless)
            self._template = fork_template(self._directory, "1", prepare, self._enter_child)
        except (UnsafeToForkError, PreparationError) as error:
            if self.options.refuse_hazards:
                raise
            self.logger.warning("%s Runs are launched the stock way.", error)

    def launch(self, process: BaseProcess) -> Any:
        """Start a process from the template; the stock way if it is cold, or if there is no template that answers."""
        template = self._template
        if template is None or _cold.get():
            return popen_spawn_posix.Popen(process)
        if not template.is_prepared():
            reason = "The template that replaces a dead one is not prepared yet."
        else:
            try:
                return WarmPopen(process, template.client)
            except ForkFailedError as error:
                reason = f"{error.strerror}."
            except TemplateGoneError:
                reason = f"The template (pid {template.pid}) has died."
                self._replace(template, reason)
            except TemplateSilentError as error:
                reason = str(error)
                self._replace(template, reason)
        self.logger.warning("A run is launched the stock way. %s", reason)
        if (reasons := _fallback.get()) is not None:
            reasons.append(reason)
        return popen_spawn_posix.Popen(process)

    def watch(self, stopped: threading.Event) -> None:
        """Replace the template whenever it dies, until the server has stopped."""
        while not stopped.wait(_WATCH_INTERVAL_S):
            template = self._template
            if template is not None and template.is_dead():
                self._replace(template, f"The template (pid {template.pid}) has died.")

    def stop(self) -> None:
        """Stop the template; the processes that it forked continue."""
        with self._lock:
            if self._template:
                self._template.release()
                self._template = None

    def _replace(self, gone: Template, reason: str) -> None:
        """Start another template, unless another thread already has. It loads the code itself."""
        with self._lock:
            if self._template is not gone:
                return
            gone.reap()
            self._template = None
            if self._generation >= _MOST_TEMPLATES:
                self.logger.error("%s It was the last; runs are now launched the stock way.", reason)
                return
            self._generation += 1
            self.logger.warning("%s Template %d replaces it.", reason, self._generation)
            listener, lifeline = listen(self._directory, str(self._generation))
            prepared_r, prepared_w = os.pipe()
            fds = (listener.socket.fileno(), listener.lifeline, prepared_w)
            environ = {**os.environ, LISTENER_VARIABLE: f"{fds[0]},{fds[1]},{fds[2]},{listener.address}"}
            replacement = subprocess.Popen(self.command, env=environ, pass_fds=fds)
            listener.close()
            os.close(prepared_w)
            self._template = Template(replacement.pid, TemplateClient(listener.address), lifeline, prepared_r)
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
        internals.keep_migrations()
        internals.select_by_index(loaded)
        internals.rehearse(loaded, instance_ref)
        self._check_for_hazards(harmless)
        internals.announce(self._describe)
        if self.options.warm_steps:
            internals.start_all_steps_by(METHOD)
        address = self.replaces[0].address if self.replaces else self._directory / "1"
        self._generation, self._pid = int(address.name), os.getpid()
        WarmContext.launch = staticmethod(_StepLauncher(TemplateClient(address)).launch)
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
"""Marks a process as a replacement and passes the descriptors it inherits: `socket,lifeline,prepared,address`."""


class WarmApiServer(internals.DagsterApiServer):
    """Serves Dagster's gRPC interface and launches its runs from a template."""

    def __init__(self, *, warmth: Warmth, **kwargs: Any) -> None:
        harmless = open_descriptors()
        exits.watch()
        seeds.watch()
        self._warmth = warmth

        def begin(loaded: internals.LoadedRepositories) -> None:
            instance = internals.instance_of(self)
            warmth.begin(loaded, instance.get_ref() if instance else None, harmless)

        with internals.when_loaded(begin):
            super().__init__(**kwargs)
        WarmContext.launch = staticmethod(warmth.launch)
        watch_args = (internals.termination_of(self),)
        threading.Thread(target=warmth.watch, args=watch_args, name="template-watch", daemon=True).start()
        internals.set_context(self, multiprocessing.get_context(METHOD))

    def StartRun(self, request: Any, context: Any) -> Any:  # noqa: N802
        """Launch a run from the template, or the stock way if the run's tag asks for it or the template fails."""
        if internals.is_stopping(self):
            return context.abort(grpc.StatusCode.UNAVAILABLE, STOPPING)
        reasons: list[str] = []
        cold, fallback = _cold.set(self._is_to_be_cold(request)), _fallback.set(reasons)
        try:
            reply = super().StartRun(request, context)
        finally:
            _cold.reset(cold)
            _fallback.reset(fallback)
        for reason in reasons:
            self._tell(request, f"Launched the stock way. {reason}")
        return reply

    def cleanup(self) -> None:
        """Let the runs end within the grace period, end the others, then stop the template."""
        drain = Drain(self, self._warmth.options.grace_s, self._warmth.logger)
        drain.start()
        while True:
            try:
                super().cleanup()  # waits for the runs
                break
            except KeyboardInterrupt:  # a second signal
                drain.hurry()
        self._warmth.stop()

    def _tell(self, request: Any, message: str) -> None:
        run_id, instance_ref = internals.run_of(request)
        with ExitStack() as stack, suppress(Exception):  # the run goes on without it
            instance = internals.instance_of(self) or stack.enter_context(internals.open_instance(instance_ref))
            run = instance.get_run_by_id(run_id)
            assert run is not None
            instance.report_engine_event(message, run)

    def _is_to_be_cold(self, request: Any) -> bool:
        instance = internals.instance_of(self)
        run = instance.get_run_by_id(internals.run_of(request)[0]) if instance else None
        return run is not None and run.tags.get(COLD_TAG) == "true"


class _StepLauncher:
    """Starts the steps of a run."""

    def __init__(self, template: TemplateClient) -> None:
        self._template: TemplateClient | None = template

    def launch(self, process: BaseProcess) -> Any:
        """Start a step from the run's template; the stock way once that has failed."""
        if self._template is None:
            return popen_spawn_posix.Popen(process)
        try:
            return WarmPopen(process, self._template, ends_with_parent=True)
        except ForkFailedError as error:
            reason = f"{error.strerror}."
        except TemplateGoneError:
            reason, self._template = "The run's template has died.", None
        except TemplateSilentError as error:
            reason, self._template = str(error), None
        internals.tell_run(f"Steps are launched the stock way. {reason}")
        return popen_spawn_posix.Popen(process)


def _find(name: str) -> Any:
    module, _, function = name.partition(":")
    return getattr(import_module(module), function)
