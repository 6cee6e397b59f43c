"""Dagster's code server, with runs forked from a template."""

import multiprocessing
import os
import threading
from contextlib import suppress
from typing import Any

import grpc

from dagster_warm import exits, internals, seeds, shortcuts
from dagster_warm.draining import Drain
from dagster_warm.launcher import COLD_TAG
from dagster_warm.logs import ServerLogging
from dagster_warm.memory import Kills
from dagster_warm.processes import (
    METHOD,
    WarmContext,
)
from dagster_warm.safety import open_descriptors
from dagster_warm.state import planned_with
from dagster_warm.warmth import Warmth, Wish, reasons_cold, wish

STOPPING = "The code server is shutting down."
"""Refuses a run; the caller takes the server for one that cannot be reached, and may ask its successor."""


class WarmApiServer(internals.DagsterApiServer):
    """Serves Dagster's gRPC interface and launches its runs from a template."""

    def __init__(self, *, warmth: Warmth, **kwargs: Any) -> None:
        harmless = open_descriptors()
        exits.watch()
        seeds.watch()
        shortcuts.keep_migrations()
        self._warmth = warmth
        self._opening = threading.Lock()
        self._opened: tuple[internals.InstanceRef, internals.DagsterInstance] | None = None
        internals.explain_crashes(Kills().explain)  # also in the template, and in the runs that it forks
        server_logging = ServerLogging()

        def begin(loaded: internals.LoadedRepositories) -> None:
            instance = internals.instance_of(self)
            warmth.begin(loaded, instance.get_ref() if instance else None, harmless, server_logging)

        try:
            with internals.when_loaded(begin, warmth.inherited.reconstructed()):
                super().__init__(**kwargs)
        finally:
            if warmth.succession is not None:  # it has not become a template
                warmth.succession.fail()
        WarmContext.launch = staticmethod(warmth.launch)
        watch_args = (internals.termination_of(self),)
        threading.Thread(target=warmth.watch, args=watch_args, name="template-watch", daemon=True).start()
        if hasattr(os, "fork"):
            internals.set_context(self, multiprocessing.get_context(METHOD))

    def StartRun(self, request: Any, context: Any) -> Any:  # noqa: N802
        """Launch a run from the template, or the stock way if the run's tag asks for it or the template fails."""
        if internals.is_stopping(self):
            return context.abort(grpc.StatusCode.UNAVAILABLE, STOPPING)
        reasons: list[str] = []
        tokens = wish.set(self._wish_of(request)), reasons_cold.set(reasons)
        try:
            reply = super().StartRun(request, context)
        finally:
            wish.reset(tokens[0])
            reasons_cold.reset(tokens[1])
        for reason in reasons:
            self._tell(request, f"Launched cold: {reason}")
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
        with suppress(Exception):  # the run goes on without it
            instance = self._instance_for(instance_ref)
            run = instance.get_run_by_id(run_id)
            assert run is not None
            instance.report_engine_event(message, run)

    def _wish_of(self, request: Any) -> Wish:
        run_id, instance_ref = internals.run_of(request)
        instance = self._instance_for(instance_ref)
        run = instance.get_run_by_id(run_id)
        if run is None:
            return Wish()
        is_cold = run.tags.get(COLD_TAG) == "true"
        if is_cold or not self._warmth.has_state or run.remote_job_origin is None:
            return Wish(is_cold)
        repository = run.remote_job_origin.repository_origin.repository_name
        return Wish(is_cold, repository, planned_with(instance, run))

    def _instance_for(self, instance_ref: internals.InstanceRef) -> internals.DagsterInstance:
        """Return the server's instance; if it has none, as with Dagster's chart, that of its runs, kept open."""
        own = internals.instance_of(self)
        if own is not None:
            return own
        with self._opening:
            if self._opened is None or self._opened[0] != instance_ref:
                self._opened = instance_ref, internals.open_for(self, instance_ref)
            return self._opened[1]
