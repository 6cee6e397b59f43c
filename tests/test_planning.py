"""Plans are fair, reproducible and only made where a deployment can carry them out."""

from collections import Counter
from collections.abc import Mapping, Sequence
from itertools import groupby

import pytest
from hypothesis import given
from hypothesis import strategies as st

from bench_orchestrator.launching import ASSET_JOB, LocationStatus, Webserver, WebserverUnreachableError
from bench_orchestrator.planning import PreflightError, Target, find_targets, plan_trials


class FakeWebserver(Webserver):
    """Answers what planning asks from tables, in place of a deployment."""

    def __init__(
        self,
        assets: Mapping[str, Mapping[str, bool]],
        partitions: Mapping[str, Sequence[str]] | None = None,
        statuses: Sequence[LocationStatus] = (),
    ) -> None:
        loaded = {name: LocationStatus(name, "loaded", (f"{name}_repository",)) for name in assets}
        self._statuses = loaded | {status.name: status for status in statuses}
        self._assets = assets
        self._partitions = partitions or {}

    def list_locations(self) -> dict[str, LocationStatus]:
        return dict(self._statuses)

    def list_assets(self, location: str, repository: str) -> dict[str, bool]:
        assert repository == f"{location}_repository"
        return dict(self._assets[location])

    def list_partitions(self, asset_key: str) -> list[str]:
        return list(self._partitions[asset_key])


class FakeWebserverThatIsAway(FakeWebserver):
    """Does not answer."""

    def list_locations(self) -> dict[str, LocationStatus]:
        raise WebserverUnreachableError("The webserver at http://127.0.0.1:1 does not answer.")


def assets_of(location: str, count: int, *, partitioned: bool = False) -> dict[str, bool]:
    return {f"{location}/asset_{number}": partitioned for number in range(count)}


TWO = FakeWebserver({"a3": assets_of("a3", 3), "a5": assets_of("a5", 5)})


class TestPreflight:
    def test_targets_come_in_the_order_named_with_their_assets(self) -> None:
        targets = find_targets(TWO, ["a5", "a3"])
        assert [target.name for target in targets] == ["a5", "a3"]
        assert targets[0].repository == "a5_repository"
        assert targets[0].assets == assets_of("a5", 5)

    def test_a_location_named_twice_is_one_target(self) -> None:
        assert [target.name for target in find_targets(TWO, ["a5", "a3", "a5"])] == ["a5", "a3"]

    def test_everything_that_is_wrong_is_said_at_once(self) -> None:
        webserver = FakeWebserver(
            {"good": assets_of("good", 1), "empty": {}},
            statuses=[
                LocationStatus("slow", "loading"),
                LocationStatus("broken", "error", error="Traceback:\n  somewhere\nImportError: no pandas\n\n"),
            ],
        )
        with pytest.raises(PreflightError) as raised:
            find_targets(webserver, ["good", "absent", "slow", "broken", "empty"])
        absent, slow, broken, empty = str(raised.value).splitlines()
        assert "no code location 'absent'" in absent
        assert "loaded now: broken, empty, good, slow" in absent
        assert "'slow' is not loaded (loading). Mend it" in slow
        assert "'broken' is not loaded (error: ImportError: no pandas). Mend it" in broken
        assert "'empty' has no asset" in empty

    def test_a_deployment_without_locations_is_said_to_have_none(self) -> None:
        with pytest.raises(PreflightError, match="loaded now: none"):
            find_targets(FakeWebserver({}), ["a3"])

    def test_a_webserver_that_is_away_is_the_problem(self) -> None:
        with pytest.raises(PreflightError, match="does not answer"):
            find_targets(FakeWebserverThatIsAway({}), ["a3"])


SIZES = st.lists(st.integers(1, 6), min_size=1, max_size=5)
SEEDS = st.integers(0, 2**32)


@given(sizes=SIZES, repeats=st.integers(1, 4), warmups=st.integers(0, 2), seed=SEEDS)
def test_every_block_launches_every_location_once_warmups_first(
    sizes: list[int], repeats: int, warmups: int, seed: int
) -> None:
    webserver = FakeWebserver({f"l{n}": assets_of(f"l{n}", size) for n, size in enumerate(sizes)})
    targets = find_targets(webserver, list(webserver.list_locations()))
    locations, trials = plan_trials(webserver, targets, repeats=repeats, warmups=warmups, seed=seed)

    assert [trial.number for trial in trials] == list(range(1, (repeats + warmups) * len(sizes) + 1))
    blocks = {block: list(group) for block, group in groupby(trials, key=lambda trial: trial.block)}
    assert list(blocks) == list(range(1, repeats + warmups + 1))
    for block, members in blocks.items():
        assert sorted(trial.location for trial in members) == sorted(target.name for target in targets)
        assert {trial.warmup for trial in members} == {block <= warmups}
    assert all(
        trial.asset_key in webserver.list_assets(trial.location, f"{trial.location}_repository") for trial in trials
    )
    assert [
        (location.name, location.asset_count, location.partition_count, location.job) for location in locations
    ] == [(f"l{n}", size, 0, ASSET_JOB) for n, size in enumerate(sizes)]


@given(seed=SEEDS)
def test_the_same_seed_gives_the_same_plan(seed: int) -> None:
    targets = find_targets(TWO, ["a3", "a5"])
    first, second = (plan_trials(TWO, targets, repeats=3, warmups=1, seed=seed) for _ in range(2))
    assert first == second


def test_another_seed_gives_other_orders_and_assets() -> None:
    targets = find_targets(TWO, ["a3", "a5"])
    plans = [plan_trials(TWO, targets, repeats=4, warmups=0, seed=seed)[1] for seed in range(20)]
    assert len({tuple(trial.location for trial in plan) for plan in plans}) > 5
    chosen = Counter(trial.asset_key for plan in plans for trial in plan)
    assert set(chosen) == {*assets_of("a3", 3), *assets_of("a5", 5)}


def test_the_latest_partition_is_launched_and_the_most_partitions_are_reported() -> None:
    webserver = FakeWebserver(
        {"mixed": {"few": True, "many": True, "none": False}},
        {"few": ["2026-01-01", "2026-01-02"], "many": ["p0", "p1", "p2"]},
    )
    targets = find_targets(webserver, ["mixed"])
    locations, trials = plan_trials(webserver, targets, repeats=30, warmups=0, seed=7)
    assert {(trial.asset_key, trial.partition_key) for trial in trials} == {
        ("few", "2026-01-02"),
        ("many", "p2"),
        ("none", None),
    }
    assert locations[0].partition_count == 3


def test_a_partitioned_asset_without_a_partition_is_refused_by_name() -> None:
    webserver = FakeWebserver({"dynamic": {"dynamic/asset_0": True}}, {"dynamic/asset_0": []})
    targets = [Target("dynamic", "dynamic_repository", {"dynamic/asset_0": True})]
    with pytest.raises(PreflightError, match="dynamic/asset_0 in dynamic is partitioned and has no partition"):
        plan_trials(webserver, targets, repeats=1, warmups=0, seed=1)
