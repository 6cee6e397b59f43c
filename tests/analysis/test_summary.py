"""Properties of the tables for any launches: order, counts, additivity, one flat record per launch."""

import random
import re
from collections.abc import Sequence
from dataclasses import replace

import pytest
from experiment_samples import experiment_sweep, troubled_experiment
from hypothesis import given
from hypothesis import strategies as st
from samples import (
    SIZES,
    STUDY,
    failed_sweep,
    make_stages,
    make_trial,
    measured_sweep,
    on_kubernetes,
    relaunched,
    troubled_sweep,
)

from bench_orchestrator.analysis import wording
from bench_orchestrator.analysis.summary import (
    location_rows,
    shared_environment,
    startup_fits,
    sweep_rows,
)
from bench_orchestrator.model.instants import MICROSECONDS
from bench_orchestrator.model.launch import Outcome, Trial
from bench_orchestrator.model.stages import INIT_STAGES, LAG_STAGES, QUEUE_STAGES, STARTUP_STAGES, BootStage, Stage
from bench_orchestrator.statistics import median

trials = st.lists(
    st.builds(
        make_trial,
        number=st.integers(1, 10_000),
        location=st.sampled_from(sorted(SIZES)),
        outcome=st.sampled_from(Outcome),
        warmup=st.booleans(),
        variant=st.sampled_from(["default", "split"]),
    ),
    max_size=30,
    unique_by=lambda trial: trial.number,
)


def test_locations_are_ordered_by_assets_then_partitions_then_name() -> None:
    rows = location_rows(measured_sweep(["a10p10k", "a2k", "a10", "a250", "a1p2k"]).trials)
    assert [row.location for row in rows] == ["a1p2k", "a10", "a10p10k", "a250", "a2k"]


def test_a_location_without_a_success_keeps_its_place() -> None:
    good = location_rows(measured_sweep().trials)
    bad = location_rows(troubled_sweep().trials)
    assert [row.location for row in bad] == [row.location for row in good]
    a10k = bad[-1]
    assert (a10k.n, a10k.lag_s, a10k.median_launch, a10k.lags_s) == (0, None, None, ())
    assert a10k.failures == {Outcome.TIMED_OUT: 5}
    assert (a10k.warmups, a10k.warmup_outcomes[Outcome.TIMED_OUT]) == (1, 1)


def test_warmups_and_failures_stay_out_of_the_medians() -> None:
    def taking(seconds: int, trial: int) -> Trial:
        stages = dict.fromkeys(Stage, 0) | {Stage.WORKER_LOAD: seconds * 1_000_000}
        return make_trial(trial, stages_us=stages)

    failed = relaunched(taking(500, 4), outcome=Outcome.FAILED)
    (row,) = location_rows([taking(10, 1), taking(12, 2), replace(taking(900, 3), warmup=True), failed, taking(17, 5)])
    assert list(row.lags_s) == [10, 12, 17]
    assert row.lag_s is not None
    assert (row.lag_s.value, row.n, row.trials, row.warmups) == (12, 3, 4, 1)


@given(trials, st.randoms(use_true_random=False))
def test_the_order_of_launches_does_not_matter(some: list[Trial], rng: random.Random) -> None:
    shuffled = list(some)
    rng.shuffle(shuffled)
    assert location_rows(shuffled) == location_rows(some)


@given(trials)
def test_every_launch_is_counted_exactly_once(some: list[Trial]) -> None:
    rows = location_rows(some)
    assert sum(row.trials + row.warmups for row in rows) == len(some)
    assert sum(row.n + sum(row.failures.values()) for row in rows) == sum(not trial.warmup for trial in some)
    assert sum(len(row.lags_s) for row in rows) == sum(trial.measured for trial in some)
    assert len({row.label for row in rows}) == len(rows)


@given(st.lists(st.integers(0, 2**32), min_size=1, max_size=9))
def test_the_pieces_of_the_median_launch_add_up_to_the_median_lag(seeds: Sequence[int]) -> None:
    (row,) = location_rows(
        make_trial(trial, "a5k", stages_us=make_stages("a5k", random.Random(seed)))
        for trial, seed in enumerate(seeds, start=1)
    )
    trial = row.median_launch
    assert trial is not None
    assert row.lag_s is not None
    assert trial.lag_s == pytest.approx(row.lag_s.value)
    assert trial.queue_s + trial.init_s == pytest.approx(trial.lag_s)
    assert sum(trial.pieces_s[stage] for stage in QUEUE_STAGES) == pytest.approx(trial.queue_s)
    assert sum(trial.pieces_s[stage] for stage in INIT_STAGES) == pytest.approx(trial.init_s)


def test_on_kubernetes_worker_boot_is_in_pieces_that_add_up_to_it() -> None:
    sweep = measured_sweep(["a250"], 4)
    (whole,) = location_rows(sweep.trials)
    (split,) = location_rows(map(on_kubernetes, sweep.trials))
    assert whole.median_launch is not None
    assert split.median_launch is not None
    assert whole.boot_s == {}
    assert list(split.boot_s) == list(BootStage)
    assert split.piece_s(BootStage.PULL_IMAGE) == split.boot_s[BootStage.PULL_IMAGE]
    assert split.piece_s(Stage.WORKER_BOOT) == whole.stages_s[Stage.WORKER_BOOT]
    assert Stage.WORKER_BOOT not in split.median_launch.pieces_s
    pieces_s = sum(split.median_launch.pieces_s[stage] for stage in BootStage)
    assert pieces_s == pytest.approx(whole.median_launch.pieces_s[Stage.WORKER_BOOT])
    assert sum(split.median_launch.pieces_s.values()) == pytest.approx(sum(whole.median_launch.pieces_s.values()))


def test_kubernetes_part_ends_where_the_container_is_started() -> None:
    sweep = measured_sweep(["a250"], 5)
    (whole,) = location_rows(sweep.trials)
    assert (whole.kubernetes_s, whole.kubernetes_percent) == (None, None)
    assert wording.kubernetes([whole]) == ""

    # Four of five pieces, each a tenth of worker boot.
    trials = [on_kubernetes(trial) for trial in sweep.trials if not trial.warmup]
    boots_us = [trial.launch.stages_us[Stage.WORKER_BOOT] or 0 for trial in trials]
    (split,) = location_rows(trials)
    assert split.kubernetes_s is not None
    assert split.kubernetes_percent is not None
    assert split.kubernetes_s.value == pytest.approx(0.4 * median(boots_us).value / MICROSECONDS, abs=1e-5)
    shares = [40 * boot_us / (trial.launch.lag_us or 0) for boot_us, trial in zip(boots_us, trials, strict=True)]
    assert split.kubernetes_percent.value == pytest.approx(median(shares).value, abs=0.01)
    told = r"Kubernetes takes [\d.]+ s \[.*\] at a250 until the container runs: \d+ % \[.*\] of the launch lag"
    assert re.fullmatch(told, wording.kubernetes([split]))


def test_the_dominant_stage_is_the_one_with_the_largest_share() -> None:
    row = location_rows(measured_sweep().trials)[-1]
    assert row.dominant_stage is not None
    stage, share = row.dominant_stage
    assert (row.location, stage) == ("a10k", Stage.WORKER_LOAD)
    assert 40 < share.value < 60
    assert row.dominant_stage[1].value == max(
        estimate.value for name in LAG_STAGES if (estimate := row.shares_percent[name]) is not None
    )


def test_a_stage_that_no_log_shows_is_none_and_not_zero() -> None:
    trial = make_trial()
    unknown = relaunched(trial, stages_us=dict(trial.launch.stages_us) | {Stage.SUBMIT: None})
    (row,) = location_rows([unknown])
    assert row.stages_s[Stage.SUBMIT] is None
    assert row.median_launch is not None
    assert Stage.SUBMIT not in row.median_launch.pieces_s


def test_the_line_is_in_ms_per_asset_and_leaves_partitions_out() -> None:
    sweep = measured_sweep()
    fit = startup_fits(sweep.trials)["default"]
    assert 1.5 < fit.slope.value < 2.5
    assert fit.n == 25
    assert startup_fits(measured_sweep(["a250", "a1p2k"]).trials) == {}
    assert startup_fits(failed_sweep().trials) == {}


def test_each_variant_has_its_own_line_and_label() -> None:
    sweep = measured_sweep(["a250", "a10k"])
    split = [replace(trial, variant="split", number=100 + trial.number) for trial in sweep.trials]
    both = [*sweep.trials, *split]
    assert list(startup_fits(both)) == ["default", "split"]
    labels = [row.label for row in location_rows(both)]
    assert labels == ["a250 · default", "a250 · split", "a10k · default", "a10k · split"]
    assert wording.growth(startup_fits(both)).count("default: ") == 1


def test_an_experiment_has_a_row_for_each_variant_however_many_locations_it_has() -> None:
    sweep = troubled_experiment()
    rows = sweep_rows(sweep)
    assert [row.label for row in rows] == [variant.name for variant in sweep.plan.variants]
    assert sum(row.trials + row.warmups for row in rows) == len(sweep.trials)
    nine = rows[3]
    assert (nine.n, nine.trials, nine.asset_count, nine.size) == (7, 8, 9_000, "")
    assert len(nine.location.split(", ")) == 9
    assert rows[2].failures == {Outcome.REJECTED: 8}
    assert [row.label for row in sweep_rows(sweep, in_turn=False)] == [row.label for row in rows[:4]]


def test_other_sweeps_have_a_row_for_each_location() -> None:
    sweep = measured_sweep()
    assert sweep_rows(sweep) == location_rows(sweep.trials)
    assert {row.label: row.size for row in sweep_rows(sweep)}["a10p10k"] == "10 assets × 10,000 partitions"


def test_what_deployments_do_not_have_in_common_is_not_shared() -> None:
    plan = experiment_sweep(repeats=1).plan
    assert shared_environment(plan) == plan.environment
    other = {**plan.environment, "dequeue_interval_s": 1, "dagster_yaml": {}}
    shared = shared_environment(replace(plan, environments={**plan.environments, "1 s": other}))
    assert shared.keys() == plan.environment.keys() - {"dequeue_interval_s"}


@given(trials)
def test_every_sweep_has_findings(some: list[Trial]) -> None:
    rows = location_rows(some)
    for sentence in (
        wording.span(rows),
        wording.growth(startup_fits(some)),
        wording.dominance(rows),
        wording.comparison(rows),
        wording.tally(rows),
    ):
        assert sentence
        assert "None" not in sentence


def test_findings_state_their_intervals() -> None:
    sweep = measured_sweep(STUDY)
    rows, fits = location_rows(sweep.trials), startup_fits(sweep.trials)
    assert wording.growth(fits).startswith("Startup time grows by 1.")
    assert wording.comparison(rows).startswith("10,000 assets cost more than 10 assets \N{MULTIPLICATION SIGN}")
    for sentence in (wording.span(rows), wording.growth(fits), wording.dominance(rows), wording.comparison(rows)):
        assert "[" in sentence
        assert "no interval" not in sentence
    assert wording.tally(location_rows(troubled_sweep().trials)) == (
        "9 of 35 trials gave no measurement: 1 rejected, 1 failed, 1 canceled, 5 timed out, 1 lost"
    )


def test_one_launch_gives_no_interval_and_no_verdict() -> None:
    rows = location_rows([make_trial(1, "a10k"), make_trial(2, "a1p2k")])
    assert "[no interval]" in wording.span(rows)
    assert wording.comparison(rows).startswith("No difference shown between")


def test_the_queue_wait_does_not_decide_how_launches_grow() -> None:
    """Waits that happen to be long where launches are short hide the growth of the lag, not of the startup time."""

    def launched(number: int, location: str, wait_s: float) -> Trial:
        stages = dict.fromkeys(Stage, 0) | {
            Stage.QUEUE_WAIT: round(wait_s * MICROSECONDS),
            Stage.WORKER_LOAD: SIZES[location][0] * 1_000 + number,
        }
        return make_trial(number, location, stages_us=stages)

    waits_s = {"a10": (4.8, 4.1, 3.3), "a250": (4.9, 2.1, 3.7), "a2k": (0.3, 1.9, 1.1)}
    numbers = iter(range(1, 10))
    some = [launched(next(numbers), location, wait_s) for location, waits in waits_s.items() for wait_s in waits]
    smallest, _, largest = rows = location_rows(some)
    assert smallest.lag_s is not None
    assert largest.lag_s is not None
    assert smallest.startup_s is not None
    assert smallest.lag_s.value > largest.lag_s.value
    assert [round(row.startup_s.value, 2) for row in rows if row.startup_s] == [0.01, 0.25, 2.0]
    assert wording.growth(startup_fits(some)).startswith("Startup time grows by 1.00 ms per asset [")


@given(trials)
def test_startup_time_and_queue_wait_add_up_to_the_lag(some: list[Trial]) -> None:
    for launch in (trial.launch for trial in some if trial.launch.lag_us is not None):
        assert launch.startup_us == sum(launch.stages_us[stage] or 0 for stage in STARTUP_STAGES)
        assert launch.lag_us == (launch.startup_us or 0) + (launch.stages_us[Stage.QUEUE_WAIT] or 0)


def test_the_queue_wait_is_stated_as_the_distribution_that_it_is() -> None:
    assert wording.queue_wait(measured_sweep().plan.dequeue_interval_s) == (
        "The queue wait is random, by the dequeue interval: uniform over 0 to 5 s, median 2.5 s. Startup time is the "
        "launch lag without it"
    )
    assert wording.queue_wait(None) == ""


def test_an_interval_that_the_deployments_of_a_plan_do_not_share_is_none() -> None:
    plan = experiment_sweep("dequeue-interval", repeats=1).plan
    assert plan.dequeue_interval_s == 5
    environments = {"own": {**plan.environment, "dequeue_interval_s": 1}, "other": plan.environment}
    first, *others = plan.trials
    assert replace(plan, environments=environments).dequeue_interval_s == 1
    mixed = (replace(first, deployment="other"), *others)
    assert replace(plan, environments=environments, trials=mixed).dequeue_interval_s is None
