"""The sides of an experiment in numbers: what each was measured at, and how it compares with its baseline.

Sides are compared block by block, as they were launched; the baseline, launched twice in each block, shows the noise.
"""

from collections import defaultdict
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass

from bench_orchestrator.analysis.summary import Row, sweep_rows
from bench_orchestrator.model.launch import Outcome, Sweep, Trial
from bench_orchestrator.model.plan import Prediction, Variant, again
from bench_orchestrator.model.stages import Stage
from bench_orchestrator.scenarios.experiments import LAG, Measure
from bench_orchestrator.scenarios.experiments.experiment import CODE_SERVER, seconds
from bench_orchestrator.statistics import Comparison, Estimate, compare, median


@dataclass(frozen=True)
class Side:
    """One variant of an experiment, as far as it was measured."""

    variant: Variant
    baseline: str | None
    """The variant that it is compared with; None where there is none but itself."""
    n: int
    """Launches that count."""
    trials: int
    """Launches that were to count."""
    outcomes: Mapping[Outcome, int]
    """How these ended; every outcome is a key."""
    undone: int
    """How many of these ended without the work that they were to do."""
    work: tuple[int, ...]
    """Units of work that a launch that counts materialized: one number, unless they differ."""
    lag_s: Estimate | None
    measures: Mapping[str, Estimate | None]
    """The median of the lag and of every other measure, by name."""
    samples: Mapping[str, Mapping[int, float]]
    """Of each of these, the value in every block that has one."""
    stages_s: Mapping[Stage, Estimate | None]
    load_s: float | None
    """How long the code servers of its locations took to start, together; None where one of them is not known."""
    server_bytes: float | None
    """What these hold in memory, together: the sum of their medians; None where one was never measured."""
    prediction: Prediction | None
    """Of its launch lag."""
    prediction_error: float | None
    """The part of the measured median lag that is more than was predicted; negative where it was less."""

    @property
    def name(self) -> str:
        """The variant's."""
        return self.variant.name

    @property
    def failures(self) -> dict[Outcome, int]:
        """The outcomes other than ok."""
        return {outcome: count for outcome, count in self.outcomes.items() if outcome is not Outcome.OK}

    @property
    def is_again(self) -> bool:
        """Whether this is a baseline launched a second time: the A/A arm."""
        return self.variant.name == again(self.variant.against)


@dataclass(frozen=True)
class PathTime:
    """What a variant that is launched in turn took, once, from its first location to its last."""

    total_s: float | None
    """From each request until its work was done, summed: the bench's rests in between are not the path's. None
    unless every launch went well."""
    ok: int
    """Launches that went well, of so many."""
    of: int


def find_sides(sweep: Sweep, measures: Sequence[Measure]) -> tuple[Side, ...]:
    """Every variant that is compared, in the plan's order."""
    variants = sweep.plan.variants
    rows = {row.variant: row for row in sweep_rows(sweep)}
    return tuple(
        _side(sweep, variant, variant.against or variants[0].name, rows[variant.name], measures)
        for variant in variants
        if not variant.in_turn
    )


def compare_sides(sides: Sequence[Side], measures: Sequence[Measure]) -> dict[tuple[str, str], Comparison]:
    """Each side with its baseline by each measure, where they share a block; keyed by both names."""
    by_name = {side.name: side for side in sides}
    comparisons: dict[tuple[str, str], Comparison] = {}
    for side in sides:
        baseline = by_name.get(side.baseline or "")
        if baseline is None:
            continue
        arm = None if side.is_again else by_name.get(again(baseline.name))
        for name in (measure.name for measure in measures):
            mine, others = side.samples[name], baseline.samples[name]
            if mine.keys() & others.keys():
                comparisons[side.name, name] = compare(mine, others, arm.samples[name] if arm else None)
    return comparisons


def did_same_work(sides: Sequence[Side]) -> bool:
    """Whether what counts did the work that was planned, and so as much as what was planned to do the same."""
    return all(set(side.work) <= {side.variant.work} for side in sides if side.variant.work is not None)


def time_paths(sweep: Sweep) -> dict[str, PathTime]:
    """What each variant that is launched in turn took, by its name."""
    return {
        variant.name: _path_time([trial for trial in sweep.trials if trial.variant == variant.name])
        for variant in sweep.plan.variants
        if variant.in_turn
    }


def _side(sweep: Sweep, variant: Variant, baseline: str, row: Row, measures: Sequence[Measure]) -> Side:
    trials = [trial for trial in sweep.trials if trial.variant == variant.name and not trial.warmup]
    measured = [trial for trial in trials if trial.measured]
    samples = {measure.name: _samples(measured, measure) for measure in measures}
    if len(variant.locations) > 1:
        samples[CODE_SERVER.name] = {}  # that of one location, chosen at random, is not what the side has
    medians = {name: median(list(values.values())) if values else None for name, values in samples.items()}
    lag_s = medians[LAG.name]
    prediction = sweep.plan.predictions_s.get(variant.name)
    return Side(
        variant=variant,
        baseline=None if baseline == variant.name else baseline,
        n=row.n,
        trials=row.trials,
        outcomes=row.outcomes,
        undone=sum(_lacks_work(trial, variant.work) for trial in trials),
        work=tuple(sorted({trial.launch.work for trial in measured})),
        lag_s=lag_s,
        measures=medians,
        samples=samples,
        stages_s=row.stages_s,
        load_s=_load_s(sweep, variant),
        server_bytes=_server_bytes(sweep, variant),
        prediction=prediction,
        prediction_error=_error(prediction, lag_s),
    )


def _error(prediction: Prediction | None, measured: Estimate | None) -> float | None:
    if prediction is None or measured is None or not measured.value:
        return None
    return (measured.value - prediction.value) / measured.value


def _samples(trials: Iterable[Trial], measure: Measure) -> dict[int, float]:
    return {trial.block: value for trial in trials if (value := measure.of(trial)) is not None}


def _lacks_work(trial: Trial, planned: int | None) -> bool:
    return trial.outcome is Outcome.FAILED and planned is not None and trial.launch.work != planned


def _places(sweep: Sweep, variant: Variant) -> list[tuple[str, str]]:
    """The deployment and the name of each of its locations."""
    deployment = next((trial.deployment for trial in sweep.plan.trials if trial.variant == variant.name), "")
    return [(deployment, location) for location in variant.locations]


def _load_s(sweep: Sweep, variant: Variant) -> float | None:
    known = sweep.plan.places
    return _total([known[place].load_s if place in known else None for place in _places(sweep, variant)])


def _server_bytes(sweep: Sweep, variant: Variant) -> float | None:
    sizes: defaultdict[tuple[str, str], list[float]] = defaultdict(list)
    for trial in sweep.trials:
        if (size := trial.usage.get("code_server_bytes")) is not None:
            sizes[trial.deployment, trial.location].append(size)
    return _total([median(sizes[place]).value if place in sizes else None for place in _places(sweep, variant)])


def _path_time(trials: Sequence[Trial]) -> PathTime:
    ok = [trial for trial in trials if trial.outcome is Outcome.OK]
    return PathTime(
        total_s=_total([seconds(trial.launch.work_us) for trial in ok]) if len(ok) == len(trials) else None,
        ok=len(ok),
        of=len(trials),
    )


def _total(parts: Sequence[float | None]) -> float | None:
    """The sum; None where a part of it is not known, or there is none."""
    known = [part for part in parts if part is not None]
    return sum(known) if known and len(known) == len(parts) else None
