"""What a report of an experiment has that others have not: sides and what they differ by, costs, paths, predictions."""

import json
from collections.abc import Iterator, Sequence

from bench_orchestrator.analysis import wording
from bench_orchestrator.analysis.evaluation import Evaluation, Side
from bench_orchestrator.analysis.evaluation.verdicts import describe_change, describe_ratio
from bench_orchestrator.model.plan import LaunchPath, Prediction, ServerState, Variant
from bench_orchestrator.report.text import escape, table
from bench_orchestrator.statistics import Estimate, Verdict

_LESS_OR_MORE = {Verdict.FASTER: ", less", Verdict.SLOWER: ", more"}


def render_evidence(evaluation: Evaluation) -> Iterator[str]:
    """What an experiment's report has below its charts."""
    yield from _render_costs(evaluation)
    yield from _render_paths(evaluation)
    yield from _render_predictions(evaluation)
    yield from _render_comparison(evaluation)


def compare_side(evaluation: Evaluation, group: Sequence[Side], side: Side) -> dict[str, str]:
    """A side's line in a table, by its heads: launches, the headline, and its difference to the head of its group."""
    measure = evaluation.experiment.headline
    found = evaluation.comparisons.get((side.name, measure.name)) if side is not group[0] else None
    verdict = "the noise" if side.is_again else found.verdict.value if found else "not compared"
    return {
        "side": side.name,
        "n": f"{side.n}/{side.trials}",
        f"{measure.label}, {measure.unit}": _number(side.measures[measure.name]),
        f"difference, {measure.unit}": describe_change(found.difference, "") if found else "",
        "ratio": describe_ratio(found.ratio) if found else "",
        "verdict": "baseline" if side is group[0] else verdict,
    }


def side_lines(evaluation: Evaluation) -> list[dict[str, str]]:
    """The answer in numbers: one line for each side, by its heads."""
    return [
        compare_side(evaluation, group, side)
        | {
            "against": "" if side is group[0] else group[0].name,
            "not ok": wording.describe_outcomes(side.failures) or "none",
        }
        for group in evaluation.groups
        for side in group
    ]


def render_sides(evaluation: Evaluation) -> str:
    """The answer in numbers, as a table."""
    lines = side_lines(evaluation)
    return table(list(lines[0]) if lines else ["side"], ([*map(escape, line.values())] for line in lines))


def explain_sides(evaluation: Evaluation) -> str:
    """What the numbers in that table are."""
    return (
        f"Medians, and differences within blocks. {evaluation.basis}. A side is faster or slower where the interval "
        "of the difference leaves out zero, and the difference is more than what the baseline shows that is launched "
        "again in every block; there is no difference where the interval lies within 5 % of the baseline, or within "
        "that noise."
    )


def cost_lines(evaluation: Evaluation) -> list[dict[str, str]]:
    """Everything else that was measured of the sides: one line for each measure, with its name under `cost`."""
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


def render_costs(evaluation: Evaluation) -> str:
    """Everything else that was measured of the sides, as a table."""
    return table(
        ["", *map(escape, _compared(evaluation))],
        ([escape(cost), *numbers] for cost, *numbers in (line.values() for line in cost_lines(evaluation))),
    )


def _compared(evaluation: Evaluation) -> list[str]:
    return [side.name for side in evaluation.sides if not side.is_again]


def _render_costs(evaluation: Evaluation) -> Iterator[str]:
    if not evaluation.costs:
        return
    yield "## What it costs"
    yield render_costs(evaluation)
    yield (
        "Medians of the launches, with their intervals; less and more where the difference to the baseline is beyond "
        "the noise. Code servers are all those of a side, each at its median: a sum of medians has no interval."
    )


def _render_paths(evaluation: Evaluation) -> Iterator[str]:
    """What is launched in turn."""
    if not evaluation.paths:
        return
    yield "## The path through the parts"
    yield table(
        ["path", "launches that went well", "until all work is done, s"],
        (
            [
                escape(name),
                f"{path.ok} of {path.of}",
                "not to its end" if path.total_s is None else f"{path.total_s:.1f}",
            ]
            for name, path in evaluation.paths.items()
        ),
    )
    yield (
        "Launched once, one location after the other, so that there is no interval; the rests that the bench takes "
        "between launches are left out."
    )


def _render_predictions(evaluation: Evaluation) -> Iterator[str]:
    """What was expected, beside what was measured."""
    predicted = [(side, side.prediction) for side in evaluation.sides if side.prediction is not None]
    if not predicted:
        return
    yield "## Predicted and measured"
    yield table(
        ["side", "predicted lag, s", "measured lag, s", "off by", "predicted from"],
        (
            [
                escape(side.name),
                _number(prediction),
                _number(side.lag_s),
                "" if side.prediction_error is None else f"{100 * side.prediction_error:+.0f} %",
                escape(prediction.basis),
            ]
            for side, prediction in predicted
        ),
    )


def _render_comparison(evaluation: Evaluation) -> Iterator[str]:
    """What is held equal, what is measured, and what each side is."""
    yield "## What is compared"
    yield f"Held equal: {escape(evaluation.experiment.scenario.holds_equal)}"
    yield f"Measured of every launch: {escape(', '.join(measure.label for measure in evaluation.measures))}."
    yield f"{escape(evaluation.work)}."
    where = "a deployment of its own" if evaluation.sweep.plan.environments else "the deployment"
    yield table(
        ["side", "launches in", "each launch", f"in {where} with"],
        (
            [
                escape(variant.name),
                escape(", ".join(variant.locations)),
                escape(_describe_launch(variant)),
                escape(_describe_needs(variant)),
            ]
            for variant in evaluation.sweep.plan.variants
        ),
    )


def _describe_launch(variant: Variant) -> str:
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


def _describe_needs(variant: Variant) -> str:
    parts = [f"{variant.cpus:g} CPUs for code and runs"] if variant.cpus is not None else []
    if variant.warm is not None:
        parts.append("the warm code server" if variant.warm else "Dagster's code server")
    if variant.instance:
        parts.append(json.dumps(dict(variant.instance)))
    return "; ".join(parts)


def _number(estimate: Estimate | Prediction | None) -> str:
    return wording.describe_estimate(estimate, "", None, no_interval="")
