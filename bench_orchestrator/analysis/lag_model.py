"""A model that predicts the launch lag in a code location of any size from a sweep over several sizes.

The launch lag has two independent parts. One is the startup time, which is linear in the number of assets and fitted.
The other is the random queue wait. A request arrives at any time within the daemon's dequeue interval, so the wait is
uniform from zero to one interval. Its median is half an interval in every location.
"""

from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass, replace
from functools import cached_property, partial
from math import log
from typing import Any

from bench_orchestrator.analysis.sweep_spread import SweepSpread
from bench_orchestrator.model.instants import MICROSECONDS
from bench_orchestrator.model.launch import Sweep, Trial
from bench_orchestrator.model.plan import Prediction, ServerState, SweepPlan, Variant
from bench_orchestrator.model.stages import INIT_STAGES, LAG_STAGES, STARTUP_STAGES, Stage
from bench_orchestrator.statistics import Bend, Estimate, Fit, find_bend, fit_line, median
from bench_orchestrator.statistics.lines import FARTHEST_X, crossing
from synthetic_locations.kinds import Dependencies
from synthetic_locations.shape import Shape, parse_shape

FITTED_SCENARIOS = ("assets-scaling", "all-locations", "quick")
"""Scenarios that launch in locations of several sizes."""

MIN_SIZES = 3
MIN_SPAN = 250
"""Minimum difference in assets between the smallest and the largest location; below it the slope is mostly noise."""

_CIRCUMSTANCES = ("dagster", "python", "cpu_model", "cpu_count", "launcher", "storage")
"""Environment values that a sweep must share with the latest one to describe today's deployment."""


@dataclass(frozen=True)
class LagModel:
    """The launch lag of plain locations by size: assets without partitions, with Dagster's default executor.

    All predictions are medians, in seconds. A single launch deviates by up to half a dequeue interval plus noise.
    """

    plan: SweepPlan
    """The plan of the fitted sweep."""
    trials: tuple[Trial, ...]
    """Measured trials with every stage of the lag known, in at least `MIN_SIZES` sizes."""
    comparable: tuple[tuple[Trial, ...], ...] = ()
    """The comparable trials of each sweep that is one: measured under the same circumstances in plain locations."""

    @property
    def sizes(self) -> tuple[int, ...]:
        """The numbers of assets measured, ascending."""
        return tuple(sorted({trial.asset_count for trial in self.trials}))

    @property
    def dequeue_interval_s(self) -> float | None:
        """The dequeue interval during the sweep; None without a queue."""
        interval_s = self.plan.environment.get("dequeue_interval_s")
        return None if interval_s is None else float(interval_s)

    @property
    def basis(self) -> str:
        """The launches behind the model, in words."""
        smallest, *_, largest = self.sizes
        return f"{len(self.trials)} launches in locations of {smallest:,} to {largest:,} assets ({self.plan.sweep_id})"

    @cached_property
    def line(self) -> Fit:
        """The fitted startup time in seconds, by number of assets."""
        return self._fit(startup_s)

    @cached_property
    def spread(self) -> SweepSpread:
        """How far the comparable sweeps lie from the fitted line."""
        return SweepSpread(tuple(map(self._effect, self.comparable)))

    def _effect(self, trials: Sequence[Trial]) -> float:
        ratios = (startup_s(trial) / self.line.predict(trial.asset_count).value for trial in trials)
        return median([log(ratio) for ratio in ratios if ratio > 0]).value

    @cached_property
    def bend(self) -> Bend | None:
        """The bend of that line, if one is shown; predictions use the straight line regardless."""
        return find_bend(*self._points(startup_s))

    def predict(self, assets: int, *, dequeue_interval_s: float | None, steps: int = 1) -> Prediction:
        """Predict the launch lag in seconds; with several sequential steps, including the starts of all of them.

        The interval is that of the fitted line at this size, widened by the spread between sweeps and by the
        uncertainty of the daemon's own share of the wait. Without other sweeps it is a within-sweep interval, and its
        basis says so. It is for the median of many launches, provided that the line continues as measured. It does not
        cover another machine, heavier assets, or a daemon that is busy with other runs.

        Args:
            dequeue_interval_s: the daemon's interval; None without a queue.
            steps: step processes that start before the last step begins; the steps' own computing is not counted.
        """
        further = steps - 1
        fit = (
            self._fit(lambda trial: startup_s(trial) + further * stages_s(trial, INIT_STAGES)) if further else self.line
        )
        startup = self.spread.widen(fit.predict(assets))
        least_s, most_s = self._queue_s(dequeue_interval_s)
        return Prediction(
            value=startup.value + (least_s + most_s) / 2,
            low=None if startup.low is None else startup.low + least_s,
            high=None if startup.high is None else startup.high + most_s,
            basis=f"{self.basis}{', extrapolated' if assets > self.sizes[-1] else ''}; {self.spread.description}",
        )

    def predict_stages(self, assets: int, *, dequeue_interval_s: float | None) -> dict[Stage, Estimate]:
        """Predict the median of each stage of the lag in seconds, with its within-sweep interval.

        Medians do not add up.
        """
        least_s, most_s = self._queue_s(dequeue_interval_s)
        wait = Estimate((least_s + most_s) / 2, least_s, most_s, 1.0, len(self.trials))
        return {
            stage: wait if stage is Stage.QUEUE_WAIT else self._stage_lines[stage].predict(assets)
            for stage in LAG_STAGES
        }

    def largest(self, limit_s: float, *, dequeue_interval_s: float | None) -> Estimate | None:
        """Return the most assets for which the predicted launch lag is within the limit; None if unbounded.

        The interval covers that number as often as the interval of `predict` covers the lag.
        """
        least_s, most_s = self._queue_s(dequeue_interval_s)
        middle = self.line.largest_x((limit_s - (least_s + most_s) / 2) / self.spread.factor)
        if middle is None or middle.low is None:
            return middle

        def most(assets: float) -> float:
            return (self.spread.widen(self.line.predict(assets)).high or 0.0) + most_s - limit_s

        def least(assets: float) -> float:
            return (self.spread.widen(self.line.predict(assets)).low or 0.0) + least_s - limit_s

        low, high = crossing(most, 0.0, middle.value), crossing(least, middle.value, FARTHEST_X)
        return Estimate(middle.value, low, high if high < FARTHEST_X else None, middle.coverage, middle.n)

    def stage_s(self, stage: Stage, assets: float) -> float:
        """Return the fitted seconds of a stage, clamped at zero."""
        return max(0.0, self._stage_lines[stage].predict(assets).value)

    def growth(self, stages: Sequence[Stage], of: float, to: float) -> float:
        """Return the factor by which these stages together grow between two sizes; 1 if they take no time at first."""
        before_s, after_s = (sum(self.stage_s(stage, size) for stage in stages) for size in (of, to))
        return after_s / before_s if before_s else 1.0

    @cached_property
    def _stage_lines(self) -> dict[Stage, Fit]:
        return {stage: self._fit(partial(stages_s, stages=(stage,))) for stage in STARTUP_STAGES}

    def _fit(self, quantity: Callable[[Trial], float]) -> Fit:
        return fit_line(*self._points(quantity))

    def _points(self, quantity: Callable[[Trial], float]) -> tuple[list[float], list[float]]:
        return [float(trial.asset_count) for trial in self.trials], [quantity(trial) for trial in self.trials]

    def _queue_s(self, interval_s: float | None) -> tuple[float, float]:
        """Return the lower and the upper bound of the median queue wait, in seconds.

        Waits are uniform between the daemon's own share and that share plus one interval. So the share is at most the
        shortest wait, and at least the amount by which the longest wait exceeds the interval. The 90th percentile
        stands for the longest wait: a run held up by another one would otherwise count as the daemon's share.
        """
        if interval_s is None:
            return 0.0, 0.0
        waits_s = sorted(stages_s(trial, (Stage.QUEUE_WAIT,)) for trial in self.trials)
        longest_s = waits_s[(len(waits_s) - 1) * 9 // 10]
        shares_s = sorted((waits_s[0], max(0.0, longest_s - (self.dequeue_interval_s or 0.0))))
        return shares_s[0] + interval_s / 2, shares_s[1] + interval_s / 2


def fit_lags(sweeps: Iterable[Sweep]) -> LagModel | None:
    """Fit the sweep with the largest location, the latest if several tie; None if no sweep is suitable.

    Only sweeps with the versions, CPU, launcher and storage of the latest are considered. All of these that launch in
    comparable locations, those of experiments too, show the spread between sweeps.
    """
    sweeps = tuple(sweeps)
    models = [model for sweep in sweeps if (model := _model(sweep)) is not None]
    if not models:
        return None
    latest = max(models, key=lambda model: model.plan.created_us)
    alike = [model for model in models if _circumstances(model.plan) == _circumstances(latest.plan)]
    best = max(alike, key=lambda model: (model.sizes[-1], model.plan.created_us))
    compared = (sweep for sweep in sweeps if _circumstances(sweep.plan) == _circumstances(latest.plan))
    return replace(best, comparable=tuple(filter(None, map(comparable_trials, compared))))


def predict_startups(sweeps: Iterable[Sweep], sizes: Mapping[str, int]) -> dict[str, Prediction]:
    """Predict the startup time in seconds of each side of an experiment before it is measured.

    Args:
        sizes: assets in the location of each side, by side. The location may differ from the model's in size only,
            not in executor, imports or structure.

    Returns:
        Predictions by side; empty if no sweep is suitable yet.
    """
    model = fit_lags(sweeps)
    if model is None:
        return {}
    return {name: model.predict(size, dequeue_interval_s=None) for name, size in sizes.items()}


def comparable_trials(sweep: Sweep) -> tuple[Trial, ...]:
    """Return the measured trials in locations that differ from the model's in size only."""
    sizes = comparable_sizes(sweep.plan.variants)
    return tuple(
        trial
        for trial in sweep.trials
        if trial.measured
        and (trial.variant in sizes if sweep.plan.variants else is_plain(trial.location))
        and _has_stages(trial)
    )


def comparable_sizes(variants: Iterable[Variant]) -> dict[str, int]:
    """Return the asset counts, by variant, of the variants that differ from the model's locations in size only.

    Being part of a split location, with its few cross-location dependencies, does not count as a difference.
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
    """Return whether a location is plain: it has assets and no other feature, as the model requires."""
    shape = shape_of(location)
    return shape is not None and shape == Shape(shape.assets)


def shape_of(location: str) -> Shape | None:
    """Return the shape of a synthetic location; None for any other location."""
    try:
        return parse_shape(location)
    except ValueError:
        return None


def _unsplit(shape: Shape) -> Shape:
    if shape.dependencies is not Dependencies.SPINE:
        return shape
    return replace(shape, dependencies=Dependencies.NONE, span=0, part=None)


def startup_s(trial: Trial) -> float:
    """Return the startup time in seconds; a stage that the launch did not have counts as 0."""
    return stages_s(trial, STARTUP_STAGES)


def _model(sweep: Sweep) -> LagModel | None:
    if sweep.plan.scenario not in FITTED_SCENARIOS:
        return None
    trials = tuple(
        trial for trial in sweep.trials if trial.measured and is_plain(trial.location) and _has_stages(trial)
    )
    sizes = {trial.asset_count for trial in trials}
    if len(sizes) < MIN_SIZES or max(sizes) - min(sizes) < MIN_SPAN:
        return None
    return LagModel(sweep.plan, trials)


def _has_stages(trial: Trial) -> bool:
    return all(trial.launch.stages_us.get(stage) is not None for stage in STARTUP_STAGES)


def _circumstances(plan: SweepPlan) -> list[Any]:
    return [plan.environment.get(name) for name in _CIRCUMSTANCES]


def stages_s(trial: Trial, stages: Iterable[Stage]) -> float:
    """Return the total seconds of these stages; a stage that the launch did not have counts as 0."""
    return sum(trial.launch.stages_us.get(stage) or 0 for stage in stages) / MICROSECONDS
