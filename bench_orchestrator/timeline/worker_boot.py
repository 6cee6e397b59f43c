"""From a run's log and its pod to the pieces of worker boot on Kubernetes: pure, exact, whoever delivers them.

The first piece ends with an event of Dagster's, the others with instants that Kubernetes keeps: whole seconds of other
clocks. Two decisions follow. **An instant lies somewhere within the second that it names**, behind the instant before
it and before worker boot ends. It is put where it is to be expected: in the middle of that, or, where several name the
same second, so that they divide it evenly. One launch is then wrong by half a second at most, and many are not wrong to
one side. Only an instant that would have to leave its second shows that clocks disagree, and is a warning.
**No piece is negative and none reaches beyond worker boot**, whose length is the timeline's: the pieces sum to it.
"""

from collections.abc import Mapping, Sequence

from bench_orchestrator.model.instants import MICROSECONDS
from bench_orchestrator.model.runs import Pod, RunEvent
from bench_orchestrator.model.stages import BootStage

_JOB_CREATED = "Kubernetes run worker job created"
"""What dagster-k8s says, behind the name of its class."""


def boot_stages(
    events: Sequence[RunEvent], pod: Pod | None, *, starting_us: int | None, worker_boot_us: int | None
) -> tuple[dict[BootStage, int], tuple[str, ...]]:
    """The pieces of worker boot in microseconds, and what is to be doubted about them.

    There are none where the run's worker is no Kubernetes job or was never up, and none where nothing is known of its
    pod: worker boot then stays whole, and the warning says why.

    Args:
        events: the run's, in log order.
        starting_us: PIPELINE_STARTING of the attempt that got through, where worker boot begins.
        worker_boot_us: its length, as the timeline has it.
    """
    created_us = [event.time_us for event in events if _JOB_CREATED in event.message]
    if not created_us or starting_us is None or worker_boot_us is None:
        return {}, ()
    if pod is None or pod.scheduled_us is None or pod.started_us is None:
        why = (pod.unknown or pod.trouble if pod else "") or "nothing is known of its pod"
        return {}, (f"worker boot is not split: {why}",)
    end_us = starting_us + worker_boot_us
    reached_us = starting_us
    stages_us: dict[BootStage, int] = {}
    warnings: list[str] = []
    instants: Mapping[BootStage, tuple[int | None, int]] = {
        BootStage.CREATE_JOB: (created_us[-1], 0),
        BootStage.SCHEDULE_POD: (pod.scheduled_us, MICROSECONDS),
        BootStage.PULL_IMAGE: (pod.pulled_us, MICROSECONDS),
        BootStage.START_CONTAINER: (pod.started_us, MICROSECONDS),
        BootStage.START_PYTHON: (end_us, 0),
    }
    named = [at_us for at_us, width_us in instants.values() if width_us]
    for stage, (at_us, width_us) in instants.items():
        if at_us is None:  # the image was there before anybody asked for it
            stages_us[stage] = 0
            continue
        early_us = reached_us - (at_us + width_us)
        late_us = at_us - end_us
        if early_us > 0 and stage is not BootStage.START_PYTHON:
            warnings.append(f"clocks disagree: {stage.label} ends {early_us / 1000:,.3f} ms before it begins")
        if late_us > 0:
            warnings.append(
                f"clocks disagree: {stage.label} ends {late_us / 1000:,.3f} ms after the run's process is up"
            )
        first_us, last_us = max(at_us, reached_us), min(at_us + width_us, end_us)
        if width_us:
            # Of those in this second, the ones that are placed already are behind `first_us`.
            first_us += max(last_us - first_us, 0) // (1 + named.count(at_us))
            named.remove(at_us)
        ended_us = min(first_us, end_us)
        stages_us[stage] = ended_us - reached_us
        reached_us = ended_us
    return stages_us, tuple(warnings)
