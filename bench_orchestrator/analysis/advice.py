"""What to do about the launch lag at a size that the user names: the prediction and the remedies, also in sentences."""

from collections.abc import Iterator
from dataclasses import dataclass
from math import inf

from bench_orchestrator.analysis.evaluation import evaluate, is_experiment
from bench_orchestrator.analysis.evidence import Evidence
from bench_orchestrator.analysis.lag_model import LagModel
from bench_orchestrator.analysis.remedies import RankedRemedy, rank_remedies
from bench_orchestrator.analysis.wording import describe_estimate, quote
from bench_orchestrator.model.launch import Sweep
from bench_orchestrator.model.plan import Prediction
from bench_orchestrator.scenarios.experiments import WORK

TOLERATED = 0.15
"""The part of a measured lag by which a prediction may be off without an explanation."""


@dataclass(frozen=True)
class Advice:
    """What this deployment's own measurements say about launches in a location of so many assets."""

    assets: int
    steps: int
    """Processes that a run starts one after the other."""
    model: LagModel | None
    """None where too few sizes were measured to predict anything."""
    remedies: tuple[RankedRemedy, ...]
    """All that there are, best first; see `rank_remedies`."""

    @property
    def lag_s(self) -> Prediction | None:
        """The launch lag that is to be expected, with the queue as it is where the model was measured."""
        if self.model is None:
            return None
        return self.model.predict(self.assets, dequeue_interval_s=self.model.dequeue_interval_s)

    @property
    def measured(self) -> tuple[RankedRemedy, ...]:
        """The remedies that have figures."""
        return tuple(ranked for ranked in self.remedies if ranked.saved_s is not None)

    @property
    def size(self) -> str:
        """What it is about, in words: `10,000 assets`, with the steps where there are several."""
        return f"{self.assets:,} assets" + (f" and {self.steps} steps" if self.steps > 1 else "")


def advise(evidence: Evidence, assets: int, steps: int = 1) -> Advice:
    """The advice for a location of so many assets whose runs start so many processes one after the other."""
    model = evidence.model
    return Advice(assets, steps, model, rank_remedies(evidence.evaluations, model, assets, steps))


def describe_saving(advice: Advice, ranked: RankedRemedy, unit: str = "s") -> str:
    """What a remedy saves, with the size that it was measured at where nothing can be said of the user's."""
    saving = describe_estimate(ranked.saved_s, unit)
    return saving if ranked.at_assets == advice.assets else f"{saving} at {ranked.at_assets:,} assets"


def headline(advice: Advice) -> str:
    """The remedy that takes most off the launch lag to be expected, in a sentence."""
    if not advice.measured:
        return "No remedy was measured here so far"
    best = next(iter(_best(advice)), None)
    if best is None:
        return f"No remedy is shown to save anything at {advice.size}"
    return f"{best.remedy.name}: saves {_saving(advice, best)}"


def first_steps(advice: Advice, count: int = 3) -> Iterator[str]:
    """What to do first, in Markdown: the remedies that take most off the launch lag, each with what it costs."""
    for best in _best(advice)[:count]:
        saving = _saving(advice, best)
        yield f"**{best.remedy.name}**: saves {saving}, against {quote(best.against)}. {best.remedy.costs}"


def first_steps_after(sweep: Sweep, evidence: Evidence) -> list[str]:
    """What to do first in the largest location of a sweep, in Markdown.

    After an experiment these are its own remedies, and there may be none; else those of everything that was measured
    here, or how to measure some.
    """
    own = is_experiment(sweep)
    if own:
        evidence = Evidence(evidence.sweeps, (evaluate(sweep),))
    advice = advise(evidence, max(location.asset_count for location in sweep.plan.locations))
    steps = list(first_steps(advice))
    if steps or own:
        return steps
    measure = "" if advice.measured else ". `bench run executors --quick` measures the first ones"
    return [f"{headline(advice)}{measure}."]


def _best(advice: Advice) -> list[RankedRemedy]:
    """The remedies that are shown to help: of the lag first, and those first that leave the least of what is predicted.

    Without a prediction they stay in the order of what they save.
    """
    helping = [ranked for ranked in advice.measured if ranked.helps]
    return sorted(helping, key=lambda one: (one.quantity == WORK.label, one.lag_s.value if one.lag_s else inf))


def _saving(advice: Advice, ranked: RankedRemedy) -> str:
    size = advice.size if ranked.at_assets == advice.assets else f"{ranked.at_assets:,} assets"
    until = f" {WORK.label}" if ranked.quantity == WORK.label else ""
    return f"{describe_estimate(ranked.saved_s)} per launch{until} at {size}"


def explain_errors(evidence: Evidence) -> Iterator[str]:
    """Of every prediction that was further off than `TOLERATED`, the stages in which the fit missed most.

    Only predictions of the model that is still the evidence's: what another one expected of a stage is not known.
    """
    model = evidence.model
    for evaluation in evidence.evaluations if model is not None else ():
        plan = evaluation.sweep.plan
        for side in evaluation.sides:
            predicted, error = side.prediction, side.prediction_error
            if model is None or predicted is None or error is None or abs(error) <= TOLERATED:
                continue
            if side.is_again or model.plan.sweep_id not in predicted.basis:
                continue
            trial = next(one for one in evaluation.sweep.trials if one.measured and one.variant == side.name)
            environment = plan.environment_of(trial.deployment)
            expected = model.predict_stages(trial.asset_count, dequeue_interval_s=environment.get("dequeue_interval_s"))
            measured = {stage: estimate for stage in expected if (estimate := side.stages_s.get(stage)) is not None}
            worst = sorted(measured, key=lambda stage: -abs(measured[stage].value - expected[stage].value))[:2]
            stages = ", ".join(
                f"{stage.label} {describe_estimate(measured[stage])} in place of {describe_estimate(expected[stage])}"
                for stage in worst
            )
            yield f"{quote(side.name)} is {100 * error:+.0f} % off its prediction; what the fit misses most: {stages}"


def stays_within(lag_s: Prediction, limit_s: float) -> bool | None:
    """Whether a lag is within the limit, its interval's end included; None where the interval holds the limit."""
    if lag_s.high is not None and lag_s.high <= limit_s:
        return True
    if lag_s.low is not None and lag_s.low > limit_s:
        return False
    return None
