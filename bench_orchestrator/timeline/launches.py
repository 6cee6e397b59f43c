"""Builds a launch from a run and its log: pure, for any source of runs, with or without a sweep."""

from bench_orchestrator.model.errors import one_line
from bench_orchestrator.model.launch import OUTCOMES, Launch, Outcome
from bench_orchestrator.model.runs import Pod, Request, Run, RunLog
from bench_orchestrator.model.stages import Boundary, Origin, Stage
from bench_orchestrator.timeline.stages import timeline
from bench_orchestrator.timeline.worker_boot import boot_stages
from bench_orchestrator.timeline.workers import run_worker_of


def launch_of_run(run: Run, log: RunLog, request: Request | None, pod: Pod | None = None) -> Launch:
    """Return the launch of a run by its record and its log, in linear time. Accepts any log; raises nothing.

    Args:
        request: what asked for it; None if unknown.
        pod: the run worker's, if it is a Kubernetes job.
    """
    return launch_of(
        run.run_id,
        log,
        outcome=OUTCOMES.get(run.status),
        requested_us=request.at_us if request else None,
        created_us=run.created_us,
        origin=request.origin if request else Origin.REQUEST,
        pod=pod,
    )


def launch_of(
    run_id: str | None,
    log: RunLog,
    *,
    outcome: Outcome | None,
    requested_us: int | None,
    created_us: int | None,
    origin: Origin = Origin.REQUEST,
    pod: Pod | None = None,
) -> Launch:
    """Return the launch of a run, in linear time. Accepts any log; raises nothing.

    Args:
        run_id: None if no run was created; the log is then empty.
        outcome: how the run ended; None while it is in progress.
        requested_us: when the run was asked for, in microseconds since the epoch; None if unknown.
        created_us: when the run was created, likewise.
        origin: what asked for it.
        pod: the run worker's, if it is a Kubernetes job.
    """
    times = timeline(log.events, requested_us=requested_us, created_us=created_us, origin=origin)
    begun_us = times.at_us[Boundary.REQUESTED]
    boot_us, doubts = boot_stages(
        log.events,
        pod,
        starting_us=times.at_us[Boundary.STARTING],
        worker_boot_us=times.stages_us[Stage.WORKER_BOOT],
    )
    return Launch(
        run_id=run_id,
        outcome=outcome,
        reason="" if outcome is Outcome.OK else one_line(log.failure),
        executor=times.executor,
        at_us=times.at_us,
        ended_us=times.ended_us,
        stages_us=times.stages_us,
        queue_us=times.queue_us,
        init_us=times.init_us,
        lag_us=times.lag_us,
        time_to_code_us=times.time_to_code_us,
        warnings=(*times.warnings, *doubts),
        step_process=log.step_process,
        work=log.work,
        materialized_us=log.materialized_us,
        work_us=log.materialized_us - begun_us if log.materialized_us and begun_us else None,
        steps=log.steps,
        template=log.template,
        boot_us=boot_us,
        pod=pod,
        origin=origin,
        run_worker=run_worker_of(log.events),
    )
