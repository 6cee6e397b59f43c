"""Two sweeps are compared where they measured the same, refused otherwise, and their differences are reported."""

import random
from dataclasses import replace

import pytest
import samples
from experiment_samples import experiment_sweep
from hypothesis import given
from hypothesis import strategies as st

from bench_orchestrator.analysis.comparison import IncomparableError, compare_sweeps
from bench_orchestrator.model.instants import MICROSECONDS
from bench_orchestrator.model.launch import Sweep, Trial
from bench_orchestrator.model.stages import Stage
from bench_orchestrator.scenarios.experiment import LAG, STARTUP
from bench_orchestrator.statistics import Verdict

LOCATIONS = ("a250", "a2k")


def slowed(sweep: Sweep, factor: float, sweep_id: str = "later") -> Sweep:
    """Return the sweep with every stage, and so every lag, multiplied by this factor."""

    def stretch(trial: Trial) -> Trial:
        stages = {stage: None if us is None else round(us * factor) for stage, us in trial.launch.stages_us.items()}
        return samples.relaunched(
            trial, stages_us=stages, lag_us=None if trial.launch.lag_us is None else round(trial.launch.lag_us * factor)
        )

    return replace(sweep, plan=replace(sweep.plan, sweep_id=sweep_id), trials=tuple(map(stretch, sweep.trials)))


def test_each_location_has_its_lag_and_then_its_stages() -> None:
    sweep = samples.measured_sweep(LOCATIONS)
    changes = compare_sweeps(sweep, slowed(sweep, 1)).changes
    assert [change.quantity for change in changes] == [LAG.label, STARTUP.label, *(stage.label for stage in Stage)] * 2
    assert [change.place for change in changes if change.quantity == LAG.label] == list(LOCATIONS)


@given(factor=st.floats(0.2, 5))
def test_a_sweep_against_itself_stretched_shows_the_factor(factor: float) -> None:
    sweep = samples.measured_sweep(LOCATIONS, repeats=6)
    lags = [change for change in compare_sweeps(sweep, slowed(sweep, factor)).changes if change.quantity == LAG.label]
    for change in lags:
        assert change.after_s.value == pytest.approx(factor * change.before_s.value, rel=1e-4)
        if factor == 1:
            assert change.comparison.verdict not in (Verdict.FASTER, Verdict.SLOWER)


@pytest.mark.parametrize(("factor", "verdict"), [(3, Verdict.SLOWER), (0.3, Verdict.FASTER)])
def test_a_clear_change_is_reported(factor: float, verdict: Verdict) -> None:
    sweep = samples.measured_sweep(LOCATIONS, repeats=8)
    changes = compare_sweeps(sweep, slowed(sweep, factor)).changes
    assert {change.comparison.verdict for change in changes if change.quantity == Stage.WORKER_LOAD.label} == {verdict}


def test_the_startup_time_tells_what_the_queue_wait_hides() -> None:
    """Two sweeps whose waits are random differ by a second in every launch."""
    sweep = samples.measured_sweep(LOCATIONS, repeats=8)
    rng = random.Random(1)

    def later(trial: Trial) -> Trial:
        stages = dict(trial.launch.stages_us)
        wait_us, load_us = rng.randrange(5 * MICROSECONDS), (stages[Stage.WORKER_LOAD] or 0) + MICROSECONDS
        added_us = wait_us - (stages[Stage.QUEUE_WAIT] or 0) + MICROSECONDS
        stages |= {Stage.QUEUE_WAIT: wait_us, Stage.WORKER_LOAD: load_us}
        return samples.relaunched(trial, stages_us=stages, lag_us=(trial.launch.lag_us or 0) + added_us)

    changes = compare_sweeps(sweep, replace(sweep, trials=tuple(map(later, sweep.trials)))).changes
    verdicts = {(change.place, change.quantity): change.comparison.verdict for change in changes}
    assert {verdicts[place, STARTUP.label] for place in LOCATIONS} == {Verdict.SLOWER}
    assert Verdict.UNDECIDED in {verdicts[place, LAG.label] for place in LOCATIONS}


def test_warmups_and_failures_do_not_count() -> None:
    sweep = samples.troubled_sweep()
    for change in compare_sweeps(sweep, slowed(sweep, 1)).changes:
        measured = [trial for trial in sweep.trials if trial.measured and trial.location == change.place]
        assert change.before_s.n == len(measured)


def test_what_differs_is_named() -> None:
    before = samples.measured_sweep(LOCATIONS)
    plan = replace(before.plan, environment={**before.plan.environment, "dagster": "1.14.0"}, scenario="quick")
    after = replace(before, plan=replace(plan, settings={**plan.settings, "pause_s": 9}))
    assert compare_sweeps(before, after).environment == {
        "dagster": ("1.13.27", "1.14.0"),
        "scenario": ("all-locations", "quick"),
        "pause_s": (1.0, 9),
    }


def test_what_only_one_has_is_reported() -> None:
    before, after = samples.measured_sweep(("a250", "a2k")), samples.measured_sweep(("a2k", "a5k"))
    changes = compare_sweeps(before, after)
    assert {change.place for change in changes.changes} == {"a2k"}
    assert changes.left_out == (
        f"a250 was measured by {before.plan.sweep_id} only",
        f"a5k was measured by {after.plan.sweep_id} only",
    )


def test_sides_of_an_experiment_are_compared_each_with_itself() -> None:
    sweep = experiment_sweep("executors")
    changes = compare_sweeps(sweep, slowed(sweep, 1)).changes
    places = {change.place for change in changes}
    assert {place.split(", ", 1)[1] for place in places} == {variant.name for variant in sweep.plan.variants}


def test_nothing_in_common_is_refused() -> None:
    before, after = samples.measured_sweep(("a250",)), samples.measured_sweep(("a2k",))
    with pytest.raises(IncomparableError, match=r"measured a250, .* measured a2k: there is nothing in common"):
        compare_sweeps(before, after)
    with pytest.raises(IncomparableError, match="measured nothing"):
        compare_sweeps(before, samples.failed_sweep())


def grown(sweep: Sweep, *locations: str) -> Sweep:
    """Return the sweep as if these locations had one more partition."""
    trials = (
        replace(trial, partition_count=trial.partition_count + (trial.location in locations)) for trial in sweep.trials
    )
    return replace(sweep, plan=replace(sweep.plan, sweep_id="later"), trials=tuple(trials))


def test_a_location_of_another_size_is_left_out_and_the_rest_is_compared() -> None:
    before = samples.measured_sweep(("a250", "a1p2k", "a2k"))
    changes = compare_sweeps(before, grown(before, "a1p2k"))
    assert list(dict.fromkeys(change.place for change in changes.changes)) == ["a250", "a2k"]
    assert changes.left_out == ("a1p2k changed in size: 1 assets and 2000 partitions, then 1 and 2001",)


def test_another_size_of_all_is_refused() -> None:
    before = samples.measured_sweep(("a250", "a1p2k"))
    with pytest.raises(IncomparableError, match=r"can be compared: a250 changed in size: 250 .*; a1p2k changed"):
        compare_sweeps(before, grown(before, "a250", "a1p2k"))


def test_seconds_come_out() -> None:
    sweep = samples.measured_sweep(("a250",), repeats=1)
    (trial,) = [trial for trial in sweep.trials if trial.measured]
    lag = compare_sweeps(sweep, sweep).changes[0]
    assert trial.launch.lag_us is not None
    assert lag.before_s.value == trial.launch.lag_us / MICROSECONDS
