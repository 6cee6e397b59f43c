"""How a run fares that may start, behind thousands that may not: whether it is blocked, and what each look costs."""

from collections.abc import Iterator, Sequence

from bench_orchestrator.model.launch import Launch, Trial
from bench_orchestrator.model.plan import Scenario, Variant
from bench_orchestrator.model.runs import RunStatus
from bench_orchestrator.model.stages import Stage
from bench_orchestrator.model.workload import Action, Await, Fill, Rest, Submit, Workload
from bench_orchestrator.scenarios.experiment import DAEMON_SHARE, Experiment, Gate, Measure, seconds
from bench_orchestrator.scenarios.queueing.runs import queue_settings, wait_measure
from bench_orchestrator.timeline.occupancy import Breach

_FIRST = "first run"
"""What the waiting runs are copies of."""
_FREE = "free run"
_HELD = "held run"
_HELD_TAG = "bench/held"

_INTERVAL_S = 5
"""Dagster's default."""
_LOOKS = 2
"""How often the daemon may look before it takes a free run: one look may be past the queue's end when it comes."""
_LOOK_S = 10.0
"""How long these looks may take."""
_MOST_S = _LOOKS * _INTERVAL_S + _LOOK_S


def _workload(depth: int, probes: int) -> Workload:
    """Return the actions of a side: the queue is filled, then free runs come, at different times of the interval."""
    actions: list[Action] = [Submit(_FIRST), Await(_FIRST, (RunStatus.SUCCESS,))]
    if depth:
        actions.append(Fill(_HELD, depth, tags={_HELD_TAG: "true"}))
    for probe in range(1, probes + 1):
        rest = Rest(round(1 + _INTERVAL_S * probe / probes, 1))
        actions += rest, Submit(_FREE), Await(_FREE, (RunStatus.SUCCESS,), probe)
    return Workload(tuple(actions))


def _sides(depths: Sequence[int], probes: int) -> tuple[Variant, ...]:
    def side(depth: int, name: str, *, prompt: bool = False) -> Variant:
        held = {"key": _HELD_TAG, "limit": 0}
        return Variant(
            name,
            ("a10_inprocess",),
            work=probes + 1,
            instance=queue_settings(prompt=prompt, tags=[held], dequeue_interval_seconds=_INTERVAL_S),
            warm=True,
            workload=_workload(depth, probes),
        )

    plain = [side(depth, f"{depth:,} wait" if depth else "none waits") for depth in depths]
    return (*plain, side(depths[-1], f"{depths[-1]:,} wait, at once", prompt=True))


def _blocked(_workload: Workload, launches: Sequence[Launch]) -> Iterator[Breach]:
    for launch in launches:
        wait_s = seconds(launch.stages_us[Stage.QUEUE_WAIT])
        if launch.role == _HELD:
            yield Breach(launch.run_id or "", f"the limit was not kept: run {launch.run_id}, which it holds, started")
        elif wait_s is not None and wait_s > _MOST_S:
            yield Breach(launch.run_id or "", f"run {launch.run_id} was blocked: it waited {wait_s:.1f} s in the queue")


def _per_interval(trial: Trial) -> float | None:
    """Return the daemon's CPU seconds per dequeue interval, in which it looks once; a prompt queue, at each change."""
    share = DAEMON_SHARE.of(trial)
    return None if share is None else share / 100 * _INTERVAL_S


_WAIT = wait_measure(_FREE)

EXPERIMENT = Experiment(
    Scenario(
        "deep-queue",
        "Is a run blocked that may start, while thousands wait behind a limit, and what do these cost the daemon?",
        variants=_sides((0, 500, 5_000), 6),
        quick_variants=_sides((0, 200), 2),
        repeats=3,
        warmups=0,
        timeout_s=600,
        holds_equal="the code location, its warm server (so that two CPUs suffice), the limit on a tag that holds the "
        "waiting runs for good, the dequeue interval (Dagster's default), the times at which free runs are requested.",
    ),
    flat=True,
    headline=_WAIT,
    measures=(
        _WAIT,
        wait_measure(_FREE, 1.0),
        DAEMON_SHARE,
        Measure("daemon_cpu_per_interval_s", "CPU of the daemon per dequeue interval", "s", _per_interval),
    ),
    gate=Gate(
        f"no run starts that the limit holds; each other starts within {_LOOKS} dequeue intervals and {_LOOK_S:g} s",
        _blocked,
    ),
)
