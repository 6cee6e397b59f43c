"""The gate: under, over, or unknown; it never passes what was not measured."""

from collections.abc import Sequence
from dataclasses import replace

import pytest
from hypothesis import given
from hypothesis import strategies as st
from samples import make_sweep, make_trial, unmeasured

from bench_orchestrator.analysis.baseline import Beside, baseline_of
from bench_orchestrator.analysis.gate import (
    FEWEST_TRIALS,
    WRONG,
    Judgement,
    Limit,
    Regression,
    Ruling,
    conclude,
    confidence_of_each,
    describe,
    judge,
)
from bench_orchestrator.model.instants import MICROSECONDS
from bench_orchestrator.model.launch import Outcome, Trial
from bench_orchestrator.model.stages import Stage
from bench_orchestrator.scenarios.experiment import INIT, LAG, QUEUE, STARTUP
from bench_orchestrator.statistics import paired_ratio, ratio

LIMIT_S = 10.0


def trials_of(lags_s: Sequence[float], failures: int = 0, location: str = "a250") -> list[Trial]:
    """Return launches of these lags, all of it startup time, and this many that timed out."""
    trials: list[Trial] = []
    for trial, lag_s in enumerate(lags_s, start=1):
        stages_us = dict.fromkeys(Stage, 0) | {Stage.WORKER_LOAD: round(lag_s * MICROSECONDS)}
        trials.append(make_trial(trial, location, stages_us=stages_us, block=trial))
    for trial in range(len(lags_s) + 1, len(lags_s) + failures + 1):
        trials.append(unmeasured(make_trial(trial, location, block=trial), Outcome.TIMED_OUT, "no STEP_START"))
    return trials


def judged(lags_s: Sequence[float], failures: int, limit_s: float) -> Judgement:
    (judgement,) = judge(trials_of(lags_s, failures), [Limit(LAG, limit_s)])
    return judgement


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
    judgement = judged(lags_s, failures, LIMIT_S)
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
    ruling = judged(lags_s, failures, limit_s).ruling
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
    judgement = judged([1.0], 0, LIMIT_S)
    assert conclude(replace(judgement, ruling=ruling) for ruling in rulings) is whole


STEADY_S = [5.0, 5.1, 5.2, 5.3, 5.4, 5.5, 5.6, 5.7]


def scaled(factor: float) -> list[float]:
    return [round(factor * lag_s, 6) for lag_s in STEADY_S]


def test_each_limit_is_judged_by_its_own_measure() -> None:
    stages_us = dict.fromkeys(Stage, 0) | {Stage.QUEUE_WAIT: 3_000_000, Stage.WORKER_LOAD: 2_000_000}
    stages_us |= {Stage.STEP_LOAD: 1_000_000}
    trials = [make_trial(number, stages_us=stages_us, block=number) for number in range(1, 10)]
    limits = [Limit(LAG, 6.5), Limit(QUEUE, 4.5), Limit(INIT, 1.5), Limit(STARTUP, 2.5)]
    found = {one.name: one for one in judge(trials, limits)}
    values = {name: one.estimate.value for name, one in found.items() if one.estimate}
    assert values == {"lag_s": 6.0, "queue_s": 5.0, "init_s": 1.0, "startup_s": 3.0}
    assert {name: one.ruling for name, one in found.items()} == {
        "lag_s": Ruling.UNDER,
        "queue_s": Ruling.OVER,
        "init_s": Ruling.UNDER,
        "startup_s": Ruling.OVER,
    }
    assert describe(list(found.values())) == "The queue time is over 4.5 s and the startup time is over 2.5 s."


@pytest.mark.parametrize(
    ("factor", "ruling"), [(0.9, Ruling.UNDER), (1.0, Ruling.UNDER), (1.1, Ruling.UNDECIDED), (1.4, Ruling.OVER)]
)
def test_a_regression_is_judged_by_the_ratio_to_the_baseline(factor: float, ruling: Ruling) -> None:
    baseline = baseline_of(make_sweep(trials_of(STEADY_S)))
    (judgement,) = judge(trials_of(scaled(factor)), [], Regression(0.1, baseline))
    assert judgement.ruling is ruling
    assert judgement.estimate == ratio(scaled(factor), STEADY_S)
    assert judgement.limit_words == f"1.1 × that of {baseline.sweep}"


def test_against_launches_of_the_same_blocks_the_pairs_count() -> None:
    drift = [1.0, 1.5, 0.7, 2.0, 1.2, 0.9, 1.7, 0.8]
    base, head = ([round(one * by * (1 + n / 1000), 6) for n, by in enumerate(drift)] for one in (5.0, 6.0))
    unpaired = Regression(0.1, baseline_of(make_sweep(trials_of(base))))
    (independent,) = judge(trials_of(head), [], unpaired)
    (paired,) = judge(trials_of(head), [], Regression(0.1, Beside(trials_of(base))))
    assert (independent.ruling, paired.ruling) == (Ruling.UNDECIDED, Ruling.OVER)
    assert paired.estimate == paired_ratio(head, base)


@pytest.mark.parametrize(
    ("head", "failures", "base", "base_failures", "reason"),
    [
        (STEADY_S, 0, [], 9, "not every launch of the base was measured: 9 timed out"),
        (STEADY_S, 0, STEADY_S, 1, "not every launch of the base was measured: 1 timed out"),
        (STEADY_S, 1, STEADY_S, 0, "not every trial was measured: 1 timed out"),
        ([], 8, STEADY_S, 0, "no launch was measured"),
        (STEADY_S[:4], 0, STEADY_S, 0, "4 launches measured, 6 are needed"),
    ],
)
def test_what_is_missing_on_either_side_never_passes(
    head: list[float], failures: int, base: list[float], base_failures: int, reason: str
) -> None:
    (judgement,) = judge(trials_of(head, failures), [], Regression(0.1, Beside(trials_of(base, base_failures))))
    assert (judgement.ruling, judgement.reason) == (Ruling.UNDECIDED, reason)


def test_a_location_that_the_baseline_lacks_cannot_be_told() -> None:
    baseline = baseline_of(make_sweep(trials_of(STEADY_S, 1)))
    assert baseline.places == {}
    (judgement,) = judge(trials_of(STEADY_S), [], Regression(0.1, baseline))
    assert judgement.ruling is Ruling.UNDECIDED
    assert "no complete measurement of a250" in judgement.reason


def test_the_more_is_judged_the_surer_each_ruling_has_to_be() -> None:
    lags_s = [9.0, 9.1, 9.2, 9.3, 9.4, 9.9]
    two, seven = (
        judge([one for place in places for one in trials_of(lags_s, location=place)], [Limit(LAG, LIMIT_S)])
        for places in (("a10", "a250"), ("a10", "a250", "a500", "a2k", "a5k", "a10k", "a1p2k"))
    )
    assert {one.ruling for one in two} == {Ruling.UNDER}
    assert {(one.ruling, one.reason) for one in seven} == {(Ruling.UNDECIDED, "6 launches measured, 8 are needed")}


@given(st.integers(1, 10_000))
def test_all_rulings_together_are_wrong_in_few_cases(rulings: int) -> None:
    each = 1 - confidence_of_each(rulings)
    assert rulings * each / 2 <= WRONG + 1e-12
    assert each <= 0.05 + 1e-12
