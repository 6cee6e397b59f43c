"""Hand-made trials with many runs, for tests of limits, gates and measures. Times are seconds from their begin."""

from collections.abc import Sequence

from bench_orchestrator.model.launch import Launch, Outcome, Trial
from bench_orchestrator.model.runs import StepSpan
from bench_orchestrator.model.stages import Boundary, Stage

_S = 1_000_000


def run(
    name: str,
    start_s: float | None,
    end_s: float | None,
    role: str = "run",
    *,
    enqueued_s: float = 0,
    steps: Sequence[tuple[float, float | None]] = (),
) -> Launch:
    """Return the launch of a run that was requested and enqueued at the same time.

    Args:
        start_s: when the queue's daemon took it; None if it still waits.
        steps: starts and ends of its steps.
    """
    at_us = dict.fromkeys(Boundary) | {
        Boundary.REQUESTED: _us(enqueued_s),
        Boundary.ENQUEUED: _us(enqueued_s),
        Boundary.STARTING: _us(start_s),
    }
    wait_us = None if start_s is None else _us(start_s - enqueued_s)
    return Launch(
        name,
        Outcome.OK,
        at_us=at_us,
        ended_us=_us(end_s),
        stages_us=dict.fromkeys(Stage) | {Stage.QUEUE_WAIT: wait_us},
        role=role,
        steps=tuple(
            StepSpan(f"step {number}", None, _us(start), _us(end)) for number, (start, end) in enumerate(steps)
        ),
    )


def make_queue_trial(variant: str, launches: Sequence[Launch]) -> Trial:
    """Return a trial of an experiment's side with these runs."""
    return Trial(
        sweep_id="sweep",
        number=1,
        scenario="pools",
        variant=variant,
        location="a2",
        asset_count=2,
        partition_count=0,
        block=1,
        warmup=False,
        asset_key="a2/asset_0000",
        partition_key=None,
        launches=tuple(launches),
    )


def _us(seconds: float | None) -> int | None:
    return None if seconds is None else round(seconds * _S)
