"""Claims are confirmed, refuted or undecided by their rules: by intervals, never for lack of data."""

from collections.abc import Mapping
from dataclasses import replace

import pytest
from advice_samples import sample_evidence, sample_experiment, sized_sweep, with_stages
from experiment_samples import only_variants
from samples import failed_sweep, measured_sweep, troubled_sweep

from bench_orchestrator.analysis.claims import CLAIMS, Finding, Judgement, judge_claims
from bench_orchestrator.analysis.claims.claim import judge_range, judge_sides
from bench_orchestrator.analysis.claims.from_experiments import CACHES
from bench_orchestrator.analysis.evaluation import evaluate
from bench_orchestrator.analysis.evidence import Evidence
from bench_orchestrator.model.launch import Sweep, Trial
from bench_orchestrator.model.stages import Stage
from bench_orchestrator.statistics import Estimate, Verdict


def judge(number: int, evidence: Evidence) -> Finding:
    return next(one.finding for one in judge_claims(evidence) if one.claim.number == number)


def changed(sweep: Sweep, factors: Mapping[str, Mapping[Stage, float]]) -> Sweep:
    """Return the sweep with stages of these locations or variants multiplied."""

    def change(trial: Trial) -> Trial:
        return with_stages(trial, factors.get(trial.location) or factors.get(trial.variant) or {})

    return replace(sweep, trials=tuple(map(change, sweep.trials)))


def of(*sweeps: Sweep, experiments: tuple[Sweep, ...] = ()) -> Evidence:
    return Evidence(sweeps, tuple(map(evaluate, experiments)))


def test_there_are_nine_in_order_each_with_a_rule() -> None:
    assert [claim.number for claim in CLAIMS] == list(range(1, 10))
    assert all(claim.text.endswith(".") and "onfirmed" in claim.rule and "refuted" in claim.rule for claim in CLAIMS)


def test_without_any_evidence_all_are_undecided_and_say_what_to_run() -> None:
    for evidence in (Evidence(), of(failed_sweep())):
        for one in judge_claims(evidence):
            assert one.finding.judgement is Judgement.UNDECIDED
            assert one.finding.reason.startswith("not measured here: bench run ")
            assert (one.finding.numbers, one.finding.sweeps) == ((), ())


def test_a_judged_claim_has_numbers_with_intervals_and_sweeps() -> None:
    for one in judge_claims(sample_evidence()):
        assert one.finding.sweeps
        assert one.finding.numbers
        assert any("[" in number for number in one.finding.numbers)
        assert bool(one.finding.reason) is (one.finding.judgement is Judgement.UNDECIDED)


def test_what_is_undecided_asks_for_more_of_the_same() -> None:
    assert judge(7, sample_evidence("cpu-limit")).reason == "not measured here: bench run imports"
    few = replace(measured_sweep(), trials=tuple(one for one in measured_sweep().trials if one.block < 4))
    undecided = [one.finding for one in judge_claims(of(few)) if one.finding.numbers]
    reasons = {one.reason for one in undecided if one.judgement is Judgement.UNDECIDED}
    assert reasons == {"the intervals are too wide: bench run all-locations, with more --repeats"}


class TestTheRules:
    @pytest.mark.parametrize(
        ("low", "high", "judgement"),
        [
            (1.6, 2.5, Judgement.CONFIRMED),
            (2.8, 3.0, Judgement.REFUTED),
            (0.5, 1.4, Judgement.REFUTED),
            (1.4, 2.0, Judgement.UNDECIDED),
            (0.5, 9.0, Judgement.UNDECIDED),
            (None, None, Judgement.UNDECIDED),
        ],
    )
    def test_an_interval_decides(self, low: float | None, high: float | None, judgement: Judgement) -> None:
        assert judge_range(Estimate(2.0, low, high, 0.95, 8), 1.5, 2.7) is judgement
        assert judge_range(None, 1.5, 2.7) is Judgement.UNDECIDED

    def test_one_that_covers_little_is_drawn_out_before_it_does(self) -> None:
        few = Estimate(2.0, 1.6, 2.5, 0.75, 3)
        assert judge_range(few, 1.5, 2.7) is Judgement.UNDECIDED
        assert judge_range(few, -1.0, 9.0) is Judgement.CONFIRMED

    def test_one_side_that_helps_is_enough(self) -> None:
        assert judge_sides([Verdict.SLOWER, Verdict.FASTER]) is Judgement.CONFIRMED
        assert judge_sides([Verdict.SLOWER, Verdict.UNDECIDED]) is Judgement.UNDECIDED
        assert judge_sides([Verdict.SLOWER, Verdict.NO_DIFFERENCE]) is Judgement.REFUTED


class TestTheSizeOfALocation:
    def test_near_linear_growth(self) -> None:
        finding = judge(1, of(sized_sweep(noise=0.03, seed=2)))
        assert finding.judgement is Judgement.CONFIRMED
        assert "ms per asset [" in finding.numbers[0]
        steep = {"a5k": {Stage.WORKER_LOAD: 3.0}, "a10k": {Stage.WORKER_LOAD: 4.0}}
        bent = judge(1, of(changed(sized_sweep((250, 500, 1_000, 2_000, 5_000, 10_000), noise=0.03), steep)))
        assert bent.judgement is Judgement.REFUTED
        assert "there is a bend at" in bent.numbers[1]

    def test_three_sizes_cannot_show_a_bend(self) -> None:
        assert judge(1, of(sized_sweep((250, 2_000, 10_000)))).reason == "not measured here: bench run assets-scaling"

    @pytest.mark.parametrize(
        ("factor", "judgement"),
        [(1.0, Judgement.REFUTED), (0.65, Judgement.CONFIRMED)],
        ids=["a third more", "about twice"],
    )
    def test_two_thousand_assets_against_partitions(self, factor: float, judgement: Judgement) -> None:
        init = dict.fromkeys((Stage.EXECUTOR_START, Stage.STEP_BOOT, Stage.STEP_LOAD, Stage.STEP_INIT), factor)
        sweep = changed(measured_sweep(("a2k", "a1p2k"), repeats=12), {"a1p2k": init})
        assert judge(2, of(sweep)).judgement is judgement

    def test_queue_time(self) -> None:
        sweep = measured_sweep(("a250", "a2k"), repeats=8)
        growing = judge(3, of(sweep))
        assert growing.judgement is Judgement.REFUTED
        assert growing.sweeps == (sweep.plan.sweep_id,)
        flat = changed(sweep, {"a2k": {Stage.WORKER_LOAD: 0.447}})
        assert judge(3, of(flat)).judgement is Judgement.CONFIRMED

    def test_partitions_against_ten_thousand_assets(self) -> None:
        sweep = measured_sweep(repeats=8)
        assert judge(4, of(sweep)).judgement is Judgement.CONFIRMED
        heavy = changed(sweep, {"a10p10k": {Stage.WORKER_LOAD: 10.0}})
        assert judge(4, of(heavy)).judgement is Judgement.REFUTED

    def test_a_location_that_never_succeeded_leaves_its_claim_open(self) -> None:
        assert judge(4, of(troubled_sweep())).reason == "not measured here: bench run all-locations"

    def test_the_latest_sweep_that_has_what_it_takes_is_the_one(self) -> None:
        older = measured_sweep(repeats=8)
        newer = replace(measured_sweep(("a10", "a250")), plan=replace(older.plan, sweep_id="newer"))
        assert judge(4, of(newer, older)).sweeps == (older.plan.sweep_id,)


class TestCausesAndRemedies:
    def test_splitting(self) -> None:
        split = sample_experiment("split-definitions")
        finding = judge(5, of(experiments=(split,)))
        assert finding.judgement is Judgement.CONFIRMED
        assert "three locations remove 6" in finding.numbers[1]
        costly = changed(split, {"three locations": {Stage.WORKER_LOAD: 2.4}})
        assert judge(5, of(experiments=(costly,))).judgement is not Judgement.CONFIRMED
        without = only_variants(split, ["one location", "one location, again", "nine locations"])
        assert judge(5, of(experiments=(without,))).reason.startswith("not measured here")

    def test_graph_assets(self) -> None:
        groups = sample_experiment("graph-asset")
        finding = judge(6, of(experiments=(groups,)))
        assert finding.judgement is Judgement.CONFIRMED
        assert len(finding.numbers) == 4
        slower = changed(groups, {"graph asset, multiprocess": {Stage.STEP_BOOT: 9.0}})
        assert judge(6, of(experiments=(slower,))).judgement is Judgement.REFUTED

    def test_limits_and_imports(self) -> None:
        limits, imports = sample_experiment("cpu-limit"), sample_experiment("imports")
        finding = judge(7, of(experiments=(limits, imports)))
        assert finding.judgement is Judgement.CONFIRMED
        assert "0.25 CPU" in finding.numbers[0]
        light = changed(imports, {"at the top": {Stage.WORKER_LOAD: 1 / 2.4, Stage.STEP_LOAD: 1 / 2.4}})
        assert judge(7, of(experiments=(limits, light))).judgement is not Judgement.CONFIRMED

    def test_a_cache(self) -> None:
        for experiment, side, measure in CACHES:
            evaluation = evaluate(sample_experiment(experiment))
            assert (side, measure) in evaluation.comparisons
        finding = judge(8, sample_evidence("executors", "loading"))
        assert finding.judgement is Judgement.CONFIRMED
        assert "the most that a cache can save" in finding.numbers[-1]
        assert len(finding.numbers) == 4

    def test_the_bottleneck(self) -> None:
        sweep = sized_sweep()
        finding = judge(9, of(sweep))
        assert finding.judgement is Judgement.REFUTED
        assert "at 10,000 assets" in finding.numbers[0]
        busy = changed(sweep, {"a10k": {Stage.SUBMIT: 300.0}})
        assert judge(9, of(busy)).judgement is Judgement.CONFIRMED

    def test_cpu_is_reported_where_it_was_measured(self) -> None:
        sweep = sized_sweep()
        usage = {"code_server_cpu_s": 0.25, "run_cpu_s": 18.0}
        used = replace(sweep, trials=tuple(replace(trial, usage=usage) for trial in sweep.trials))
        numbers = " ".join(judge(9, of(used)).numbers)
        assert "CPU of the code server per launch 0.25 s" in numbers
        assert "CPU of the run's processes per launch 18 s" in numbers
