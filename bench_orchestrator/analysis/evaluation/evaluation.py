"""The evaluation of an experiment's sweep, as shown by reports, charts and the asset catalog."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

from bench_orchestrator.analysis import wording
from bench_orchestrator.analysis.evaluation.sides import (
    PathTime,
    Side,
    compare_sides,
    did_same_work,
    find_overtakers,
    find_sides,
    time_paths,
)
from bench_orchestrator.analysis.evaluation.verdicts import Verdicts, state_paths
from bench_orchestrator.analysis.summary import sweep_rows
from bench_orchestrator.analysis.wording import quote
from bench_orchestrator.model.launch import Sweep
from bench_orchestrator.scenarios.experiment import (
    CODE_SERVER,
    COMMON_MEASURES,
    MEBIBYTE,
    STARTUP,
    Ahead,
    Experiment,
    Measure,
)
from bench_orchestrator.scenarios.registry import EXPERIMENTS
from bench_orchestrator.statistics import Comparison, Estimate, Verdict


@dataclass(frozen=True)
class Cost:
    """A quantity other than the headline, for every side where it was measured."""

    name: str
    label: str
    unit: str
    values: Mapping[str, Estimate]
    """By side."""
    verdicts: Mapping[str, Verdict]
    """By side, for the sides that were compared by it; faster means less."""

    @property
    def differs(self) -> bool:
        """Whether the largest and the smallest value differ by more than 5 %."""
        values = [value.value for value in self.values.values()]
        return max(values) > 1.05 * min(values)


@dataclass(frozen=True)
class Evaluation:
    """The results of an experiment's sweep."""

    experiment: Experiment
    sweep: Sweep
    measures: tuple[Measure, ...]
    """What the sides are compared by: the common measures, and those of this experiment."""
    sides: tuple[Side, ...]
    """In the plan's order, each baseline followed by its A/A arm; variants launched in turn are not included."""
    paths: Mapping[str, PathTime]
    """The variants launched in turn, by name."""
    comparisons: Mapping[tuple[str, str], Comparison]
    """Each side compared with its baseline, by side and measure; missing if they share no block. Those of the A/A
    arms show the noise."""
    same_work: bool
    """Whether every measured launch did the work that its side's plan asks for."""
    work: str
    """A sentence about what a launch of each side materialized."""
    answer: str
    """The verdict in a sentence: which side is fastest and by how much, that none is shown to be, or which are
    undecided and how many more blocks are needed."""
    overtakers: tuple[str, ...]
    """A sentence about each side that was not behind the one that has to be ahead in its block; empty if all were."""
    sentences: tuple[str, ...]
    """Further findings: the dominant stage, the noise, refuted expectations, paths, failures."""

    @property
    def groups(self) -> tuple[tuple[Side, ...], ...]:
        """Each baseline with its A/A arm and the sides compared with it, in the plan's order."""
        baselines = {side.baseline for side in self.sides}
        groups: dict[str, list[Side]] = {}
        for side in self.sides:
            head = side.name if side.name in baselines or side.baseline is None else side.baseline
            groups.setdefault(head, []).append(side)
        return tuple(map(tuple, groups.values()))

    @property
    def shortfalls(self) -> tuple[str, ...]:
        """Sentences about the sides that did not do their work, or were not as they have to be; empty if all were."""
        sides = (
            f"{quote(side.name)}: {side.n} of {side.trials} launches count, {side.undone} did not do their work"
            for side in self.sides
            if side.undone or not side.n
        )
        paths = (
            f"{quote(name)}: {path.ok} of {path.of} launches succeeded"
            for name, path in self.paths.items()
            if path.ok < path.of or not path.of
        )
        return (*sides, *paths, *self.overtakers, *(() if self.same_work else (self.work,)))

    @property
    def caveats(self) -> tuple[str, ...]:
        """Sentences about the limits of the sweep's validity."""
        quick = "Measured at the reduced size of --quick: the differences are not those of the full size."
        early = f"The sweep did not finish ({self.sweep.status})."
        settings, complete = self.sweep.plan.settings, self.sweep.status == "complete"
        return (*([quick] if settings.get("quick") else []), *([] if complete else [early]))

    @property
    def basis(self) -> str:
        """The launches per side and the coverage of the intervals behind the headline."""
        found = [found.difference for (_, by), found in self.comparisons.items() if by == self.experiment.headline.name]
        covered = [round(100 * difference.coverage) for difference in found if difference.low is not None]
        text = f"Launches per side: n = {wording.span_of([side.n for side in self.sides])}"
        return f"{text}; intervals of differences cover {wording.span_of(covered)} %" if covered else text

    @property
    def costs(self) -> tuple[Cost, ...]:
        """The measured quantities other than the headline; code servers are summed for each side."""
        costs = [
            Cost(
                measure.name,
                measure.label,
                measure.unit,
                {side.name: value for side in self.sides if (value := side.measures[measure.name])},
                {name: found.verdict for (name, by), found in self.comparisons.items() if by == measure.name},
            )
            for measure in self.measures
            if measure not in (self.experiment.headline, self.experiment.headline.with_wait, CODE_SERVER)
        ]
        memory = {side.name: _total(side.server_bytes / MEBIBYTE) for side in self.sides if side.server_bytes}
        start = {side.name: _total(side.load_s) for side in self.sides if side.load_s}
        costs += [
            Cost("servers_bytes", "memory of its code servers", "MiB", memory, {}),
            Cost("load_s", "start of its code servers", "s", start, {}),
        ]
        return tuple(cost for cost in costs if cost.values)

    def lead(self, measure: Measure) -> str:
        """Return a short answer by one measure; empty if nothing was compared by it."""
        return Verdicts(self.experiment, self.sides, self.comparisons).lead(measure)


def _kept(experiment: Experiment, sweep: Sweep) -> str:
    """State what was kept in every measured trial with several runs: elsewhere a trial has failed."""
    limits = [limit for variant in sweep.plan.variants if variant.workload for limit in variant.workload.limits]
    kept = [*dict.fromkeys(limit.name for limit in limits), *([experiment.gate.what] if experiment.gate else [])]
    measured = sum(trial.measured for trial in sweep.trials)
    if not kept or not measured:
        return ""
    return f"Kept at every instant of the event log, in each of {measured} measured trials: {', '.join(kept)}"


def _ahead(ahead: Ahead, sides: Sequence[Side]) -> str:
    """State in how many blocks a side was ahead of all others; empty if it shares no block with any of them."""
    name = ahead.measure.name
    first = {block for side in sides if side.name == ahead.side for block in side.samples[name]}
    shared = first & {block for side in sides if side.name != ahead.side for block in side.samples[name]}
    if not shared:
        return ""
    blocks = "one block" if len(shared) == 1 else f"each of {len(shared)} blocks"
    return f"{quote(ahead.side)} was ahead of every other side in {blocks}: {ahead.measure.label}"


def _total(value: float) -> Estimate:
    """Wrap a sum of medians, which has no interval."""
    return Estimate(value, None, None, coverage=0.0, n=1)


def is_experiment(sweep: Sweep) -> bool:
    """Return whether a sweep can be evaluated: it has variants, and its experiment is still defined."""
    return bool(sweep.plan.variants) and sweep.plan.scenario in EXPERIMENTS


def evaluate(sweep: Sweep) -> Evaluation:
    """Evaluate an experiment's sweep, finished or not.

    Raises:
        ValueError: its scenario is not an experiment.
    """
    experiment = EXPERIMENTS.get(sweep.plan.scenario)
    if experiment is None:
        raise ValueError(f"{sweep.plan.scenario!r} is not an experiment. Experiments: {', '.join(EXPERIMENTS)}.")
    measures = (*COMMON_MEASURES, *experiment.measures)
    sides = find_sides(sweep, measures)
    comparisons = compare_sides(sides, measures)
    same_work = did_same_work(sides)
    paths = time_paths(sweep)
    verdicts = Verdicts(experiment, sides, comparisons)
    work = verdicts.work(same=same_work)
    overtakers = tuple(find_overtakers(experiment.ahead, sides)) if experiment.ahead else ()
    sentences = (
        wording.dominance_in_seconds(sweep_rows(sweep, in_turn=False)),
        wording.queue_wait(sweep.plan.dequeue_interval_s) if experiment.headline is STARTUP else "",
        *verdicts.noise(),
        *verdicts.disappointments(),
        *verdicts.predictions(),
        state_paths(paths),
        work,
        _kept(experiment, sweep),
        *(overtakers or ([_ahead(experiment.ahead, sides)] if experiment.ahead else [])),
        wording.tally(sweep_rows(sweep)),
    )
    return Evaluation(
        experiment=experiment,
        sweep=sweep,
        measures=measures,
        sides=sides,
        paths=paths,
        comparisons=comparisons,
        same_work=same_work,
        work=work,
        overtakers=overtakers,
        answer=verdicts.answer(),
        sentences=tuple(filter(None, sentences)),
    )
