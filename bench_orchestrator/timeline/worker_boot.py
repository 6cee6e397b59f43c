"""Splits worker boot and step boot on Kubernetes into pieces, from a run's log and its pods: pure, for any source.

The first piece of worker boot ends with a Dagster event, the others with Kubernetes instants: whole seconds of other
clocks. Of a step's pod no event tells when its job was created: that counts in its scheduling. Two decisions follow.

**An instant lies anywhere within its second**, but after the instant before it and before the end of worker boot. It is
placed at the middle of that range. Instants that share a second divide it evenly. A piece lies between two instants,
so both their errors are in it, and the order of the instants biases it. `python -m benchmarks.worker_boot` simulates
how much. The exact expectation over all orders is no better, nor are priors for short pieces in all circumstances.
Only an instant that would have to leave its second shows that clocks disagree, and produces a warning.

**No piece is negative or extends beyond worker boot**, whose length comes from the timeline: the pieces sum to it.
"""

from collections.abc import Mapping, Sequence

from bench_orchestrator.model.instants import MICROSECONDS
from bench_orchestrator.model.runs import Pod, RunEvent
from bench_orchestrator.model.stages import BootStage

_JOB_CREATED = "Kubernetes run worker job created"
"""dagster-k8s' message, after its class name."""


def boot_stages(
    events: Sequence[RunEvent], pod: Pod | None, *, starting_us: int | None, worker_boot_us: int | None
) -> tuple[dict[BootStage, int], tuple[str, ...]]:
    """Return the pieces of worker boot in microseconds, and warnings about them.

    There are no pieces if the run worker is not a Kubernetes job or never started, or if nothing is known about its
    pod: worker boot is then not split, and the warning says why.

    Args:
        events: the run's, in log order.
        starting_us: PIPELINE_STARTING of the successful attempt, where worker boot begins.
        worker_boot_us: its length in the timeline.
    """
    created_us = [event.time_us for event in events if _JOB_CREATED in event.message]
    if not created_us or starting_us is None or worker_boot_us is None:
        return {}, ()
    return _split("worker boot", pod, {BootStage.CREATE_JOB: (created_us[-1], 0)}, starting_us, worker_boot_us)


def step_boot_stages(
    pod: Pod | None, *, starting_us: int | None, step_boot_us: int | None
) -> tuple[dict[BootStage, int], tuple[str, ...]]:
    """Return the pieces of step boot in microseconds, and warnings about them, for a step in a pod.

    Args:
        pod: the step's; None if it has none.
        starting_us: STEP_WORKER_STARTING, where step boot begins.
        step_boot_us: its length in the timeline.
    """
    if pod is None or starting_us is None or step_boot_us is None:
        return {}, ()
    return _split("step boot", pod, {}, starting_us, step_boot_us)


def _split(
    what: str, pod: Pod | None, before: Mapping[BootStage, tuple[int, int]], begin_us: int, length_us: int
) -> tuple[dict[BootStage, int], tuple[str, ...]]:
    """Split a stage into the pieces `before` the pod's, each with its end and its precision, and those of the pod."""
    if pod is None or pod.scheduled_us is None or pod.started_us is None:
        why = (pod.unknown or pod.trouble if pod else "") or "nothing is known about its pod"
        return {}, (f"{what} is not split: {why}",)
    end_us = begin_us + length_us
    reached_us = begin_us
    stages_us: dict[BootStage, int] = {}
    warnings: list[str] = []
    if pod.pulled_us is None:
        why = pod.unknown or "Kubernetes keeps events for an hour"
        warnings.append(f"pull image is not known: counted as start container ({why})")
    instants: Mapping[BootStage, tuple[int | None, int]] = {
        **before,
        BootStage.SCHEDULE_POD: (pod.scheduled_us, MICROSECONDS),
        BootStage.PULL_IMAGE: (pod.pulled_us, MICROSECONDS),
        BootStage.START_CONTAINER: (pod.started_us, MICROSECONDS),
        BootStage.START_PYTHON: (end_us, 0),
    }
    named = [at_us for at_us, width_us in instants.values() if width_us]
    for stage, (at_us, width_us) in instants.items():
        if at_us is None:  # its event is gone
            stages_us[stage] = 0
            continue
        early_us = reached_us - (at_us + width_us)
        late_us = at_us - end_us
        if early_us > 0 and stage is not BootStage.START_PYTHON:
            warnings.append(f"clocks disagree: {stage.label} ends {early_us / 1000:,.3f} ms before it begins")
        if late_us > 0:
            warnings.append(f"clocks disagree: {stage.label} ends {late_us / 1000:,.3f} ms after the process is up")
        first_us, last_us = max(at_us, reached_us), min(at_us + width_us, end_us)
        if width_us:
            # Instants of this second that are already placed are before `first_us`.
            first_us += max(last_us - first_us, 0) // (1 + named.count(at_us))
            named.remove(at_us)
        ended_us = min(first_us, end_us)
        stages_us[stage] = ended_us - reached_us
        reached_us = ended_us
    return stages_us, tuple(warnings)
