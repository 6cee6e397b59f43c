"""Limits on tags: each side's limits are judged at every instant; waits of both values, from made launches."""

from typing import Any

import dagster as dg
import pytest
from dagster._utils.tags import TagConcurrencyLimitsCounter
from queue_samples import make_queue_trial, run

from bench_orchestrator.model.workload import Backfill, SetPool, Submit, Workload
from bench_orchestrator.scenarios.queueing.tag_limits import EXPERIMENT
from bench_orchestrator.timeline.occupancy import breaches

SIDES = {side.name: side for side in EXPERIMENT.scenario.variants}
MEASURES = {measure.name: measure for measure in EXPERIMENT.measures}


def workload_of(side: str) -> Workload:
    workload = SIDES[side].workload
    assert workload is not None
    return workload


def at_once(**counts: int) -> list[Any]:
    """Return runs in progress at once: `many=2, few=1`."""
    return [run(f"{role} {number}", 1, 5, role=role) for role, count in counts.items() for number in range(count)]


KEPT: dict[str, dict[str, int]] = {
    "no tag limit": {"many": 4},
    "by key": {"many": 2, "few": 1},
    "by key and value": {"many": 2, "few": 2},
    "per unique value": {"many": 2, "few": 2},
    "per unique value, at once": {"many": 2, "few": 2},
    "per backfill": {"many": 2, "few": 2},
    "by sensor": {"many": 2, "few": 2},
    "by key, many behind a full pool": {"many": 1, "few": 2},
}
"""The most that each side allows."""

BROKEN: list[tuple[str, dict[str, int], list[str]]] = [
    ("no tag limit", {"many": 5}, ["max_concurrent_runs"]),
    ("by key", {"many": 2, "few": 2}, ["tag limit"]),
    ("by key and value", {"many": 3}, ["tag limit"]),
    ("by key and value", {"many": 2, "few": 3}, ["max_concurrent_runs"]),
    ("per unique value", {"few": 3}, ["tag limit"]),
    ("per unique value", {"many": 3}, ["tag limit"]),
    ("per unique value, at once", {"few": 3}, ["tag limit"]),
    ("per backfill", {"many": 3, "few": 2}, ["tag limit", "max_concurrent_runs"]),
    ("by sensor", {"many": 3}, ["tag limit"]),
    ("by key, many behind a full pool", {"many": 2}, ["pool"]),
    ("by key, many behind a full pool", {"many": 1, "few": 3}, ["tag limit"]),
]


def broken(side: str, counts: dict[str, int]) -> list[str]:
    limits = workload_of(side).limits
    return [breach.what.partition(" was")[0] for limit in limits for breach in breaches(limit, at_once(**counts))]


@pytest.mark.parametrize("side", SIDES)
def test_as_many_as_its_limits_allow_may_be_in_progress(side: str) -> None:
    assert broken(side, KEPT[side]) == []


@pytest.mark.parametrize(("side", "counts", "limits"), BROKEN)
def test_one_more_is_a_breach_of_the_limit_that_is_named(side: str, counts: dict[str, int], limits: list[str]) -> None:
    assert broken(side, counts) == limits


@pytest.mark.parametrize("side", SIDES)
def test_dagster_counts_by_the_same_limits(side: str) -> None:
    """Of the runs that a side requests, Dagster lets as many be in progress as the judged limits do."""
    runs = SIDES[side].instance["concurrency"]["runs"]
    tags: list[dict[str, str]] = []
    for action in workload_of(side).actions:
        match action:
            case Submit():
                tags += [dict(action.tags)] * action.count
            case Backfill():
                tags += [{"dagster/backfill": action.role}] * action.partitions
            case _:
                pass
    counter = TagConcurrencyLimitsCounter(runs["tag_concurrency_limits"], [])
    let: list[dict[str, str]] = []
    for number, of_run in enumerate(tags):
        candidate = dg.DagsterRun("job", run_id=str(number), tags=of_run)
        if len(let) < runs["max_concurrent_runs"] and not counter.is_blocked(candidate):
            counter.update_counters_with_launched_item(candidate)
            let.append(of_run)
    # Which value they are of is the queue's order: first come, first served. Pools are not in this count.
    assert len(let) == (3 if side.startswith("by key,") else sum(KEPT[side].values()))


def test_all_sides_but_the_queues_share_a_deployment() -> None:
    assert len({str(side.instance) for side in SIDES.values()}) == 2


def test_no_other_side_uses_the_pool_that_stays_limited() -> None:
    (limiting,) = [name for name in SIDES if any(isinstance(action, SetPool) for action in workload_of(name).actions)]
    requests = {
        name: {
            action.role: action.asset for action in workload_of(name).actions if isinstance(action, Submit | Backfill)
        }
        for name in SIDES
    }
    assert requests.pop(limiting) == {"many": 1, "few": 0}
    assert list(requests.values()) == [{"many": 0, "few": 0}] * len(requests)
    (location,) = SIDES[limiting].locations
    assert workload_of(limiting).actions[0] == SetPool(f"{location}_pool_1", 1)


def test_the_measures_are_of_each_value() -> None:
    waits_s = {"many": (1, 2, 9), "few": (4, 6)}
    runs = [run(f"{role} {s}", s, s + 1, role=role) for role, starts in waits_s.items() for s in starts]
    trial = make_queue_trial("by key", runs)
    found = {name: measure.of(trial) for name, measure in MEASURES.items()}
    assert found["few_wait_50_s"] == 4
    assert found["many_wait_50_s"] == 2
    assert found["wait_ratio"] == 2.5
    assert found["makespan_s"] == 10
    assert found["runs_at_once"] == 1
    assert found["slots_held_percent"] == pytest.approx(100 * 5 / (3 * 9))


def test_without_waits_of_the_many_there_is_no_ratio() -> None:
    assert (
        MEASURES["wait_ratio"].of(make_queue_trial("by key", [run("a", 0, 1, "many"), run("b", 1, 2, "few")])) is None
    )
    assert MEASURES["wait_ratio"].of(make_queue_trial("by key", [run("b", 1, 2, "few")])) is None
