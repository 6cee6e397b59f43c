"""Counting pairs gives the same result as enumerating them, including ties, outliers and points that share an x."""

from collections.abc import Callable, Iterator, Sequence

import numpy as np
import pytest
from examples import fewer
from hypothesis import given
from hypothesis import strategies as st

from bench_orchestrator.statistics import difference, fit_line, paired_difference, pairs
from bench_orchestrator.statistics.pairs import ordered_averages, ordered_shifts, ordered_slopes, pulls
from bench_orchestrator.statistics.ranks import Floats, Misses

# Few distinct values make ties; their halves and sums are exact.
VALUES = st.lists(st.integers(-20, 20) | st.integers(-(2**20), 2**20), min_size=2, max_size=16)
POINTS = st.lists(st.tuples(st.integers(0, 12), st.integers(-50, 50)), min_size=2, max_size=14).filter(
    lambda points: len({x for x, _ in points}) >= 2
)


@pytest.fixture(autouse=True, scope="module")
def small_blocks() -> Iterator[None]:
    """Split a few points as thousands would be."""
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(pairs, "_BLOCK", 4)
        yield


def counted(make: Callable[[], Misses]) -> list[float]:
    """Return all statistics, computed as for too many pairs to enumerate."""
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(pairs, "ALL_PAIRS", 0)
        ordered = make()
        assert isinstance(ordered, pairs.Counted)
        return list(ordered)


def columns(points: Sequence[tuple[int, int]]) -> tuple[Floats, Floats]:
    xs, ys = zip(*sorted(points), strict=True)
    return np.array(xs, dtype=np.float64), np.array(ys, dtype=np.float64)


@fewer(4)
@given(POINTS)
def test_slopes(points: list[tuple[int, int]]) -> None:
    xs, ys = columns(points)
    assert counted(lambda: ordered_slopes(xs, ys)) == pytest.approx(list(ordered_slopes(xs, ys)), rel=1e-9, abs=1e-9)


@fewer(2)
@given(VALUES, VALUES)
def test_shifts(side: list[int], baseline: list[int]) -> None:
    arms = np.array(side, dtype=np.float64), np.array(baseline, dtype=np.float64)
    assert counted(lambda: ordered_shifts(*arms)) == pytest.approx(list(ordered_shifts(*arms)), rel=1e-9, abs=1e-9)


@fewer(2)
@given(VALUES)
def test_walsh_averages(values: list[int]) -> None:
    samples = np.array(values, dtype=np.float64)
    assert counted(lambda: ordered_averages(samples)) == pytest.approx(
        list(ordered_averages(samples)), rel=1e-9, abs=1e-9
    )


@given(POINTS)
def test_pulls(points: list[tuple[int, int]]) -> None:
    xs, ys = columns(points)
    sides, rises = np.sign(np.subtract.outer(xs, xs)), np.sign(np.subtract.outer(ys, ys))
    assert pulls(xs, ys).tolist() == (sides * rises).sum(axis=1).tolist()


def test_estimates_of_many_samples_are_the_same_either_way(monkeypatch: pytest.MonkeyPatch) -> None:
    rng = np.random.default_rng(1)
    x = np.repeat([250.0, 500.0, 2_000.0, 5_000.0, 10_000.0], 60)
    y = 5 + 0.001 * x + rng.lognormal(sigma=0.5, size=len(x)) * (1 + 3 * x / x.max())

    def estimates() -> list[float]:
        fit = fit_line(x.tolist(), y.tolist())
        found = [
            fit.slope,
            fit.level,
            fit.predict(20_000),
            paired_difference(y[::2].tolist(), y[1::2].tolist()),
            difference(x.tolist(), y.tolist()),
        ]
        ends = [value for one in found for value in (one.value, one.low, one.high, one.coverage)]
        return [value for value in ends if value is not None] + [fit.centre, fit.slope_spread, fit.correlation]

    made = estimates()
    monkeypatch.setattr(pairs, "ALL_PAIRS", 0)
    assert len(made) == 23
    assert estimates() == pytest.approx(made, rel=1e-9)
