"""Advice for a location of a given size: the predicted launch lag and the ranked remedies, as data and as sentences."""

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
from bench_orchestrator.model.stages import STARTUP_STAGES
from bench_orchestrator.scenarios.experiment import WORK

TOLERATED = 0.15
"""The relative error of a prediction, as a fraction of the measured startup time, above which it is explained."""


@dataclass(frozen=True)
class Advice:
    """Advice for a location with `assets` assets, based on measurements of this deployment."""

    assets: int
    steps: int
    """Step processes that a run starts one after the other."""
    model: LagModel | None
    """None if too few sizes were measured to fit a model."""
    remedies: tuple[RankedRemedy, ...]
    """All known remedies, best first; see `rank_remedies`."""

    @property
    def lag_s(self) -> Prediction | None:
        """The predicted launch lag, with the dequeue interval that the model was measured at."""
        if self.model is None:
            return None
        return self.model.predict(self.assets, dequeue_interval_s=self.model.dequeue_interval_s)

    @property
    def measured(self) -> tuple[RankedRemedy, ...]:
        """The remedies with a measured saving."""
        return tuple(ranked for ranked in self.remedies if ranked.saved_s is not None)

    @property
    def size(self) -> str:
        """The size in words, with the steps if there are several: `10,000 assets and 6 steps`."""
        return f"{self.assets:,} assets" + (f" and {self.steps} steps" if self.steps > 1 else "")


@dataclass(frozen=True)
class FirstStep:
    """What to do first, in plain text."""

    text: str
    """A sentence; after a remedy's name, its saving and its cost."""
    remedy: str = ""
    """The name of the remedy; empty if none is shown to help."""
    command: str = ""
    """The command that measures the first remedies; empty if some were measured."""


def advise(evidence: Evidence, assets: int, steps: int = 1) -> Advice:
    """Return the advice for a location with `assets` assets whose runs start `steps` processes one after the other."""
    model = evidence.model
    return Advice(assets, steps, model, rank_remedies(evidence.evaluations, model, assets, steps))


def describe_saving(advice: Advice, ranked: RankedRemedy, unit: str = "s") -> str:
    """Describe what a remedy saves; name the measured size if the saving could not be scaled to the user's."""
    saving = describe_estimate(ranked.saved_s, unit)
    return saving if ranked.at_assets == advice.assets else f"{saving} at {ranked.at_assets:,} assets"


def headline(advice: Advice) -> str:
    """Return a sentence that names the remedy with the largest effect on the predicted launch lag."""
    if not advice.measured:
        return "No remedy has been measured here yet"
    best = next(iter(_best(advice)), None)
    if best is None:
        return f"No remedy is shown to save anything at {advice.size}"
    return f"{best.remedy.name}: saves {_saving(advice, best)}"


def first_steps(advice: Advice, count: int = 3) -> Iterator[FirstStep]:
    """Yield the remedies that reduce the launch lag most, each with its cost."""
    for best in _best(advice)[:count]:
        saving = _saving(advice, best)
        yield FirstStep(f"saves {saving}, against {quote(best.against)}. {best.remedy.costs}", best.remedy.name)


def first_steps_after(sweep: Sweep, evidence: Evidence) -> list[FirstStep]:
    """Return the first steps for the largest location of a sweep.

    For an experiment these are its own remedies; there may be none. For any other sweep they are the best remedies in
    the evidence, or else the command that measures some.
    """
    own = is_experiment(sweep)
    if own:
        evidence = Evidence(evidence.sweeps, (evaluate(sweep),))
    advice = advise(evidence, max(location.asset_count for location in sweep.plan.locations))
    steps = list(first_steps(advice))
    if steps or own:
        return steps
    return [FirstStep(headline(advice), command="" if advice.measured else "bench run executors --quick")]


def _best(advice: Advice) -> list[RankedRemedy]:
    """Return the remedies shown to help: those for the launch lag first, ordered by the lag predicted with them.

    Without a prediction they keep the order of their savings.
    """
    helping = [ranked for ranked in advice.measured if ranked.helps]
    return sorted(helping, key=lambda one: (one.quantity == WORK.label, one.lag_s.value if one.lag_s else inf))


def _saving(advice: Advice, ranked: RankedRemedy) -> str:
    size = advice.size if ranked.at_assets == advice.assets else f"{ranked.at_assets:,} assets"
    until = f" {WORK.label}" if ranked.quantity == WORK.label else ""
    return f"{describe_estimate(ranked.saved_s)} per launch{until} at {size}"


def explain_errors(evidence: Evidence) -> Iterator[str]:
    """Yield, for every prediction with an error above `TOLERATED`, the stages where the fit was furthest off.

    Only predictions by the current model are explained: what an earlier model expected of each stage is not recorded.
    """
    model = evidence.model
    for evaluation in evidence.evaluations if model is not None else ():
        for side in evaluation.sides:
            predicted, error = side.prediction, side.prediction_error
            if model is None or predicted is None or error is None or abs(error) <= TOLERATED:
                continue
            if side.is_again or model.plan.sweep_id not in predicted.basis:
                continue
            trial = next(one for one in evaluation.sweep.trials if one.measured and one.variant == side.name)
            expected = model.predict_stages(trial.asset_count, dequeue_interval_s=None)
            measured = {stage: found for stage in STARTUP_STAGES if (found := side.stages_s.get(stage)) is not None}
            worst = sorted(measured, key=lambda stage: -abs(measured[stage].value - expected[stage].value))[:2]
            stages = ", ".join(
                f"{stage.label} {describe_estimate(measured[stage])} instead of {describe_estimate(expected[stage])}"
                for stage in worst
            )
            yield f"{quote(side.name)} is {100 * error:+.0f} % off its prediction; the largest errors: {stages}"


def stays_within(lag_s: Prediction, limit_s: float) -> bool | None:
    """Return whether the whole interval of a lag is within the limit; None if the limit is inside the interval."""
    if lag_s.high is not None and lag_s.high <= limit_s:
        return True
    if lag_s.low is not None and lag_s.low > limit_s:
        return False
    return None
