"""The sensor that notices finished runs of any code location and asks for their observation."""

import uuid
from dataclasses import dataclass, replace
from typing import Self

import dagster as dg

from bench_orchestrator.defs.observe import ObserveConfig, observe_job
from bench_orchestrator.defs.resources import ResultsResource
from bench_orchestrator.model.instants import MICROSECONDS, now_us
from bench_orchestrator.model.runs import IN_PROGRESS, RunStatus
from bench_orchestrator.model.tags import OBSERVE_SENSOR, Tag
from bench_orchestrator.results.database import StoreError
from bench_orchestrator.sources.finished import id_of
from bench_orchestrator.sources.instance import find_runs
from bench_orchestrator.sources.observing import is_any_to_observe
from bench_orchestrator.sweeps.liveness import end_if_dead
from bench_orchestrator.sweeps.turns import backoff_s, find_measuring

_LOCK_WAIT_S = 2.0
"""Seconds to wait for the results database: the next tick is as good."""


_MOST_DIGITS = 9
"""Of a number in a cursor."""


@dataclass(frozen=True)
class Asked:
    """The observation that the sensor has asked for last: its cursor."""

    name: str = ""
    failures: int = 0
    """How many before it have failed, without one that succeeded."""

    @classmethod
    def parse(cls, text: str | None) -> Self:
        """Read a cursor; one that cannot be read is a beginning."""
        name, _, failures = (text or "").partition(" ")
        return cls(name, int(failures)) if failures.isdecimal() and len(failures) < _MOST_DIGITS else cls()

    def __str__(self) -> str:
        """Return the cursor that `parse` reads."""
        return f"{self.name} {self.failures}"


@dg.sensor(
    name=OBSERVE_SENSOR,
    job=observe_job,
    minimum_interval_seconds=60,
    default_status=dg.DefaultSensorStatus.STOPPED,
    description="Observes every finished run of this instance, of any code location. Launches nothing but a run of "
    "`observe` when there is something to read. Waits while a sweep is measuring.",
)
def observe_sensor(context: dg.SensorEvaluationContext, results: ResultsResource) -> dg.SensorResult | dg.SkipReason:
    """Ask for one observation at a time, if a run has finished that is not observed.

    The results database tells what is observed, so a kill between a tick and its cursor loses or repeats nothing.
    """
    instance, asked = context.instance, Asked.parse(context.cursor)
    last = next(iter(find_runs(instance, {Tag.OBSERVATION: asked.name})), None) if asked.name else None
    if last is not None and not last.finished:
        if last.status in IN_PROGRESS:
            end_if_dead(instance, last, now_us(), context.log.warning)
        return dg.SkipReason(f"The observation by run {last.run_id} is in progress.")
    failures = 0
    if last is not None and last.status is not RunStatus.SUCCESS:
        failures = asked.failures + 1
        wait_s = backoff_s(failures)
        if now_us() - last.updated_us < wait_s * MICROSECONDS:
            return dg.SkipReason(f"{failures} observations have failed; the next one waits {wait_s:g} s.")
    measuring = find_measuring(instance)
    if measuring:
        return dg.SkipReason(f"Sweep run {measuring.run_id} is in progress; observing waits for its end.")
    store = replace(results.store, lock_wait_s=_LOCK_WAIT_S)
    try:
        progress = store.observation_progress(id_of(instance))
    except StoreError as error:
        return dg.SkipReason(str(error))
    if not is_any_to_observe(instance, progress, ObserveConfig().selection):
        return dg.SkipReason("Every finished run is observed.")
    asking = Asked(uuid.uuid4().hex, failures)
    return dg.SensorResult(run_requests=[dg.RunRequest(tags={Tag.OBSERVATION: asking.name})], cursor=str(asking))
