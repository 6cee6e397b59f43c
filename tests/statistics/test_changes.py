"""Change points: what is found, what is not, and what must hold for any series."""

from collections.abc import Sequence
from itertools import pairwise
from math import inf, nan

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from scipy.stats import mannwhitneyu

from bench_orchestrator.statistics import find_changes
from bench_orchestrator.statistics.changes import LIMITS, QUIET, _limit, find_alarms, squared_statistics, watch

# Shifting and scaling whole numbers by whole numbers is exact.
VALUES = st.lists(st.integers(-1000, 1000), min_size=1, max_size=60)
TIED = st.lists(st.integers(0, 3), min_size=2, max_size=40)


@st.composite
def steps(draw: st.DrawFn) -> list[int]:
    """Draw a series of a few levels with noise, which usually has changes."""
    levels = draw(st.lists(st.tuples(st.integers(-60, 60), st.integers(5, 40)), min_size=1, max_size=4))
    seed = draw(st.integers(0, 1_000))
    rng = np.random.default_rng(seed)
    return [int(level + one) for level, count in levels for one in rng.integers(-9, 10, count)]


SERIES = VALUES | steps()


def launches_s(*levels: tuple[float, int], seed: int = 1) -> list[float]:
    """Return launch times on these levels, so many points on each, with 10 % noise."""
    rng = np.random.default_rng(seed)
    return [float(one) for level, count in levels for one in level * rng.lognormal(sigma=0.1, size=count)]


def places(values: Sequence[float], quiet: int = QUIET) -> list[int]:
    return [change.index for change in find_changes(values, quiet)]


class TestAShift:
    def test_is_found_where_it_is_and_soon(self) -> None:
        (change,) = find_changes(launches_s((4.0, 100), (5.2, 60)))
        assert change.first <= 100 <= change.last
        assert abs(change.index - 100) <= 1
        assert 100 <= change.noticed < 115
        assert change.p < 1e-6

    @pytest.mark.parametrize("factor", [1.2, 0.8])
    def test_of_a_fifth_is_found_within_fifteen_points(self, factor: float) -> None:
        found = [places(launches_s((4.0, 100), (4.0 * factor, 15), seed=seed)) for seed in range(60)]
        assert sum(any(abs(place - 100) < 15 for place in one) for one in found) >= 54

    def test_is_one_of_several(self) -> None:
        found = find_changes(launches_s((4.0, 80), (6.0, 50), (3.0, 60), (4.0, 70)))
        assert [change.index for change in found] == pytest.approx([80, 130, 190], abs=1)

    def test_is_not_an_outlier_nor_a_few(self) -> None:
        values = launches_s((4.0, 200))
        for place in (20, 21, 90, 150, 151, 152):
            values[place] = 60.0
        assert places(values) == []

    def test_that_later_points_take_back_is_not_shown(self) -> None:
        values = launches_s((4.0, 400), seed=25)
        assert find_alarms(values)
        assert places(values) == []

    def test_needs_more_evidence_the_rarer_false_alarms_may_be(self) -> None:
        values = launches_s((4.0, 60), (4.8, 60))
        noticed = [find_alarms(values, quiet)[0].noticed for quiet in LIMITS]
        assert noticed == sorted(noticed)
        assert noticed[0] < noticed[-1]


def test_a_quiet_series_is_rarely_alarming() -> None:
    rng = np.random.default_rng(1)
    alarms = sum(len(find_alarms(rng.standard_t(3, 500).tolist())) for _ in range(40))
    assert alarms <= 20  # twice the limit of 1 per 1,000 points


def test_the_limit_is_that_of_the_table_and_in_between() -> None:
    assert [_limit(quiet) for quiet in LIMITS] == pytest.approx(list(LIMITS.values()))
    assert list(LIMITS.values()) == sorted(LIMITS.values())
    assert LIMITS[2_000] < _limit(3_000) < LIMITS[5_000] == _limit(QUIET)


@pytest.mark.parametrize("quiet", [0, 499, 50_001])
def test_what_the_table_does_not_hold_is_refused(quiet: int) -> None:
    with pytest.raises(ValueError, match="quiet must be from 500 to 50,000 points"):
        find_changes([1.0], quiet)


@pytest.mark.parametrize("value", [nan, inf, -inf])
def test_values_are_finite(value: float) -> None:
    with pytest.raises(ValueError, match="values must be finite"):
        find_changes([1.0, value])


@given(SERIES)
def test_changes_are_in_order_within_the_series_and_their_p_values_are_probabilities(values: list[int]) -> None:
    found = find_changes(values)
    assert all(one.index < other.index for one, other in pairwise(found))
    assert all(one.noticed <= other.noticed for one, other in pairwise(found))
    for change in found:
        assert 0 < change.first <= change.index <= change.last < len(values)
        assert change.noticed < len(values)
        assert 0 <= change.p <= 0.05


@given(SERIES, st.integers(-1000, 1000), st.integers(1, 100))
def test_neither_unit_nor_origin_matters(values: list[int], origin: int, unit: int) -> None:
    assert find_changes([origin + unit * value for value in values]) == find_changes(values)


@given(SERIES)
def test_a_mirrored_series_changes_at_the_same_places(values: list[int]) -> None:
    assert find_changes([-value for value in values]) == find_changes(values)


@given(st.integers(-1000, 1000), st.integers(0, 200))
def test_a_constant_series_never_changes(value: int, points: int) -> None:
    assert find_changes([value] * points) == []
    assert find_alarms([value] * points) == []


@given(SERIES, st.integers(0, 30))
def test_points_to_come_change_no_alarm(values: list[int], count: int) -> None:
    earlier = values[: len(values) - min(count, len(values))]
    known = find_alarms(earlier)
    assert find_alarms(values)[: len(known)] == known


@given(VALUES.filter(lambda values: len(values) > 1) | TIED)
def test_watching_gives_the_same_statistics_as_ranking(values: list[int]) -> None:
    samples = np.array(values, dtype=np.float64)
    for last, squares in enumerate(watch(samples), start=1):
        assert squares == pytest.approx(squared_statistics(samples[: last + 1]), abs=1e-9)


def test_the_statistic_is_that_of_the_mann_whitney_test() -> None:
    samples = np.random.default_rng(1).normal(size=50)
    for place, square in enumerate(squared_statistics(samples), start=1):
        test = mannwhitneyu(samples[place:], samples[:place], use_continuity=False, method="asymptotic")
        mean, variance = place * (50 - place) / 2, place * (50 - place) * 51 / 12
        assert square == pytest.approx((test.statistic - mean) ** 2 / variance)
