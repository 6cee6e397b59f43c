"""The template of a code server over time: made, replaced if it dies, renewed when it is old."""

import logging
import os
import subprocess
import threading
import time
from collections.abc import Sequence
from contextvars import ContextVar
from dataclasses import dataclass, field
from functools import partial
from importlib import import_module
from multiprocessing import popen_spawn_posix
from multiprocessing.process import BaseProcess
from typing import Any

from dagster_warm import asset_index, internals, shortcuts
from dagster_warm.launcher import POD_METADATA, WARM_MESSAGE
from dagster_warm.logs import ServerLogging
from dagster_warm.memory import be_killed_first
from dagster_warm.pipes import handed_over
from dagster_warm.pods import own_pod
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
from dagster_warm.state import State
from dagster_warm.steps import StepLauncher
from dagster_warm.template import (
    SUCCESSION_VARIABLE,
    Opening,
    PreparationError,
    Succession,
    Template,
    be_template,
    fork_template,
)

_MOST_TEMPLATES = 5
"""How many templates a server tries before it launches its runs the stock way."""

_WATCH_INTERVAL_S = 1.0


@dataclass(frozen=True)
class Wish:
    """What a run needs of the process that it is forked from."""

    is_cold: bool = False
    """Whether the run is not to be forked."""
    repository: str = ""
    load_data: Any = None
    """The state of its repository that it was planned with; None if that does not matter."""


wish: ContextVar[Wish] = ContextVar("wish", default=Wish())  # noqa: B039 - frozen
reasons_cold: ContextVar[list[str] | None] = ContextVar("reasons_cold", default=None)
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
    max_age_s: float | None = None
    """The age from which a template is renewed, in seconds; None never renews it."""
    load_limit_s: float | None = 900.0
    """How long a template may take to load the code and to prepare itself, in seconds; None does not limit it."""


@dataclass
class Warmth:
    """Owns the template of one server: creates it, replaces it if it dies, and launches processes from it."""

    options: Options
    command: Sequence[str]
    """Starts a server like this one, so that a replacement loads the code in the same way."""
    succession: Succession | None
    """In a process started to be a later template: what it has inherited."""
    logger: logging.Logger
    inherited: State = field(init=False)
    """In a process started to be a later template: the state of its server."""
    _generation: int = 1
    _deaths: int = 0
    _template: Template | None = None
    _next: Template | None = None
    """The template that is to take over once it is prepared."""
    _released: list[Template] = field(default_factory=list)
    """Templates that serve their last runs, or have died."""
    _since_s: float = field(default_factory=time.monotonic)
    """When the template was last renewed, or renewing it last failed."""
    _loaded: internals.LoadedRepositories | None = None
    """What the server serves now."""
    _tried: State | None = None
    """The state of the server when a template was last started."""
    _why_cold: str = ""
    _lock: threading.Lock = field(default_factory=threading.Lock)

    def __post_init__(self) -> None:
        self.inherited = State.deserialize(self.succession.state) if self.succession else State()

    def begin(
        self,
        loaded: internals.LoadedRepositories,
        instance_ref: internals.InstanceRef | None,
        harmless: frozenset[int],
        server_logging: ServerLogging,
    ) -> None:
        """Fork the first template from this process, which has just loaded the code; or become a template.

        Raises:
            Exception: there can be no template, and `refuse_hazards` is set.
        """
        self._loaded = loaded
        prepare = partial(self._prepare, loaded, instance_ref, harmless, server_logging)
        if self.succession:
            be_template(
                self.succession.channel, prepare, self._enter_child, self.succession.prepared_w, is_importer=True
            )
        try:
            self._check_for_hazards(harmless)
            self._tried = State.of(loaded)
            self._template = fork_template(prepare, self._enter_child, self._tried, self.options.load_limit_s)
            internals.describe_location("warm")
        except (UnsafeToForkError, PreparationError) as error:
            if self.options.refuse_hazards:
                raise
            self._become_cold(str(error))
        except Exception as error:  # whatever it is, the location can be served without
            if self.options.refuse_hazards:
                raise
            self._become_cold(f"No template can be made: {type(error).__name__}: {error}.")

    def launch(self, process: BaseProcess) -> Any:
        """Start a process from the template; the stock way if it is cold, or if there is no template that answers."""
        template, asked = self._template, wish.get()
        if asked.is_cold:
            return _launch_cold(process, "Its tag bench/cold asks for that.")
        if template is None:
            return _launch_cold(process, self._why_cold or "The template is being replaced.")
        if not template.is_prepared():
            reason = "The template that replaces a dead one is not prepared yet."
        elif not self._is_current(template):
            reason = "The state of the code was refreshed, and the template that has it is not prepared yet."
        elif asked.load_data is not None and asked.load_data != template.state.load_data.get(asked.repository):
            reason = "It was planned with another state of the code than the present one."
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
        return _launch_cold(process, reason)

    def watch(self, stopped: threading.Event) -> None:
        """Replace the template whenever it dies, and renew it when it is old, until the server has stopped."""
        limit_s = self.options.load_limit_s
        while not stopped.wait(_WATCH_INTERVAL_S):
            template = self._template
            if template is not None and template.is_dead():
                self._replace(template, f"The template (pid {template.pid}) has died.")
            elif template is not None and template.is_overdue(limit_s):
                self._replace(template, f"The template (pid {template.pid}) was not prepared in time.")
            self._released = [template for template in self._released if not template.is_reaped()]
            if self._next is not None:
                self._take_over(self._next)
            elif template is not None and self._is_due(template):
                self._renew()

    def stop(self) -> None:
        """Stop the template; the processes that it forked continue."""
        with self._lock:
            for template in (self._template, self._next):
                if template is not None:
                    template.release()
            self._template = self._next = None

    @property
    def has_state(self) -> bool:
        """Whether definitions are made from more than code, so that a run may have been planned with other ones."""
        return self._template is not None and bool(self._template.state.load_data)

    def _state(self) -> State:
        """Return the state of the server's definitions."""
        assert self._loaded is not None
        return State.of(self._loaded)

    def _is_current(self, template: Template) -> bool:
        """Return whether a template has the definitions that the server has."""
        return bool(template.state == self._state())

    def _is_due(self, template: Template) -> bool:
        """Return whether the template is to be renewed: it is too old, or the code's state was refreshed since."""
        if self.options.max_age_s is not None and time.monotonic() - self._since_s > self.options.max_age_s:
            return True
        return not self._is_current(template) and self._tried != self._state()

    def _become_cold(self, reason: str) -> None:
        self._why_cold = reason
        self.logger.warning("%s Runs are launched the stock way.", reason)
        internals.describe_location(f"cold. {reason}")

    def _replace(self, gone: Template, reason: str) -> None:
        """Start another template, unless another thread already has."""
        with self._lock:
            if self._template is not gone:
                return
            gone.reap()
            self._template = None
            self._deaths += 1
            if self._deaths >= _MOST_TEMPLATES:
                self._become_cold(f"{reason} It was the last of {_MOST_TEMPLATES}.")
                return
            if self._next is not None:
                self.logger.warning("%s Its renewal replaces it.", reason)
                self._template, self._next = self._next, None
                return
            self.logger.warning("%s Template %d replaces it.", reason, self._generation + 1)
            try:
                self._template = self._start_next()
            except OSError as error:
                self._become_cold(f"{reason} No other can be started: {error}.")

    def _renew(self) -> None:
        """Start the next template, with the values that the code works out when it is imported now."""
        with self._lock:
            if self._template is None:  # there has never been one, or too many have died
                return
            try:
                self._next = self._start_next()
            except OSError as error:
                self._since_s = time.monotonic()
                self.logger.warning("The template cannot be renewed, and serves on: %s.", error)

    def _take_over(self, renewal: Template) -> None:
        """Let a renewal serve from now on if it is prepared; the present template serves its runs to their ends."""
        limit_s = self.options.load_limit_s
        if not renewal.is_prepared() and not renewal.is_overdue(limit_s):
            return
        with self._lock:
            if self._next is not renewal:  # the server has stopped, or it has replaced a template that died
                return
            self._next, self._since_s = None, time.monotonic()
            try:
                renewal.check_prepared(limit_s)
            except PreparationError as error:
                renewal.discard()
                self.logger.warning("The template could not be renewed, and serves on. %s", error)
                return
            if self._template is not None:
                self._template.release()
                self._released.append(self._template)
            self._template, self._deaths = renewal, 0
            self.logger.info("Template %d (pid %d) replaces an older one.", self._generation, renewal.pid)
            internals.describe_location("warm")

    def _start_next(self) -> Template:
        """Start a process that loads the code itself, makes the server's definitions, and becomes a template."""
        self._generation += 1
        self._tried = state = self._state()
        with Opening.open() as opening, handed_over(state.serialize()) as state_r:
            fds = (*opening.channel.descriptors, opening.prepared_w, state_r)
            value = ",".join(map(str, (*fds, self._generation)))
            process = subprocess.Popen(self.command, env={**os.environ, SUCCESSION_VARIABLE: value}, pass_fds=fds)
        process.returncode = 0  # reaped by pid, like a forked template
        return opening.template(process.pid, state)

    def _check_for_hazards(self, harmless: frozenset[int]) -> None:
        if hazards := find_hazards(harmless, self.options.accepted):
            raise UnsafeToForkError(hazards)

    def _prepare(
        self,
        loaded: internals.LoadedRepositories,
        instance_ref: internals.InstanceRef | None,
        harmless: frozenset[int],
        server_logging: ServerLogging,
        client: TemplateClient,
    ) -> None:
        self._born_at_s = time.time()
        self._pod = own_pod()
        server_logging.undo()
        harmless |= open_descriptors()  # the template's own
        internals.hold(loaded, self.inherited.load_data)
        shortcuts.keep_engines()
        shortcuts.name_event_type()
        shortcuts.let_tail_watch()
        asset_index.select_by_index(loaded)
        internals.rehearse(loaded, instance_ref)
        self._check_for_hazards(harmless)
        internals.announce(self._describe)
        if self.options.warm_steps:
            internals.start_all_steps_by(METHOD)
        self._generation, self._pid = self.succession.generation if self.succession else 1, os.getpid()
        WarmContext.launch = staticmethod(StepLauncher(client).launch)
        self._hooks = [_find(name) for name in self.options.after_fork]
        self._assets = internals.count_assets(loaded)

    def _enter_child(self, request: Request) -> None:
        be_killed_first()
        self._asked_at_s = request.asked_at_s
        self._forked_at_s = time.time()
        for hook in self._hooks:
            hook()

    def _describe(self) -> tuple[str, dict[str, Any]]:
        fork_ms = 1000 * (self._forked_at_s - self._asked_at_s)
        age_s = self._asked_at_s - self._born_at_s
        return (
            f"{WARM_MESSAGE}: forked within {fork_ms:.0f} ms from template {self._generation} (pid {self._pid}), "
            f"{age_s:.0f} s old, which holds {self._assets:,} assets.",
            {
                "bench/fork_ms": round(fork_ms, 3),
                "bench/template_pid": self._pid,
                "bench/template_generation": self._generation,
                "bench/template_age_s": round(age_s, 3),
                "bench/template_assets": self._assets,
                **({POD_METADATA: self._pod} if self._pod else {}),
            },
        )


def _launch_cold(process: BaseProcess, reason: str) -> Any:
    if (reasons := reasons_cold.get()) is not None:
        reasons.append(reason)
    return popen_spawn_posix.Popen(process)


def _find(name: str) -> Any:
    module, _, function = name.partition(":")
    return getattr(import_module(module), function)
