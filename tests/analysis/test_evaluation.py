"""Properties of any sweep's evaluation: it counts every side, compares it with its own baseline, and is honest."""

import random
import re
from collections.abc import Sequence
from dataclasses import replace

import pytest
from experiment_samples import experiment_sweep, only_variants, troubled_experiment
from hypothesis import given
from hypothesis import strategies as st
from samples import measured_sweep, relaunched, unmeasured

from bench_orchestrator.analysis.evaluation import Evaluation, Side, evaluate, is_experiment
from bench_orchestrator.analysis.evaluation.verdicts import NOTHING_COMPARED
from bench_orchestrator.model.instants import MICROSECONDS
from bench_orchestrator.model.launch import Outcome, Sweep, Trial
from bench_orchestrator.model.plan import again
from bench_orchestrator.model.stages import Stage
from bench_orchestrator.scenarios.experiment import COMMON_MEASURES, LAG, STARTUP, WORK
from bench_orchestrator.scenarios.registry import EXPERIMENTS
from bench_orchestrator.statistics import Verdict, compare, median

each_experiment = pytest.mark.parametrize("name", EXPERIMENTS)


def side(evaluation: Evaluation, name: str) -> Side:
    return next(side for side in evaluation.sides if side.name == name)


def of_variant(sweep: Sweep, name: str) -> list[Trial]:
    return [trial for trial in sweep.trials if trial.variant == name]


def with_launches(sweep: Sweep, trials: Sequence[Trial]) -> Sweep:
    return replace(sweep, trials=tuple(trials))


def slowed(sweep: Sweep, seconds: dict[str, float]) -> Sweep:
    """Return the same sweep, with each variant's startup time at its block's plus exactly this many seconds."""

    def slow(trial: Trial) -> Trial:
        lag_us = round((10 + seconds[trial.variant]) * MICROSECONDS) + trial.block
        return relaunched(trial, lag_us=lag_us, stages_us=dict.fromkeys(Stage, 0))

    return with_launches(sweep, [slow(trial) for trial in sweep.trials if trial.variant in seconds])


class TestSides:
    def test_they_stand_in_the_plans_order_with_what_is_launched_in_turn_apart(self) -> None:
        evaluation = evaluate(experiment_sweep())
        assert [(side.name, side.baseline, side.is_again) for side in evaluation.sides] == [
            ("one location", None, False),
            ("one location, again", "one location", True),
            ("three locations", "one location", False),
            ("nine locations", "one location", False),
        ]
        assert list(evaluation.paths) == ["path through one", "path through three", "path through nine"]

    def test_a_side_is_compared_with_the_baseline_that_it_names(self) -> None:
        evaluation = evaluate(experiment_sweep("executors"))
        assert side(evaluation, "in-process, 6 steps").baseline == "spawn, 6 steps"
        assert side(evaluation, "in-process, 1 step").baseline == "spawn, 1 step"
        assert [group[0].name for group in evaluation.groups] == ["spawn, 1 step", "spawn, 6 steps"]
        assert side(evaluate(experiment_sweep("selection-size")), "1 partition").baseline is None

    def test_warmups_and_failures_stay_out_of_the_numbers_and_in_the_counts(self) -> None:
        sweep = troubled_experiment()
        nine = side(evaluate(sweep), "nine locations")
        assert (nine.n, nine.trials, nine.undone) == (7, 8, 1)
        assert nine.failures[Outcome.FAILED] == 1
        measured = [trial for trial in of_variant(sweep, nine.name) if trial.measured]
        assert set(nine.samples["lag_s"]) == {trial.block for trial in measured} == {2, 3, 4, 5, 7, 8, 9}
        assert nine.lag_s == median([trial.launch.lag_us / MICROSECONDS for trial in measured if trial.launch.lag_us])

    def test_a_side_without_a_success_is_a_side_like_any_other(self) -> None:
        evaluation = evaluate(troubled_experiment())
        three = side(evaluation, "three locations")
        assert (three.n, three.trials, three.lag_s, three.work) == (0, 8, None, ())
        assert not any(three.measures.values())
        assert ("three locations", "lag_s") not in evaluation.comparisons

    @each_experiment
    def test_every_measure_of_the_experiment_is_there(self, name: str) -> None:
        evaluation = evaluate(experiment_sweep(name, repeats=2))
        names = [measure.name for measure in (*COMMON_MEASURES, *EXPERIMENTS[name].measures)]
        assert [measure.name for measure in evaluation.measures] == names
        for one in evaluation.sides:
            assert list(one.measures) == list(one.samples) == names
            assert one.measures["lag_s"] == one.lag_s
        assert EXPERIMENTS[name].headline in evaluation.measures

    def test_code_servers_are_summed_over_all_locations_of_a_side(self) -> None:
        evaluation = evaluate(experiment_sweep())
        one, nine = side(evaluation, "one location"), side(evaluation, "nine locations")
        assert one.server_bytes == pytest.approx(180e6 + 9_000 * 12e3)
        assert nine.server_bytes == pytest.approx(9 * (180e6 + 1_000 * 12e3))
        assert [one.load_s, nine.load_s] == pytest.approx([11, 27])

    def test_a_location_that_was_never_measured_leaves_the_sum_unknown(self) -> None:
        sweep = experiment_sweep()
        part = "a1k_spine1k_part9of9"
        blind = [replace(trial, usage={}) if trial.location == part else trial for trial in sweep.trials]
        locations = [
            replace(location, load_s=None) if location.name == part else location for location in sweep.plan.locations
        ]
        evaluation = evaluate(replace(sweep, plan=replace(sweep.plan, locations=tuple(locations)), trials=tuple(blind)))
        nine = side(evaluation, "nine locations")
        assert (nine.server_bytes, nine.load_s) == (None, None)
        assert side(evaluation, "three locations").load_s is not None


class TestComparisons:
    def test_they_are_made_within_blocks_with_the_arm_as_noise(self) -> None:
        evaluation = evaluate(experiment_sweep("executors"))
        mine, theirs, arm = (
            side(evaluation, name).samples["work_s"]
            for name in ("in-process, 6 steps", "spawn, 6 steps", "spawn, 6 steps, again")
        )
        found = evaluation.comparisons["in-process, 6 steps", "work_s"]
        assert found == compare(mine, theirs, arm)
        assert found.noise == evaluation.comparisons["spawn, 6 steps, again", "work_s"].difference
        assert evaluation.comparisons["spawn, 6 steps, again", "work_s"].noise is None

    def test_a_baseline_that_heads_no_group_has_none(self) -> None:
        evaluation = evaluate(experiment_sweep("selection-size"))
        assert ("1 asset", "lag_s") not in evaluation.comparisons
        assert ("1 partition", "lag_s") not in evaluation.comparisons
        assert ("100 partitions", "lag_s") in evaluation.comparisons

    def test_sides_that_share_no_block_are_not_compared(self) -> None:
        sweep = only_variants(experiment_sweep(repeats=4), ["one location", "nine locations"])
        apart = [
            trial
            for trial in sweep.trials
            if (trial.block < 4) == (trial.variant == "one location") and not trial.warmup
        ]
        evaluation = evaluate(with_launches(sweep, apart))
        assert evaluation.comparisons == {}
        assert evaluation.answer == NOTHING_COMPARED


class TestPaths:
    def test_the_rests_between_launches_are_not_the_paths(self) -> None:
        sweep = experiment_sweep()
        path = evaluate(sweep).paths["path through nine"]
        trials = of_variant(sweep, "path through nine")
        assert (path.ok, path.of) == (9, 9)
        assert path.total_s == pytest.approx(sum((trial.launch.work_us or 0) for trial in trials) / MICROSECONDS)

    def test_one_that_did_not_come_to_its_end_has_no_total(self) -> None:
        evaluation = evaluate(troubled_experiment())
        assert evaluation.paths["path through nine"].total_s is None
        assert any("‘path through nine’ not finished (0 of 9" in sentence for sentence in evaluation.sentences)


class TestWork:
    def test_every_side_of_a_good_sweep_did_the_same(self) -> None:
        evaluation = evaluate(experiment_sweep("graph-asset"))
        assert evaluation.same_work
        assert evaluation.shortfalls == ()
        assert evaluation.work == "Every measured launch materialized 10 units of work"

    def test_sides_that_are_to_do_different_work_may(self) -> None:
        evaluation = evaluate(experiment_sweep("selection-size"))
        assert evaluation.same_work
        assert "10 (‘10 assets’)" in evaluation.work

    def test_a_launch_that_counts_and_did_other_work_spoils_the_comparison(self) -> None:
        sweep = experiment_sweep("graph-asset", repeats=3)
        trials = [*sweep.trials[:-1], relaunched(sweep.trials[-1], work=9)]
        evaluation = evaluate(with_launches(sweep, trials))
        assert not evaluation.same_work
        assert "the times are not comparable" in evaluation.work
        assert evaluation.work in evaluation.shortfalls

    def test_shortfalls_name_each_side_that_did_not_do_its_work(self) -> None:
        shortfalls = evaluate(troubled_experiment()).shortfalls
        assert [text.partition(":")[0] for text in shortfalls] == [
            "‘three locations’",
            "‘nine locations’",
            "‘path through nine’",
        ]
        assert "0 of 8 launches count" in shortfalls[0]


class TestPredictions:
    def test_the_error_is_the_part_of_the_measured_startup_time_that_was_not_predicted(self) -> None:
        evaluation = evaluate(experiment_sweep(predicted=True))
        nine = side(evaluation, "nine locations")
        measured = nine.measures["startup_s"]
        assert measured is not None
        assert nine.prediction is not None
        assert nine.prediction_error == pytest.approx((measured.value - 4.6) / measured.value)
        assert side(evaluation, "three locations").prediction is None

    def test_one_that_the_data_refutes_is_reported_as_refuted(self) -> None:
        sentences = evaluate(experiment_sweep(predicted=True)).sentences
        (sentence,) = [sentence for sentence in sentences if "predicted" in sentence]
        assert "predicted at 4.60 s [4.20, 5.10] startup time, from the fit of assets-scaling" in sentence
        assert sentence.endswith("the data refutes the prediction")


class TestTheAnswer:
    NAMES = ("one location", again("one location"), "three locations", "nine locations")

    def of(self, arm: float, three: float, nine: float) -> Evaluation:
        sweep = only_variants(experiment_sweep(), self.NAMES)
        return evaluate(slowed(sweep, dict(zip(self.NAMES, (0.0, arm, three, nine), strict=True))))

    def test_names_the_fastest_side_with_effect_interval_and_ratio(self) -> None:
        assert self.of(0.1, -2, -4).answer == (
            "‘nine locations’ is the fastest: startup time −4.00 s [−4.00, −4.00], 0.60 × [0.60, 0.60] "
            "against ‘one location’"
        )

    def test_does_not_hang_on_the_queue_wait(self) -> None:
        sweep = slowed(only_variants(experiment_sweep(), self.NAMES), dict.fromkeys(self.NAMES, 0.0))
        rng = random.Random(1)

        def wait(trial: Trial) -> Trial:
            faster_us = MICROSECONDS if trial.variant == "nine locations" else 0
            wait_us = rng.randrange(5 * MICROSECONDS)
            stages_us = dict(trial.launch.stages_us) | {Stage.QUEUE_WAIT: wait_us}
            return relaunched(trial, lag_us=(trial.launch.lag_us or 0) - faster_us + wait_us, stages_us=stages_us)

        evaluation = evaluate(with_launches(sweep, [wait(trial) for trial in sweep.trials]))
        assert evaluation.comparisons["nine locations", "lag_s"].verdict is Verdict.UNDECIDED
        assert evaluation.answer.startswith("‘nine locations’ is the fastest: startup time −1 s [−1, −1], 0.90")
        assert any(sentence.startswith("The queue wait is random") for sentence in evaluation.sentences)

    def test_is_about_the_lag_where_the_queue_is_the_question(self) -> None:
        evaluation = evaluate(experiment_sweep("dequeue-interval"))
        assert evaluation.experiment.headline is LAG
        assert "launch lag −" in evaluation.answer
        assert not any("queue wait is random" in sentence for sentence in evaluation.sentences)

    def test_does_not_tell_apart_what_the_data_does_not(self) -> None:
        answer = self.of(0.1, -4, -4).answer
        assert answer.startswith(
            "‘three locations’ is the fastest (not distinguishable from ‘nine locations’): startup time −4.0"
        )
        assert "[" in answer

    def test_says_that_nothing_is_faster_and_what_is_slower(self) -> None:
        answer = self.of(0.1, 0.1, 4).answer
        assert answer.startswith("Nothing is shown to be faster than ‘one location’, and ‘nine locations’ is slower: ")

    def test_says_that_nothing_differs(self) -> None:
        evaluation = self.of(0.1, 0.05, 0.1)
        assert evaluation.answer.startswith(
            "Nothing is shown to be faster or slower than ‘one location’: startup time "
        )
        assert "(no difference beyond the noise)" in evaluation.answer
        assert evaluation.lead(STARTUP) == "Nothing is shown to be faster or slower than ‘one location’ in startup time"

    def test_says_what_is_undecided_and_how_many_more_blocks_would_tell(self) -> None:
        evaluation = evaluate(experiment_sweep("checks"))
        undecided = [
            found.more_blocks
            for (name, by), found in evaluation.comparisons.items()
            if by == "startup_s" and found.verdict is Verdict.UNDECIDED and not name.endswith("again")
        ]
        assert undecided
        assert f"(about {max(blocks or 0 for blocks in undecided)} more blocks needed)" in evaluation.answer

    def test_where_a_launch_has_much_to_do_says_when_it_is_done(self) -> None:
        evaluation = evaluate(experiment_sweep("graph-asset"))
        assert "‘one function, in-process’ is the fastest: until all work is done −" in evaluation.answer
        assert "until all work is done" not in evaluate(experiment_sweep()).answer
        assert evaluation.lead(WORK) in evaluation.answer.replace(", 0.09 × [0.09, 0.10]", "")

    def test_each_group_of_sides_has_its_own_answer(self) -> None:
        answer = evaluate(experiment_sweep("executors")).answer
        assert answer.count("against ‘spawn, 1 step’") == 1
        assert answer.count("against ‘spawn, 6 steps’") == 2

    def test_noise_that_is_more_than_chance_is_to_be_distrusted(self) -> None:
        assert any("do not trust" in sentence for sentence in self.of(3, -2, -4).sentences)
        assert not any("do not trust" in sentence for sentence in self.of(0, -2, -4).sentences)

    def test_an_expected_improvement_that_is_missing_is_reported(self) -> None:
        assert any(
            sentence.startswith(
                "Expected but refuted: that it helps to split the code location into nine: startup time +"
            )
            for sentence in self.of(0.1, 0, 4).sentences
        )
        assert any(sentence.startswith("Expected but not found") for sentence in self.of(0.1, 0, 0.1).sentences)
        assert not any(sentence.startswith("Expected") for sentence in self.of(0.1, -2, -4).sentences)

    def test_what_takes_most_of_the_lag_is_among_the_sentences(self) -> None:
        first = evaluate(experiment_sweep()).sentences[0]
        assert re.fullmatch(
            r"Worker load takes \d+ % \[\d+, \d+\] of the launch lag with ‘one location’: [\d.]+ s \[.*\]", first
        )


class TestCosts:
    def test_of_code_servers_all_that_a_side_has_count(self) -> None:
        costs = {cost.name: cost for cost in evaluate(experiment_sweep()).costs}
        assert "code_server_bytes" not in costs
        assert costs["servers_bytes"].values["nine locations"].low is None
        assert costs["servers_bytes"].differs
        assert costs["run_cpu_s"].verdicts["nine locations"] is Verdict.FASTER
        assert not costs["processes"].differs

    def test_what_was_not_measured_is_not_among_them(self) -> None:
        sweep = experiment_sweep(repeats=2)
        blind = with_launches(sweep, [replace(trial, usage={}) for trial in sweep.trials])
        assert not {"run_cpu_s", "servers_bytes"} & {cost.name for cost in evaluate(blind).costs}


def test_a_sweep_of_locations_is_no_experiment() -> None:
    assert not is_experiment(measured_sweep())


def test_a_sweep_that_is_no_experiments_is_refused() -> None:
    with pytest.raises(ValueError, match="'all-locations' is not an experiment"):
        evaluate(measured_sweep())


def test_caveats_tell_what_the_sweep_is_not() -> None:
    sweep = experiment_sweep(repeats=1, quick=True)
    assert evaluate(experiment_sweep(repeats=1)).caveats == ()
    quick, early = evaluate(replace(sweep, status="canceled")).caveats
    assert "at the reduced size of --quick" in quick
    assert "did not finish (canceled)" in early


@each_experiment
@pytest.mark.parametrize("trials", [0, 1, 7])
def test_an_interrupted_sweep_is_evaluated_as_far_as_it_came(name: str, trials: int) -> None:
    sweep = experiment_sweep(name, repeats=1)
    evaluation = evaluate(replace(sweep, status="canceled", trials=sweep.trials[:trials]))
    assert len(evaluation.sides) == sum(not variant.in_turn for variant in sweep.plan.variants)
    assert evaluation.answer


@given(
    name=st.sampled_from(list(EXPERIMENTS)),
    outcomes=st.lists(st.sampled_from(Outcome), min_size=60, max_size=60),
    seed=st.integers(0, 1000),
)
def test_whatever_became_of_the_launches_every_one_is_counted_and_every_claim_has_an_interval(
    name: str, outcomes: list[Outcome], seed: int
) -> None:
    sweep = experiment_sweep(name, repeats=3, seed=seed)
    trials = [
        trial if outcome is Outcome.OK else unmeasured(trial, outcome, "no reason")
        for trial, outcome in zip(sweep.trials, outcomes * 2, strict=False)
    ]
    evaluation = evaluate(with_launches(sweep, trials))
    shuffled = random.Random(seed).sample(trials, len(trials))
    again_evaluated = evaluate(with_launches(sweep, shuffled))
    assert again_evaluated.answer == evaluation.answer
    assert again_evaluated.sides == evaluation.sides

    assert sum(side.trials for side in evaluation.sides) + sum(path.of for path in evaluation.paths.values()) == sum(
        not trial.warmup for trial in trials
    )
    for one in evaluation.sides:
        assert sum(one.outcomes.values()) == one.trials
        assert len(one.samples["lag_s"]) == one.n == one.trials - sum(one.failures.values())
    for text in (evaluation.answer, evaluation.basis, *evaluation.sentences, *evaluation.shortfalls):
        assert text
        assert "None" not in text
        assert "nan" not in text
    for clause in evaluation.answer.split("; "):
        if re.search(r"[+−]\d", clause):
            assert "[" in clause
