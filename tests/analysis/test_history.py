"""The history of a location: which changes are found, which stage carries them, what came with them."""

from dataclasses import replace

import pytest
from history_samples import GROWN, INTERVAL_US, UPGRADED, USUAL, make_history
from hypothesis import given
from hypothesis import strategies as st
from samples import CREATED_US

from bench_orchestrator.analysis.history import Trend, marked_versions, trace
from bench_orchestrator.analysis.history_wording import describe_change, describe_standing, headline
from bench_orchestrator.model.stages import LAG_STAGES, Stage


@pytest.fixture(scope="module")
def grown() -> Trend:
    return trace(make_history(parts=(USUAL, GROWN)))


class TestALocationThatHasGrown:
    def test_is_slower_since_then_by_that_much(self, grown: Trend) -> None:
        (change,) = grown.changes
        assert change.slower
        assert change.quantity == "startup time"
        assert change.found.index == 60
        assert 56 <= change.found.first <= 60 <= change.found.last <= 64
        assert change.at_us == change.earlier_us + INTERVAL_US == CREATED_US + 60 * INTERVAL_US
        assert change.sweep_id == "monitor-60"
        assert change.difference_s.value == pytest.approx(3.6, rel=0.03)
        assert change.before_s.value == pytest.approx(3.6, rel=0.03)
        assert change.after_s.value == pytest.approx(7.2, rel=0.03)

    def test_is_slower_in_the_stages_that_load_it(self, grown: Trend) -> None:
        (change,) = grown.changes
        first, second, *others = change.carriers
        assert (first, second) == (Stage.WORKER_LOAD, Stage.STEP_LOAD)
        assert change.carriers[first].value == pytest.approx(2.4, rel=0.05)
        assert Stage.QUEUE_WAIT not in others
        assert change.carrier == "worker load"

    def test_tells_what_came_with_it(self, grown: Trend) -> None:
        (change,) = grown.changes
        assert change.came_with == ("assets 250 \N{RIGHTWARDS ARROW} 2,000",)
        assert describe_change(change).startswith("a250, 2026-07-15 00:30 UTC: startup time +3.")
        assert describe_change(change).endswith(", worker load; with it: assets 250 \N{RIGHTWARDS ARROW} 2,000")

    def test_has_two_levels_and_the_present_one_is_slower_than_its_baseline(self, grown: Trend) -> None:
        assert [len(level.points) for level in grown.levels] == [60, 40]
        standing = grown.standing
        assert standing is not None
        assert standing.slower
        assert (standing.baseline, standing.present) == grown.levels
        assert describe_standing("a250", standing).endswith("since 2026-07-15 00:30 UTC (worker load)")
        assert headline([grown]) == f"Slower than before: {describe_standing('a250', standing)}"

    def test_is_marked_with_its_size(self, grown: Trend) -> None:
        assert marked_versions(grown.history) == [(CREATED_US + 60 * INTERVAL_US, "assets 2,000")]


class TestAQuietLocation:
    def test_has_one_level_and_no_standing(self) -> None:
        trend = trace(make_history(parts=((200, {}, {}),)))
        assert trend.changes == ()
        assert len(trend.levels) == 1
        assert trend.standing is None
        assert headline([trend]) == "No slower than before: 1 location, 200 sweeps"

    def test_may_have_a_single_point(self) -> None:
        trend = trace(make_history(parts=((1, {}, {}),)))
        assert trend.levels[0].startup_s.n == 1
        assert headline([trend, trend]) == "No slower than before: 2 locations, 1 sweep"

    def test_without_any_there_is_nothing_to_say(self) -> None:
        assert headline([]) == "No measured launches"


def test_an_upgrade_that_helps_is_no_slowdown() -> None:
    trend = trace(make_history(parts=(USUAL, UPGRADED)))
    (change,) = trend.changes
    assert not change.slower
    assert change.carrier == "step boot"
    assert change.came_with == ("Dagster 1.13.27 \N{RIGHTWARDS ARROW} 1.13.29",)
    assert trend.standing is not None
    assert not trend.standing.slower


def test_without_another_circumstance_it_is_unknown_what_came_with_it() -> None:
    stages_s, points = GROWN[1], GROWN[0]
    (change,) = trace(make_history(parts=(USUAL, (points, stages_s, {})))).changes
    assert change.came_with == ()
    assert "with it" not in describe_change(change)


def test_the_fastest_established_level_is_the_baseline_whatever_came_since() -> None:
    slow, less_slow = {Stage.WORKER_LOAD: 3.0}, {Stage.WORKER_LOAD: 1.2}
    trend = trace(make_history(parts=(USUAL, (40, slow, {}), (40, less_slow, {}))))
    assert [change.slower for change in trend.changes if change.stage is None] == [True, False]
    assert trend.standing is not None
    assert trend.standing.baseline is trend.levels[0]
    assert trend.standing.slower


def test_a_short_improvement_sets_no_standard() -> None:
    trend = trace(make_history(parts=(USUAL, (12, {Stage.STEP_BOOT: 0.2}, {}), USUAL)))
    assert len(trend.levels) == 3
    assert trend.standing is not None
    assert trend.standing.baseline is trend.levels[0]
    assert not trend.standing.slower


def test_a_stage_too_small_to_show_in_the_whole_is_a_change_of_its_own() -> None:
    trend = trace(make_history(parts=(USUAL, (60, {Stage.EXECUTOR_START: 0.14}, {})), seed=2))
    (change,) = trend.changes
    assert (change.stage, change.quantity, change.carrier) == (Stage.EXECUTOR_START, "executor start", "executor start")
    assert len(trend.levels) == 1


def test_the_queue_wait_is_a_change_of_its_own_also_beside_one_of_the_startup_time() -> None:
    history = make_history(parts=(USUAL, GROWN))
    promptly = tuple(
        point if number < 60 else replace(point, stages_s={**point.stages_s, Stage.QUEUE_WAIT: 0.03})
        for number, point in enumerate(history.points)
    )
    changes = trace(replace(history, points=promptly)).changes
    assert [change.stage for change in changes] == [None, Stage.QUEUE_WAIT]


def test_the_worst_location_is_named_and_the_others_are_counted() -> None:
    bad = trace(make_history("bad", (USUAL, GROWN)))
    worse = trace(make_history("worse", (USUAL, (40, {Stage.WORKER_LOAD: 9.0}, {}))))
    quiet = trace(make_history("quiet"))
    assert headline([bad, worse, quiet]).startswith("Slower than before: worse +8.")
    assert headline([bad, worse, quiet]).endswith("; 1 more")


def test_the_recent_lag_is_that_of_the_latest_sweeps_with_the_wait() -> None:
    trend = trace(make_history())
    lags_s = sorted(point.lag_s for point in trend.history.points[-6:])
    assert trend.recent_lag_s.value == pytest.approx((lags_s[2] + lags_s[3]) / 2)
    assert trend.is_surely_over(lags_s[0] - 0.001)
    assert not trend.is_surely_over(lags_s[0])
    assert not trace(make_history(parts=((5, {}, {}),))).is_surely_over(0.1)  # too few for the gate's confidence


@given(
    st.lists(
        st.tuples(
            st.integers(1, 30),
            st.dictionaries(st.sampled_from(LAG_STAGES), st.sampled_from([0.0, 0.5, 2.0]), max_size=2),
            st.dictionaries(st.sampled_from(["dagster", "assets", "executor"]), st.sampled_from("ab"), max_size=2),
        ),
        min_size=1,
        max_size=3,
    )
)
def test_any_history_has_levels_that_hold_all_its_points_and_changes_in_order(
    parts: list[tuple[int, dict[Stage, float], dict[str, str]]],
) -> None:
    history = make_history(parts=parts)
    trend = trace(history)
    assert tuple(point for level in trend.levels for point in level.points) == history.points
    assert [change.at_us for change in trend.changes] == sorted(change.at_us for change in trend.changes)
    for change in trend.changes:
        assert change.earlier_us < change.at_us
        assert describe_change(change)
    assert headline([trend])
