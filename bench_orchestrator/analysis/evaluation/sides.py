"""The measured figures of an experiment's sides, and how each compares with its baseline.

Sides are compared within blocks. The baseline is launched twice in each block, which shows the noise.
"""

from collections import defaultdict
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass

from bench_orchestrator.analysis.summary import Row, sweep_rows
from bench_orchestrator.analysis.wording import quote
from bench_orchestrator.model.launch import Outcome, Sweep, Trial
from bench_orchestrator.model.plan import Prediction, Variant, again
from bench_orchestrator.model.stages import Stage
from bench_orchestrator.scenarios.experiment import CODE_SERVER, LAG, STARTUP, Ahead, Measure, seconds
from bench_orchestrator.statistics import Comparison, Estimate, compare, median


@dataclass(frozen=True)
class Side:
    """The measurements of one variant of an experiment."""

    variant: Variant
    baseline: str | None
    """The variant that it is compared with; None for a baseline."""
    n: int
    """Measured launches."""
    trials: int
    """Planned launches, warm-ups left out."""
    outcomes: Mapping[Outcome, int]
    """Planned launches by outcome; every outcome is a key."""
    undone: int
    """Planned launches that failed without doing their work."""
    work: tuple[int, ...]
    """Units of work that a measured launch materialized: one number, unless the launches differ."""
    lag_s: Estimate | None
    measures: Mapping[str, Estimate | None]
    """The median of the lag and of every other measure, by name."""
    samples: Mapping[str, Mapping[int, float]]
    """For each measure, the value in every block that has one."""
    stages_s: Mapping[Stage, Estimate | None]
    load_s: float | None
    """The total start time of the code servers of its locations, in seconds; None if one is unknown."""
    server_bytes: float | None
    """The total memory of these code servers: the sum of their medians; None if one was never measured."""
    prediction: Prediction | None
    """The prediction of the startup time."""
    prediction_error: float | None
    """(measured - predicted) / measured, of the median startup time."""

    @property
    def name(self) -> str:
        """The variant's name."""
        return self.variant.name

    @property
    def failures(self) -> dict[Outcome, int]:
        """The counts of the outcomes other than ok."""
        return {outcome: count for outcome, count in self.outcomes.items() if outcome is not Outcome.OK}

    @property
    def is_again(self) -> bool:
        """Whether this is the A/A arm: a baseline launched a second time."""
        return self.variant.name == again(self.variant.against)


@dataclass(frozen=True)
class PathTime:
    """The time of a variant launched in turn, once, from its first location to its last."""

    total_s: float | None
    """The sum of the times from each request until its work was done, without the pauses in between. None unless
    every launch succeeded."""
    ok: int
    """Launches that succeeded."""
    of: int
    """All launches of the path."""


def find_sides(sweep: Sweep, measures: Sequence[Measure]) -> tuple[Side, ...]:
    """Return every variant that is compared, in the plan's order."""
    variants = sweep.plan.variants
    rows = {row.variant: row for row in sweep_rows(sweep)}
    return tuple(
        _side(sweep, variant, variant.against or variants[0].name, rows[variant.name], measures)
        for variant in variants
        if not variant.in_turn
    )


def compare_sides(sides: Sequence[Side], measures: Sequence[Measure]) -> dict[tuple[str, str], Comparison]:
    """Compare each side with its baseline by each measure; keyed by side and measure, if they share a block."""
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


def find_overtakers(ahead: Ahead, sides: Sequence[Side]) -> Iterator[str]:
    """Yield a sentence for each block and side that was not behind the side that has to be ahead."""
    measure = ahead.measure
    first = next((side.samples[measure.name] for side in sides if side.name == ahead.side), {})
    for side in sides:
        for block, value in side.samples[measure.name].items():
            if side.name != ahead.side and block in first and value <= first[block]:
                yield (
                    f"{quote(side.name)} was not behind {quote(ahead.side)} in block {block}: {measure.label} "
                    f"{value:.3f} against {first[block]:.3f} {measure.unit}"
                )


def did_same_work(sides: Sequence[Side]) -> bool:
    """Return whether every measured launch did the planned work, so that sides with equal plans are comparable."""
    return all(set(side.work) <= {side.variant.work} for side in sides if side.variant.work is not None)


def time_paths(sweep: Sweep) -> dict[str, PathTime]:
    """Return the times of the variants launched in turn, by name."""
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
        samples[CODE_SERVER.name] = {}  # a launch measures one of the side's servers, not all of them
    medians = {name: median(list(values.values())) if values else None for name, values in samples.items()}
    lag_s = medians[LAG.name]
    prediction = sweep.plan.predicted_startups_s.get(variant.name)
    return Side(
        variant=variant,
        baseline=None if baseline == variant.name else baseline,
        n=row.n,
        trials=row.trials,
        outcomes=row.outcomes,
        undone=sum(_lacks_work(trial, variant.work) for trial in trials),
        work=tuple(sorted({trial.work for trial in measured})),
        lag_s=lag_s,
        measures=medians,
        samples=samples,
        stages_s=row.stages_s,
        load_s=_load_s(sweep, variant),
        server_bytes=_server_bytes(sweep, variant),
        prediction=prediction,
        prediction_error=_error(prediction, medians[STARTUP.name]),
    )


def _error(prediction: Prediction | None, measured: Estimate | None) -> float | None:
    if prediction is None or measured is None or not measured.value:
        return None
    return (measured.value - prediction.value) / measured.value


def _samples(trials: Iterable[Trial], measure: Measure) -> dict[int, float]:
    return {trial.block: value for trial in trials if (value := measure.of(trial)) is not None}


def _lacks_work(trial: Trial, planned: int | None) -> bool:
    return trial.outcome is Outcome.FAILED and planned is not None and trial.work != planned


def _places(sweep: Sweep, variant: Variant) -> list[tuple[str, str]]:
    """Return the deployment and the name of each location of a variant."""
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
    """Return the sum; None if a part is unknown or there are none."""
    known = [part for part in parts if part is not None]
    return sum(known) if known and len(known) == len(parts) else None
