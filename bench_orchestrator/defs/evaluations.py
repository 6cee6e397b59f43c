"""One asset per experiment: its verdict, costs, chart and report.

One step makes all of them, because a step costs a harvest time and CPU even if it has nothing to do.
"""

from collections.abc import Iterator
from typing import Any

import dagster as dg
from pydantic import Field

from bench_orchestrator.analysis.evaluation import Evaluation, evaluate, is_experiment
from bench_orchestrator.charts import comparison
from bench_orchestrator.defs.charts import publish
from bench_orchestrator.defs.harvest import launch_measurements
from bench_orchestrator.defs.resources import ResultsResource
from bench_orchestrator.defs.tables import metadata_table
from bench_orchestrator.model.launch import Sweep
from bench_orchestrator.model.tags import Tag
from bench_orchestrator.report.experiment import compare_side, cost_lines, measure_head, side_lines
from bench_orchestrator.report.files import write_sweep
from bench_orchestrator.report.text import escape, prose, table
from bench_orchestrator.results.queries import experiment_sweeps
from bench_orchestrator.results.store import Store
from bench_orchestrator.scenarios.experiment import COMMON_MEASURES, Experiment
from bench_orchestrator.scenarios.registry import EXPERIMENTS

WORK_CHECK = "every_side_did_its_work"

INLINE_LETTERS = 1_000
"""From this length on, the UI hides a text behind a button."""


class EvaluationConfig(dg.Config):
    """The sweep to evaluate."""

    sweep: str | None = Field(
        default=None,
        description="Id of an experiment's sweep. None: the best sweep of each experiment, which is complete, at full "
        "size and has the most blocks.",
    )


def evaluation_name(experiment: str) -> str:
    """Return the name of an experiment's evaluation asset."""
    return f"{experiment.replace('-', '_')}_evaluation"


def _describe(experiment: Experiment) -> str:
    measures = ", ".join(measure.label for measure in (*COMMON_MEASURES, *experiment.measures))
    sides = ", ".join(variant.name for variant in experiment.scenario.variants)
    return (
        f"{experiment.scenario.question}\n\nCompares {sides}. Held equal: {experiment.scenario.holds_equal} Measures "
        f"of each launch: {measures}.\n\nUpdated when a sweep of `{experiment.name}` is harvested, from the best one: "
        "complete, at full size, with the most blocks."
    )


@dg.multi_asset(
    specs=[
        dg.AssetSpec(
            evaluation_name(experiment.name),
            deps=[launch_measurements],
            description=_describe(experiment),
            group_name="evaluations",
            kinds={"matplotlib", "duckdb"},
            skippable=True,
        )
        for experiment in EXPERIMENTS.values()
    ],
    check_specs=[
        dg.AssetCheckSpec(
            WORK_CHECK,
            asset=evaluation_name(name),
            description="Every side has measured launches, each of them did the same planned amount of work, and a "
            "side that has to be ahead of the others was, in every block.",
        )
        for name in EXPERIMENTS
    ],
    can_subset=True,
)
def evaluations(
    context: dg.AssetExecutionContext, config: EvaluationConfig, results: ResultsResource
) -> Iterator[dg.MaterializeResult]:  # type: ignore[type-arg]
    """Evaluate the requested sweeps; in a harvest run, only the harvested experiment."""
    for sweep in _find_sweeps(results.store, config.sweep, context.run.tags.get(Tag.SCENARIO)):
        name = evaluation_name(sweep.plan.scenario)
        if dg.AssetKey(name) not in context.selected_asset_keys:
            continue
        evaluation = evaluate(sweep)
        context.log.info(f"{sweep.plan.sweep_id}: {evaluation.answer}")
        yield dg.MaterializeResult(
            asset_key=name,
            metadata=_metadata(evaluation, results, name),
            check_results=[
                dg.AssetCheckResult(
                    check_name=WORK_CHECK,
                    asset_key=name,
                    passed=not evaluation.shortfalls,
                    description=f"{'; '.join((*evaluation.shortfalls, evaluation.work))}.",
                    metadata={"sweep": sweep.plan.sweep_id},
                )
            ],
        )


def _find_sweeps(store: Store, sweep_id: str | None, harvested: str | None) -> Iterator[Sweep]:
    """Yield the requested sweep; without one, the best sweep of the harvested experiment, or else of every experiment.

    Raises:
        ValueError: the requested sweep is not an experiment's.
    """
    if sweep_id is not None:
        sweep = store.load(sweep_id)
        if not is_experiment(sweep):
            raise ValueError(f"{sweep_id} is a sweep of {sweep.plan.scenario}, which is not an experiment.")
        yield sweep
        return
    yield from experiment_sweeps(store, EXPERIMENTS.keys() if harvested is None else EXPERIMENTS.keys() & {harvested})


def _metadata(evaluation: Evaluation, results: ResultsResource, name: str) -> dict[str, Any]:
    sweep = evaluation.sweep
    report = write_sweep(sweep, results.store)
    return {
        "summary": dg.MetadataValue.md(summarize_inline(evaluation)),
        "verdict": evaluation.answer,
        **publish(comparison(sweep), results, name),
        "sides": metadata_table(side_lines(evaluation)),
        "costs": metadata_table(cost_lines(evaluation)),
        "report": dg.MetadataValue.path(report.html),
        "sweep": sweep.plan.sweep_id,
        **_numbers(evaluation),
    }


def summarize_inline(evaluation: Evaluation) -> str:
    """Return the verdict, and a table of the sides with as many rows as the UI shows inline."""
    lead = evaluation.lead(evaluation.experiment.headline) or evaluation.answer
    sides = [(group, side) for group in evaluation.groups for side in group if not side.is_again]
    lines = [_shortened(compare_side(evaluation, group, side), evaluation.experiment) for group, side in sides]
    verdict = " ".join((f"**{prose(lead)}.**", *map(prose, evaluation.caveats)))
    text = verdict[: INLINE_LETTERS - 1]
    for count in range(1, len(lines) + 1):
        shown = table(list(lines[0]), ([*map(escape, line.values())] for line in lines[:count]))
        if len(longer := f"{verdict}\n\n{shown}") >= INLINE_LETTERS:
            break
        text = longer
    return text


def _shortened(line: dict[str, str], experiment: Experiment) -> dict[str, str]:
    """Return a side's row without the columns that the report has room for."""
    with_wait = experiment.headline.with_wait
    left_out = ("ratio", measure_head(with_wait) if with_wait else "")
    return {head: cell for head, cell in line.items() if head not in left_out}


def _numbers(evaluation: Evaluation) -> dict[str, int | float]:
    """Return the effects on the headline measure, in its unit, for the UI to plot over time."""
    headline = evaluation.experiment.headline
    numbers: dict[str, int | float] = {}
    for side in evaluation.sides:
        numbers[f"n/{side.name}"] = side.n
        if (median := side.measures[headline.name]) is not None:
            numbers[f"{headline.name}/{side.name}"] = round(median.value, 3)
        found = evaluation.comparisons.get((side.name, headline.name))
        if found is None:
            continue
        numbers[f"difference_{headline.unit}/{side.name}"] = round(found.difference.value, 3)
        if found.difference.low is not None and found.difference.high is not None:
            numbers[f"difference_low_{headline.unit}/{side.name}"] = round(found.difference.low, 3)
            numbers[f"difference_high_{headline.unit}/{side.name}"] = round(found.difference.high, 3)
        if found.ratio is not None:
            numbers[f"ratio/{side.name}"] = round(found.ratio.value, 3)
    return numbers
