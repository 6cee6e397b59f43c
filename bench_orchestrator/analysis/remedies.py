"""The remedies of all experiments, ranked by what each saves per launch at the user's size, with their costs.

A remedy is judged by its experiment's launches, compared within blocks. Each launch is first extrapolated to the
user's size (`extrapolation`). The queue wait is random and is left out, unless the remedy is about the queue.
"""

from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from functools import partial

from bench_orchestrator.analysis.evaluation import Evaluation, Side
from bench_orchestrator.analysis.extrapolation import CarriedSweep, Scale
from bench_orchestrator.analysis.lag_model import LagModel, is_plain
from bench_orchestrator.analysis.wording import describe_estimate
from bench_orchestrator.model.plan import Prediction, again
from bench_orchestrator.scenarios.experiment import LAG, MEBIBYTE, WORK, Remedy
from bench_orchestrator.scenarios.registry import EXPERIMENTS
from bench_orchestrator.statistics import Comparison, Estimate, Verdict, compare

_COST_MEASURES = ("run_peak_bytes", "code_server_bytes", "run_cpu_s", "daemon_cpu_percent", "processes")
_Samples = Mapping[int, float]
"""Seconds by block."""


@dataclass(frozen=True)
class RankedRemedy:
    """A remedy with its saving per launch at the user's size, if it was measured here."""

    remedy: Remedy
    experiment: str
    missing: str
    """Why there are no figures, and how to get them; empty if there are."""
    quantity: str = ""
    """What it shortens: the launch lag, the lag plus further steps' starts, or the time until all work is done."""
    against: str = ""
    """The side of the experiment that it is compared with: the setup to which the saving applies."""
    saved_s: Estimate | None = None
    """Seconds saved per launch; positive is faster."""
    at_assets: int = 0
    """The location size of the saving: the user's, or the measured one if it was not extrapolated."""
    verdict: Verdict | None = None
    lag_s: Prediction | None = None
    """The predicted launch lag with the remedy, at the user's size, in a location otherwise like the model's."""
    measured_at: str = ""
    """The measured size and selection, and whether the result was extrapolated to the user's size."""
    costs: tuple[str, ...] = ()
    """Sentences about measured costs beyond the noise; in addition to `Remedy.costs`."""
    sweep_id: str = ""

    @property
    def helps(self) -> bool:
        """Whether a saving is shown."""
        return self.verdict is Verdict.FASTER


def rank_remedies(
    evaluations: Sequence[Evaluation], model: LagModel | None, assets: int, steps: int = 1
) -> tuple[RankedRemedy, ...]:
    """Rank every remedy: those shown to help first, the largest saving first; those not measured here last.

    Args:
        evaluations: at most one of each experiment.
        model: extrapolates measurements to the user's size; without it they keep their measured size.
        assets: number of assets in the user's code location.
        steps: step processes that the user's runs start one after the other.
    """
    by_name = {evaluation.experiment.name: evaluation for evaluation in evaluations}
    ranked = [
        _Judge(by_name[experiment.name], model, assets, steps).judge(remedy)
        if experiment.name in by_name
        else _not_measured(remedy, experiment.name)
        for experiment in EXPERIMENTS.values()
        for remedy in experiment.remedies
    ]
    return tuple(sorted(ranked, key=_order))


def _order(ranked: RankedRemedy) -> tuple[bool, bool, float]:
    saved_s = ranked.saved_s.value if ranked.saved_s else 0.0
    return ranked.saved_s is None, not ranked.helps, -saved_s


@dataclass(frozen=True)
class _Judge:
    """Judges the remedies of one experiment."""

    evaluation: Evaluation
    model: LagModel | None
    assets: int
    steps: int

    def judge(self, remedy: Remedy) -> RankedRemedy:
        """Return the remedy with its measured saving and costs, or with the reason why there are none."""
        side = self._find(remedy.variant)
        baseline = self._baseline(side) if side else None
        if side is None or baseline is None:
            return _not_measured(remedy, self._experiment)
        if missing := self._other_queue(side, baseline):
            return RankedRemedy(remedy, self._experiment, missing)
        if side.variant.workload is not None:
            return self._judge_workload(remedy, side, baseline)
        of_work = baseline.variant.has_units
        # The queue has no part in the starts of further steps.
        steps = 1 if _is_about_the_queue(side, baseline) else self.steps
        count = self._asset_count(baseline)
        scale = Scale.to(self.assets, count, self.evaluation.experiment, self.model)
        holds, how = self._reach(count, scale)
        saving = self._compare(
            side, baseline, scale, CarriedSweep.work_s if of_work else partial(CarriedSweep.starts_s, steps=steps)
        )
        if saving is None:
            return _not_measured(remedy, self._experiment)
        return RankedRemedy(
            remedy,
            self._experiment,
            missing="",
            quantity=WORK.label if of_work else LAG.label if steps == 1 else f"{LAG.label}, {steps} steps",
            against=baseline.name,
            saved_s=_negated(saving.difference),
            at_assets=self.assets if holds else count,
            verdict=saving.verdict,
            lag_s=self._lag_with(side, baseline, scale) if holds else None,
            measured_at=f"{count:,} assets, {baseline.variant.assets} selected{how}",
            costs=tuple(self._costs(side, baseline)),
            sweep_id=self.evaluation.sweep.plan.sweep_id,
        )

    def _judge_workload(self, remedy: Remedy, side: Side, baseline: Side) -> RankedRemedy:
        """Return the remedy with its saving by the experiment's headline: a launch alone says little about many."""
        headline = self.evaluation.experiment.headline
        found = self.evaluation.comparisons.get((side.name, headline.name))
        if found is None or headline.unit != "s":
            return _not_measured(remedy, self._experiment)
        return RankedRemedy(
            remedy,
            self._experiment,
            missing="",
            quantity=headline.label,
            against=baseline.name,
            saved_s=_negated(found.difference),
            at_assets=self.assets,
            verdict=found.verdict,
            measured_at=f"{', '.join(baseline.variant.locations)}; the same at any size",
            costs=tuple(self._costs(side, baseline)),
            sweep_id=self.evaluation.sweep.plan.sweep_id,
        )

    @property
    def _experiment(self) -> str:
        return self.evaluation.experiment.name

    def _find(self, name: str | None) -> Side | None:
        """Return the side of that name if it has a measured launch."""
        return next((side for side in self.evaluation.sides if side.name == name and side.n), None)

    def _baseline(self, side: Side) -> Side | None:
        """Return what a side is compared with; for a baseline, the first measured side that is compared with it."""
        if side.baseline is not None:
            return self._find(side.baseline)
        others = (other for other in self.evaluation.sides if other.baseline == side.name and not other.is_again)
        return next((other for other in others if other.n), None)

    def _lag_with(self, side: Side, baseline: Side, scale: Scale) -> Prediction | None:
        """Return the predicted lag plus the side's difference from the side that matches the model's locations."""
        if self.model is None:
            return None
        plain = self._find(_plain_variant(self.evaluation, baseline))
        predicted = self.model.predict(self.assets, dequeue_interval_s=self.model.dequeue_interval_s)
        if plain is None:
            return None
        compared = self._compare(side, plain, scale, CarriedSweep.lag_s)
        return _moved(predicted, compared.difference) if compared and plain is not side else predicted

    def _other_queue(self, side: Side, baseline: Side) -> str:
        """Return why a queue remedy does not apply to this deployment's queue; empty if it does."""
        if self.model is None or not _is_about_the_queue(side, baseline):
            return ""
        plan = self.evaluation.sweep.plan
        deployment = next((trial.deployment for trial in plan.trials if trial.variant == baseline.name), "")
        there_s = plan.environment_of(deployment).get("dequeue_interval_s")
        if there_s == self.model.dequeue_interval_s:
            return ""
        here_s = self.model.dequeue_interval_s
        return f"measured with runs dequeued {_how_often(there_s)}; here they are {_how_often(here_s)}"

    def _asset_count(self, side: Side) -> int:
        """Return the assets of the first location that the side was measured in."""
        trials = self.evaluation.sweep.trials
        return next(trial.asset_count for trial in trials if trial.measured and trial.variant == side.name)

    def _reach(self, count: int, scale: Scale) -> tuple[bool, str]:
        """Return whether a measurement with `count` assets holds at the user's size, and how, in words."""
        if count == self.assets:
            return True, ""
        if scale.times != 1:
            return True, f"; extrapolated to {self.assets:,}"
        if self.evaluation.experiment.flat:
            return True, "; the same at any size"
        return False, f"; not extrapolated to {self.assets:,}"

    def _costs(self, side: Side, baseline: Side) -> Iterator[str]:
        """Yield the resources that the side uses more or less of, beyond the noise."""
        several = len(side.variant.locations) != len(baseline.variant.locations)
        if several and side.server_bytes and baseline.server_bytes:
            together, alone = (f"{size / MEBIBYTE:,.0f} MiB" for size in (side.server_bytes, baseline.server_bytes))
            yield f"all code servers together use {together}, against {alone}"
        arm = self._find(again(baseline.name))
        for measure in self.evaluation.measures:
            if measure.name not in _COST_MEASURES or (several and measure.name == "code_server_bytes"):
                continue
            noise = arm.samples[measure.name] if arm else None
            compared = _compare(side.samples[measure.name], baseline.samples[measure.name], noise)
            if compared is not None and compared.verdict in (Verdict.FASTER, Verdict.SLOWER):
                yield f"{measure.label} {describe_estimate(compared.difference, measure.unit, None, signed=True)}"

    def _compare(
        self, side: Side, baseline: Side, scale: Scale, quantity: Callable[[CarriedSweep, str], _Samples]
    ) -> Comparison | None:
        carried = CarriedSweep(self.evaluation.sweep, scale, queued=_is_about_the_queue(side, baseline))
        names = (side.name, baseline.name, again(baseline.name))
        return _compare(*(quantity(carried, name) for name in names))


def _not_measured(remedy: Remedy, experiment: str) -> RankedRemedy:
    return RankedRemedy(remedy, experiment, f"not measured here: bench run {experiment}")


def _plain_variant(evaluation: Evaluation, baseline: Side) -> str:
    """Return the side that matches the model's locations: one in a plain location, else the first variant.

    With several baselines it is the given one, if that is plain.
    """
    variants = evaluation.experiment.scenario.variants
    of_several = [baseline.variant] if baseline.variant.against == baseline.name else []
    plain = (one.name for one in (*of_several, *variants) if all(map(is_plain, one.locations)))
    return next(plain, variants[0].name)


def _is_about_the_queue(side: Side, baseline: Side) -> bool:
    return side.variant.instance != baseline.variant.instance


def _how_often(interval_s: float | None) -> str:
    if interval_s is None:
        return "without a queue"
    return f"every {interval_s:g} s" if interval_s else "at once"


def _compare(side: _Samples, baseline: _Samples, noise: _Samples | None) -> Comparison | None:
    """Compare the samples that share a block; None if none do."""
    return compare(side, baseline, noise) if side.keys() & baseline.keys() else None


def _negated(estimate: Estimate) -> Estimate:
    low, high = (None if end is None else -end for end in (estimate.high, estimate.low))
    return replace(estimate, value=-estimate.value, low=low, high=high)


def _moved(predicted: Prediction, difference: Estimate) -> Prediction:
    """Add a difference to a prediction, end by end of their intervals, clamped at zero."""

    def total(end: float | None, by: float | None) -> float | None:
        return None if end is None or by is None else max(0.0, end + by)

    return replace(
        predicted,
        value=max(0.0, predicted.value + difference.value),
        low=total(predicted.low, difference.low),
        high=total(predicted.high, difference.high),
    )
