"""The estimates keep their promises: known values, how often the intervals hold the truth, and symmetries."""

import random
from itertools import permutations

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from bench_orchestrator.statistics import EXACT_POINTS, Estimate, Fit, fit_line, median

# Whole numbers, so that shifting and scaling by whole numbers is exact.
SAMPLES = st.lists(st.integers(-1000, 1000), min_size=1, max_size=40)
CONFIDENCES = st.sampled_from([0.5, 0.8, 0.9, 0.95, 0.99])
POINTS = st.lists(st.tuples(st.integers(0, 5), st.integers(-1000, 1000)), min_size=2, max_size=20).filter(
    lambda points: len({x for x, _ in points}) >= 2
)


def fit(points: list[tuple[int, int]], confidence: float = 0.95) -> Fit:
    return fit_line([x for x, _ in points], [y for _, y in points], confidence)


def holds(estimate: Estimate, truth: float) -> bool:
    return estimate.low is not None and estimate.high is not None and estimate.low <= truth <= estimate.high


class TestMedian:
    def test_one_sample_has_no_interval(self) -> None:
        assert median([3.0]) == Estimate(value=3.0, low=None, high=None, coverage=0.0, n=1)

    @pytest.mark.parametrize(
        ("n", "coverage"),
        [(2, 0.5), (3, 0.75), (4, 0.875), (5, 0.9375), (6, 0.96875), (8, 0.9921875)],
    )
    def test_few_samples_span_the_interval_and_it_says_what_that_covers(self, n: int, coverage: float) -> None:
        estimate = median([float(i) for i in range(n)])
        assert (estimate.low, estimate.high) == (0.0, n - 1.0)
        assert estimate.coverage == pytest.approx(coverage, abs=1e-12)
        assert estimate.n == n

    @pytest.mark.parametrize(("n", "rank"), [(8, 1), (9, 2), (11, 2), (12, 3), (20, 6), (100, 40)])
    def test_the_ranks_are_those_of_the_published_tables(self, n: int, rank: int) -> None:
        estimate = median([float(i) for i in range(1, n + 1)])
        assert (estimate.low, estimate.high) == (rank, n + 1 - rank)
        assert 0.95 <= estimate.coverage < 1

    def test_an_outlier_moves_neither_the_median_nor_its_interval(self) -> None:
        calm = [float(i) for i in range(20)]
        assert median([*calm[:-1], 1e9]) == median(calm)

    @pytest.mark.parametrize("n", [2, 5, 10, 21])
    def test_the_interval_holds_the_true_median_as_often_as_it_says(self, n: int) -> None:
        samples = np.random.default_rng(n).lognormal(size=(4000, n))
        estimates = [median(row) for row in samples.tolist()]
        held = np.mean([holds(estimate, 1.0) for estimate in estimates])
        # Three standard errors: wide enough for the seed, too narrow for a rank more or less.
        claimed = estimates[0].coverage
        assert held == pytest.approx(claimed, abs=3 * (claimed * (1 - claimed) / 4000) ** 0.5)

    @given(SAMPLES, CONFIDENCES)
    def test_the_interval_surrounds_the_median(self, samples: list[int], confidence: float) -> None:
        estimate = median(samples, confidence)
        assert estimate.value == np.median(samples)
        assert len(samples) == 1 or holds(estimate, estimate.value)
        assert 0 <= estimate.coverage <= 1

    @given(SAMPLES)
    def test_more_confidence_never_narrows_the_interval(self, samples: list[int]) -> None:
        lower, higher = median(samples, 0.5), median(samples, 0.95)
        assert lower.coverage <= higher.coverage
        if lower.low is not None and lower.high is not None:
            assert holds(higher, lower.low)
            assert holds(higher, lower.high)

    @given(SAMPLES, st.integers(-50, 50), st.integers(1, 50))
    def test_it_moves_and_stretches_with_its_samples(self, samples: list[int], shift: int, scale: int) -> None:
        plain, moved = median(samples), median([scale * sample + shift for sample in samples])
        assert moved.value == scale * plain.value + shift
        assert moved.coverage == plain.coverage
        if plain.low is not None and plain.high is not None:
            assert (moved.low, moved.high) == (scale * plain.low + shift, scale * plain.high + shift)

    @given(SAMPLES, st.randoms(use_true_random=False))
    def test_the_order_of_the_samples_does_not_matter(self, samples: list[int], rng: random.Random) -> None:
        assert median(rng.sample(samples, len(samples))) == median(samples)

    @pytest.mark.parametrize("samples", [[], [1.0, float("nan")], [float("inf")]])
    def test_it_refuses_what_has_no_median(self, samples: list[float]) -> None:
        with pytest.raises(ValueError, match="sample"):
            median(samples)

    @pytest.mark.parametrize("confidence", [0.0, 1.0, 95.0, float("nan")])
    def test_it_refuses_a_confidence_that_is_no_probability(self, confidence: float) -> None:
        with pytest.raises(ValueError, match="confidence"):
            median([1.0, 2.0], confidence)


class TestFitLine:
    def test_points_on_a_line_give_the_line(self) -> None:
        line = fit_line([250, 250, 500, 2000, 2000], [1.5, 1.5, 2.0, 5.0, 5.0])
        assert line.slope.value == 0.002
        assert line.intercept == 1.0
        assert line.predict(1000) == 3.0
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
        """Of all the orders that the residuals can have, only the fully sorted ones miss."""
        slope = fit_line(x, [0.0, 1.0, 3.0, 7.0][: len(x)]).slope
        assert slope.coverage == pytest.approx(coverage)

    @pytest.mark.parametrize("x", [[0, 1, 2, 3, 4, 5], [0, 0, 1, 1, 2, 2], [0, 0, 0, 0, 1, 3]])
    @pytest.mark.parametrize("confidence", [0.5, 0.8, 0.95])
    def test_the_coverage_is_exact(self, x: list[float], confidence: float) -> None:
        """Against every order of six residuals, each as likely as the others, around a slope of zero."""
        slopes = [fit_line(x, y, confidence).slope for y in permutations([0.0, 1.0, 3.0, 7.0, 15.0, 31.0])]
        assert np.mean([holds(slope, 0.0) for slope in slopes]) == pytest.approx(slopes[0].coverage)

    @pytest.mark.parametrize("repeats", [1, 3, 5])
    def test_the_interval_holds_the_true_slope_as_often_as_it_says(self, repeats: int) -> None:
        """Launches of five sizes, several of each, with the skewed noise that launch times have."""
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
        assert tilted.intercept == pytest.approx(plain.intercept + intercept)
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


def test_a_large_sample_takes_the_normal_distribution_for_counting_and_gets_the_same_interval() -> None:
    rng = np.random.default_rng(5)
    x = [float(size) for size in (250, 500, 2_000, 5_000) for _ in range(26)]
    y = [5 + size / 500 + float(rng.lognormal(sigma=0.5)) for size in x]
    assert len(x) > EXACT_POINTS
    approximate = fit_line(x, y).slope
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr("bench_orchestrator.statistics.EXACT_POINTS", len(x))
        exact = fit_line(x, y).slope
    assert approximate.value == exact.value
    assert approximate.low == pytest.approx(exact.low, rel=1e-3)
    assert approximate.high == pytest.approx(exact.high, rel=1e-3)
    assert approximate.coverage == pytest.approx(exact.coverage, abs=2e-3)
