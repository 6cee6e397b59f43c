"""Sentences that state comparisons: which side is faster, by how much, with its confidence interval.

Every number has its interval, as in `wording`. Expectations that turned out wrong are stated too.
"""

from collections import defaultdict
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass

from bench_orchestrator.analysis.evaluation.sides import PathTime, Side
from bench_orchestrator.analysis.wording import describe_estimate, quote
from bench_orchestrator.model.plan import Prediction, again
from bench_orchestrator.scenarios.experiment import STARTUP, WORK, Experiment, Measure
from bench_orchestrator.statistics import Comparison, Estimate, Verdict, compare

NOTHING_COMPARED = "There are no measurements to compare"


@dataclass(frozen=True)
class Effect:
    """A side compared with its baseline by one measure."""

    side: Side
    baseline: Side
    measure: Measure
    comparison: Comparison


@dataclass(frozen=True)
class Verdicts:
    """Writes the sentences about an experiment's sides."""

    experiment: Experiment
    sides: Sequence[Side]
    comparisons: Mapping[tuple[str, str], Comparison]

    def answer(self) -> str:
        """State which side of each baseline's group is fastest, or that none is shown to be.

        If launches have several units of work, the time until all are done is judged as well.
        """
        leads = [
            _lead(group) + _undecided(group)
            for baseline in self._baselines()
            for measure in self._judged(baseline)
            if (group := self._effects(baseline, measure))
        ]
        return _sentence(leads) or NOTHING_COMPARED

    def lead(self, measure: Measure) -> str:
        """Return a short answer by one measure; empty if nothing was compared by it."""
        groups = [self._effects(baseline, measure) for baseline in self._baselines()]
        return _sentence([_lead(group, brief=True) for group in groups if group])

    def noise(self) -> Iterator[str]:
        """Yield how much each baseline differs from its A/A arm."""
        headline = self.experiment.headline
        for side in self.sides:
            arm = self.comparisons.get((again(side.name), headline.name))
            if arm is not None:
                change = describe_change(arm.difference, headline.unit)
                text = f"The noise: {quote(side.name)} launched again differs by {change} in {headline.label}"
                chance = arm.verdict not in (Verdict.FASTER, Verdict.SLOWER)
                yield text if chance else f"{text}, more than chance explains: do not trust differences of that size"

    def disappointments(self) -> Iterator[str]:
        """Yield the remedies that are shown not to help."""
        for remedy in self.experiment.remedies:
            tried = [
                effect
                for side in self.sides
                if side.name == remedy.variant
                for measure in self._judged(side.baseline)
                for effect in self._effects(side.baseline, measure)
                if effect.side is side
            ]
            verdicts = {effect.comparison.verdict for effect in tried}
            if verdicts and verdicts <= {Verdict.SLOWER, Verdict.NO_DIFFERENCE}:
                what = "refuted" if Verdict.SLOWER in verdicts else "not found"
                order = remedy.name[0].lower() + remedy.name[1:]
                yield f"Expected but {what}: that it helps to {order}: {'; '.join(map(_state, tried))}"

    def predictions(self) -> Iterator[str]:
        """Yield each prediction with its measurement."""
        for side in self.sides:
            measured = side.measures[STARTUP.name]
            if side.prediction is not None and measured is not None and side.prediction_error is not None:
                yield _compare_prediction(side.name, side.prediction, measured, side.prediction_error)

    def work(self, *, same: bool) -> str:
        """State what a launch of each side materialized and, unless `same`, that their times are not comparable."""
        done: defaultdict[str, list[str]] = defaultdict(list)
        for side in self.sides:
            if side.n and not side.is_again:
                done[" or ".join(map(str, side.work))].append(quote(side.name))
        if not done:
            return "No measured launches"
        if len(done) == 1:
            (units,) = done
            text = f"Every measured launch materialized {units} unit{'' if units == '1' else 's'} of work"
        else:
            sides = (f"{units} ({', '.join(names)})" for units, names in done.items())
            text = f"Units of work per launch: {'; '.join(sides)}"
        return text if same else f"{text}. This differs from the plan, so the times are not comparable"

    def _baselines(self) -> list[str | None]:
        return list(dict.fromkeys(side.baseline for side in self.sides))

    def _judged(self, baseline: str | None) -> Iterator[Measure]:
        """Yield the measures that the sides with this baseline are judged by."""
        yield self.experiment.headline
        if any(side.name == baseline and side.variant.has_units for side in self.sides):
            yield WORK

    def _effects(self, baseline: str | None, measure: Measure) -> list[Effect]:
        """Return the effects of the sides with this baseline, without its A/A arm and other baselines.

        The time until all work is done is compared only between sides with the same work.
        """
        by_name = {side.name: side for side in self.sides}
        baselines = self._baselines()
        return [
            Effect(side, by_name[side.baseline], measure, self.comparisons[side.name, measure.name])
            for side in self.sides
            if side.baseline is not None
            and side.baseline == baseline
            and side.name not in baselines
            and not side.is_again
            and (side.name, measure.name) in self.comparisons
            and (measure is not WORK or side.variant.work == by_name[side.baseline].variant.work)
        ]


def state_paths(paths: Mapping[str, PathTime]) -> str:
    """State what the paths through the parts took; empty if there are none."""
    parts = [
        f"{quote(name)} {path.total_s:.1f} s in {path.of} launch{'es' if path.of > 1 else ''}"
        if path.total_s is not None
        else f"{quote(name)} not finished ({path.ok} of {path.of} launches succeeded)"
        for name, path in paths.items()
        if path.of
    ]
    if not parts:
        return ""
    return f"Launched in turn, once (hence no interval), without the pauses in between: {', '.join(parts)}"


def describe_change(change: Estimate, unit: str) -> str:
    """Format a difference with its sign and interval: `−5.91 s [−6.83, −5.20]`."""
    return describe_estimate(change, unit, None, signed=True)


def describe_ratio(ratio: Estimate | None) -> str:
    """Format a ratio with its interval: `0.41 × [0.36, 0.47]`; empty for None."""
    return "" if ratio is None else describe_estimate(ratio, "\N{MULTIPLICATION SIGN}", 2)


def _sentence(clauses: Sequence[str]) -> str:
    text = "; ".join(clauses)
    return text[:1].upper() + text[1:]


def _lead(group: Sequence[Effect], *, brief: bool = False) -> str:
    """State the fastest of the sides with one baseline, or that none is shown to be faster than it.

    The brief form leaves out ratios and sides that do not differ.
    """
    by_value = sorted(group, key=lambda effect: effect.comparison.difference.value)
    faster = [effect for effect in by_value if effect.comparison.verdict is Verdict.FASTER]
    baseline, label = quote(group[0].baseline.name), group[0].measure.label
    if by_value[-1].comparison.verdict is Verdict.SLOWER and not faster:
        slower = by_value[-1]
        return (
            f"nothing is shown to be faster than {baseline}, and {quote(slower.side.name)} is slower: "
            f"{label} {_describe_effect(slower, brief)}"
        )
    if not faster and brief:
        return f"nothing is shown to be faster or slower than {baseline} in {label}"
    if not faster:
        ends = dict.fromkeys(map(_state_change, (by_value[0], by_value[-1])))
        return f"nothing is shown to be faster or slower than {baseline}: {label} {' to '.join(ends)}"
    fastest, *others = faster
    # The smallest median is not proof: the fastest must also beat the other sides within blocks.
    equals = [effect for effect in others if not _beats(fastest, effect)]
    how = "is faster" if len(group) == 1 else "is the fastest"
    if equals:
        more = f" and {len(equals) - 1} more" if len(equals) > 1 else ""
        how += f" (not distinguishable from {quote(equals[0].side.name)}{more})"
    return f"{quote(fastest.side.name)} {how}: {label} {_describe_effect(fastest, brief)} against {baseline}"


def _beats(effect: Effect, other: Effect) -> bool:
    mine, others = (e.side.samples[e.measure.name] for e in (effect, other))
    return bool(mine.keys() & others.keys()) and compare(mine, others).verdict is Verdict.FASTER


def _undecided(group: Sequence[Effect]) -> str:
    """Name the undecided sides and about how many more blocks would decide."""
    undecided = [effect for effect in group if effect.comparison.verdict is Verdict.UNDECIDED]
    if not undecided:
        return ""
    needed = max((effect.comparison.more_blocks or 0 for effect in undecided), default=0)
    names = ", ".join(quote(effect.side.name) for effect in undecided)
    return f"; undecided: {names}{f' (about {needed} more blocks needed)' if needed else ''}"


def _state(effect: Effect) -> str:
    return f"{effect.measure.label} {_state_change(effect)}"


def _state_change(effect: Effect) -> str:
    change = describe_change(effect.comparison.difference, effect.measure.unit)
    return f"{change} with {quote(effect.side.name)} ({effect.comparison.verdict})"


def _describe_effect(effect: Effect, brief: bool) -> str:
    change = describe_change(effect.comparison.difference, effect.measure.unit)
    ratio = effect.comparison.ratio
    return f"{change}, {describe_ratio(ratio)}" if ratio and not brief else change


def _compare_prediction(name: str, predicted: Prediction, measured: Estimate, error: float) -> str:
    off = f"{100 * error:+.0f} %".replace("-", "\N{MINUS SIGN}")
    text = (
        f"{quote(name)} was predicted at {describe_estimate(predicted, digits=None)} {STARTUP.label}, "
        f"from {predicted.basis}, and measured at {describe_estimate(measured, digits=None)}: off by {off}"
    )
    return f"{text}; the data refutes the prediction" if _lie_apart(predicted, measured) else text


def _lie_apart(one: Prediction, other: Estimate) -> bool:
    """Return whether both have intervals and these do not overlap."""
    if one.low is None or one.high is None or other.low is None or other.high is None:
        return False
    return one.high < other.low or other.high < one.low
