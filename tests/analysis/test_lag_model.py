"""Predictions are exact where launches are, state their uncertainty otherwise, and use only suitable data."""

import random
from collections.abc import Sequence
from dataclasses import replace
from math import exp

import pytest
from advice_samples import FITTED_SIZES, fitted, sample_experiment, sized_sweep
from hypothesis import given
from hypothesis import strategies as st
from samples import failed_sweep, make_trial, measured_sweep, relaunched

from bench_orchestrator.analysis.lag_model import (
    FITTED_SCENARIOS,
    comparable_sizes,
    fit_lags,
    is_plain,
    predict_startups,
    stages_s,
    startup_s,
)
from bench_orchestrator.model.instants import MICROSECONDS
from bench_orchestrator.model.launch import Outcome, Sweep, Trial
from bench_orchestrator.model.stages import LAG_STAGES, Stage
from bench_orchestrator.scenarios.registry import EXPERIMENTS


class TestPredict:
    @pytest.mark.parametrize("assets", [1, 250, 3_000, 10_000, 40_000])
    def test_where_nothing_is_chance_but_the_queue_it_is_exact(self, assets: int) -> None:
        predicted = fitted(sized_sweep()).predict(assets, dequeue_interval_s=None)
        assert predicted.value == pytest.approx(3.2 + 0.0015 * assets, abs=1e-3)
        assert predicted.low == pytest.approx(predicted.value, abs=1e-3)
        assert predicted.high == pytest.approx(predicted.value, abs=1e-3)

    @pytest.mark.parametrize("interval_s", [1, 5, 30])
    def test_the_queue_adds_half_the_interval_and_the_daemons_share(self, interval_s: float) -> None:
        model = fitted(sized_sweep())
        without = model.predict(2_000, dequeue_interval_s=None)
        queued = model.predict(2_000, dequeue_interval_s=interval_s)
        assert queued.low is not None
        assert queued.high is not None
        truth = without.value + 0.1 + interval_s / 2
        assert queued.low - 1e-3 <= truth <= queued.high + 1e-3
        assert queued.high - queued.low < 0.5

    def test_a_run_that_another_one_held_up_does_not_count_for_the_daemon(self) -> None:
        sweep = sized_sweep()
        held = relaunched(sweep.trials[3], stages_us={**sweep.trials[3].launch.stages_us, Stage.QUEUE_WAIT: 60_000_000})
        held_up = replace(sweep, trials=(*sweep.trials[:3], held, *sweep.trials[4:]))
        expected, predicted = (fitted(one).predict(250, dequeue_interval_s=5) for one in (sweep, held_up))
        assert predicted.value == pytest.approx(expected.value, abs=0.3)

    def test_further_steps_add_their_starts(self) -> None:
        model = fitted(sized_sweep())
        one, six = (model.predict(4_000, dequeue_interval_s=None, steps=steps).value for steps in (1, 6))
        assert six - one == pytest.approx(5 * (0.1 + 1.2 + 0.2 + 0.0005 * 4_000), abs=1e-3)

    def test_the_interval_holds_the_true_median_as_often_as_it_should(self) -> None:
        held = 0
        for seed in range(150):
            predicted = fitted(sized_sweep(noise=0.1, seed=seed)).predict(9_000, dequeue_interval_s=1)
            assert predicted.low is not None
            assert predicted.high is not None
            held += predicted.low <= 3.2 + 0.0015 * 9_000 + 0.6 <= predicted.high
        assert held >= 0.9 * 150

    def test_it_says_what_it_rests_on_and_where_it_extrapolates(self) -> None:
        model = fitted(sized_sweep())
        within, beyond = (model.predict(size, dequeue_interval_s=5).basis for size in (10_000, 10_001))
        launches = "25 launches in locations of 250 to 10,000 assets (assets-scaling-0)"
        assert within == f"{launches}; within-sweep interval"
        assert beyond == f"{launches}, extrapolated; within-sweep interval"

    def test_stages_have_intervals_and_the_queue_is_among_them(self) -> None:
        stages = fitted(sized_sweep()).predict_stages(2_000, dequeue_interval_s=5)
        assert list(stages) == list(LAG_STAGES)
        assert stages[Stage.WORKER_LOAD].value == pytest.approx(2.2, abs=1e-3)
        assert 2.5 <= stages[Stage.QUEUE_WAIT].value <= 2.8


class TestTheSpreadBetweenSweeps:
    """Sweeps differ by more than their launches do, and a prediction is for a further sweep."""

    def sweeps(self, effects: Sequence[float]) -> list[Sweep]:
        return [slower(sized_sweep(noise=0.02, seed=day, day=day), exp(effect)) for day, effect in enumerate(effects)]

    def test_the_interval_holds_the_next_sweeps_median_as_often_as_it_should(self) -> None:
        rng, held, held_within = random.Random(1), 0, 0
        for _ in range(60):
            *effects, following = (rng.gauss(0, 0.08) for _ in range(6))
            model = fitted(*self.sweeps(effects))
            predicted, within = model.predict(9_000, dequeue_interval_s=None), model.line.predict(9_000)
            truth = (3.2 + 0.0015 * 9_000) * exp(following)
            held += (predicted.low or 0) <= truth <= (predicted.high or 0)
            held_within += (within.low or 0) <= truth <= (within.high or 0)
        assert held >= 0.88 * 60
        assert held_within < 0.5 * 60

    def test_experiments_count_with_the_sides_that_differ_in_size_only(self) -> None:
        alone, beside = sized_sweep(), sample_experiment("split-definitions")
        model = fitted(alone, beside)
        assert model.plan == alone.plan
        assert [len(trials) for trials in model.comparable] == [25, 32]
        assert model.predict(250, dequeue_interval_s=5).basis.endswith("; interval with the spread between 2 sweeps")

    def test_alone_it_is_called_a_within_sweep_interval(self) -> None:
        model = fitted(sized_sweep(noise=0.1))
        predicted, within = model.predict(3_000, dequeue_interval_s=None), model.line.predict(3_000)
        assert (predicted.value, predicted.low, predicted.high) == (within.value, within.low, within.high)
        assert predicted.basis.endswith("; within-sweep interval")

    def test_the_largest_size_is_the_inverse_of_the_prediction_here_too(self) -> None:
        model = fitted(*self.sweeps((0.0, 0.1, -0.05, 0.08)))
        largest = model.largest(12.0, dequeue_interval_s=1)
        assert largest is not None
        assert largest.low is not None
        assert largest.high is not None
        value, cautious, bold = (
            model.predict(round(size), dequeue_interval_s=1) for size in (largest.value, largest.low, largest.high)
        )
        assert (value.value, cautious.high, bold.low) == pytest.approx((12.0, 12.0, 12.0), abs=0.02)


def slower(sweep: Sweep, factor: float) -> Sweep:
    """Return the sweep with every stage of every launch multiplied."""

    def slow(trial: Trial) -> Trial:
        stages_us = {stage: round((us or 0) * factor) for stage, us in trial.launch.stages_us.items()}
        return relaunched(trial, stages_us=stages_us)

    return replace(sweep, trials=tuple(map(slow, sweep.trials)))


class TestLargest:
    @given(st.floats(4.0, 60.0))
    def test_it_is_the_inverse_of_predict(self, limit_s: float) -> None:
        model = fitted(sized_sweep(noise=0.1))
        largest = model.largest(limit_s, dequeue_interval_s=1)
        assert largest is not None
        if largest.value:
            assert model.predict(round(largest.value), dequeue_interval_s=1).value == pytest.approx(limit_s, abs=0.01)
        assert largest.low is not None
        assert largest.high is not None
        assert largest.low <= largest.value <= largest.high
        if largest.low > 1:
            cautious = model.predict(int(largest.low), dequeue_interval_s=1)
            assert cautious.high is not None
            assert cautious.high <= limit_s + 0.01

    def test_none_fit_under_a_limit_below_the_floor(self) -> None:
        largest = fitted(sized_sweep()).largest(2.0, dequeue_interval_s=5)
        assert largest is not None
        assert largest.value == 0


class TestWhatIsFitted:
    @pytest.mark.parametrize("scenario", ["monitor", "assets-vs-partitions", "executors"])
    def test_sweeps_of_other_scenarios_are_not(self, scenario: str) -> None:
        assert fit_lags([sized_sweep(scenario=scenario)]) is None

    @pytest.mark.parametrize("scenario", FITTED_SCENARIOS)
    def test_sweeps_of_locations_of_several_sizes_are(self, scenario: str) -> None:
        assert fit_lags([sized_sweep(scenario=scenario)]) is not None

    @pytest.mark.parametrize("sizes", [(), (250,), (250, 5_000), (10, 20, 30)])
    def test_too_few_sizes_or_too_close_ones_are_not(self, sizes: Sequence[int]) -> None:
        assert fit_lags([sized_sweep(sizes)]) is None
        assert fit_lags([failed_sweep()]) is None

    def test_partitions_other_shapes_warm_ups_and_failures_are_left_out(self) -> None:
        sweep = sized_sweep()
        first = sweep.trials[0]
        unfit = [
            replace(first, number=101, location="a250_inprocess"),
            replace(first, number=102, location="my_project"),
            replace(first, number=103, warmup=True),
            relaunched(replace(first, number=104), outcome=Outcome.FAILED),
        ]
        model = fitted(replace(sweep, trials=(*sweep.trials, *unfit)))
        assert model.trials == sweep.trials
        assert fitted(measured_sweep()).sizes == FITTED_SIZES

    @pytest.mark.parametrize(
        ("location", "plain"),
        [
            ("a250", True),
            ("a10k", True),
            ("a1p2k", False),
            ("a2k_chain", False),
            ("a2k_inprocess", False),
            ("dbt", False),
        ],
    )
    def test_plain_locations_are_assets_and_nothing_else(self, location: str, plain: bool) -> None:
        assert is_plain(location) is plain

    def test_the_largest_location_wins_then_the_latest(self) -> None:
        small = sized_sweep((10, 250, 2_000), scenario="quick", day=3)
        old, new = sized_sweep(day=1), sized_sweep(day=2)
        assert fitted(old, small, new).plan.sweep_id == "assets-scaling-2"
        assert fitted(small).plan.sweep_id == "quick-3"

    def test_only_what_was_measured_under_todays_circumstances(self) -> None:
        before = sized_sweep(day=1, environment={"dagster": "1.12.0"})
        today = sized_sweep((10, 250, 2_000), scenario="quick", day=2)
        slower_queue = sized_sweep(day=1, environment={"dequeue_interval_s": 30})
        assert fitted(before, today).plan.sweep_id == "quick-2"
        assert fitted(slower_queue, today).plan.sweep_id == "assets-scaling-1"


class TestPredictStartups:
    def test_each_side_gets_its_own(self) -> None:
        sizes = {"one location": 9_000, "nine locations": 1_000}
        predicted = predict_startups([sized_sweep()], sizes)
        assert list(predicted) == list(sizes)
        assert predicted["one location"].value > predicted["nine locations"].value

    def test_without_a_sweep_that_will_do_there_are_none(self) -> None:
        assert predict_startups([], {"one location": 9_000}) == {}
        assert predict_startups([failed_sweep()], {"one location": 9_000}) == {}


def test_sides_are_comparable_where_only_their_size_differs() -> None:
    split, executors = (EXPERIMENTS[name].scenario.variants for name in ("split-definitions", "executors"))
    sizes = {"one location": 9_000, "three locations": 3_000, "nine locations": 1_000}
    assert comparable_sizes(split) == sizes
    assert comparable_sizes(executors) == comparable_sizes(EXPERIMENTS["cpu-limit"].scenario.variants) == {}
    assert comparable_sizes(EXPERIMENTS["cold-start"].scenario.variants) == {"stock, as usual": 2_000}


def test_growth_is_a_factor_and_one_where_there_is_nothing_to_grow() -> None:
    model = fitted(sized_sweep())
    assert model.growth([Stage.WORKER_LOAD], 2_000, 4_000) == pytest.approx(4.2 / 2.2, abs=1e-3)
    assert model.growth([Stage.STEP_BOOT], 2_000, 4_000) == pytest.approx(1)
    assert model.growth([Stage.STEP_INIT], 2_000, 4_000) == 1


def test_it_has_a_bend_where_the_launches_have_one() -> None:
    sweep = sized_sweep((250, 500, 1_000, 2_000, 5_000, 10_000), noise=0.02, seed=2)
    assert fitted(sweep).bend is None
    bent = [
        relaunched(
            trial, stages_us={**trial.launch.stages_us, Stage.WORKER_LOAD: max(0, trial.asset_count - 1_000) * 5_000}
        )
        for trial in sweep.trials
    ]
    bend = fitted(replace(sweep, trials=tuple(bent))).bend
    assert bend is not None
    assert bend.after.slope.value > 2 * bend.before.slope.value


def test_the_lag_without_the_queue_is_the_rest_of_its_stages() -> None:
    trial = make_trial()
    assert trial.launch.lag_us is not None
    wait_s = stages_s(trial, [Stage.QUEUE_WAIT])
    assert startup_s(trial) + wait_s == pytest.approx(trial.launch.lag_us / MICROSECONDS)
