"""The remedies of all experiments in one order: what each saves per launch at the user's size, and what it costs.

Each is judged by the launches of its experiment, block by block as they were launched, after every single one has
been carried over to the user's size (`scaling`). The wait in the queue is chance and is left out, unless the remedy is
about the queue.
"""

from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from functools import partial

from bench_orchestrator.analysis.evaluation import Evaluation, Side
from bench_orchestrator.analysis.extrapolation import CarriedSweep, Scale
from bench_orchestrator.analysis.lag_model import LagModel, is_plain
from bench_orchestrator.analysis.wording import describe_estimate
from bench_orchestrator.model.plan import Prediction, again
from bench_orchestrator.scenarios.experiments import EXPERIMENTS, LAG, WORK, Remedy
from bench_orchestrator.scenarios.experiments.experiment import MEBIBYTE
from bench_orchestrator.statistics import Comparison, Estimate, Verdict, compare

_COST_MEASURES = ("run_peak_bytes", "code_server_bytes", "run_cpu_s", "daemon_cpu_percent", "processes")
_Samples = Mapping[int, float]
"""Seconds by block."""


@dataclass(frozen=True)
class RankedRemedy:
    """A remedy with what it saves per launch at the user's size, as far as that was measured here."""

    remedy: Remedy
    experiment: str
    missing: str
    """Why it has no figures, and what to do about it; empty where it has."""
    quantity: str = ""
    """What it shortens: the launch lag, that and the starts of further steps, or the time until all work is done."""
    against: str = ""
    """The side of the experiment that it is compared with: where you are today, if it is to save you this."""
    saved_s: Estimate | None = None
    """Seconds per launch; positive is good."""
    at_assets: int = 0
    """The size of location that it is saved in: the user's, or that of the measurement where no more can be said."""
    verdict: Verdict | None = None
    lag_s: Prediction | None = None
    """The launch lag to expect with it at the user's size, of a location that is otherwise as the model's."""
    measured_at: str = ""
    """What it was measured with, and whether it was carried over to the user's size."""
    costs: tuple[str, ...] = ()
    """Those that were measured and are no noise, in sentences; beside `Remedy.costs`."""
    sweep_id: str = ""

    @property
    def helps(self) -> bool:
        """Whether it is shown to save anything."""
        return self.verdict is Verdict.FASTER


def rank_remedies(
    evaluations: Sequence[Evaluation], model: LagModel | None, assets: int, steps: int = 1
) -> tuple[RankedRemedy, ...]:
    """Every remedy that there is: first those shown to help, the largest saving first; last those not measured here.

    Args:
        evaluations: at most one of each experiment.
        model: what carries measurements over to another size; without one they stay at their own, and say so.
        assets: in the user's code location.
        steps: how many processes the user's runs start one after the other.
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
    """What one experiment says of its remedies."""

    evaluation: Evaluation
    model: LagModel | None
    assets: int
    steps: int

    def judge(self, remedy: Remedy) -> RankedRemedy:
        """What the remedy is worth here."""
        side = self._find(remedy.variant)
        baseline = self._baseline(side) if side else None
        if side is None or baseline is None:
            return _not_measured(remedy, self._experiment)
        if missing := self._other_queue(side, baseline):
            return RankedRemedy(remedy, self._experiment, missing)
        of_work = (baseline.variant.work or 0) > 1
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

    @property
    def _experiment(self) -> str:
        return self.evaluation.experiment.name

    def _find(self, name: str | None) -> Side | None:
        """The side of that name, if any of its launches counts."""
        return next((side for side in self.evaluation.sides if side.name == name and side.n), None)

    def _baseline(self, side: Side) -> Side | None:
        """What a side is compared with. A remedy that is the baseline itself is the end of the side next to it."""
        if side.baseline is not None:
            return self._find(side.baseline)
        others = (other for other in self.evaluation.sides if other.baseline == side.name and not other.is_again)
        return next((other for other in others if other.n), None)

    def _lag_with(self, side: Side, baseline: Side, scale: Scale) -> Prediction | None:
        """The lag that the model predicts, less what the side takes off the one that is as the model's locations."""
        if self.model is None:
            return None
        plain = self._find(_plain_variant(self.evaluation, baseline))
        predicted = self.model.predict(self.assets, dequeue_interval_s=self.model.dequeue_interval_s)
        if plain is None:
            return None
        compared = self._compare(side, plain, scale, CarriedSweep.lag_s)
        return _moved(predicted, compared.difference) if compared and plain is not side else predicted

    def _other_queue(self, side: Side, baseline: Side) -> str:
        """Why a remedy of the queue says nothing of this deployment's queue; empty where it does."""
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
        """Of the first location that it was measured in."""
        trials = self.evaluation.sweep.trials
        return next(trial.asset_count for trial in trials if trial.measured and trial.variant == side.name)

    def _reach(self, count: int, scale: Scale) -> tuple[bool, str]:
        """Whether what was measured with so many assets says something of the user's number, and how, in words."""
        if count == self.assets:
            return True, ""
        if scale.times != 1:
            return True, f"; carried over to {self.assets:,}"
        if self.evaluation.experiment.flat:
            return True, "; the same at any size"
        return False, f"; not carried over to {self.assets:,}"

    def _costs(self, side: Side, baseline: Side) -> Iterator[str]:
        """What the side takes more or less of, where that is no noise."""
        several = len(side.variant.locations) != len(baseline.variant.locations)
        if several and side.server_bytes and baseline.server_bytes:
            together, alone = (f"{size / MEBIBYTE:,.0f} MiB" for size in (side.server_bytes, baseline.server_bytes))
            yield f"code servers hold {together} together, against {alone}"
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
    """The side that is as the locations of a model are: a plain location, else what all others are compared with.

    Where there are several baselines, it is the one given, if it is plain.
    """
    variants = evaluation.experiment.scenario.variants
    of_several = [baseline.variant] if baseline.variant.against == baseline.name else []
    plain = (one.name for one in (*of_several, *variants) if all(map(is_plain, one.locations)))
    return next(plain, variants[0].name)


def _is_about_the_queue(side: Side, baseline: Side) -> bool:
    return side.variant.instance != baseline.variant.instance


def _how_often(interval_s: float | None) -> str:
    return "without a queue" if interval_s is None else f"every {interval_s:g} s"


def _compare(side: _Samples, baseline: _Samples, noise: _Samples | None) -> Comparison | None:
    """The comparison of what shares a block; None where nothing does."""
    return compare(side, baseline, noise) if side.keys() & baseline.keys() else None


def _negated(estimate: Estimate) -> Estimate:
    low, high = (None if end is None else -end for end in (estimate.high, estimate.low))
    return replace(estimate, value=-estimate.value, low=low, high=high)


def _moved(predicted: Prediction, difference: Estimate) -> Prediction:
    """A prediction with a difference added to it, and their intervals' ends likewise; but no time is below zero."""

    def total(end: float | None, by: float | None) -> float | None:
        return None if end is None or by is None else max(0.0, end + by)

    return replace(
        predicted,
        value=max(0.0, predicted.value + difference.value),
        low=total(predicted.low, difference.low),
        high=total(predicted.high, difference.high),
    )
