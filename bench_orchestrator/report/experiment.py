"""The sections specific to an experiment's report: sides and their differences, costs, paths, predictions."""

import json
from collections.abc import Mapping, Sequence

from bench_orchestrator.analysis import wording
from bench_orchestrator.analysis.evaluation import Evaluation, Side
from bench_orchestrator.analysis.evaluation.verdicts import describe_change, describe_ratio
from bench_orchestrator.model.plan import LaunchPath, Prediction, ServerState, Variant
from bench_orchestrator.model.workload import (
    Action,
    Await,
    Backfill,
    End,
    Fill,
    Rest,
    Schedule,
    SetPool,
    Submit,
    Workload,
)
from bench_orchestrator.report.text import escape
from bench_orchestrator.scenarios.experiment import Measure
from bench_orchestrator.statistics import Estimate, Verdict

_LESS_OR_MORE = {Verdict.FASTER: ", less", Verdict.SLOWER: ", more"}


def tables(evaluation: Evaluation) -> dict[str, object]:
    """Return the values for the templates of an experiment's report."""
    sides, costs = side_lines(evaluation), cost_lines(evaluation)
    return {
        "side_heads": list(sides[0]) if sides else ["side"],
        "side_rows": [[*map(escape, line.values())] for line in sides],
        "cost_heads": ["", *map(escape, _compared(evaluation))],
        "cost_rows": [[escape(cost), *numbers] for cost, *numbers in (line.values() for line in costs)],
        "predicted": [side for side in evaluation.sides if side.prediction is not None],
        "describe_launch": describe_launch,
        "describe_needs": describe_needs,
    }


def compare_side(evaluation: Evaluation, group: Sequence[Side], side: Side) -> dict[str, str]:
    """Return a side's row, keyed by column heading: launches, headline, and the difference from its baseline.

    A headline that leaves the queue wait out stands beside the same quantity with it.
    """
    measure = evaluation.experiment.headline
    found = evaluation.comparisons.get((side.name, measure.name)) if side is not group[0] else None
    verdict = "the noise" if side.is_again else found.verdict.value if found else "not compared"
    return {
        "side": side.name,
        "n": f"{side.n}/{side.trials}",
        **(
            {measure_head(measure.with_wait): _number(side.measures[measure.with_wait.name])}
            if measure.with_wait
            else {}
        ),
        measure_head(measure): _number(side.measures[measure.name]),
        f"difference, {measure.unit}": describe_change(found.difference, "") if found else "",
        "ratio": describe_ratio(found.ratio) if found else "",
        "verdict": "baseline" if side is group[0] else verdict,
    }


def measure_head(measure: Measure) -> str:
    """Return the heading of a measure's column."""
    return f"{measure.label}, {measure.unit}"


def side_lines(evaluation: Evaluation) -> list[dict[str, str]]:
    """Return the answer in numbers: one row per side, keyed by column heading."""
    return [
        compare_side(evaluation, group, side)
        | {
            "against": "" if side is group[0] else group[0].name,
            "not ok": wording.describe_outcomes(side.failures) or "none",
        }
        for group in evaluation.groups
        for side in group
    ]


def cost_lines(evaluation: Evaluation) -> list[dict[str, str]]:
    """Return the other measurements of the sides: one row per measure, with its name under `cost`."""
    return [
        {
            "cost": f"{cost.label}{f', {cost.unit}' if cost.unit else ''}",
            **{
                name: _number(cost.values.get(name)) + _LESS_OR_MORE.get(cost.verdicts.get(name, Verdict.UNDECIDED), "")
                for name in _compared(evaluation)
            },
        }
        for cost in evaluation.costs
    ]


def _compared(evaluation: Evaluation) -> list[str]:
    return [side.name for side in evaluation.sides if not side.is_again]


def describe_launch(variant: Variant) -> str:
    """Describe what a trial of this side launches."""
    if variant.workload is not None:
        return describe_workload(variant.workload)
    parts = [f"{variant.assets:,} asset{'' if variant.assets == 1 else 's'}"]
    if variant.partitions > 1:
        parts.append(f"{variant.partitions:,} partitions")
    if variant.path is not LaunchPath.GRAPHQL:
        parts.append(f"by a {variant.path}")
    if variant.in_turn:
        parts.append("in each location in turn")
    if variant.server is not ServerState.AS_IT_IS:
        parts.append(f"code server {variant.server}")
    return ", ".join(parts)


def describe_workload(workload: Workload) -> str:
    """Describe what a trial with several runs does, and the limits that it has to keep."""
    acts = ", then ".join(_describe_action(action) for action in workload.actions)
    limits = ", ".join(dict.fromkeys(f"{limit.name} of {limit.slots:,}" for limit in workload.limits))
    return f"{acts}; limits: {limits}" if limits else acts


def _describe_action(action: Action) -> str:
    match action:
        case Submit():
            of = f"the job {action.job}" if action.job else action.role
            what = f"{action.count:,} run{'' if action.count == 1 else 's'} of {of}"
            return f"{what} with {_describe_tags(action.tags)}" if action.tags else what
        case Backfill():
            return f"a backfill of {action.partitions:,} partitions"
        case Fill():
            return f"{action.count:,} of {action.role} fill the queue"
        case Schedule():
            return f"{action.role} of a schedule's {action.ticks:,} tick{'' if action.ticks == 1 else 's'}"
        case SetPool():
            return f"the pool {action.pool} gets {action.slots:,} slots"
        case Await():
            return f"{action.count:,} of {action.role} {'is' if action.count == 1 else 'are'} {action.statuses[0]}"
        case End():
            return f"{action.role} is ended ({action.way})"
        case Rest():
            return f"{action.seconds:g} s of rest"


def _describe_tags(tags: Mapping[str, str]) -> str:
    return ", ".join(f"{key}={value}" for key, value in tags.items())


def describe_needs(variant: Variant) -> str:
    """Describe what this side requires of its deployment."""
    parts = [f"{variant.cpus:g} CPUs for code and runs"] if variant.cpus is not None else []
    if variant.warm is not None:
        parts.append("the warm code server" if variant.warm else "Dagster's code server")
    if variant.instance:
        parts.append(json.dumps(dict(variant.instance)))
    return "; ".join(parts)


def _number(estimate: Estimate | Prediction | None) -> str:
    return wording.describe_estimate(estimate, "", None, no_interval="")
