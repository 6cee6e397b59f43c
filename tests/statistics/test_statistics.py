"""Properties of medians, differences and verdicts: known values, true coverage, symmetries."""

import random
from collections.abc import Iterator, Mapping, Sequence
from itertools import pairwise

import numpy as np
import numpy.typing as npt
import pytest
from hypothesis import given
from hypothesis import strategies as st
from scipy.stats import mannwhitneyu, wilcoxon

from bench_orchestrator.statistics import (
    Comparison,
    Estimate,
    Verdict,
    compare,
    compare_unpaired,
    difference,
    median,
    paired_difference,
    paired_ratio,
    ratio,
)
from bench_orchestrator.statistics.estimates import stretched
from bench_orchestrator.statistics.ranks import EXACT_POINTS, order_misses, walsh_misses

# Shifting and scaling whole numbers by whole numbers is exact.
NUMBERS = st.integers(-1000, 1000)
SAMPLES = st.lists(NUMBERS, min_size=1, max_size=40)
PAIRS = st.lists(st.tuples(NUMBERS, NUMBERS), min_size=1, max_size=20)
SIDES = st.tuples(*[st.lists(NUMBERS, min_size=1, max_size=12)] * 2)
BLOCKS = st.dictionaries(st.integers(1, 30), st.tuples(NUMBERS, NUMBERS, NUMBERS), min_size=1, max_size=12)
CONFIDENCES = st.sampled_from([0.5, 0.8, 0.9, 0.95, 0.99])
DECIDED = (Verdict.FASTER, Verdict.SLOWER)


def launches_s(rng: np.random.Generator, sets: int, n: int) -> npt.NDArray[np.float64]:
    """Draw launch times: a floor, skewed work, a queue wait, and an occasional outlier."""
    held_up = (rng.random((sets, n)) < 0.05) * rng.exponential(15, (sets, n))
    return np.asarray(2 + rng.lognormal(sigma=0.5, size=(sets, n)) + rng.uniform(0, 5, (sets, n)) + held_up)


def drift_s(rng: np.random.Generator, sets: int, n: int) -> npt.NDArray[np.float64]:
    """Draw how the machine changes from block to block."""
    return np.asarray(np.cumsum(rng.normal(size=(sets, n)), axis=1))


def columns(pairs: Sequence[tuple[int, int]]) -> tuple[list[int], list[int]]:
    return [side for side, _ in pairs], [baseline for _, baseline in pairs]


def in_blocks(samples: Sequence[float]) -> dict[int, float]:
    return dict(enumerate(samples, start=1))


def holds(estimate: Estimate, truth: float) -> bool:
    return estimate.low is not None and estimate.high is not None and estimate.low <= truth <= estimate.high


def assert_covered(estimates: Sequence[Estimate], truth: float) -> None:
    """Three standard errors: wide enough for the seed, too narrow for an error of one rank."""
    claimed = estimates[0].coverage
    held = float(np.mean([holds(estimate, truth) for estimate in estimates]))
    assert held == pytest.approx(claimed, abs=3 * (claimed * (1 - claimed) / len(estimates)) ** 0.5)


def mirrored(estimate: Estimate) -> Estimate:
    low, high = (None if end is None else -end for end in (estimate.low, estimate.high))
    return Estimate(-estimate.value, high, low, estimate.coverage, estimate.n)


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
        # Three standard errors: wide enough for the seed, too narrow for an error of one rank.
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


class TestRanks:
    @pytest.mark.parametrize(("n", "k", "p"), [(5, 1, 1 / 32), (6, 1, 1 / 64), (10, 9, 25 / 1024), (4, 2, 2 / 16)])
    def test_walsh_averages_miss_as_often_as_the_tables_of_wilcoxon_say(self, n: int, k: int, p: float) -> None:
        assert walsh_misses(n)[k - 1] == pytest.approx(p, abs=1e-15)

    @pytest.mark.parametrize(
        ("sizes", "k", "p"), [((5, 5), 3, 4 / 252), ((3, 3), 1, 1 / 20), ((1, 1, 1, 1), 2, 4 / 24)]
    )
    def test_shifts_miss_as_often_as_the_tables_of_mann_whitney_and_kendall_say(
        self, sizes: tuple[int, ...], k: int, p: float
    ) -> None:
        assert order_misses(sizes)[k - 1] == pytest.approx(p, abs=1e-15)

    def test_large_samples_take_the_normal_distribution_for_counting(self, monkeypatch: pytest.MonkeyPatch) -> None:
        n, sizes = EXACT_POINTS + 1, (26, 26, 26, 26)
        nearly = walsh_misses(n), order_misses(sizes)
        monkeypatch.setattr("bench_orchestrator.statistics.ranks.EXACT_POINTS", 2 * EXACT_POINTS)
        exact = walsh_misses.__wrapped__(n), order_misses.__wrapped__(sizes)
        for nearly_misses, exact_misses in zip(map(list, nearly), map(list, exact), strict=True):
            assert len(nearly_misses) == len(exact_misses)
            assert nearly_misses == pytest.approx(exact_misses, abs=1e-3)


class TestStretched:
    def test_an_interval_that_covers_enough_stays(self) -> None:
        assert stretched(median(range(10)), 0.95) == median(range(10))

    def test_one_that_covers_too_little_is_drawn_out_around_its_value(self) -> None:
        drawn = stretched(Estimate(1.0, 0.0, 3.0, 0.5, 2), 0.95)
        assert (drawn.low, drawn.high) == pytest.approx((1 - 12.7062, 1 + 2 * 12.7062), abs=1e-4)
        assert (drawn.value, drawn.coverage, drawn.n) == (1.0, 0.95, 2)

    def test_no_interval_stays_none(self) -> None:
        assert stretched(median([1.0]), 0.95) == median([1.0])


class TestPairedDifference:
    def test_hollander_and_wolfes_depression_scale(self) -> None:
        """Nonparametric Statistical Methods, examples 3.3 and 3.4: the estimate and the 96.1 % interval."""
        before = [1.83, 0.50, 1.62, 2.48, 1.68, 1.88, 1.55, 3.06, 1.30]
        after = [0.878, 0.647, 0.598, 2.05, 1.06, 1.29, 1.06, 3.14, 1.29]
        estimate = paired_difference(after, before, 0.96)
        assert (estimate.value, estimate.low, estimate.high) == pytest.approx((-0.46, -0.786, -0.010), abs=1e-9)
        assert estimate.coverage == pytest.approx(0.961, abs=5e-4)
        assert estimate.n == 9

    @pytest.mark.parametrize(("n", "coverage"), [(1, 0.0), (2, 0.5), (3, 0.75), (4, 0.875), (5, 0.9375), (6, 0.96875)])
    def test_few_pairs_span_the_interval_and_it_says_what_that_covers(self, n: int, coverage: float) -> None:
        estimate = paired_difference([float(i) for i in range(n)], [0.0] * n)
        assert (estimate.low, estimate.high) == ((0.0, n - 1.0) if n > 1 else (None, None))
        assert estimate.coverage == coverage

    @given(PAIRS)
    def test_the_interval_leaves_out_zero_where_wilcoxons_test_rejects(self, pairs: list[tuple[int, int]]) -> None:
        # All absolute differences are distinct and non-zero: the exact test does not support ties.
        side = [float(a) + 0.01 * i for i, (a, _) in enumerate(pairs, start=1)]
        differences = [a - b for a, (_, b) in zip(side, pairs, strict=True)]
        if len({round(abs(value), 6) for value in differences}) < len(pairs) or 0 in differences:
            return
        estimate = paired_difference(side, [float(b) for _, b in pairs])
        rejects = wilcoxon(differences, method="exact").pvalue <= 1 - estimate.coverage + 1e-12
        assert estimate.low is None or rejects != holds(estimate, 0.0)

    @pytest.mark.parametrize("n", [5, 10])
    def test_it_holds_the_true_difference_as_often_as_it_says_whatever_drifts(self, n: int) -> None:
        rng = np.random.default_rng(n)
        drift = drift_s(rng, 1500, n)
        side, baseline = launches_s(rng, 1500, n) + 1 + drift, launches_s(rng, 1500, n) + drift
        pairs = zip(side.tolist(), baseline.tolist(), strict=True)
        assert_covered([paired_difference(*pair) for pair in pairs], 1.0)

    @given(PAIRS, NUMBERS, st.integers(1, 50))
    def test_it_moves_and_stretches_with_the_differences(
        self, pairs: list[tuple[int, int]], shift: int, scale: int
    ) -> None:
        plain = paired_difference(*columns(pairs))
        moved = paired_difference([scale * a + shift for a, _ in pairs], [scale * b for _, b in pairs])
        assert moved.value == scale * plain.value + shift
        assert moved.coverage == plain.coverage
        if plain.low is not None and plain.high is not None:
            assert (moved.low, moved.high) == (scale * plain.low + shift, scale * plain.high + shift)

    @given(PAIRS, st.randoms(use_true_random=False))
    def test_the_order_of_the_pairs_does_not_matter_and_changing_sides_mirrors_it(
        self, pairs: list[tuple[int, int]], rng: random.Random
    ) -> None:
        side, baseline = columns(pairs)
        estimate = paired_difference(side, baseline)
        assert paired_difference(*columns(rng.sample(pairs, len(pairs)))) == estimate
        assert paired_difference(baseline, side) == mirrored(estimate)

    @pytest.mark.parametrize(
        ("side", "baseline", "message"),
        [([], [], "at least one"), ([1.0], [1.0, 2.0], "1 and 2"), ([float("nan")], [1.0], "finite")],
    )
    def test_it_refuses_what_are_no_pairs(self, side: list[float], baseline: list[float], message: str) -> None:
        with pytest.raises(ValueError, match=message):
            paired_difference(side, baseline)


class TestDifference:
    def test_hollander_and_wolfes_water_permeability(self) -> None:
        """Nonparametric Statistical Methods, example 4.3, and R's wilcox.test(conf.int = TRUE) on it."""
        at_term = [0.80, 0.83, 1.89, 1.04, 1.45, 1.38, 1.91, 1.64, 0.73, 1.46]
        early = [1.15, 0.88, 0.90, 0.74, 1.21]
        estimate = difference(at_term, early)
        assert (estimate.value, estimate.low, estimate.high) == pytest.approx((0.305, -0.15, 0.76), abs=1e-9)
        assert estimate.n == 15

    @pytest.mark.parametrize(
        ("n", "m", "coverage"), [(1, 1, 0.0), (2, 2, 4 / 6), (3, 3, 0.9), (4, 4, 68 / 70), (5, 5, 244 / 252)]
    )
    def test_few_samples_say_what_they_cover(self, n: int, m: int, coverage: float) -> None:
        estimate = difference([float(i) for i in range(n)], [i + 0.5 for i in range(m)])
        assert estimate.coverage == pytest.approx(coverage)

    @given(SIDES)
    def test_the_interval_leaves_out_zero_where_mann_and_whitneys_test_rejects(
        self, sides: tuple[list[int], list[int]]
    ) -> None:
        side, baseline = sides
        if len({*side, *baseline}) < len(side) + len(baseline):
            return
        estimate = difference(side, baseline)
        rejects = mannwhitneyu(side, baseline, method="exact").pvalue <= 1 - estimate.coverage + 1e-12
        assert estimate.low is None or rejects != holds(estimate, 0.0)

    @pytest.mark.parametrize("n", [5, 10])
    def test_it_holds_the_true_difference_as_often_as_it_says(self, n: int) -> None:
        rng = np.random.default_rng(n)
        sides = zip((launches_s(rng, 1500, n) + 1).tolist(), launches_s(rng, 1500, n).tolist(), strict=True)
        assert_covered([difference(*pair) for pair in sides], 1.0)

    @given(SIDES, NUMBERS, st.integers(1, 50))
    def test_it_moves_and_stretches_with_the_samples(
        self, sides: tuple[list[int], list[int]], shift: int, scale: int
    ) -> None:
        side, baseline = sides
        plain = difference(side, baseline)
        moved = difference([scale * a + shift for a in side], [scale * b for b in baseline])
        assert moved.value == scale * plain.value + shift
        if plain.low is not None and plain.high is not None:
            assert (moved.low, moved.high) == (scale * plain.low + shift, scale * plain.high + shift)

    @given(SIDES, st.randoms(use_true_random=False))
    def test_order_does_not_matter_and_changing_sides_mirrors_it(
        self, sides: tuple[list[int], list[int]], rng: random.Random
    ) -> None:
        side, baseline = sides
        estimate = difference(side, baseline)
        assert difference(rng.sample(side, len(side)), rng.sample(baseline, len(baseline))) == estimate
        assert difference(baseline, side) == mirrored(estimate)

    @pytest.mark.parametrize(("side", "baseline"), [([], [1.0]), ([1.0], []), ([float("inf")], [1.0])])
    def test_it_refuses_a_side_without_samples(self, side: list[float], baseline: list[float]) -> None:
        with pytest.raises(ValueError, match="sample"):
            difference(side, baseline)


class TestRatio:
    def test_a_factor_is_found_exactly(self) -> None:
        baseline = [3.0, 4.0, 7.0, 2.0, 5.0, 6.0]
        assert paired_ratio([2 * sample for sample in baseline], baseline).value == pytest.approx(2)
        assert ratio([2 * sample for sample in baseline], baseline).value == pytest.approx(2)

    def test_it_holds_the_true_ratio_as_often_as_it_says_whatever_drifts(self) -> None:
        rng = np.random.default_rng(3)
        slowness = np.exp(0.3 * drift_s(rng, 1500, 6))
        side, baseline = 0.7 * launches_s(rng, 1500, 6) * slowness, launches_s(rng, 1500, 6) * slowness
        pairs = zip(side.tolist(), baseline.tolist(), strict=True)
        assert_covered([paired_ratio(*pair) for pair in pairs], 0.7)

    @given(st.lists(st.tuples(st.integers(1, 1000), st.integers(1, 1000)), min_size=2, max_size=12))
    def test_changing_sides_inverts_it(self, pairs: list[tuple[int, int]]) -> None:
        side, baseline = columns(pairs)
        for there, back in [
            (paired_ratio(side, baseline), paired_ratio(baseline, side)),
            (ratio(side, baseline), ratio(baseline, side)),
        ]:
            assert there.low is not None
            assert back.high is not None
            assert there.value * back.value == pytest.approx(1)
            assert there.low * back.high == pytest.approx(1)

    def test_it_refuses_samples_that_are_not_positive(self) -> None:
        with pytest.raises(ValueError, match="positive"):
            paired_ratio([1.0], [0.0])
        with pytest.raises(ValueError, match="positive"):
            ratio([-1.0], [1.0])


class TestCompare:
    def test_a_clear_difference(self) -> None:
        side, baseline = in_blocks([6.9, 7.0, 7.1, 7.2, 7.0]), in_blocks([9.9, 10.0, 10.2, 10.1, 10.0])
        comparison = compare(side, baseline, in_blocks([10.0, 10.1, 10.3, 10.1, 10.1]))
        assert comparison.verdict is Verdict.FASTER
        assert comparison.more_blocks is None
        assert comparison.difference == paired_difference(list(side.values()), list(baseline.values()))
        assert comparison.difference.value == pytest.approx(-3.0)
        assert comparison.difference.coverage == 0.9375
        assert comparison.ratio is not None
        assert comparison.ratio.value == pytest.approx(0.7, abs=0.01)
        assert comparison.noise is not None
        assert comparison.noise.value == pytest.approx(0.1)
        assert compare(baseline, side).verdict is Verdict.SLOWER

    def test_a_difference_that_the_baseline_shows_against_itself_is_none(self) -> None:
        blocks = range(1, 11)
        baseline = {block: 10 + 0.01 * block for block in blocks}
        side, again = ({block: 10 + 0.013 * block + by for block in blocks} for by in (0.3, 0.4))
        assert compare(side, baseline).verdict is Verdict.SLOWER
        assert compare(side, baseline, again).verdict is Verdict.NO_DIFFERENCE
        assert compare(side, baseline, again, relevant=0.0).verdict is Verdict.NO_DIFFERENCE

    def test_a_difference_too_small_to_matter_is_none(self) -> None:
        baseline = {block: 10.0 + block % 3 for block in range(12)}
        side = {block: sample + 0.1 * (-1) ** block for block, sample in baseline.items()}
        assert compare(side, baseline).verdict is Verdict.NO_DIFFERENCE
        assert compare(side, baseline, relevant=0.0).verdict is Verdict.UNDECIDED

    def test_blocks_that_lack_an_arm_drop_out_and_n_says_so(self) -> None:
        baseline = in_blocks([10.0, 10.1, 10.2, 10.3, 10.4, 10.5])
        side = {block: sample / 2 for block, sample in baseline.items() if block != 2} | {77: 1.0}
        again = {block: sample + 0.1 for block, sample in baseline.items() if block > 3}
        comparison = compare(side, baseline, again)
        assert comparison.difference.n == 5
        assert comparison.ratio is not None
        assert comparison.ratio.n == 5
        assert comparison.noise is not None
        assert comparison.noise.n == 3

    def test_without_a_shared_block_there_is_nothing_to_compare(self) -> None:
        with pytest.raises(ValueError, match="no block has both arms"):
            compare({1: 1.0}, {2: 1.0})

    def test_an_a_a_arm_without_a_shared_block_counts_as_none(self) -> None:
        assert compare({1: 1.0}, {1: 2.0}, {2: 2.0}) == compare({1: 1.0}, {1: 2.0})

    def test_a_ratio_needs_positive_samples(self) -> None:
        assert compare(in_blocks([0.0, 1.0]), in_blocks([1.0, 1.0])).ratio is None

    def test_a_single_block_cannot_say_how_many_more_it_takes(self) -> None:
        comparison = compare({1: 5.0}, {1: 10.0})
        assert (comparison.verdict, comparison.more_blocks) == (Verdict.UNDECIDED, None)
        assert comparison.difference == Estimate(-5.0, None, None, 0.0, 1)

    def test_two_blocks_decide_nothing_however_clear(self) -> None:
        comparison = compare(in_blocks([1.0, 1.1]), in_blocks([9.0, 9.2]))
        assert comparison.verdict is Verdict.UNDECIDED
        assert comparison.more_blocks == 1

    def test_the_more_noise_the_more_blocks_it_takes(self) -> None:
        baseline = [10.0, 11.0, 9.0, 10.5, 9.5, 10.2]
        strays = (-3, 2, 3, -2, 1, 0.5)
        asked = [
            compare(
                in_blocks([sample + 0.7 + noise * stray for sample, stray in zip(baseline, strays, strict=True)]),
                in_blocks(baseline),
            ).more_blocks
            for noise in (1, 2, 4)
        ]
        assert all(less is not None and more is not None and less < more for less, more in pairwise(asked))

    @pytest.mark.parametrize("n", [5, 10])
    @pytest.mark.parametrize("with_again", [False, True])
    def test_the_same_thing_is_called_different_in_at_most_5_percent(self, n: int, with_again: bool) -> None:
        rng = np.random.default_rng(10 * n + with_again)
        drift = drift_s(rng, 1000, n)
        arms = [(launches_s(rng, 1000, n) + drift).tolist() for _ in range(2 + with_again)]
        verdicts = [compare(*map(in_blocks, one)).verdict for one in zip(*arms, strict=True)]
        assert np.mean([verdict in DECIDED for verdict in verdicts]) <= 0.05 + 3 * (0.05 * 0.95 / 1000) ** 0.5

    @pytest.mark.parametrize("with_again", [False, True])
    def test_a_change_of_30_percent_shows_in_5_blocks_of_little_noise(self, with_again: bool) -> None:
        rng = np.random.default_rng(with_again)
        arms = [(factor * 6 * rng.lognormal(sigma=0.05, size=(300, 5))).tolist() for factor in (0.7, 1, 1)]
        verdicts = [compare(*map(in_blocks, one[: 2 + with_again])).verdict for one in zip(*arms, strict=True)]
        assert verdicts.count(Verdict.FASTER) >= 297

    @given(BLOCKS)
    def test_a_comparison_with_itself_never_says_faster_or_slower(
        self, blocks: dict[int, tuple[int, int, int]]
    ) -> None:
        baseline = {block: float(samples[0]) for block, samples in blocks.items()}
        for comparison in (compare(baseline, baseline), compare(baseline, baseline, baseline)):
            assert comparison.verdict not in DECIDED
            assert comparison.difference.value == 0

    @given(BLOCKS)
    def test_a_verdict_agrees_with_its_own_interval(self, blocks: dict[int, tuple[int, int, int]]) -> None:
        for comparison in every_comparison(blocks):
            estimate, noise = comparison.difference, comparison.noise
            if comparison.verdict in DECIDED:
                assert not holds(estimate, 0.0)
                assert abs(estimate.value) > (abs(noise.value) if noise else 0)
                assert (comparison.verdict is Verdict.FASTER) == (estimate.value < 0)
            assert comparison.more_blocks is None or comparison.verdict is Verdict.UNDECIDED
            assert comparison.more_blocks is None or comparison.more_blocks >= 1

    @given(BLOCKS, st.randoms(use_true_random=False))
    def test_the_order_and_the_numbers_of_the_blocks_do_not_matter(
        self, blocks: dict[int, tuple[int, int, int]], rng: random.Random
    ) -> None:
        shuffled = {2 * block: blocks[block] for block in rng.sample(sorted(blocks), len(blocks))}
        assert list(every_comparison(shuffled)) == list(every_comparison(blocks))

    @given(BLOCKS, st.integers(1, 20))
    def test_the_unit_does_not_matter(self, blocks: dict[int, tuple[int, int, int]], scale: int) -> None:
        scaled = {block: tuple(scale * sample for sample in samples) for block, samples in blocks.items()}
        for plain, other in zip(every_comparison(blocks), every_comparison(scaled), strict=True):
            assert other.difference.value == scale * plain.difference.value


def every_comparison(blocks: Mapping[int, tuple[int, ...]]) -> Iterator[Comparison]:
    """Compare the first arm with the second, without and with the third as the A/A arm."""
    side, baseline, again = ({block: float(arms[i]) for block, arms in blocks.items()} for i in range(3))
    yield compare(side, baseline)
    yield compare(side, baseline, again)


class TestCompareUnpaired:
    def test_a_clear_difference(self) -> None:
        comparison = compare_unpaired([5.0, 5.1, 5.2, 5.0], [9.0, 9.1, 9.2, 9.3, 9.4])
        assert comparison.verdict is Verdict.FASTER
        assert comparison.noise is None
        assert comparison.more_blocks is None
        assert comparison.difference.n == 9

    def test_fewer_than_three_of_a_side_decide_nothing(self) -> None:
        comparison = compare_unpaired([1.0, 1.1], [9.0 + i for i in range(30)])
        assert comparison.difference.coverage > 0.95
        assert comparison.verdict is Verdict.UNDECIDED

    @pytest.mark.parametrize("n", [5, 10])
    def test_the_same_thing_is_called_different_in_at_most_5_percent(self, n: int) -> None:
        rng = np.random.default_rng(n)
        sides = zip(launches_s(rng, 1000, n).tolist(), launches_s(rng, 1000, n).tolist(), strict=True)
        verdicts = [compare_unpaired(*pair).verdict for pair in sides]
        assert np.mean([verdict in DECIDED for verdict in verdicts]) <= 0.05 + 3 * (0.05 * 0.95 / 1000) ** 0.5

    def test_a_change_of_30_percent_shows_in_5_launches_of_little_noise(self) -> None:
        rng = np.random.default_rng(1)
        sides = [(factor * 6 * rng.lognormal(sigma=0.05, size=(300, 5))).tolist() for factor in (0.7, 1)]
        verdicts = [compare_unpaired(*pair).verdict for pair in zip(*sides, strict=True)]
        assert verdicts.count(Verdict.FASTER) >= 297

    @given(SAMPLES)
    def test_a_comparison_with_itself_never_says_faster_or_slower(self, samples: list[int]) -> None:
        assert compare_unpaired(samples, samples).verdict not in DECIDED
