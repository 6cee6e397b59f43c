"""What a run of an instance waits for, and the pods of its worker and its steps, read when its waterfall is drawn."""

from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field, replace

from dagster import DagsterInstance

from bench_orchestrator.analysis.run_queue import SHOWN_HOLDERS, holds, pool_waits
from bench_orchestrator.model.instants import describe_us
from bench_orchestrator.model.run_queue import Hold
from bench_orchestrator.model.runs import IN_PROGRESS, Pod, Run, RunLog, RunStatus, StepSpan
from bench_orchestrator.model.stages import Stage
from bench_orchestrator.sources.kubernetes import read_pod
from bench_orchestrator.sources.run_queue import add_last_signs, read_pools, read_queue
from bench_orchestrator.waterfall.layout import Waterfall

_MOST_STEPS = 3
"""Maximum number of steps whose pods are read because they have not started."""


@dataclass(frozen=True)
class Pods:
    """The pods of a run, read from Kubernetes; none if the run's workers are processes."""

    run: Pod | None = None
    first_step: Pod | None = None
    """That of the first step to start, which the launch ends with."""
    waiting: Mapping[str, Pod] = field(default_factory=dict)
    """Those of the first steps that were launched and have not started, by step key."""


def read_pods(log: RunLog) -> Pods:
    """Return the pods that a run's log names. Never raises: what cannot be read says why."""
    launched = [step for step in log.steps if step.key in log.step_jobs]
    started = [(step.started_us, step.key) for step in launched if step.started_us is not None]
    waiting = [step.key for step in launched if step.started_us is None and step.ended_us is None][:_MOST_STEPS]
    first = min(started)[1] if started else next(iter(waiting), None)
    pods = {key: _read_step_pod(log, key) for key in (first, *waiting) if key is not None}
    return Pods(
        run=read_pod(*log.kubernetes_job) if log.kubernetes_job else None,
        first_step=pods[first] if first is not None else None,
        waiting={key: pods[key] for key in waiting},
    )


def find_holds(instance: DagsterInstance, run: Run, pods: Pods, shown: Waterfall) -> tuple[Hold, ...]:
    """Return what a run that has not ended waits for; empty if nothing is known to hold it."""
    now_us = shown.zero_us + (shown.now_us or 0)
    found: list[Hold] = []
    if run.status is RunStatus.QUEUED:
        queue = read_queue(instance, run.run_id, now_us)
        found = holds(queue) if queue else []
    elif run.status in IN_PROGRESS:
        found = [
            *_run_worker(instance, pods.run, shown),
            *pool_waits(read_pools(instance).values(), run.run_id),
            *(
                _pod_hold(pods.waiting[step.key], step, now_us - shown.zero_us)
                for step in shown.steps
                if step.key in pods.waiting
            ),
        ]
    return tuple(_with_last_signs(instance, hold) for hold in found)


def _read_step_pod(log: RunLog, key: str) -> Pod:
    # dagster-k8s does not log the namespace; by default it is that of the run's own job.
    if log.kubernetes_job is None:
        return Pod(unknown="the namespace of its Kubernetes job is not known")
    return read_pod(log.kubernetes_job[0], log.step_jobs[key])


def _run_worker(instance: DagsterInstance, pod: Pod | None, shown: Waterfall) -> Iterator[Hold]:
    """Yield what a run waits for whose worker has not reported."""
    stage = shown.unfinished
    if stage is None or stage.stage is not Stage.WORKER_BOOT:
        return
    if pod is not None:
        yield Hold("pod", f"{_describe_pod(pod)}, {describe_us(stage.duration_us, 0)} so far")
    elif not instance.run_monitoring_enabled:
        yield Hold(
            "worker",
            "its process has not reported yet",
            remedy="If it has died, the run stays as it is: run_monitoring in dagster.yaml fails such runs.",
        )


def _pod_hold(pod: Pod, step: StepSpan, now_us: int) -> Hold:
    so_far = f", {describe_us(now_us - step.launched_us, 0)} so far" if step.launched_us is not None else ""
    return Hold("pod", f"step {step.key}: {_describe_pod(pod)}{so_far}")


def _describe_pod(pod: Pod) -> str:
    """Return why a pod's worker has not reported, or how far the pod got."""
    if pod.trouble or pod.unknown:
        return (pod.trouble or f"nothing is known of its pod: {pod.unknown}").rstrip(".")
    if pod.scheduled_us is None:
        return "its pod is not scheduled yet"
    if pod.started_us is None:
        return "its pod's image is not there yet" if pod.pulled_us is None else "its pod's container does not run yet"
    return "its pod's container runs, and Python starts in it"


def _with_last_signs(instance: DagsterInstance, hold: Hold) -> Hold:
    shown, others = hold.holders[:SHOWN_HOLDERS], hold.holders[SHOWN_HOLDERS:]
    return replace(hold, holders=(*add_last_signs(instance, shown), *others))
