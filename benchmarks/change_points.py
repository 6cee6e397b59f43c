"""Does monitoring find a lasting shift soon, and is it rarely alarmed by nothing? A simulation with known truth.

    python -m benchmarks.change_points [--output benchmarks/results/change_points.md]

Draws histories of launches: a level of 4 s with 10 % noise, and a queue wait that is uniform over 0 to 5 s. As the
history of a location does, it leaves the wait out. The noise is normal, lognormal, or heavy-tailed: Student's t with 3
degrees of freedom, and one of twenty launches delayed by 4 s on average. Its standard deviation is 10 %, delays apart.
Points arrive one after the other, and each of them is looked at.

- Shifts: after so many quiet points the level rises, or falls, by 20 % for good. It is found if a change near its place
  is shown once 15 points of the new level have arrived. At least 95 of 100 have to be, after 100 quiet points or more.
- Quiet: histories of 1,000 points without a shift. Every alarm counts as false, also if later points take it back. At
  most 1 per 1,000 points is allowed for the startup time, and 1 for it and all stages of a location together.
- Informative: fewer quiet points; heavy tails whose middle half, not their standard deviation, is that of normal noise;
  the wait left in; noise of which neighbours resemble each other; the range of the place with several shifts.

`--limits` instead simulates `statistics.changes.LIMITS`: the largest statistic in a quiet series of 1,000 points.

Exits with 1 if a limit is missed. It takes about two minutes.
"""

import sys
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from math import exp
from pathlib import Path
from statistics import fmean, median

import click
import numpy as np
import numpy.typing as npt

from bench_orchestrator.model.stages import LAG_STAGES
from bench_orchestrator.report.text import table
from bench_orchestrator.statistics import ChangePoint, find_changes
from bench_orchestrator.statistics.changes import LIMITS, QUIET, find_alarms, watch

LEVEL_S, SPREAD, WAIT_S = 4.0, 0.1, 5.0
WITHIN = 15
"""Points of the new level until a shift has to be found."""
LEAST_FOUND = 0.95
MOST_FALSE = 1.0
"""Per 1,000 quiet points."""
ENOUGH = 100
"""Quiet points from which on the limit of found shifts holds: a day of the monitor."""
BEFORE = (20, 30, 60, ENOUGH, 500)
QUIET_POINTS = 1_000
RESEMBLANCES = (0.2, 0.5)
"""Correlations of neighbouring points."""

Floats = npt.NDArray[np.float64]
Noise = Callable[[np.random.Generator, int], Floats]
"""Draws factors of the level, for so many points."""


def normal(rng: np.random.Generator, points: int) -> Floats:
    """Draw factors with a standard deviation of 10 %."""
    return 1 + SPREAD * rng.standard_normal(points)


def lognormal(rng: np.random.Generator, points: int) -> Floats:
    """Draw factors whose logarithms have a standard deviation of 10 %."""
    return rng.lognormal(sigma=SPREAD, size=points)


def heavy_tailed(rng: np.random.Generator, points: int, scale: float = 3**-0.5) -> Floats:
    """Draw factors with Student's t and delays; by default, the former has a standard deviation of 10 %."""
    delays = (rng.random(points) < 0.05) * rng.exponential(1.0, points)
    return np.asarray(1 + scale * SPREAD * rng.standard_t(3, points) + delays)


def wide_middle(rng: np.random.Generator, points: int) -> Floats:
    """Draw the same with the quartiles of normal noise: its standard deviation is 15 %, delays apart."""
    return heavy_tailed(rng, points, 0.882)


def resembling(correlation: float) -> Noise:
    """Return normal noise in which neighbouring points have this correlation."""

    def draw(rng: np.random.Generator, points: int) -> Floats:
        fresh = rng.standard_normal(points)
        values = [fresh[0]]
        for one in fresh[1:]:
            values.append(correlation * values[-1] + (1 - correlation**2) ** 0.5 * one)
        return 1 + SPREAD * np.array(values)

    return draw


NOISES: Mapping[str, Noise] = {"normal": normal, "lognormal": lognormal, "heavy-tailed": heavy_tailed}


@dataclass(frozen=True)
class Shift:
    """The shares of histories with one shift in which it was found."""

    noise: str
    factor: float
    before: int
    found: float
    noticed_after: float
    """Median number of points of the new level with which it was noticed."""
    limited: bool

    @property
    def is_missed(self) -> bool:
        """Whether fewer were found than the limit allows."""
        return self.limited and self.found < LEAST_FOUND


@dataclass(frozen=True)
class Quiet:
    """The false alarms in histories without a shift."""

    noise: str
    watched: str
    points: int
    per_1000: float
    shown_per_1000: float
    """Those that are shown at the end of a history."""
    limited: bool

    @property
    def is_missed(self) -> bool:
        """Whether there were more than the limit allows."""
        return self.limited and self.per_1000 > MOST_FALSE


@dataclass(frozen=True)
class Places:
    """How well changes are located, in histories with several shifts."""

    noise: str
    apart: int
    """Points between two shifts."""
    all_found: float
    """The share of histories with as many changes as shifts, each near one."""
    in_range: float
    exact: float
    width: float
    """Median number of points in the range."""


def is_near(change: ChangePoint, place: int) -> bool:
    """Return whether a change may be the shift at a place."""
    return abs(change.index - place) < WITHIN


def shifts(rng: np.random.Generator, sets: int) -> Iterator[Shift]:
    """Yield the shares of shifts that are found."""
    for name, noise in {**NOISES, "heavy-tailed, wide middle": wide_middle}.items():
        for factor in (1.2, 0.8):
            for before in BEFORE:
                yield _shift(rng, sets, name, noise, factor, before)
    yield _shift(rng, sets, "normal, with the wait", _with_wait, 1.2, ENOUGH)


def _with_wait(rng: np.random.Generator, points: int) -> Floats:
    return normal(rng, points) + rng.uniform(0, WAIT_S / LEVEL_S, points)


def _shift(rng: np.random.Generator, sets: int, name: str, noise: Noise, factor: float, before: int) -> Shift:
    level = np.repeat([1.0, factor], [before, WITHIN])
    after: list[int] = []
    for _ in range(sets):
        startups_s = LEVEL_S * level * noise(rng, len(level))
        found = [one for one in find_changes(startups_s.tolist()) if one.noticed >= before and is_near(one, before)]
        after += [one.noticed - before + 1 for one in found[:1]]
    limited = before >= ENOUGH and name in NOISES
    return Shift(name, factor, before, len(after) / sets, median(after) if after else float("nan"), limited)


def quiet(rng: np.random.Generator, sets: int) -> Iterator[Quiet]:
    """Yield the rates of false alarms."""
    stages = len(LAG_STAGES)
    for name, noise in NOISES.items():
        of_startup = _quiet(rng, sets, name, noise, "startup time", 1, QUIET)
        of_stages = _quiet(rng, sets, name, noise, f"{stages} stages", stages, stages * QUIET)
        yield of_startup
        yield of_stages
        yield Quiet(
            name,
            "both together",
            of_startup.points,
            of_startup.per_1000 + of_stages.per_1000,
            of_startup.shown_per_1000 + of_stages.shown_per_1000,
            limited=True,
        )
    for correlation in RESEMBLANCES:
        name = f"normal, neighbours correlated by {correlation:g}"
        yield _quiet(rng, sets // 4, name, resembling(correlation), "startup time", 1, QUIET)


def _quiet(rng: np.random.Generator, sets: int, name: str, noise: Noise, watched: str, series: int, rare: int) -> Quiet:
    alarms = shown = 0
    for _ in range(sets):
        startups_s = (LEVEL_S * noise(rng, QUIET_POINTS)).tolist()
        raised = len(find_alarms(startups_s, rare))
        alarms += raised
        shown += len(find_changes(startups_s, rare)) if raised else 0
    thousands = sets * QUIET_POINTS / 1_000
    limited = name in NOISES and series == 1
    return Quiet(name, watched, sets * QUIET_POINTS, series * alarms / thousands, series * shown / thousands, limited)


def places(rng: np.random.Generator, sets: int) -> Iterator[Places]:
    """Yield how well several shifts are located: up, back, down and back, by 20 % each."""
    for name, noise in NOISES.items():
        for apart in (30, 60, 200):
            level = np.repeat([1.0, 1.2, 1.0, 0.8, 1.0], apart)
            truth = [apart * number for number in range(1, 5)]
            complete = 0
            pairs: list[tuple[int, ChangePoint]] = []
            for _ in range(sets):
                found = find_changes((LEVEL_S * level * noise(rng, len(level))).tolist())
                if len(found) == len(truth) and all(map(is_near, found, truth)):
                    complete += 1
                    pairs += zip(truth, found, strict=True)
            yield Places(
                name,
                apart,
                complete / sets,
                fmean(one.first <= place <= one.last for place, one in pairs) if pairs else float("nan"),
                fmean(one.index == place for place, one in pairs) if pairs else float("nan"),
                median(one.last - one.first + 1 for _, one in pairs) if pairs else float("nan"),
            )


def simulate_limits(rng: np.random.Generator, sets: int) -> Iterator[tuple[int, float]]:
    """Yield the limit that a quiet series exceeds once per so many points."""
    most = [max(float(squares.max()) for squares in watch(rng.random(QUIET_POINTS))) ** 0.5 for _ in range(sets)]
    for points in LIMITS:
        yield points, float(np.quantile(most, exp(-QUIET_POINTS / points)))


def render(found: Sequence[Shift], alarms: Sequence[Quiet], located: Sequence[Places], sets: int) -> str:
    """Render the figures as a page of Markdown; the first sentence states the worst of each claim."""
    fewest = min(one.found for one in found if one.limited)
    of_startup, of_all = (
        max(one.per_1000 for one in alarms if one.limited and (one.watched == "both together") == together)
        for together in (False, True)
    )
    shift_rows = [
        [one.noise, f"{one.factor:g}", str(one.before), _percent(one.found), f"{one.noticed_after:.0f}"]
        for one in found
    ]
    quiet_rows = [
        [one.noise, one.watched, f"{one.points:,}", f"{one.per_1000:.2f}", f"{one.shown_per_1000:.2f}"]
        for one in alarms
    ]
    place_rows = [
        [
            one.noise,
            str(one.apart),
            _percent(one.all_found),
            _percent(one.in_range),
            _percent(one.exact),
            f"{one.width:.0f}",
        ]
        for one in located
    ]
    return f"""# How soon a shift is found, and how often there is none

What `python -m benchmarks.change_points` wrote: {sets:,} simulated histories a row.

**After {ENOUGH} quiet points or more, a lasting shift of 20 % at 10 % noise is found within {WITHIN} points in
{_percent(fewest)} of 100 histories or more. Of 1,000 quiet points, at most {of_startup:.2f} raise a false alarm for the
startup time, and at most {of_all:.2f} for it or one of the stages of the location.** Found means shown with the
{WITHIN}th point of the new level. A false alarm counts even if later points take it back.

{table(_SHIFT_HEADS, shift_rows)}

{table(_QUIET_HEADS, quiet_rows)}

With four shifts in turn (up, back, down and back):

{table(_PLACE_HEADS, place_rows)}
"""


_SHIFT_HEADS = ("noise", "level times", "quiet points before", "found, %", "noticed with point, median")
_QUIET_HEADS = ("noise", "watched", "quiet points", "false alarms per 1,000", "of which shown at the end")
_PLACE_HEADS = ("noise", "points apart", "all found, %", "place in the range, %", "exact, %", "points in the range")


def _percent(share: float) -> str:
    return f"{100 * share:.1f}"


@click.command(help=f"\b\n{__doc__}")
@click.option("--sets", default=500, show_default=True, help="Histories a row.")
@click.option("--seed", default=1, show_default=True, help="Seed of the draws.")
@click.option("--output", type=click.Path(dir_okay=False, path_type=Path), help="Write the page to this file.")
@click.option("--limits", is_flag=True, help="Simulate the table of limits instead.")
def main(sets: int, seed: int, output: Path | None, limits: bool) -> None:
    rng = np.random.default_rng(seed)
    if limits:
        for points, limit in simulate_limits(rng, sets):
            click.echo(f"{points:,}: {limit:.3f}")
        return
    found, alarms, located = list(shifts(rng, sets)), list(quiet(rng, sets)), list(places(rng, sets // 4))
    page = render(found, alarms, located, sets)
    if output:
        output.write_text(page, encoding="utf-8")
    click.echo(page)
    outcomes: list[Shift | Quiet] = [*found, *alarms]
    missed = [one for one in outcomes if one.is_missed]
    for one in missed:
        click.echo(f"beyond its limit: {one}", err=True)
    sys.exit(1 if missed else 0)


if __name__ == "__main__":
    main()
