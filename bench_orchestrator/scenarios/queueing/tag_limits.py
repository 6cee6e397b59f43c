"""Limits on tags: one value has many runs, another a few that are requested later; which limits let the few pass?

What Dagster 1.13 does, which the sides show:

- A limit on a key alone is for all its values together: the queue stays first come, first served.
- A run that is blocked by a full pool still takes a slot of its tags' limits in the daemon's count, at each look. The
  runs behind it that share a tag wait for slots that nobody holds.
"""

from collections.abc import Mapping
from statistics import median
from typing import Any

from bench_orchestrator.model.launch import Trial
from bench_orchestrator.model.plan import LaunchPath, Scenario, Variant
from bench_orchestrator.model.workload import Action, Backfill, Limit, SetPool, Submit, Workload
from bench_orchestrator.scenarios.experiment import Experiment, Measure, Remedy
from bench_orchestrator.scenarios.queueing.runs import (
    IN_PROGRESS_AT_ONCE,
    MAKESPAN,
    queue_settings,
    use_measures,
    wait_measure,
    waits_s,
)
from synthetic_locations.pools import pool_names
from synthetic_locations.shape import parse_shape

_MANY, _FEW = "many", "few"
_AT_ONCE = 4
"""`max_concurrent_runs`: fewer than the runs of either value."""
_PER_VALUE = 2
_PER_KEY = 3
_SENSOR = "sensor_of_many"
_UNIQUE = {"applyLimitPerUniqueValue": True}
_LIMITS = [
    {"key": "bench/team", "limit": _PER_KEY},
    {"key": "bench/customer", "value": _MANY, "limit": _PER_VALUE},
    {"key": "bench/tenant", "value": _UNIQUE, "limit": _PER_VALUE},
    {"key": "dagster/backfill", "value": _UNIQUE, "limit": _PER_VALUE},
    {"key": "dagster/sensor_name", "value": _SENSOR, "limit": _PER_VALUE},
]
"""The limits of all sides: each has its own keys, so that they share a deployment."""
_RUNS = Limit("max_concurrent_runs", _AT_ONCE)
_OF_MANY, _OF_FEW = Limit("tag limit", _PER_VALUE, (_MANY,)), Limit("tag limit", _PER_VALUE, (_FEW,))
_OF_BOTH = Limit("tag limit", _PER_KEY)


def _sides(location: str, many: int, few: int, **config: Any) -> tuple[Variant, ...]:
    """Return the sides: the runs of one value first, then those of another.

    Args:
        location: has partitions, and two assets in different pools, of which only the second is ever limited.
        many, few: the number of runs of each value.
        config: settings of the run coordinator.
    """
    shape = parse_shape(location)
    _, full = pool_names(shape, location)

    def side(
        name: str,
        limits: tuple[Limit, ...],
        tags: Mapping[str, Mapping[str, str]] | None = None,
        *,
        first: tuple[Action, ...] = (),
        asset_of_many: int = 0,
        prompt: bool = False,
        backfills: bool = False,
    ) -> Variant:
        """Return a side.

        Args:
            tags: of the runs of each value.
            first: actions before the requests.
        """
        tags = tags or {}
        requests: tuple[Action, ...] = (
            (Backfill(_MANY, many), Backfill(_FEW, few))
            if backfills
            else (
                Submit(_MANY, many, asset_of_many, tags.get(_MANY, {})),
                Submit(_FEW, few, tags=tags.get(_FEW, {})),
            )
        )
        return Variant(
            name,
            (location,),
            assets=shape.assets,
            work=many + few,
            path=LaunchPath.BACKFILL if backfills else LaunchPath.GRAPHQL,
            instance=queue_settings(_AT_ONCE, prompt=prompt, pools={"granularity": "run"}, tags=_LIMITS, **config),
            warm=True,
            workload=Workload((*first, *requests), (*limits, _RUNS)),
        )

    by_key = {value: {"bench/team": "one"} for value in (_MANY, _FEW)}
    per_value = {value: {"bench/tenant": value} for value in (_MANY, _FEW)}
    return (
        side("no tag limit", ()),
        side("by key", (_OF_BOTH,), by_key),
        side("by key and value", (_OF_MANY,), {_MANY: {"bench/customer": _MANY}}),
        side("per unique value", (_OF_MANY, _OF_FEW), per_value),
        side("per unique value, at once", (_OF_MANY, _OF_FEW), per_value, prompt=True),
        side("per backfill", (_OF_MANY, _OF_FEW), backfills=True),
        side("by sensor", (_OF_MANY,), {_MANY: {"dagster/sensor_name": _SENSOR}}),
        side(
            "by key, many behind a full pool",
            (Limit("pool", 1, (_MANY,)), _OF_BOTH),
            by_key,
            first=(SetPool(full, 1),),
            asset_of_many=1,
        ),
    )


_FULL = _sides("a2p16_pools2_sleep1000ms_inprocess", 12, 4)
_QUICK = tuple(
    side
    for side in _sides("a2p16_pools2_sleep200ms_inprocess", 6, 3, dequeue_interval_seconds=1)
    if side.name in ("no tag limit", "by key", "per unique value", "by key, many behind a full pool")
)
_SIDES = {side.name: side for side in (*_QUICK, *_FULL)}
_WAIT_OF_FEW = wait_measure(_FEW)


def _wait_ratio(trial: Trial) -> float | None:
    few_s, many_s = waits_s(trial, _FEW), waits_s(trial, _MANY)
    return median(few_s) / median(many_s) if few_s and many_s and median(many_s) else None


EXPERIMENT = Experiment(
    Scenario(
        "tag-limits",
        "Which limits on tags keep one value's many runs from holding up the few of another?",
        variants=_FULL,
        quick_variants=_QUICK,
        repeats=3,
        warmups=0,
        timeout_s=300,
        holds_equal="the code location, its warm server (so that two CPUs suffice), one step of the same length in "
        f"each run, at most {_AT_ONCE} runs in progress, the many requested before the few.",
    ),
    flat=True,
    headline=_WAIT_OF_FEW,
    measures=(
        _WAIT_OF_FEW,
        wait_measure(_MANY),
        Measure("wait_ratio", "fairness: median queue wait of few, over that of many", "", _wait_ratio),
        MAKESPAN,
        *use_measures(_SIDES),
        IN_PROGRESS_AT_ONCE,
    ),
    remedies=(
        Remedy(
            "Limit the runs of each value of a tag",
            "per unique value",
            "Slots stay empty while only one value has runs.",
            "concurrency:  # in dagster.yaml\n  runs:\n    tag_concurrency_limits:\n"
            "      - {key: customer, value: {applyLimitPerUniqueValue: true}, limit: 2}",
            "yaml",
        ),
    ),
)
