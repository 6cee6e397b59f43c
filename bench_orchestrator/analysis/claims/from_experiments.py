"""Claims about causes and remedies, judged by experiments."""

from collections.abc import Callable, Collection, Mapping
from dataclasses import replace
from math import inf

from bench_orchestrator.analysis.claims.claim import (
    Claim,
    Finding,
    Judgement,
    describe_median,
    found,
    judge_range,
    judge_sides,
    not_measured,
    samples,
)
from bench_orchestrator.analysis.evaluation import Evaluation
from bench_orchestrator.analysis.evidence import Evidence
from bench_orchestrator.analysis.lag_model import LagModel, stages_s, startup_s
from bench_orchestrator.analysis.wording import describe_estimate
from bench_orchestrator.model.instants import MICROSECONDS
from bench_orchestrator.model.launch import Trial
from bench_orchestrator.model.stages import Stage
from bench_orchestrator.scenarios.experiment import LAG, WORK
from bench_orchestrator.statistics import Comparison, Estimate, Verdict, compare, fit_line, median

MOST_PERCENT = 50.0
"""A share above this counts as most."""

LOADING = (Stage.WORKER_LOAD, Stage.STEP_LOAD)
"""The stages in which a run's processes load the definitions."""

CACHES = (
    ("definitions-cache", "warm, a10k", LAG.name),
    ("executors", "forkserver, job, 1 step", LAG.name),
    ("executors", "forkserver, job, 6 steps", "step_s"),
    ("loading", "a memoised function", LAG.name),
)
"""Sides that avoid loading the definitions again: (experiment, side, the measure it should shorten)."""

_WHOLE, _THIRDS, _NINTHS = "one location", "three locations", "nine locations"


def _splitting_removes_most(evidence: Evidence) -> Finding:
    evaluation = evidence.by_experiment.get("split-definitions")
    if evaluation is None:
        return not_measured("split-definitions")
    whole, thirds = (_of(evaluation, name, startup_s) for name in (_WHOLE, _THIRDS))
    blocks = whole.keys() & thirds.keys()
    sides = (_WHOLE, _THIRDS, _NINTHS)
    trials = [trial for trial in evaluation.sweep.trials if trial.measured and trial.variant in sides]
    if not blocks:
        return not_measured("split-definitions")
    floor = fit_line([trial.asset_count for trial in trials], [startup_s(trial) for trial in trials]).intercept

    def removed(floor_s: float | None) -> Estimate | None:
        if floor_s is None or floor_s >= min(whole.values()):
            return None
        return median([100 * (whole[block] - thirds[block]) / (whole[block] - floor_s) for block in blocks])

    share, least, most = (removed(floor_s) for floor_s in (floor.value, floor.low, floor.high))
    if share is not None:
        share = replace(share, low=least.low if least else None, high=most.high if most else None)
    numbers = (
        f"the startup time in one location is {describe_median(whole)}, in one of three "
        f"{describe_median(thirds)}, and would be {describe_estimate(floor)} without assets",
        f"three locations remove {describe_estimate(share, '%', 0)} of what the assets add",
    )
    return found(judge_range(share, low=MOST_PERCENT), numbers, [evaluation.sweep.plan])


def _graph_assets_help(evidence: Evidence) -> Finding:
    evaluation = evidence.by_experiment.get("graph-asset")
    if evaluation is None:
        return not_measured("graph-asset")
    compared: dict[tuple[str, str], Comparison] = {}
    for executor in ("multiprocess", "in-process"):
        for measure in (LAG, WORK):
            graph, ten = (_of(evaluation, f"{kind}, {executor}", measure.of) for kind in ("graph asset", "assets"))
            if graph.keys() & ten.keys():
                compared[executor, measure.label] = compare(graph, ten)
    by_default = {comparison.verdict for (executor, _), comparison in compared.items() if executor == "multiprocess"}
    if not by_default:
        return not_measured("graph-asset")
    numbers = (f"{label}, {executor}: {_state(comparison)}" for (executor, label), comparison in compared.items())
    judgement = Judgement.REFUTED if Verdict.SLOWER in by_default else judge_sides(by_default)
    return found(judgement, numbers, [evaluation.sweep.plan])


def _limits_and_imports_add(evidence: Evidence) -> Finding:
    limits, imports = (evidence.by_experiment.get(name) for name in ("cpu-limit", "imports"))
    limited = _tightest_limit(limits) if limits else None
    without = imports.comparisons.get(("none", LAG.name)) if imports else None
    if limits is None or imports is None or limited is None or without is None:
        return not_measured(*(name for name, known in (("cpu-limit", limited), ("imports", without)) if known is None))
    tightest, slower = limited
    numbers = (
        f"launch lag with {tightest}, against {limits.sides[0].name}: {_state(slower)}",
        f"launch lag without the heavy import, against with it: {_state(without)}",
    )
    judgement = Judgement.REFUTED
    if Verdict.UNDECIDED in (slower.verdict, without.verdict):
        judgement = Judgement.UNDECIDED
    elif (slower.verdict, without.verdict) == (Verdict.SLOWER, Verdict.FASTER):
        judgement = Judgement.CONFIRMED
    return found(judgement, numbers, [limits.sweep.plan, imports.sweep.plan])


def _caching_would_help(evidence: Evidence) -> Finding:
    plans, numbers, verdicts = [], [], []
    for experiment, side, measure in CACHES:
        evaluation = evidence.by_experiment.get(experiment)
        comparison = evaluation.comparisons.get((side, measure)) if evaluation else None
        if evaluation is not None and comparison is not None:
            label = next(one.label for one in evaluation.measures if one.name == measure)
            plans.append(evaluation.sweep.plan)
            numbers.append(f"{side}, {label}: {_state(comparison)}")
            verdicts.append(comparison.verdict)
    if not verdicts:
        return not_measured("executors", "loading")
    if evidence.model is not None:
        share = _share_of_time_to_code(evidence.model, LOADING)
        numbers.append(f"loading the definitions, the most that a cache can save: {share}")
    return found(judge_sides(verdicts), numbers, plans)


def _code_server_is_the_bottleneck(evidence: Evidence) -> Finding:
    model = evidence.model
    if model is None:
        return not_measured("assets-scaling")
    trials = _in_the_largest(model)
    by_server = median([stages_s(trial, (Stage.SUBMIT,)) - stages_s(trial, LOADING) for trial in trials])
    numbers = [
        f"submit, which includes the code server's part: {_share_of_time_to_code(model, (Stage.SUBMIT,))}",
        f"loading the definitions in the run's processes: {_share_of_time_to_code(model, LOADING)}",
    ]
    for name, whose in (("code_server_cpu_s", "the code server"), ("run_cpu_s", "the run's processes")):
        used_s = [trial.usage[name] for trial in trials if name in trial.usage]
        if used_s:
            numbers.append(f"CPU of {whose} per launch {describe_estimate(median(used_s), digits=None)}")
    return found(judge_range(by_server, low=0.0), numbers, [model.plan])


EXPERIMENT_CLAIMS = (
    Claim(
        5,
        "Splitting one definitions object into three removes most of the lag.",
        f"Confirmed if it removes more than {MOST_PERCENT:.0f} % of the lag in excess of a location without assets, "
        "queue wait excluded; refuted if it removes less.",
        _splitting_removes_most,
    ),
    Claim(
        6,
        "`@graph_asset` helps.",
        "Confirmed if, with Dagster's default executor, it shortens the launch lag or the time until all work is done "
        "and lengthens neither; refuted if it lengthens one of them or is shown to shorten neither.",
        _graph_assets_help,
    ),
    Claim(
        7,
        "CPU throttling of the code location and heavy top-level imports add to the lag.",
        "Confirmed if the launch lag is longer with the tightest CPU limit than with the loosest, and shorter without "
        "a heavy import than with one; refuted if either is shown to be false.",
        _limits_and_imports_add,
    ),
    Claim(
        8,
        "A definitions cache would help.",
        "Confirmed if at least one way to avoid loading the definitions again makes launches faster; refuted if every "
        "way is shown not to.",
        _caching_would_help,
    ),
    Claim(
        9,
        "The bottleneck is the code location server.",
        "Confirmed if, in the largest location measured, submit (which involves the code server) takes longer than "
        "loading the definitions in the run's processes (which does not); refuted if it takes less.",
        _code_server_is_the_bottleneck,
    ),
)


def _tightest_limit(limits: Evaluation) -> tuple[str, Comparison] | None:
    """Return the compared side with the fewest CPUs."""
    compared = [side for side in limits.sides if (side.name, LAG.name) in limits.comparisons and not side.is_again]
    side = min(compared, key=lambda side: side.variant.cpus or inf, default=None)
    return (side.name, limits.comparisons[side.name, LAG.name]) if side else None


def _of(evaluation: Evaluation, side: str, quantity: Callable[[Trial], float | None]) -> Mapping[int, float]:
    """Return a quantity of one side of an experiment, by block."""
    return samples(evaluation.sweep.trials, lambda trial: trial.variant == side, quantity)


def _state(comparison: Comparison) -> str:
    """Format a verdict with its numbers: `faster, −1.6 s [−1.9, −1.2]`."""
    return f"{comparison.verdict}, {describe_estimate(comparison.difference, signed=True)}"


def _in_the_largest(model: LagModel) -> list[Trial]:
    return [trial for trial in model.trials if trial.asset_count == model.sizes[-1]]


def _share_of_time_to_code(model: LagModel, stages: Collection[Stage]) -> str:
    """State the median share of these stages in the time to code, in the largest location."""
    shares = [
        100 * stages_s(trial, stages) * MICROSECONDS / trial.launch.time_to_code_us
        for trial in _in_the_largest(model)
        if trial.launch.time_to_code_us
    ]
    share = median(shares) if shares else None
    return f"{describe_estimate(share, '%', 0)} of the time to code at {model.sizes[-1]:,} assets"
