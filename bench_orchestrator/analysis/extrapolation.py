"""Extrapolation of measured launches from a location of one size to another size.

Only loading the definitions grows with the number of assets, in the run worker and again in every step process. The
fit of plain locations gives the growth as a factor. A remedy that removes a third of the loading therefore removes a
third at any size. All other stages keep their measured durations.
"""

from collections.abc import Callable, Mapping
from dataclasses import dataclass

from bench_orchestrator.analysis.lag_model import LagModel, shape_of
from bench_orchestrator.model.instants import MICROSECONDS
from bench_orchestrator.model.launch import Sweep, Trial
from bench_orchestrator.model.plan import Variant
from bench_orchestrator.model.stages import INIT_STAGES, LAG_STAGES, Stage
from bench_orchestrator.scenarios.experiment import Experiment
from synthetic_locations.kinds import Executor

SMALLEST = 200
"""Assets below which loading is too short to separate its growth; smaller locations are not extrapolated."""


@dataclass(frozen=True)
class Scale:
    """The scale from the locations of an experiment to the user's size.

    One factor, that of the baseline's location, applies to every location: 9,000 assets in three parts become 10,000
    in three parts.
    """

    model: LagModel | None
    times: float
    """The user's number of assets divided by that of the baseline's location; 1 leaves launches unchanged."""

    @classmethod
    def to(cls, assets: int, baseline_assets: int, experiment: Experiment, model: LagModel | None) -> "Scale":
        """Return the scale for an experiment's launches; 1 if they cannot, or need not, be extrapolated."""
        fits = model is not None and baseline_assets >= SMALLEST and not experiment.flat
        return cls(model, assets / baseline_assets if fits else 1.0)

    def lag_s(self, trial: Trial, queued: bool) -> float:
        """Return the launch lag in seconds, with or without the queue wait."""
        return sum(self._stages_s(trial, queued).values())

    def start_s(self, trial: Trial) -> float:
        """Return the seconds that each further sequential step adds: the time from the run's start to the step's."""
        stages_s = self._stages_s(trial, queued=False)
        return sum(stages_s[stage] for stage in INIT_STAGES)

    def later_s(self, trial: Trial) -> float | None:
        """Return the seconds from the start of the first step until all work was done."""
        if trial.launch.work_us is None or trial.launch.time_to_code_us is None:
            return None
        return (trial.launch.work_us - trial.launch.time_to_code_us) / MICROSECONDS * self._growth(trial, *INIT_STAGES)

    def work_s(self, trial: Trial, queued: bool) -> float | None:
        """Return the seconds until all work was done; every step process loads the definitions again."""
        if trial.launch.work_us is None:
            return None
        measured_s = _measured_s(trial)
        more_s = {stage: at_size_s - measured_s[stage] for stage, at_size_s in self._stages_s(trial, queued).items()}
        later_processes = trial.launch.processes - 2
        return trial.launch.work_us / MICROSECONDS + sum(more_s.values()) + later_processes * more_s[Stage.STEP_LOAD]

    def _stages_s(self, trial: Trial, queued: bool) -> dict[Stage, float]:
        """Return the seconds of each stage of the lag at the new size; the queue wait is 0 unless `queued`."""
        stages_s = _measured_s(trial)
        if not queued:
            stages_s[Stage.QUEUE_WAIT] = 0.0
        if self.model is not None and _has_forkserver(trial.location):
            # A forkserver loads the definitions during step boot: whatever exceeds a plain process start is loading.
            plain_s = self.model.stage_s(Stage.STEP_BOOT, trial.asset_count)
            loading_s = max(0.0, stages_s[Stage.STEP_BOOT] - plain_s)
            stages_s[Stage.STEP_BOOT] += loading_s * (self._growth(trial, Stage.STEP_LOAD) - 1)
        for stage in (Stage.WORKER_LOAD, Stage.STEP_LOAD):
            stages_s[stage] *= self._growth(trial, stage)
        return stages_s

    def _growth(self, trial: Trial, *stages: Stage) -> float:
        if self.model is None or self.times == 1:
            return 1.0
        return self.model.growth(stages, of=trial.asset_count, to=trial.asset_count * self.times)


@dataclass(frozen=True)
class CarriedSweep:
    """An experiment's measured launches at the new size: seconds by block, for each variant."""

    sweep: Sweep
    scale: Scale
    queued: bool
    """Whether the queue wait is included."""

    def lag_s(self, variant: str) -> Mapping[int, float]:
        """Return the launch lags."""
        return {block: self.scale.lag_s(trial, self.queued) for block, trial in self._trials(variant).items()}

    def work_s(self, variant: str) -> Mapping[int, float]:
        """Return the times from the request until all work was done."""
        return _known(self._trials(variant), lambda trial: self.scale.work_s(trial, self.queued))

    def starts_s(self, variant: str, steps: int) -> Mapping[int, float]:
        """Return the launch lags plus the starts of the further steps, one after the other."""
        lag_s = self.lag_s(variant)
        if steps == 1:
            return lag_s
        step_s = self._further_step_s(variant)
        return {block: lag_s[block] + (steps - 1) * step_s[block] for block in lag_s.keys() & step_s.keys()}

    def _further_step_s(self, variant: str) -> Mapping[int, float]:
        """Return what each further step takes; measured if a variant launches several steps in the same location."""
        trials = self._trials(variant)
        variants = self.sweep.plan.variants
        one = next((known for known in variants if known.name == variant), None)
        several = next((other for other in variants if one is not None and _does_more(other, one)), None)
        if one is None or several is None:
            return {block: self.scale.start_s(trial) for block, trial in trials.items()}
        further = (several.work or 0) - (one.work or 0)
        longer_s, shorter_s = (_known(some, self.scale.later_s) for some in (self._trials(several.name), trials))
        return {block: (longer_s[block] - shorter_s[block]) / further for block in longer_s.keys() & shorter_s.keys()}

    def _trials(self, variant: str) -> dict[int, Trial]:
        return {one.block: one for one in self.sweep.trials if one.measured and one.variant == variant}


def _known(trials: Mapping[int, Trial], quantity: Callable[[Trial], float | None]) -> dict[int, float]:
    return {block: value for block, trial in trials.items() if (value := quantity(trial)) is not None}


def _does_more(other: Variant, one: Variant) -> bool:
    return other.locations == one.locations and (other.work or 0) > (one.work or 0) and not other.in_turn


def _measured_s(trial: Trial) -> dict[Stage, float]:
    """Return the seconds of each stage of the lag; 0 for a stage that the launch did not have."""
    return {stage: (trial.launch.stages_us.get(stage) or 0) / MICROSECONDS for stage in LAG_STAGES}


def _has_forkserver(location: str) -> bool:
    shape = shape_of(location)
    return shape is not None and shape.executor in (Executor.FORKSERVER, Executor.PRELOADED)
