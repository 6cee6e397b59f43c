"""The median's interval without numpy is the one that scipy's binomial distribution gives."""

import pytest
import scipy.stats
from hypothesis import given
from hypothesis import strategies as st

from bench_orchestrator.model import estimates
from bench_orchestrator.model.estimates import sample_misses


@given(st.integers(1, 600))
def test_the_miss_probabilities_are_those_of_the_binomial_distribution(n: int) -> None:
    misses = sample_misses(n)
    assert len(misses) == max(1, n // 2)
    expected = scipy.stats.binom(n, 0.5).cdf(range(len(misses)))
    assert list(misses) == pytest.approx(list(expected), abs=1e-12)


def test_beyond_exact_counting_they_differ_by_too_little_to_matter() -> None:
    n = estimates._EXACT_SAMPLES + 1
    expected = scipy.stats.binom(n, 0.5).cdf(range(n // 2))
    assert list(sample_misses(n)) == pytest.approx(list(expected), abs=2e-4)
