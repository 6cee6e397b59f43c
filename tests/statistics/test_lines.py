"""Properties of lines and bends: known values, true coverage, symmetries, and correct inverses."""

import random
from collections.abc import Sequence
from itertools import permutations

import numpy as np
import numpy.typing as npt
import pytest
from hypothesis import given
from hypothesis import strategies as st

from bench_orchestrator.statistics import Bend, Estimate, Fit, find_bend, fit_line

SIZES = [250.0, 500.0, 2000.0, 5000.0, 10000.0]
CONFIDENCES = st.sampled_from([0.5, 0.8, 0.9, 0.95, 0.99])
POINTS = st.lists(st.tuples(st.integers(0, 5), st.integers(-1000, 1000)), min_size=2, max_size=20).filter(
    lambda points: len({x for x, _ in points}) >= 2
)


def fit(points: list[tuple[int, int]], confidence: float = 0.95) -> Fit:
    return fit_line([x for x, _ in points], [y for _, y in points], confidence)


def holds(estimate: Estimate, truth: float) -> bool:
    """Return whether the interval contains the value; an open end has no bound."""
    return estimate.low is not None and estimate.low <= truth and (estimate.high is None or truth <= estimate.high)


def skewed_s(rng: np.random.Generator, sets: int, x: npt.NDArray[np.float64], growth: float) -> list[list[float]]:
    """Draw noise with a median of zero that grows with x, up to this factor at the largest."""
    noise = rng.lognormal(sigma=0.5, size=(sets, len(x))) - 1
    return [(row * (1 + (growth - 1) * x / x.max())).tolist() for row in noise]


class TestFitLine:
    def test_points_on_a_line_give_the_line(self) -> None:
        line = fit_line([250, 250, 500, 2000, 2000], [1.5, 1.5, 2.0, 5.0, 5.0])
        assert line.slope.value == 0.002
        assert line.intercept.value == pytest.approx(1.0)
        assert line.predict(1000).value == pytest.approx(3.0)
        assert line.n == line.slope.n == 5

    def test_an_outlier_does_not_tilt_it(self) -> None:
        x = [1.0, 2.0, 3.0, 4.0, 5.0, 6.0, 7.0]
        y = [2 * value for value in x]
        assert fit_line(x, [*y[:-1], 1e6]).slope.value == 2

    def test_two_points_give_a_slope_and_no_interval(self) -> None:
        assert fit_line([1, 3], [1, 5]).slope == Estimate(2.0, None, None, 0.0, 2)

    @pytest.mark.parametrize(
        ("x", "coverage"),
        [([0, 1, 2], 4 / 6), ([0, 0, 1], 1 / 3), ([0, 0, 1, 1], 4 / 6), ([0, 1, 2, 3], 22 / 24)],
    )
    def test_few_points_cover_less_and_say_so(self, x: list[float], coverage: float) -> None:
        """Of all possible orders of the residuals, only the fully sorted ones miss."""
        slope = fit_line(x, [0.0, 1.0, 3.0, 7.0][: len(x)]).slope
        assert slope.coverage == pytest.approx(coverage)

    @pytest.mark.parametrize("x", [[0, 1, 2, 3, 4, 5], [0, 0, 1, 1, 2, 2], [0, 0, 0, 0, 1, 3]])
    @pytest.mark.parametrize("confidence", [0.5, 0.8, 0.95])
    def test_the_coverage_is_exact(self, x: list[float], confidence: float) -> None:
        """Compare with all orders of six residuals, which are equally likely around a slope of zero."""
        slopes = [fit_line(x, y, confidence).slope for y in permutations([0.0, 1.0, 3.0, 7.0, 15.0, 31.0])]
        assert np.mean([holds(slope, 0.0) for slope in slopes]) == pytest.approx(slopes[0].coverage)

    @pytest.mark.parametrize("repeats", [1, 3, 5])
    def test_the_interval_holds_the_true_slope_as_often_as_it_says(self, repeats: int) -> None:
        """Draw launches of five sizes, several of each, with skewed noise like real launch times."""
        x = np.repeat([250.0, 500.0, 2000.0, 5000.0, 10000.0], repeats)
        noise = np.random.default_rng(repeats).lognormal(size=(1500, len(x)))
        slopes = [fit_line(x.tolist(), row).slope for row in (0.003 * x + noise).tolist()]
        held = np.mean([holds(slope, 0.003) for slope in slopes])
        claimed = slopes[0].coverage
        assert claimed >= 0.95
        assert held == pytest.approx(claimed, abs=3 * (claimed * (1 - claimed) / 1500) ** 0.5)

    @given(POINTS, CONFIDENCES)
    def test_the_interval_surrounds_the_slope(self, points: list[tuple[int, int]], confidence: float) -> None:
        slope = fit(points, confidence).slope
        assert 0 <= slope.coverage < 1
        assert slope.low is None or holds(slope, slope.value)

    @given(POINTS, st.integers(-20, 20), st.integers(-20, 20))
    def test_adding_a_line_adds_its_slope(self, points: list[tuple[int, int]], slope: int, intercept: int) -> None:
        plain, tilted = fit(points), fit([(x, y + slope * x + intercept) for x, y in points])
        assert tilted.slope.value == pytest.approx(plain.slope.value + slope)
        assert tilted.intercept.value == pytest.approx(plain.intercept.value + intercept)
        if plain.slope.low is not None and plain.slope.high is not None:
            assert tilted.slope.low == pytest.approx(plain.slope.low + slope)
            assert tilted.slope.high == pytest.approx(plain.slope.high + slope)

    @given(POINTS, st.randoms(use_true_random=False))
    def test_the_order_of_the_points_does_not_matter(self, points: list[tuple[int, int]], rng: random.Random) -> None:
        assert fit(rng.sample(points, len(points))) == fit(points)

    @pytest.mark.parametrize(
        ("x", "y", "message"),
        [
            ([], [], "two distinct x: got 0"),
            ([5, 5, 5], [1, 2, 3], "two distinct x: got 1"),
            ([1, 2], [1], "2 and 1 values"),
            ([1, float("nan")], [1, 2], "x must be finite"),
            ([1, 2], [1, float("inf")], "y must be finite"),
        ],
    )
    def test_it_refuses_what_has_no_line(self, x: list[float], y: list[float], message: str) -> None:
        with pytest.raises(ValueError, match=message):
            fit_line(x, y)


class TestPredict:
    def test_points_on_a_line_leave_no_doubt(self) -> None:
        line = fit_line([0, 1, 2, 3, 4, 5], [1, 3, 5, 7, 9, 11])
        for x in (0, 2.5, 5, 10):
            assert line.predict(x) == Estimate(1.0 + 2 * x, 1.0 + 2 * x, 1.0 + 2 * x, line.level.coverage, 6)
        assert line.intercept == line.predict(0)

    def test_two_points_predict_without_an_interval(self) -> None:
        assert fit_line([1, 3], [1, 5]).predict(2) == Estimate(3.0, None, None, 0.0, 2)

    def test_it_claims_no_more_than_slope_and_level_do(self) -> None:
        prediction = fit_line([0, 0, 1, 1], [0, 1, 3, 7]).predict(0.5)
        assert prediction.coverage == pytest.approx(4 / 6)

    def test_it_is_surest_among_the_points_and_least_far_away(self) -> None:
        line = fit_line([1, 2, 3, 4, 5, 6, 7, 8], [2, 1, 4, 3, 6, 5, 8, 7])
        widths = [(line.predict(x).high or 0) - (line.predict(x).low or 0) for x in (4.5, 8, 20, 100)]
        assert widths == sorted(widths)

    @pytest.mark.parametrize("growth", [1, 4])
    def test_the_interval_holds_the_true_median_nearly_as_often_as_it_says(self, growth: int) -> None:
        x = np.repeat(SIZES, 5)
        noise = skewed_s(np.random.default_rng(growth), 400, x, growth)
        fits = [fit_line(x.tolist(), (5 + 0.001 * x + row).tolist()) for row in noise]
        for size in (0.0, 2000.0, 10000.0):
            held = np.mean([holds(line.predict(size), 5 + 0.001 * size) for line in fits])
            assert 0.92 - 3 * (0.92 * 0.08 / 400) ** 0.5 <= held <= 0.995

    @given(POINTS, st.integers(-3, 12), CONFIDENCES)
    def test_the_interval_surrounds_the_line(self, points: list[tuple[int, int]], x: int, confidence: float) -> None:
        line = fit(points, confidence)
        prediction = line.predict(x)
        assert prediction.value == pytest.approx(line.intercept.value + line.slope.value * x)
        if prediction.low is not None and prediction.high is not None:
            assert prediction.low <= prediction.value <= prediction.high
        assert prediction.coverage <= line.slope.coverage

    @given(POINTS, st.integers(0, 6), st.integers(-20, 20), st.integers(1, 20))
    def test_it_moves_and_stretches_with_y(self, points: list[tuple[int, int]], x: int, shift: int, scale: int) -> None:
        plain = fit(points).predict(x)
        moved = fit([(at, scale * y + shift) for at, y in points]).predict(x)
        assert moved.value == pytest.approx(scale * plain.value + shift, abs=1e-6)
        assert moved.coverage == plain.coverage


class TestLargestX:
    def test_the_inverse_of_a_line_without_doubt(self) -> None:
        line = fit_line([0, 1, 2, 3, 4, 5], [1, 3, 5, 7, 9, 11])
        assert line.largest_x(6) == Estimate(2.5, 2.5, 2.5, line.level.coverage, 6)

    def test_not_even_nothing_stays_below_the_limit(self) -> None:
        line = fit_line([0, 1, 2, 3, 4, 5], [1, 3, 5, 7, 9, 11])
        assert line.largest_x(0.5) == Estimate(0.0, 0.0, 0.0, line.level.coverage, 6)

    def test_a_line_that_does_not_rise_never_reaches_the_limit(self) -> None:
        assert fit_line([0, 1, 2], [3, 3, 3]).largest_x(4) is None
        assert fit_line([0, 1, 2], [3, 2, 1]).largest_x(4) is None

    def test_a_line_that_may_be_flat_has_no_upper_end(self) -> None:
        largest = fit_line([0, 0, 0, 1, 1, 1, 2, 2, 2], [1, 5, 3, 2, 6, 4, 3, 1, 7]).largest_x(8)
        assert largest is not None
        assert largest.low is not None
        assert largest.high is None

    def test_two_points_give_a_value_without_an_interval(self) -> None:
        assert fit_line([1, 3], [1, 5]).largest_x(3) == Estimate(2.0, None, None, 0.0, 2)

    def test_the_interval_holds_the_true_size_nearly_as_often_as_it_says(self) -> None:
        x = np.repeat(SIZES, 5)
        noise = skewed_s(np.random.default_rng(5), 400, x, 1)
        sizes = [fit_line(x.tolist(), (5 + 0.001 * x + row).tolist()).largest_x(9) for row in noise]
        held = np.mean([size is not None and holds(size, 4000) for size in sizes])
        assert 0.94 - 3 * (0.94 * 0.06 / 400) ** 0.5 <= held <= 0.995

    @given(POINTS, st.integers(-1000, 1000))
    def test_it_inverts_the_prediction(self, points: list[tuple[int, int]], limit: int) -> None:
        line = fit(points)
        largest = line.largest_x(limit)
        if largest is None:
            assert line.slope.value <= 0 or line.slope.value < 1e-9
            assert line.intercept.value <= limit
            return
        assert largest.value >= 0
        if largest.value > 0:
            assert line.predict(largest.value).value == pytest.approx(limit, abs=1e-6)
        else:
            assert line.intercept.value >= limit
        if largest.low is None:
            assert largest.coverage == 0
            return
        assert largest.low <= largest.value
        if largest.low > 0:
            assert line.predict(largest.low).high == pytest.approx(limit, rel=1e-6, abs=1e-6)
        if largest.high is not None:
            assert largest.value <= largest.high
            low = line.predict(largest.high).low
            assert low is not None
            assert low >= limit - 1e-6 * max(1, abs(limit))

    @given(POINTS, st.integers(-1000, 1000), st.integers(0, 100))
    def test_a_higher_limit_never_allows_less(self, points: list[tuple[int, int]], limit: int, more: int) -> None:
        less, greater = (fit(points).largest_x(at) for at in (limit, limit + more))
        if less is not None and greater is not None:
            assert less.value <= greater.value


class TestFindBend:
    def test_two_straight_pieces_without_noise(self) -> None:
        bend = find_bend([250, 500, 2000, 5000, 10000], [1.0, 1.0, 1.0, 7.0, 17.0])
        assert bend is None, "one launch a size gives no interval"
        bend = find_bend([*SIZES] * 5, [5.0, 5.0, 5.0, 11.0, 21.0] * 5)
        assert bend is not None
        assert (bend.place.value, bend.place.low, bend.place.high) == pytest.approx((2000, 2000, 2000))
        assert (bend.before.slope.value, bend.after.slope.value) == pytest.approx((0, 0.002))
        assert bend.place.n == 25

    @pytest.mark.parametrize("sizes", [SIZES[:3], SIZES[:1]])
    def test_fewer_than_four_sizes_show_none(self, sizes: Sequence[float]) -> None:
        assert find_bend([*sizes] * 5, [size**2 for size in sizes] * 5) is None

    @pytest.mark.parametrize("slope", [0.0, 0.001, 1 / 3, -0.1])
    def test_a_straight_line_has_none(self, slope: float) -> None:
        assert find_bend([*SIZES] * 5, [5 + slope * size for size in SIZES] * 5) is None

    def test_two_lines_that_do_not_meet_among_the_points_are_no_bend(self) -> None:
        jump = [0.0, 1.0, 2.0, 100.0, 101.1, 102.2]
        assert find_bend([0, 1, 2, 3, 4, 5] * 5, jump * 5) is None

    @pytest.mark.parametrize("growth", [1, 4])
    def test_a_straight_line_is_called_bent_in_at_most_5_percent(self, growth: int) -> None:
        x = np.repeat(SIZES, 5)
        noise = skewed_s(np.random.default_rng(growth), 500, x, growth)
        called = np.mean([find_bend(x.tolist(), (5 + 0.002 * x + row).tolist()) is not None for row in noise])
        assert called <= 0.05 + 3 * (0.05 * 0.95 / 500) ** 0.5

    def test_a_clear_bend_is_found_and_placed(self) -> None:
        x = np.repeat(SIZES, 5)
        noise = np.random.default_rng(1).normal(scale=0.5, size=(200, len(x)))
        truth = 5 + 0.002 * np.maximum(0, x - 2000)
        bends = [bend for row in (truth + noise).tolist() if (bend := find_bend(x.tolist(), row)) is not None]
        assert len(bends) >= 0.9 * 200
        assert np.median([bend.place.value for bend in bends]) == pytest.approx(2000, rel=0.05)
        assert np.mean([holds(bend.place, 2000) for bend in bends]) >= 0.95 - 3 * (0.95 * 0.05 / len(bends)) ** 0.5

    @pytest.mark.parametrize("launches", [3, 4])
    def test_fewer_launches_show_a_bend_that_is_clear_enough(self, launches: int) -> None:
        x = np.repeat(SIZES, launches)
        noise = np.random.default_rng(1).normal(scale=0.1, size=len(x))
        bend = find_bend(x.tolist(), (5 + 0.002 * np.maximum(0, x - 2000) + noise).tolist())
        assert bend is not None
        assert holds(bend.place, 2000)

    @given(st.lists(st.lists(st.integers(0, 100), min_size=5, max_size=5), min_size=4, max_size=6))
    def test_its_place_is_among_the_points_and_its_lines_meet_there(self, ys: list[list[int]]) -> None:
        bend = bend_through(ys)
        if bend is None:
            return
        place = bend.place
        assert place.low is not None
        assert place.high is not None
        assert 0 <= place.low <= place.value <= place.high <= len(ys) - 1
        assert bend.before.predict(place.value).value == pytest.approx(bend.after.predict(place.value).value)
        assert place.n == 5 * len(ys)

    @given(st.lists(st.lists(st.integers(0, 100), min_size=5, max_size=5), min_size=4, max_size=6))
    def test_upside_down_it_is_the_same_bend(self, ys: list[list[int]]) -> None:
        bend, turned = bend_through(ys), bend_through([[-y for y in row] for row in ys])
        assert (bend is None) == (turned is None)
        if bend is not None and turned is not None:
            assert turned.place.value == pytest.approx(bend.place.value)
            assert turned.after.slope.value == pytest.approx(-bend.after.slope.value)

    @pytest.mark.parametrize(
        ("x", "y", "message"), [([1], [1, 2], "1 and 2 values"), ([float("nan")], [1], "x must be finite")]
    )
    def test_it_refuses_what_are_no_points(self, x: list[float], y: list[float], message: str) -> None:
        with pytest.raises(ValueError, match=message):
            find_bend(x, y)


def bend_through(ys: list[list[int]]) -> Bend | None:
    """Find the bend of the launches at x = 0, 1, 2, ..."""
    points = [(float(x), float(y)) for x, row in enumerate(ys) for y in row]
    return find_bend([x for x, _ in points], [y for _, y in points])


def test_many_points_at_many_sizes_are_fitted_without_their_pairs() -> None:
    x = np.arange(4_000.0)
    y = 3 + 0.5 * x + np.random.default_rng(1).normal(size=len(x))
    fit = fit_line(x.tolist(), y.tolist())
    assert fit.slope.value == pytest.approx(0.5, abs=1e-4)
    assert fit.slope.low is not None
    assert fit.slope.low < fit.slope.value
    assert fit.slope.coverage == pytest.approx(0.95, abs=1e-4)
