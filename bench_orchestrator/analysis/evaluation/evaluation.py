"""An experiment's sweep, evaluated: everything that the report, the charts and the catalog say of it."""

from collections.abc import Mapping
from dataclasses import dataclass

from bench_orchestrator.analysis import wording
from bench_orchestrator.analysis.evaluation.sides import (
    PathTime,
    Side,
    compare_sides,
    did_same_work,
    find_sides,
    time_paths,
)
from bench_orchestrator.analysis.evaluation.verdicts import Verdicts, state_paths
from bench_orchestrator.analysis.summary import sweep_rows
from bench_orchestrator.analysis.wording import quote
from bench_orchestrator.model.launch import Sweep
from bench_orchestrator.scenarios.experiments import COMMON_MEASURES, EXPERIMENTS, LAG, Experiment, Measure
from bench_orchestrator.scenarios.experiments.experiment import CODE_SERVER, MEBIBYTE
from bench_orchestrator.statistics import Comparison, Estimate, Verdict


@dataclass(frozen=True)
class Cost:
    """A quantity beside the headline, of every side that it was measured of."""

    name: str
    label: str
    unit: str
    values: Mapping[str, Estimate]
    """By the side's name."""
    verdicts: Mapping[str, Verdict]
    """Of the sides that were compared by it; faster stands for less."""

    @property
    def differs(self) -> bool:
        """Whether the sides are further than 5 % apart in it."""
        values = [value.value for value in self.values.values()]
        return max(values) > 1.05 * min(values)


@dataclass(frozen=True)
class Evaluation:
    """What an experiment's sweep says."""

    experiment: Experiment
    sweep: Sweep
    measures: tuple[Measure, ...]
    """What the sides are compared by: the lag, what every experiment records, and what this one is about."""
    sides: tuple[Side, ...]
    """In the plan's order, each baseline followed by its A/A arm; without what is launched in turn."""
    paths: Mapping[str, PathTime]
    """What is launched in turn, by its variant's name."""
    comparisons: Mapping[tuple[str, str], Comparison]
    """Each side with its baseline, by the side's name and the measure's; missing where they share no block. An A/A
    arm's own are among them: they are the noise."""
    same_work: bool
    """Whether what counts did as much work as was planned, and as what it is compared with."""
    work: str
    """What a launch of each side materialized, in a sentence."""
    answer: str
    """The verdict in a sentence: which side is fastest and by how much, or that none is shown to be, or what is
    undecided and how many more blocks would tell."""
    sentences: tuple[str, ...]
    """What else there is to say: what dominates, the noise, what was expected and is not so, paths, failures."""

    @property
    def groups(self) -> tuple[tuple[Side, ...], ...]:
        """Each baseline with its A/A arm and the sides that are compared with it, in the plan's order."""
        baselines = {side.baseline for side in self.sides}
        groups: dict[str, list[Side]] = {}
        for side in self.sides:
            head = side.name if side.name in baselines or side.baseline is None else side.baseline
            groups.setdefault(head, []).append(side)
        return tuple(map(tuple, groups.values()))

    @property
    def shortfalls(self) -> tuple[str, ...]:
        """Which sides did not do their work, in words; none if they all did."""
        sides = (
            f"{quote(side.name)}: {side.n} of {side.trials} launches count, {side.undone} did not do their work"
            for side in self.sides
            if side.undone or not side.n
        )
        paths = (
            f"{quote(name)}: {path.ok} of {path.of} launches went well"
            for name, path in self.paths.items()
            if path.ok < path.of or not path.of
        )
        return (*sides, *paths, *(() if self.same_work else (self.work,)))

    @property
    def caveats(self) -> tuple[str, ...]:
        """What the sweep is not, in sentences."""
        quick = "Measured at the size for laptops, which is not what a large code location would gain."
        early = f"The sweep did not run to its end ({self.sweep.status})."
        settings, complete = self.sweep.plan.settings, self.sweep.status == "complete"
        return (*([quick] if settings.get("quick") else []), *([] if complete else [early]))

    @property
    def basis(self) -> str:
        """How many launches and what intervals the headline rests on."""
        found = [found.difference for (_, by), found in self.comparisons.items() if by == self.experiment.headline.name]
        covered = [round(100 * difference.coverage) for difference in found if difference.low is not None]
        text = f"Launches per side: n = {wording.span_of([side.n for side in self.sides])}"
        return f"{text}; intervals of differences cover {wording.span_of(covered)} %" if covered else text

    @property
    def costs(self) -> tuple[Cost, ...]:
        """What was measured beside the headline; of code servers, all that a side has, together."""
        costs = [
            Cost(
                measure.name,
                measure.label,
                measure.unit,
                {side.name: value for side in self.sides if (value := side.measures[measure.name])},
                {name: found.verdict for (name, by), found in self.comparisons.items() if by == measure.name},
            )
            for measure in self.measures
            if measure not in (self.experiment.headline, CODE_SERVER)
        ]
        memory = {side.name: _total(side.server_bytes / MEBIBYTE) for side in self.sides if side.server_bytes}
        start = {side.name: _total(side.load_s) for side in self.sides if side.load_s}
        costs += [
            Cost("servers_bytes", "memory of its code servers", "MiB", memory, {}),
            Cost("load_s", "start of its code servers", "s", start, {}),
        ]
        return tuple(cost for cost in costs if cost.values)

    def lead(self, measure: Measure) -> str:
        """The answer by one measure, in few words; empty where nothing was compared by it."""
        return Verdicts(self.experiment, self.sides, self.comparisons).lead(measure)


def _total(value: float) -> Estimate:
    """A sum of medians, which has no interval."""
    return Estimate(value, None, None, coverage=0.0, n=1)


def is_experiment(sweep: Sweep) -> bool:
    """Whether there is something to evaluate: the sweep compares sides of an experiment that is still known."""
    return bool(sweep.plan.variants) and sweep.plan.scenario in EXPERIMENTS


def evaluate(sweep: Sweep) -> Evaluation:
    """Everything that an experiment's sweep says, as far as it came.

    Raises:
        ValueError: its scenario is no experiment.
    """
    experiment = EXPERIMENTS.get(sweep.plan.scenario)
    if experiment is None:
        raise ValueError(f"{sweep.plan.scenario!r} is no experiment; there is {', '.join(EXPERIMENTS)}.")
    measures = (LAG, *COMMON_MEASURES, *experiment.measures)
    sides = find_sides(sweep, measures)
    comparisons = compare_sides(sides, measures)
    same_work = did_same_work(sides)
    paths = time_paths(sweep)
    verdicts = Verdicts(experiment, sides, comparisons)
    work = verdicts.work(same=same_work)
    sentences = (
        wording.dominance_in_seconds(sweep_rows(sweep, in_turn=False)),
        *verdicts.noise(),
        *verdicts.disappointments(),
        *verdicts.predictions(),
        state_paths(paths),
        work,
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
        answer=verdicts.answer(),
        sentences=tuple(filter(None, sentences)),
    )
