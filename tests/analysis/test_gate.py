"""The gate: under, over, or unknown; it never passes what was not measured."""

from dataclasses import replace

import pytest
from hypothesis import given
from hypothesis import strategies as st
from samples import make_trial, unmeasured

from bench_orchestrator.analysis.gate import FEWEST_TRIALS, Ruling, conclude, judge
from bench_orchestrator.analysis.summary import Row, location_rows
from bench_orchestrator.model.instants import MICROSECONDS
from bench_orchestrator.model.launch import Outcome, Trial
from bench_orchestrator.model.stages import Stage

LIMIT_S = 10.0


def row_of(lags_s: list[float], failures: int = 0) -> Row:
    """Return a location with launches of these lags, and this many that timed out."""
    trials: list[Trial] = []
    for trial, lag_s in enumerate(lags_s, start=1):
        stages_us = dict.fromkeys(Stage, 0) | {Stage.WORKER_LOAD: round(lag_s * MICROSECONDS)}
        trials.append(make_trial(trial, stages_us=stages_us))
    for trial in range(len(lags_s) + 1, len(lags_s) + failures + 1):
        trials.append(unmeasured(make_trial(trial), Outcome.TIMED_OUT, "no STEP_START within 300 s"))
    (row,) = location_rows(trials)
    return row


@pytest.mark.parametrize(
    ("lags_s", "failures", "ruling"),
    [
        ([9.0, 9.1, 9.2, 9.3, 9.4, 9.9], 0, Ruling.UNDER),
        ([10.1, 10.2, 10.3, 10.4, 10.5, 30], 0, Ruling.OVER),
        ([9.0, 9.1, 9.2, 9.3, 9.4, 10.1], 0, Ruling.UNDECIDED),
        ([9.0, 9.1, 9.2, 9.3, 9.4, 10.0], 0, Ruling.UNDECIDED),
        # With nine, one may be an outlier.
        ([9.0, 9.1, 9.2, 9.3, 9.4, 9.4, 9.4, 9.9, 60.0], 0, Ruling.UNDER),
        ([9.0, 9.1, 9.2, 9.3, 9.4, 9.9], 1, Ruling.UNDECIDED),
        ([10.1, 10.2, 10.3, 10.4, 10.5, 30], 1, Ruling.OVER),
        ([1.0, 1.0, 1.0, 1.0, 1.0], 0, Ruling.UNDECIDED),
        ([100.0, 100.0, 100.0, 100.0, 100.0], 4, Ruling.UNDECIDED),
        ([], 9, Ruling.UNDECIDED),
    ],
)
def test_a_location_is_judged_by_the_whole_interval(lags_s: list[float], failures: int, ruling: Ruling) -> None:
    judgement = judge(row_of(lags_s, failures), LIMIT_S)
    assert judgement.ruling is ruling
    assert bool(judgement.reason) is (ruling is Ruling.UNDECIDED)
    if failures and ruling is Ruling.UNDECIDED:
        assert f"{failures} timed out" in judgement.reason


# Launches have microsecond resolution: with a limit between two microseconds, rounding a lag would cross it.
durations_s = st.integers(100_000, 100_000_000).map(lambda duration_us: duration_us / MICROSECONDS)


@given(lags_s=st.lists(durations_s, min_size=1, max_size=30), failures=st.integers(0, 3), limit_s=durations_s)
def test_no_ruling_without_enough_launches_on_one_side_of_the_limit(
    lags_s: list[float], failures: int, limit_s: float
) -> None:
    ruling = judge(row_of(lags_s, failures), limit_s).ruling
    under = sum(lag_s < limit_s for lag_s in lags_s)
    if ruling is Ruling.UNDER:
        assert not failures
        assert under >= FEWEST_TRIALS
        assert under > len(lags_s) / 2
    if ruling is Ruling.OVER:
        assert len(lags_s) - under >= FEWEST_TRIALS
        assert under < len(lags_s) / 2


@pytest.mark.parametrize(
    ("rulings", "whole"),
    [
        ((Ruling.UNDER, Ruling.UNDER), Ruling.UNDER),
        ((Ruling.UNDER, Ruling.UNDECIDED), Ruling.UNDECIDED),
        ((Ruling.UNDECIDED, Ruling.OVER, Ruling.UNDER), Ruling.OVER),
        ((), Ruling.UNDECIDED),
    ],
)
def test_one_location_decides_for_all(rulings: tuple[Ruling, ...], whole: Ruling) -> None:
    judgement = judge(row_of([1.0]), LIMIT_S)
    assert conclude(replace(judgement, ruling=ruling) for ruling in rulings) is whole
