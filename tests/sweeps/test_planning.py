"""Plans are fair, reproducible, and made only if a deployment can carry them out."""

from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import replace
from itertools import groupby
from pathlib import Path
from typing import Any

import dagster as dg
import pytest
from hypothesis import given
from hypothesis import strategies as st

from bench_orchestrator.model.errors import PreflightError
from bench_orchestrator.model.plan import LaunchPath, Scenario, Variant, again
from bench_orchestrator.sources.processes import UsageMeter
from bench_orchestrator.sweeps.deployments import Site
from bench_orchestrator.sweeps.planning import (
    DEFAULT_VARIANT,
    Placement,
    TooFewPartitionsError,
    find_targets,
    location_variants,
    plan_sweep,
    plan_trials,
    with_baselines_again,
)
from bench_orchestrator.webserver import ASSET_JOB, LocationEntry, Webserver, WebserverUnreachableError
from synthetic_locations.probed import PROBE


class FakeWebserver(Webserver):
    """A stand-in for a webserver that answers from tables."""

    def __init__(
        self,
        assets: Mapping[str, Mapping[str, bool]],
        partitions: Mapping[str, Sequence[str]] | None = None,
        statuses: Sequence[LocationEntry] = (),
    ) -> None:
        loaded = {name: LocationEntry(name, "loaded", (f"{name}_repository",)) for name in assets}
        self._statuses = loaded | {status.name: status for status in statuses}
        self._assets = assets
        self._partitions = partitions or {}

    def list_locations(self) -> dict[str, LocationEntry]:
        return dict(self._statuses)

    def list_assets(self, location: str, repository: str) -> dict[str, bool]:
        assert repository == f"{location}_repository"
        return dict(self._assets[location])

    def list_partitions(self, asset_key: str) -> list[str]:
        return list(self._partitions[asset_key])


class FakeWebserverThatIsAway(FakeWebserver):
    """Does not answer."""

    def list_locations(self) -> dict[str, LocationEntry]:
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

    def test_in_a_location_with_a_probe_nothing_else_is_launched_or_counted_differently(self) -> None:
        webserver = FakeWebserver({"own": {**assets_of("own", 5, partitioned=True), PROBE: False}})
        locations, trials = plan_trials(placed_by_location(webserver), repeats=4, warmups=1, seed=3)
        assert {trial.asset_keys for trial in trials} == {(PROBE,)}
        assert {trial.partition_key for trial in trials} == {None}
        assert [(location.asset_count, location.partition_count) for location in locations] == [(5, 0)]

    def test_a_location_named_twice_is_one_target(self) -> None:
        assert [target.name for target in find_targets(TWO, ["a5", "a3", "a5"])] == ["a5", "a3"]

    def test_all_problems_are_reported_at_once(self) -> None:
        webserver = FakeWebserver(
            {"good": assets_of("good", 1), "empty": {}},
            statuses=[
                LocationEntry("slow", "loading"),
                LocationEntry("broken", "error", error="Traceback:\n  somewhere\nImportError: no pandas\n\n"),
            ],
        )
        with pytest.raises(PreflightError) as raised:
            find_targets(webserver, ["good", "absent", "slow", "broken", "empty"])
        absent, slow, broken, empty = str(raised.value).splitlines()
        assert "no code location 'absent'" in absent
        assert "loaded now: broken, empty, good, slow" in absent
        assert "'slow' is not loaded (loading). Fix it" in slow
        assert "'broken' is not loaded (error: ImportError: no pandas). Fix it" in broken
        assert "'empty' has no executable asset" in empty

    def test_trials_choose_from_the_assets_that_are_named(self) -> None:
        only = ["a5/asset_3", "a3/asset_1", "a5/asset_1"]
        targets = find_targets(TWO, ["a5", "a3"], only=only)
        placements = [
            Placement(variant, "", TWO, (target,))
            for variant, target in zip(location_variants(["a5", "a3"]), targets, strict=True)
        ]
        locations, trials = plan_trials(placements, repeats=20, warmups=0, seed=1)
        assert {trial.asset_keys for trial in trials} == {(key,) for key in only}
        assert {location.name: location.asset_count for location in locations} == {"a5": 5, "a3": 3}

    def test_a_location_without_any_of_the_named_assets_is_a_problem(self) -> None:
        with pytest.raises(PreflightError, match="'a3' has no executable asset a5/asset_0 or a5/asset_1"):
            find_targets(TWO, ["a5", "a3"], only=["a5/asset_0", "a5/asset_1"])

    def test_a_deployment_without_locations_is_reported(self) -> None:
        with pytest.raises(PreflightError, match="loaded now: none"):
            find_targets(FakeWebserver({}), ["a3"])

    def test_a_webserver_that_is_away_is_the_problem(self) -> None:
        with pytest.raises(PreflightError, match="does not answer"):
            find_targets(FakeWebserverThatIsAway({}), ["a3"])


def placed(webserver: Webserver, *variants: Variant) -> list[Placement]:
    return [
        Placement(variant, "", webserver, tuple(find_targets(webserver, variant.locations))) for variant in variants
    ]


def placed_by_location(webserver: Webserver, *names: str) -> list[Placement]:
    return placed(webserver, *location_variants(names or tuple(webserver.list_locations())))


SIZES = st.lists(st.integers(1, 6), min_size=1, max_size=5)
SEEDS = st.integers(0, 2**32)


@given(sizes=SIZES, repeats=st.integers(1, 4), warmups=st.integers(0, 2), seed=SEEDS)
def test_every_block_launches_every_location_once_warmups_first(
    sizes: list[int], repeats: int, warmups: int, seed: int
) -> None:
    webserver = FakeWebserver({f"l{n}": assets_of(f"l{n}", size) for n, size in enumerate(sizes)})
    sides = placed_by_location(webserver)
    locations, trials = plan_trials(sides, repeats=repeats, warmups=warmups, seed=seed)

    assert [trial.number for trial in trials] == list(range(1, (repeats + warmups) * len(sizes) + 1))
    blocks = {block: list(group) for block, group in groupby(trials, key=lambda trial: trial.block)}
    assert list(blocks) == list(range(1, repeats + warmups + 1))
    for block, members in blocks.items():
        assert sorted(trial.location for trial in members) == sorted(side.targets[0].name for side in sides)
        assert {trial.warmup for trial in members} == {block <= warmups}
    for trial in trials:
        (asset,) = trial.asset_keys
        assert asset in webserver.list_assets(trial.location, f"{trial.location}_repository")
    assert [
        (location.name, location.asset_count, location.partition_count, location.job) for location in locations
    ] == [(f"l{n}", size, 0, ASSET_JOB) for n, size in enumerate(sizes)]


@given(seed=SEEDS)
def test_the_same_seed_gives_the_same_plan(seed: int) -> None:
    first, second = (plan_trials(placed_by_location(TWO), repeats=3, warmups=1, seed=seed) for _ in range(2))
    assert first == second


def test_another_seed_gives_other_orders_and_assets() -> None:
    plans = [plan_trials(placed_by_location(TWO), repeats=4, warmups=0, seed=seed)[1] for seed in range(20)]
    assert len({tuple(trial.location for trial in plan) for plan in plans}) > 5
    chosen = Counter(trial.asset_keys[0] for plan in plans for trial in plan)
    assert set(chosen) == {*assets_of("a3", 3), *assets_of("a5", 5)}


def test_the_latest_partition_is_launched_and_the_most_partitions_are_reported() -> None:
    webserver = FakeWebserver(
        {"mixed": {"few": True, "many": True, "none": False}},
        {"few": ["2026-01-01", "2026-01-02"], "many": ["p0", "p1", "p2"]},
    )
    locations, trials = plan_trials(placed_by_location(webserver), repeats=30, warmups=0, seed=7)
    assert {(*trial.asset_keys, trial.partition_key) for trial in trials} == {
        ("few", "2026-01-02"),
        ("many", "p2"),
        ("none", None),
    }
    assert locations[0].partition_count == 3


def test_a_partitioned_asset_without_a_partition_is_refused_by_name() -> None:
    webserver = FakeWebserver({"dynamic": {"dynamic/asset_0": True}}, {"dynamic/asset_0": []})
    with pytest.raises(PreflightError, match="dynamic/asset_0 in dynamic is partitioned and has no partition"):
        plan_trials(placed_by_location(webserver), repeats=1, warmups=0, seed=1)


class TestVariants:
    TEN = FakeWebserver({"ten": assets_of("ten", 10)})

    @given(selected=st.integers(1, 10), seed=SEEDS)
    def test_neighbours_are_selected_in_whole_groups(self, selected: int, seed: int) -> None:
        keys = sorted(assets_of("ten", 10))
        sides = placed(self.TEN, Variant("some", ("ten",), assets=selected))
        for trial in plan_trials(sides, repeats=3, warmups=0, seed=seed)[1]:
            start = keys.index(trial.asset_keys[0])
            assert start % selected == 0
            assert list(trial.asset_keys) == keys[start : start + selected]

    def test_a_stride_begins_at_the_first_asset(self) -> None:
        sides = placed(self.TEN, Variant("spine", ("ten",), assets=4, stride=3))
        (trial,) = plan_trials(sides, repeats=1, warmups=0, seed=1)[1]
        assert trial.asset_keys == ("ten/asset_0", "ten/asset_3", "ten/asset_6", "ten/asset_9")

    @pytest.mark.parametrize(
        "variant", [Variant("all", ("ten",), assets=11), Variant("s", ("ten",), assets=4, stride=4)]
    )
    def test_more_assets_than_there_are_is_refused(self, variant: Variant) -> None:
        with pytest.raises(PreflightError, match="ten has 10 assets, and"):
            plan_trials(placed(self.TEN, variant), repeats=1, warmups=0, seed=1)

    def test_the_latest_partitions_are_a_range(self) -> None:
        webserver = FakeWebserver({"p": {"p/asset": True}}, {"p/asset": ["p0", "p1", "p2", "p3"]})
        (trial,) = plan_trials(placed(webserver, Variant("3", ("p",), partitions=3)), repeats=1, warmups=0, seed=1)[1]
        assert (trial.partition_key, trial.last_partition_key) == ("p1", "p3")
        with pytest.raises(PreflightError, match="has 4 partitions; 5 are needed"):
            plan_trials(placed(webserver, Variant("5", ("p",), partitions=5)), repeats=1, warmups=0, seed=1)

    def test_a_side_of_several_locations_is_launched_in_one_of_them_per_block(self) -> None:
        side, other = Variant("split", ("a3", "a5")), Variant("whole", ("a5",))
        locations, trials = plan_trials(placed(TWO, side, other), repeats=20, warmups=0, seed=1)
        assert Counter(trial.variant for trial in trials) == {"split": 20, "whole": 20}
        assert {trial.location for trial in trials if trial.variant == "split"} == {"a3", "a5"}
        assert [location.name for location in locations] == ["a3", "a5"]

    def test_sides_in_turn_come_last_once_in_each_location_in_order(self) -> None:
        turn = Variant("path", ("a5", "a3"), in_turn=True)
        _, trials = plan_trials(placed(TWO, turn, Variant("one", ("a3",))), repeats=2, warmups=1, seed=1)
        assert [(trial.block, trial.location) for trial in trials[-2:]] == [(4, "a5"), (4, "a3")]
        assert [trial.variant for trial in trials[:-2]] == ["one"] * 3
        assert not any(trial.warmup for trial in trials[-2:])

    def test_trials_carry_what_their_side_asks_for(self) -> None:
        side = Variant("side", ("a3",), work=7, path=LaunchPath.SENSOR)
        (trial,) = plan_trials(placed(TWO, side), repeats=1, warmups=0, seed=1)[1]
        assert (trial.work, trial.path, trial.variant) == (7, LaunchPath.SENSOR, "side")

    def test_every_baseline_is_followed_by_itself_again(self) -> None:
        one, two = Variant("one", ("a3",)), Variant("two", ("a3",))
        three = Variant("three", ("a3",), against="two")
        arms = with_baselines_again([one, two, three])
        assert [arm.name for arm in arms] == ["one", again("one"), "two", again("two"), "three"]
        assert (arms[1].locations, arms[1].against, arms[3].against) == (("a3",), "one", "two")


def test_partitions_that_are_still_being_added_are_waited_for(instance: dg.DagsterInstance) -> None:
    class Filling(FakeWebserver):
        """Has no partitions at first, and two a little later."""

        asked = 0

        def list_partitions(self, asset_key: str) -> list[str]:  # noqa: ARG002
            self.asked += 1
            return ["p0", "p1"] if self.asked > 1 else []

    here = Site("", Filling({"d": {"d/asset": True}}), instance, UsageMeter(Path("nowhere")), {})
    variants = location_variants(["d"])
    how: dict[str, Any] = {"repeats": 1, "warmups": 0, "seed": 1, "settings": {}}
    plan = plan_sweep("s", Scenario("s", "?"), variants, {DEFAULT_VARIANT: here}, **how, patience_s=30)
    assert plan.trials[0].partition_key == "p1"
    with pytest.raises(TooFewPartitionsError):
        plan_sweep("s", Scenario("s", "?"), variants, {DEFAULT_VARIANT: replace(here, webserver=NEVER)}, **how)


NEVER = FakeWebserver({"d": {"d/asset": True}}, {"d/asset": []})


def test_a_plan_knows_its_deployments_and_its_request(instance: dg.DagsterInstance) -> None:
    here = Site("", TWO, instance, UsageMeter(Path("nowhere")), {"python": "3.11"})
    own = Site("own", TWO, instance, UsageMeter(Path("nowhere")), {"python": "3.12"}, {"a5": 2.5})
    variants = (Variant("here", ("a3",)), Variant("there", ("a5",)))
    scenario = Scenario("trying", "?", variants=variants)
    plan = plan_sweep(
        "trying-1",
        scenario,
        variants,
        {"here": here, "there": own},
        repeats=2,
        warmups=0,
        seed=3,
        settings={"quick": True},
    )
    assert plan.environment == {"python": "3.11"}
    assert plan.environments == {"own": {"python": "3.12"}}
    assert {(place.deployment, place.name, place.load_s) for place in plan.locations} == {
        ("", "a3", None),
        ("own", "a5", 2.5),
    }
    assert {(trial.variant, trial.deployment) for trial in plan.trials} == {("here", ""), ("there", "own")}
    assert (plan.variants, plan.seed, plan.settings) == (variants, 3, {"quick": True})


def test_partitions_are_asked_for_once_per_asset_and_it_says_how_far_it_is() -> None:
    class Counting(FakeWebserver):
        """Counts the questions for partitions."""

        def list_partitions(self, asset_key: str) -> list[str]:
            asked.append(asset_key)
            return super().list_partitions(asset_key)

    asked: list[str] = []
    said: list[str] = []
    webserver = Counting({"p": {"p/one": True, "p/two": True}}, {"p/one": ["p0"], "p/two": ["p0"]})
    _, trials = plan_trials(placed_by_location(webserver), repeats=500, warmups=0, seed=1, say=said.append)
    assert len(trials) == 500
    assert sorted(asked) == ["p/one", "p/two"]
    assert said == [f"Asking for the partitions of the assets: {n} of 2 ..." for n in (1, 2)]


def test_the_same_asset_in_two_deployments_has_the_partitions_of_each() -> None:
    few, many = (FakeWebserver({"p": {"p/a": True}}, {"p/a": keys}) for keys in (["p0"], ["p0", "p1"]))
    sides = [
        Placement(Variant(name, ("p",)), name, webserver, tuple(find_targets(webserver, ["p"])))
        for name, webserver in (("few", few), ("many", many))
    ]
    locations, trials = plan_trials(sides, repeats=1, warmups=0, seed=1)
    assert {trial.deployment: trial.partition_key for trial in trials} == {"few": "p0", "many": "p1"}
    assert {place.deployment: place.partition_count for place in locations} == {"few": 1, "many": 2}
