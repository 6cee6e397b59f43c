"""The sensor that notices finished sweeps and asks for their harvests."""

import dagster as dg

from bench_orchestrator.defs.harvest import HarvestConfig, harvest_job
from bench_orchestrator.model.instants import MICROSECONDS, now_us
from bench_orchestrator.model.runs import IN_PROGRESS, RunStatus
from bench_orchestrator.model.tags import HARVEST_SENSOR, MEASUREMENTS_ASSET, Tag
from bench_orchestrator.sources.instance import find_runs
from bench_orchestrator.sweeps.liveness import end_if_dead, may_go_on, overdue
from bench_orchestrator.sweeps.turns import Finished, Position, backoff_s, find_measuring, find_owed


@dg.sensor(
    name=HARVEST_SENSOR,
    job=harvest_job,
    minimum_interval_seconds=10,
    default_status=dg.DefaultSensorStatus.RUNNING,
    description="Harvests each finished sweep once. Waits while a sweep is measuring, so as not to disturb it. Repeats "
    "a harvest that failed.",
)
def harvest_sensor(context: dg.SensorEvaluationContext) -> dg.SensorResult | dg.SkipReason:
    """Ask for one harvest at a time, for the earliest finished sweep that has none.

    The harvest runs themselves show whether a sweep was harvested, so a kill between a tick and its cursor loses or
    repeats none. The cursor only bounds how far back to look. A sweep that continued after it had been considered dead
    has changed since, and is harvested again.
    """
    instance = context.instance
    for run in find_runs(instance, {Tag.KIND: ("sweep", "harvest")}, statuses=IN_PROGRESS):
        end_if_dead(instance, run, now_us(), context.log.warning)
    measuring = find_measuring(instance)
    if measuring:
        return dg.SkipReason(f"Sweep run {measuring.run_id} is in progress; harvesting waits for its end.")
    position = Position.parse(context.cursor)
    earlier, later = position.look(instance)
    if not any(run.finished for run in (*earlier, *later)):
        return dg.SkipReason("No sweep has finished since the last one was harvested.")
    owed = find_owed(instance, (*earlier, *later))
    cursor = str(position.moved(earlier, later, {one.run.run_id for one in owed}))
    waiting: list[str] = []
    for finished in owed:
        reason = _why_wait(instance, finished)
        if not reason:
            return dg.SensorResult(run_requests=[_request(finished)], cursor=cursor)
        waiting.append(reason)
    return dg.SensorResult(skip_reason=" ".join(waiting) or "Every finished sweep has been harvested.", cursor=cursor)


def _why_wait(instance: dg.DagsterInstance, finished: Finished) -> str:
    """Return why a finished sweep is not harvested now; empty if it is."""
    sweep_run = finished.run
    if any(not run.finished for run in finished.harvests):
        return f"The harvest of sweep run {sweep_run.run_id} is in progress."
    failed = [run for run in finished.harvests if run.status is not RunStatus.SUCCESS]
    if failed:
        wait_s = backoff_s(len(failed))
        if now_us() - failed[-1].updated_us < wait_s * MICROSECONDS:
            return f"{len(failed)} harvests of sweep run {sweep_run.run_id} failed; the next one waits {wait_s:g} s."
    if may_go_on(instance, sweep_run, now_us()):
        return f"Sweep run {sweep_run.run_id} may still be running: Dagster could not reach its worker."
    if not overdue(instance, sweep_run, now_us()):
        return f"Trials of sweep run {sweep_run.run_id} are still running."
    return ""


def _request(finished: Finished) -> dg.RunRequest:
    sweep_run = finished.run
    return dg.RunRequest(
        run_key=finished.next_key,
        run_config=dg.RunConfig(ops={MEASUREMENTS_ASSET: HarvestConfig(sweep_runs=[sweep_run.run_id])}),
        tags={
            Tag.KIND: "harvest",
            Tag.HARVEST_OF: sweep_run.run_id,
            Tag.HARVEST_AS_OF: finished.as_of,
            Tag.SCENARIO: sweep_run.tags.get(Tag.SCENARIO, ""),
        },
    )
