"""Remedies are ranked by what they save at the user's size."""

from collections.abc import Mapping
from dataclasses import replace

import pytest
from advice_samples import fitted, sample_evidence, sample_experiment, sized_sweep, with_stages
from experiment_samples import only_variants, troubled_experiment

from bench_orchestrator.analysis.evaluation import evaluate
from bench_orchestrator.analysis.lag_model import LagModel
from bench_orchestrator.analysis.remedies import RankedRemedy, rank_remedies
from bench_orchestrator.model.launch import Sweep
from bench_orchestrator.model.stages import Stage
from bench_orchestrator.scenarios.registry import EXPERIMENTS
from bench_orchestrator.statistics import Verdict

ALL = {remedy.name for experiment in EXPERIMENTS.values() for remedy in experiment.remedies}


@pytest.fixture(scope="module")
def model() -> LagModel:
    return fitted(sized_sweep())


def rank(
    *sweeps: Sweep, model: LagModel | None = None, assets: int = 10_000, steps: int = 1
) -> Mapping[str, RankedRemedy]:
    """By variant name, in order."""
    ranked = rank_remedies([evaluate(sweep) for sweep in sweeps], model, assets, steps)
    return {one.remedy.variant: one for one in ranked}


def saved_s(ranked: RankedRemedy) -> float:
    assert ranked.saved_s is not None
    return ranked.saved_s.value


class TestTheOrder:
    def test_every_remedy_is_in_it_once_those_that_help_first_the_unmeasured_last(self, model: LagModel) -> None:
        evidence = sample_evidence("split-definitions", "executors", "loading", "dequeue-interval")
        ranked = rank_remedies(evidence.evaluations, model, 10_000)
        assert {one.remedy.name for one in ranked} == ALL
        assert len(ranked) == len(ALL)
        groups = [(one.saved_s is None, not one.helps) for one in ranked]
        assert groups == sorted(groups)
        helping = [saved_s(one) for one in ranked if one.helps]
        assert helping == sorted(helping, reverse=True)
        assert len(helping) > 4
        assert all(one.verdict is Verdict.FASTER for one in ranked if one.helps)

    def test_what_was_not_measured_says_what_to_run(self) -> None:
        assert {one.missing for one in rank_remedies([], None, 10_000)} == {
            f"not measured here: bench run {name}" for name, experiment in EXPERIMENTS.items() if experiment.remedies
        }

    def test_a_side_that_was_left_out_or_never_succeeded_is_not_measured(self, model: LagModel) -> None:
        executors = only_variants(
            sample_experiment("executors"), ["spawn, 1 step", "spawn, 1 step, again", "in-process, 1 step"]
        )
        ranked = rank(executors, troubled_experiment(), model=model)
        assert ranked["in-process, 1 step"].helps
        assert ranked["forkserver, job, 1 step"].missing == "not measured here: bench run executors"
        assert ranked["nine locations"].saved_s is not None
        failed = replace(troubled_experiment(), trials=())
        assert rank(failed, model=model)["nine locations"].missing == "not measured here: bench run split-definitions"


class TestWhatIsSaved:
    def test_a_split_saves_what_the_fit_of_its_parts_says(self, model: LagModel) -> None:
        split = rank(sample_experiment("split-definitions"), model=model)["nine locations"]
        # The samples' launches take 1.5 ms per asset, as in the model.
        assert saved_s(split) == pytest.approx(0.0015 * (10_000 - 10_000 / 9), rel=0.1)
        assert split.quantity == "launch lag"
        assert split.against == "one location"
        assert split.measured_at == "9,000 assets, 1 selected; extrapolated to 10,000"
        assert split.lag_s is not None
        assert split.lag_s.value == pytest.approx(3.2 + 15 + 2.6 - saved_s(split), abs=0.1)

    def test_it_grows_with_the_size(self, model: LagModel) -> None:
        saved = [
            saved_s(rank(sample_experiment("executors"), model=model, assets=assets)["in-process, 1 step"])
            for assets in (1_000, 5_000, 50_000)
        ]
        assert saved == sorted(saved)
        assert saved[2] > 5 * saved[1]

    def test_without_a_model_it_is_what_was_measured(self) -> None:
        split = rank(sample_experiment("split-definitions"))["nine locations"]
        assert split.measured_at == "9,000 assets, 1 selected; not extrapolated to 10,000"
        assert (split.at_assets, split.lag_s) == (9_000, None)
        assert split.helps

    def test_a_quick_experiment_is_not_carried_over(self, model: LagModel) -> None:
        memoised = rank(sample_experiment("loading", quick=True), model=model)["a memoised function"]
        assert memoised.measured_at == "20 assets, 1 selected; not extrapolated to 10,000"
        assert (memoised.at_assets, memoised.lag_s) == (20, None)

    @pytest.mark.parametrize("name", ["imports", "dequeue-interval"])
    def test_what_does_not_grow_with_assets_is_the_same_at_any_size(self, model: LagModel, name: str) -> None:
        sweep = sample_experiment(name)
        small, large = (rank(sweep, model=model, assets=assets) for assets in (20, 20_000))
        for remedy in EXPERIMENTS[name].remedies:
            assert small[remedy.variant].saved_s == large[remedy.variant].saved_s
            assert small[remedy.variant].measured_at.endswith("the same at any size")

    def test_a_workload_is_about_what_answers_its_question(self, model: LagModel) -> None:
        prioritised = rank(sample_experiment("priority-ops"), model=model)["dynamic with priorities"]
        assert prioritised.quantity == "first batch loaded, from the run's start"
        # Three stages of 1 s, in place of all six steps of two stages, two at a time, and one of the last.
        assert saved_s(prioritised) == pytest.approx(7 - 3, abs=0.2)
        assert prioritised.lag_s is None
        assert prioritised.measured_at == "a1_etl6x3_sleep200ms_at2; the same at any size"
        assert prioritised.helps

    def test_groups_of_assets_are_about_the_time_until_all_is_done(self, model: LagModel) -> None:
        ranked = rank(sample_experiment("graph-asset"), model=model)
        fused = ranked["one function, multiprocess"]
        assert fused.quantity == "time until all work is done"
        assert saved_s(fused) > 9 * 1.2
        assert fused.lag_s is not None
        assert fused.lag_s.value < 15

    def test_further_steps_are_as_they_were_measured_where_they_were(self, model: LagModel) -> None:
        sweep = sample_experiment("executors")
        one, four = (rank(sweep, model=model, assets=2_004, steps=steps)["in-process, 1 step"] for steps in (1, 4))
        spawned = [trial for trial in sweep.trials if trial.variant == "spawn, 6 steps" and trial.measured]
        assert all(trial.launch.work_us and trial.launch.time_to_code_us for trial in spawned)
        assert four.quantity == "launch lag, 4 steps"
        assert saved_s(four) - saved_s(one) == pytest.approx(3 * (2.2 + 2_004 * 6e-4), rel=0.1)

    def test_further_steps_start_as_the_first_where_nothing_else_is_known(self, model: LagModel) -> None:
        sweep = sample_experiment("loading")
        one, three = (rank(sweep, model=model, steps=steps) for steps in (1, 3))
        variant = "memoised, no garbage collection"
        assert saved_s(three[variant]) > saved_s(one[variant]) + 1

    def test_further_steps_do_not_wait_in_the_queue(self, model: LagModel) -> None:
        sweep = sample_experiment("dequeue-interval")
        one, three = (rank(sweep, model=model, steps=steps)["every 1 s"] for steps in (1, 3))
        assert one == three

    def test_the_wait_in_the_queue_is_left_out_of_what_is_not_about_it(self, model: LagModel) -> None:
        sweep = sample_experiment("executors")
        waiting = replace(
            sweep,
            trials=tuple(with_stages(trial, {Stage.QUEUE_WAIT: float(trial.number % 7)}) for trial in sweep.trials),
        )
        key = "in-process, 1 step"
        assert rank(waiting, model=model)[key].saved_s == rank(sweep, model=model)[key].saved_s


class TestWhereOneIsToday:
    def test_what_the_models_locations_do_not_suffer_from_takes_nothing_off_their_lag(self, model: LagModel) -> None:
        ranked = rank(*map(sample_experiment, ("loading", "imports", "cpu-limit")), model=model)
        predicted = model.predict(10_000, dequeue_interval_s=5)
        assert ranked["a memoised function"].lag_s == predicted
        assert ranked["a memoised function"].helps
        assert ranked["2 CPUs"].lag_s == predicted
        late = ranked["inside the asset"]
        assert late.helps
        assert late.lag_s is not None
        assert late.lag_s.value == pytest.approx(predicted.value, abs=0.3)

    def test_a_side_with_a_plain_baseline_of_the_same_size_is_compared_with_that(self, model: LagModel) -> None:
        warm = rank(sample_experiment("definitions-cache"), model=model)["warm, a10k"]
        predicted = model.predict(10_000, dequeue_interval_s=5)
        assert warm.lag_s is not None
        # The samples' warm launches take as long as the others.
        assert warm.lag_s.value == pytest.approx(predicted.value, abs=1)

    def test_a_remedy_that_is_the_baseline_is_compared_with_the_next_side(self, model: LagModel) -> None:
        assert rank(sample_experiment("cpu-limit"), model=model)["2 CPUs"].against == "1 CPU"

    def test_remedies_of_another_queue_than_todays_say_nothing_of_it(self) -> None:
        elsewhere = fitted(sized_sweep(environment={"dequeue_interval_s": 30}))
        ranked = rank(sample_experiment("dequeue-interval"), model=elsewhere)
        assert ranked["every 1 s"].saved_s is None
        assert ranked["no queue"].missing == "measured with runs dequeued every 5 s; here they are every 30 s"


def test_measured_costs_are_those_beyond_the_noise(model: LagModel) -> None:
    ranked = rank(sample_experiment("split-definitions"), sample_experiment("executors"), model=model)
    split = ranked["nine locations"].costs
    assert any(cost.startswith("all code servers together use ") for cost in split)
    assert not any("memory of the code server" in cost for cost in split)
    in_process = " ".join(ranked["in-process, 1 step"].costs)
    assert "processes of the run \N{MINUS SIGN}1" in in_process
    assert "peak memory of the run's processes \N{MINUS SIGN}" in in_process
