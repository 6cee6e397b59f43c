"""Pools: many runs wait for slots of one, while its limit is raised, holders end early, or other pools are free.

What Dagster 1.13 does, which the sides show:

- With granularity `run`, a run holds a slot of each of its pools from the moment the queue's daemon takes it to its
  end. Whatever ends it, the slot is free then, and is taken when the daemon looks next.
- With granularity `run`, a default limit does not hold at the daemon's first look at a pool: it reads which pools have
  a limit before it gives the others the default one. All queued runs of the pool start. Later looks keep the limit.
- With granularity `op`, a step claims a slot from within its run, and frees it itself. A killed run frees nothing: the
  slot stays taken until run monitoring frees it, which it does only if `free_slots_after_run_end_seconds` is set.
- With granularity `op`, the daemon counts a run twice in its first 5 s: the slot that it will claim, and the slot that
  its step has claimed. A free slot then stays empty.
- A run that waits for a slot within its process asks again after 1 s, and each time 10 % later, up to 15 s. Meanwhile
  Dagster's executor does not sleep: a CPU is busy.
"""

from collections.abc import Iterator, Mapping, Sequence
from typing import Any

from bench_orchestrator.model.launch import Launch
from bench_orchestrator.model.plan import Scenario, Variant
from bench_orchestrator.model.runs import RunStatus
from bench_orchestrator.model.stages import Boundary
from bench_orchestrator.model.workload import Action, Await, End, Limit, Rest, SetPool, Submit, Unit, Way, Workload
from bench_orchestrator.scenarios.experiment import Experiment, Gate, Remedy
from bench_orchestrator.scenarios.queueing.runs import (
    MAKESPAN,
    empty_measure,
    queue_settings,
    use_measures,
    wait_measure,
)
from bench_orchestrator.timeline.occupancy import Breach
from synthetic_locations.pools import pool_names
from synthetic_locations.shape import parse_shape

_RUN, _HOLDER, _BLOCKED, _OTHER = "run", "holder", "blocked", "other"
_DEFAULT_LIMIT = 2
_RUNS, _OPS = "run granularity", "op granularity"
_GRAPH_OPS = f"graph assets, {_OPS}"
_HOLDER_CANCELED = f"{_RUNS}, the holder canceled"


class _Size:
    """The sides at one size."""

    def __init__(
        self, plain: str, graph: str, held: str, *, runs: int, monitoring: Mapping[str, Any], **config: Any
    ) -> None:
        """Take what differs between the sizes.

        Args:
            plain: the location whose runs have one step.
            graph: the location whose runs are graph assets.
            held: the location whose steps are so long that a run can be ended during one, or others requested.
            runs: runs of a trial that wait for the slots of a pool.
            monitoring: `run_monitoring` of dagster.yaml.
            config: settings of the run coordinator.
        """
        self._plain, self._graph, self._held = plain, graph, held
        self._runs = runs
        self._monitoring = monitoring
        self._config = config

    def sides(self) -> tuple[Variant, ...]:
        """Return all sides: one step, graph assets, holders that end early; the baseline of each first."""
        plain, graph, held = self._plain, self._graph, self._held
        return (
            self._side(_RUNS, plain, self._many(plain)),
            self._side(f"{_RUNS}, at once", plain, self._many(plain), prompt=True),
            self._side(_OPS, plain, self._many(plain, Unit.STEPS)),
            self._side(f"{_OPS}, at once", plain, self._many(plain, Unit.STEPS), prompt=True),
            self._side(f"{_OPS}, waiting in processes", plain, self._many(plain, Unit.STEPS), buffer=4),
            self._side("a limit raised", plain, self._raised()),
            self._side("behind a full pool", held, self._behind()),
            self._side(_GRAPH_OPS, graph, self._many(graph, Unit.STEPS, default=True), against=_GRAPH_OPS),
            self._side(f"graph assets, {_RUNS}", graph, self._many(graph, default=True), against=_GRAPH_OPS),
            *(
                self._side(f"{name}, the holder {how}", held, self._ended(unit, way), against=_HOLDER_CANCELED)
                for way, how in ((Way.CANCEL, "canceled"), (Way.KILL, "killed"))
                for name, unit in ((_RUNS, Unit.RUNS), (_OPS, Unit.STEPS))
            ),
        )

    def _side(
        self,
        name: str,
        location: str,
        workload: Workload,
        *,
        prompt: bool = False,
        buffer: int | None = None,
        against: str = "",
    ) -> Variant:
        granularity = "op" if workload.limits[0].unit is Unit.STEPS else "run"
        pools = {"granularity": granularity, "default_limit": _DEFAULT_LIMIT}
        if buffer is not None:
            pools["op_granularity_run_buffer"] = buffer
        kept = sum(count for role, count in workload.expected().items() if role not in workload.ended)
        shape = parse_shape(location)
        return Variant(
            name,
            (location,),
            assets=shape.assets,
            work=kept * shape.work_per_asset,
            instance={
                **queue_settings(prompt=prompt, pools=pools, **self._config),
                "run_monitoring": {"enabled": True, **self._monitoring},
            },
            warm=True,
            against=against,
            workload=workload,
        )

    def _many(self, location: str, unit: Unit = Unit.RUNS, *, default: bool = False) -> Workload:
        """Return a workload of many runs for two slots, by the default limit or one of the pool's own."""
        pool = _pool(location, 0)
        own = () if default else (SetPool(pool, _DEFAULT_LIMIT),)
        return Workload((*own, Submit(_RUN, self._runs)), (_limit(_DEFAULT_LIMIT, unit),))

    def _raised(self) -> Workload:
        """Return a workload whose pool gets two more slots after the second run's end."""
        pool = _pool(self._plain, 0)
        second_ends = Await(_RUN, (RunStatus.SUCCESS,), 2)
        actions = (SetPool(pool, 1), Submit(_RUN, self._runs), second_ends, SetPool(pool, 3))
        return Workload(actions, (Limit("pool", 1, pool=pool),))

    def _behind(self) -> Workload:
        """Return a workload of runs that a full pool blocks, and of as many behind them in the queue, of another."""
        full, free = _pool(self._held, 0), _pool(self._held, 1)
        blocked = self._runs // 2
        others = self._runs - blocked
        limits = (_limit(1, roles=(_BLOCKED,)), Limit("other pool", others, (_OTHER,)))
        return Workload(
            (SetPool(full, 1), SetPool(free, others), Submit(_BLOCKED, blocked), Submit(_OTHER, others, asset=1)),
            limits,
        )

    def _ended(self, unit: Unit, way: Way) -> Workload:
        """Return a workload of a run that waits for a slot whose holder is ended during its step."""
        actions: tuple[Action, ...] = (
            SetPool(_pool(self._held, 0), 1),
            Submit(_HOLDER),
            Submit(_RUN),
            Await(_HOLDER, (RunStatus.STARTED,)),
            Rest(0.5),
            End(_HOLDER, way),
        )
        return Workload(actions, (_limit(1, unit),), ended=(_HOLDER,))


def _pool(location: str, number: int) -> str:
    return pool_names(parse_shape(location), location)[number]


def _limit(slots: int, unit: Unit = Unit.RUNS, roles: tuple[str, ...] = ()) -> Limit:
    return Limit("pool", slots, roles, unit)


_FULL = _Size(
    "a2_pools2_sleep2000ms_inprocess",
    "a2_graph4_pools2_sleep500ms_inprocess",
    "a2_pools2_sleep4000ms_inprocess",
    runs=8,
    monitoring={"poll_interval_seconds": 10, "free_slots_after_run_end_seconds": 10},
).sides()
_QUICK = tuple(
    side
    for side in _Size(
        "a2_pools2_sleep200ms_inprocess",
        "a2_graph4_pools2_inprocess",
        "a2_pools2_sleep2000ms_inprocess",
        runs=6,
        monitoring={"poll_interval_seconds": 1, "free_slots_after_run_end_seconds": 1},
        dequeue_interval_seconds=1,
    ).sides()
    if side.name in (_RUNS, f"{_RUNS}, at once", _OPS, "behind a full pool")
)
_SIDES = {side.name: side for side in (*_QUICK, *_FULL)}
_EMPTY = empty_measure(_SIDES)


def _held_up(_workload: Workload, launches: Sequence[Launch]) -> Iterator[Breach]:
    """Yield each run of another pool that was in the queue while a run of the full pool started and ended.

    The daemon takes both at the same look, unless the run is held up by those that wait for the full pool.
    """
    for launch in launches:
        enqueued_us, start_us = launch.at_us[Boundary.ENQUEUED], launch.at_us[Boundary.STARTING]
        if launch.role != _OTHER or launch.run_id is None or enqueued_us is None:
            continue
        passed = [
            other.run_id
            for other in launches
            if other.role == _BLOCKED
            and (other.at_us[Boundary.STARTING] or 0) >= enqueued_us
            and other.ended_us is not None
            and (start_us is None or other.ended_us <= start_us)
        ]
        if passed:
            waited = f"waited while run {passed[0]} of a full pool started and ended"
            yield Breach(launch.run_id, f"run {launch.run_id}, whose pool had a free slot, {waited}")


EXPERIMENT = Experiment(
    Scenario(
        "pools",
        "How long does a free slot of a pool stay empty while runs wait for it?",
        variants=_FULL,
        quick_variants=_QUICK,
        repeats=3,
        warmups=0,
        timeout_s=300,
        holds_equal="the code location among the sides with the same baseline, its warm server (so that two CPUs "
        "suffice), all runs requested together, run monitoring that frees the slots of ended runs.",
    ),
    flat=True,
    headline=_EMPTY,
    gate=Gate("a run whose pool is full holds up no run of another pool", _held_up),
    measures=(
        _EMPTY,
        empty_measure(_SIDES, longest=True),
        MAKESPAN,
        wait_measure(),
        wait_measure(share=1.0),
        *use_measures(_SIDES),
    ),
    remedies=(
        Remedy(
            "Let pools limit runs instead of ops",
            f"graph assets, {_RUNS}",
            "A run holds a slot of each of its pools until its end, also while its other steps run.",
            "concurrency:  # in dagster.yaml\n  pools:\n    granularity: run",
            "yaml",
        ),
    ),
)
