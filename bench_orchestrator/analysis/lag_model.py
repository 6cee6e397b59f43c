"""What a launch is going to take in a code location of any size, from a sweep of locations of several sizes.

The launch lag is two things that have nothing to do with each other. One is a line in the number of assets, and is
fitted. The other is the wait in the queue, which is chance: a request comes at any time of the daemon's interval, so
the wait is even between nothing and one interval, and half an interval in the median, whatever the location.
"""

from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass, replace
from functools import cached_property, partial
from typing import Any

from bench_orchestrator.analysis.summary import LAG_STAGES
from bench_orchestrator.model.instants import MICROSECONDS
from bench_orchestrator.model.launch import Sweep, Trial
from bench_orchestrator.model.plan import Prediction, ServerState, SweepPlan, Variant
from bench_orchestrator.model.stages import INIT_STAGES, Stage
from bench_orchestrator.statistics import Bend, Estimate, Fit, find_bend, fit_line
from synthetic_locations.kinds import Dependencies
from synthetic_locations.shape import Shape, parse_shape

FITTED_SCENARIOS = ("assets-scaling", "all-locations", "quick")
"""Those whose sweeps launch in locations of several sizes."""

MIN_SIZES = 3
MIN_SPAN = 250
"""Assets from the smallest location to the largest: below that, a line shows the noise of starting processes."""

UNQUEUED_STAGES = tuple(stage for stage in LAG_STAGES if stage is not Stage.QUEUE_WAIT)
"""Of the launch lag, those that are not chance."""

_CIRCUMSTANCES = ("dagster", "python", "cpu_model", "cpu_count", "launcher", "storage")
"""What sweeps must have in common with the latest to stand for today's deployment."""


@dataclass(frozen=True)
class LagModel:
    """How long launches took in plain locations (assets without partitions, of Dagster's default executor) by size.

    All seconds are medians: a single launch deviates by up to half a dequeue interval, and by its noise.
    """

    plan: SweepPlan
    """Of the sweep that it was made of."""
    trials: tuple[Trial, ...]
    """Measured, with every stage of the lag known, of at least `MIN_SIZES` sizes."""

    @property
    def sizes(self) -> tuple[int, ...]:
        """The numbers of assets measured, ascending."""
        return tuple(sorted({trial.asset_count for trial in self.trials}))

    @property
    def dequeue_interval_s(self) -> float | None:
        """The daemon's interval where this was measured; None without a queue."""
        interval_s = self.plan.environment.get("dequeue_interval_s")
        return None if interval_s is None else float(interval_s)

    @property
    def basis(self) -> str:
        """What this rests on, in words."""
        smallest, *_, largest = self.sizes
        return f"{len(self.trials)} launches in locations of {smallest:,} to {largest:,} assets ({self.plan.sweep_id})"

    @cached_property
    def line(self) -> Fit:
        """The launch lag without the queue wait, in seconds, by the number of assets."""
        return self._fit(unqueued_s)

    @cached_property
    def bend(self) -> Bend | None:
        """Where that line has a bend, if one is shown; predictions go by the straight line all the same."""
        return find_bend(*self._points(unqueued_s))

    def predict(self, assets: int, *, dequeue_interval_s: float | None, steps: int = 1) -> Prediction:
        """The launch lag in seconds; with several steps, which start one after the other, the starts of all of them.

        The interval is that of the fitted line at this size, widened by what is not known of the daemon's own share
        of the wait. It is where the median of many launches lies, if the line goes on as it was measured: it says
        nothing about another machine, heavier assets, or a daemon that has other runs to launch.

        Args:
            dequeue_interval_s: the daemon's interval; None without a queue.
            steps: how many processes start before the last step begins, its predecessors' computing not counted.
        """
        further = steps - 1
        line = self._fit(lambda trial: unqueued_s(trial) + further * stages_s(trial, INIT_STAGES)).predict(assets)
        least_s, most_s = self._queue_s(dequeue_interval_s)
        return Prediction(
            value=line.value + (least_s + most_s) / 2,
            low=None if line.low is None else line.low + least_s,
            high=None if line.high is None else line.high + most_s,
            basis=self.basis if assets <= self.sizes[-1] else f"{self.basis}, extrapolated",
        )

    def predict_stages(self, assets: int, *, dequeue_interval_s: float | None) -> dict[Stage, Estimate]:
        """The median of each stage of the lag, in seconds, with its interval. Medians do not add up."""
        least_s, most_s = self._queue_s(dequeue_interval_s)
        wait = Estimate((least_s + most_s) / 2, least_s, most_s, 1.0, len(self.trials))
        return {
            stage: wait if stage is Stage.QUEUE_WAIT else self._stage_lines[stage].predict(assets)
            for stage in LAG_STAGES
        }

    def largest(self, limit_s: float, *, dequeue_interval_s: float | None) -> Estimate | None:
        """The most assets with which the predicted launch lag stays within the limit; None where nothing bounds them.

        The interval holds that number as often as the interval of `predict` holds the lag.
        """
        least_s, most_s = self._queue_s(dequeue_interval_s)
        middle, cautious, bold = (
            self.line.largest_x(limit_s - queue_s) for queue_s in ((least_s + most_s) / 2, most_s, least_s)
        )
        if middle is None:
            return None
        return Estimate(
            middle.value,
            cautious.low if cautious else None,
            bold.high if bold else None,
            middle.coverage,
            middle.n,
        )

    def stage_s(self, stage: Stage, assets: float) -> float:
        """The seconds on the line of a stage; none where the line is below zero."""
        return max(0.0, self._stage_lines[stage].predict(assets).value)

    def growth(self, stages: Sequence[Stage], of: float, to: float) -> float:
        """By what factor these stages together grow from one size to the other; 1 where they take nothing at first."""
        before_s, after_s = (sum(self.stage_s(stage, size) for stage in stages) for size in (of, to))
        return after_s / before_s if before_s else 1.0

    @cached_property
    def _stage_lines(self) -> dict[Stage, Fit]:
        return {stage: self._fit(partial(stages_s, stages=(stage,))) for stage in UNQUEUED_STAGES}

    def _fit(self, quantity: Callable[[Trial], float]) -> Fit:
        return fit_line(*self._points(quantity))

    def _points(self, quantity: Callable[[Trial], float]) -> tuple[list[float], list[float]]:
        return [float(trial.asset_count) for trial in self.trials], [quantity(trial) for trial in self.trials]

    def _queue_s(self, interval_s: float | None) -> tuple[float, float]:
        """The least and the most that the median wait in the queue can be.

        Waits are even between the daemon's own share and that plus its interval. So its share is at most the
        shortest wait, and at least what the longest ones exceed the interval by; the nine in ten that are shorter
        are asked, as a run that another one held up would count for the daemon.
        """
        if interval_s is None:
            return 0.0, 0.0
        waits_s = sorted(stages_s(trial, (Stage.QUEUE_WAIT,)) for trial in self.trials)
        longest_s = waits_s[(len(waits_s) - 1) * 9 // 10]
        shares_s = sorted((waits_s[0], max(0.0, longest_s - (self.dequeue_interval_s or 0.0))))
        return shares_s[0] + interval_s / 2, shares_s[1] + interval_s / 2


def fit_lags(sweeps: Iterable[Sweep]) -> LagModel | None:
    """The model of the sweep with the largest location, the latest of several; None where no sweep will do.

    Only sweeps under the circumstances of the latest are considered: the same versions, CPU, launcher and storage.
    """
    models = [model for sweep in sweeps if (model := _model(sweep)) is not None]
    if not models:
        return None
    latest = max(models, key=lambda model: model.plan.created_us)
    alike = [model for model in models if _circumstances(model.plan) == _circumstances(latest.plan)]
    return max(alike, key=lambda model: (model.sizes[-1], model.plan.created_us))


def predict_lags(
    sweeps: Iterable[Sweep], sizes: Mapping[str, int], dequeue_interval_s: float | None
) -> dict[str, Prediction]:
    """The launch lag in seconds to expect of each side of an experiment, before it is measured.

    Args:
        sizes: the number of assets of the location of each side, by any name; a location that differs from the
            model's in more than its size (executor, imports, structure) is not to be predicted from them.
        dequeue_interval_s: the interval of the daemon that will launch them; None without a queue.

    Returns:
        By the same names; empty where no sweep so far will do.
    """
    model = fit_lags(sweeps)
    if model is None:
        return {}
    return {name: model.predict(size, dequeue_interval_s=dequeue_interval_s) for name, size in sizes.items()}


def comparable_sizes(variants: Iterable[Variant]) -> dict[str, int]:
    """The assets of the locations of those variants that differ from a model's in their size alone, by their names.

    Being a part of a split location, with the few dependencies that cross it, counts for nothing.
    """
    sizes = {}
    for variant in variants:
        shapes = {shape and _unsplit(shape) for shape in map(shape_of, variant.locations)}
        shape = shapes.pop()
        alone = variant.assets == 1 and variant.cpus is None and not variant.warm and not variant.in_turn
        alone = alone and variant.server is ServerState.AS_IT_IS
        if alone and not shapes and shape is not None and shape == Shape(shape.assets):
            sizes[variant.name] = shape.assets
    return sizes


def is_plain(location: str) -> bool:
    """Whether a location is one of those that a model is made of: assets, and nothing else about them."""
    shape = shape_of(location)
    return shape is not None and shape == Shape(shape.assets)


def shape_of(location: str) -> Shape | None:
    """The shape of a synthetic location; None of any other."""
    try:
        return parse_shape(location)
    except ValueError:
        return None


def _unsplit(shape: Shape) -> Shape:
    if shape.dependencies is not Dependencies.SPINE:
        return shape
    return replace(shape, dependencies=Dependencies.NONE, span=0, part=None)


def unqueued_s(trial: Trial) -> float:
    """The launch lag without the wait in the queue, in seconds."""
    return stages_s(trial, UNQUEUED_STAGES)


def _model(sweep: Sweep) -> LagModel | None:
    if sweep.plan.scenario not in FITTED_SCENARIOS:
        return None
    trials = tuple(
        trial
        for trial in sweep.trials
        if trial.measured
        and is_plain(trial.location)
        and all(trial.launch.stages_us.get(stage) is not None for stage in UNQUEUED_STAGES)
    )
    sizes = {trial.asset_count for trial in trials}
    if len(sizes) < MIN_SIZES or max(sizes) - min(sizes) < MIN_SPAN:
        return None
    return LagModel(sweep.plan, trials)


def _circumstances(plan: SweepPlan) -> list[Any]:
    return [plan.environment.get(name) for name in _CIRCUMSTANCES]


def stages_s(trial: Trial, stages: Iterable[Stage]) -> float:
    """The seconds of these stages together; one that the launch did not have took none."""
    return sum(trial.launch.stages_us.get(stage) or 0 for stage in stages) / MICROSECONDS
