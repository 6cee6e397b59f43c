"""Do intervals contain the truth as often as they claim, and are chance differences rare enough?

    python -m benchmarks.statistics_coverage [--sets 2000] [--seed 1] [--only gates] [--json]

Draws data sets whose truth is known, and counts. Launch times have three distributions: a floor plus lognormal work;
the same plus a queue wait, uniform between 0 and 5 s; the same plus an outlier in one of twenty launches. Blocks drift
together or not. Sides differ by a shift, by a factor, or not at all; the truth is the difference (ratio) of their true
medians. Lines and bends have noise that is the same at every size or grows fourfold. Gates have the truth at their
limit.

Each share of the data sets has a minimum or maximum: the interval's own claim or, where a docstring states a weaker
one, that. A table row combines the truths with a common limit and names the one closest to it. Exits with 1 if a share
misses its limit by more than four standard errors of counting this many data sets. With more than 400 shares, every
other run would by chance have one beyond three.
"""

import json
import sys
from collections import defaultdict
from collections.abc import Callable, Iterator, Sequence
from dataclasses import asdict, dataclass
from itertools import product
from math import sqrt
from statistics import fmean

import click
import numpy as np
import numpy.typing as npt
from rich.console import Console
from rich.table import Table

from bench_orchestrator.analysis.gate import CONFIDENCE, WRONG, Ruling, confidence_of_each, rule
from bench_orchestrator.statistics import (
    Estimate,
    Verdict,
    compare,
    compare_unpaired,
    difference,
    find_bend,
    fit_line,
    median,
    paired_difference,
    paired_ratio,
    ratio,
)

SETS = 2_000
COUNTS = (5, 10, 30)
"""Blocks, or launches of each side."""
GATE_COUNTS = (6, 9, 30)
"""Launches of each side for a gate; six are the fewest."""
FALSE_VERDICT_SETS = 3
"""Multiplies the data sets of rows whose true share is right at the limit."""
FALSE_CALLS = 0.05
"""The maximum share of false calls: a difference, or a bend, where there is none."""
STANDARD_ERRORS = 4

SIZES = (250.0, 500.0, 2_000.0, 5_000.0, 10_000.0)
ASSETS_S = 0.001
FLOOR_S = 5.0
NOISE_GROWTHS = (1, 4)
"""The noise at 10,000 assets, as a multiple of the noise at none."""

Floats = npt.NDArray[np.float64]
Draw = Callable[[np.random.Generator, tuple[int, ...]], Floats]
"""Draws launch times in seconds, of a given shape."""


def work_s(rng: np.random.Generator, shape: tuple[int, ...]) -> Floats:
    """Draw a floor of 2 s plus work with a median of 1 s."""
    return 2 + rng.lognormal(sigma=0.5, size=shape)


def queued_s(rng: np.random.Generator, shape: tuple[int, ...]) -> Floats:
    """Draw the same plus a queue wait."""
    return work_s(rng, shape) + rng.uniform(0, 5, shape)


def disturbed_s(rng: np.random.Generator, shape: tuple[int, ...]) -> Floats:
    """Draw the same, with one of twenty delayed by 15 s on average."""
    return queued_s(rng, shape) + (rng.random(shape) < 0.05) * rng.exponential(15, shape)


def steady_s(rng: np.random.Generator, shape: tuple[int, ...]) -> Floats:
    """Draw 6 s with 5 % noise."""
    return 6 * rng.lognormal(sigma=0.05, size=shape)


DRAWS: dict[str, Draw] = {"work": work_s, "work, wait": queued_s, "work, wait, outliers": disturbed_s}


@dataclass(frozen=True)
class Share:
    """The share of data sets for which something held."""

    what: str
    truth: str
    n: str
    hits: int
    sets: int
    limit: float | None
    """None if the share is only informative."""
    at_most: bool = False

    @property
    def share(self) -> float:
        """0 to 1; NaN without data sets."""
        return self.hits / self.sets if self.sets else float("nan")

    @property
    def beyond(self) -> float:
        """The distance beyond the limit; negative if the limit holds."""
        if self.limit is None or not self.sets:
            return 0.0
        return self.share - self.limit if self.at_most else self.limit - self.share

    @property
    def missed(self) -> bool:
        """Whether the distance is more than counting error explains."""
        error = sqrt(self.limit * (1 - self.limit) / self.sets) if self.limit and self.sets else 0.0
        return self.beyond > STANDARD_ERRORS * error


def covered(what: str, truth: str, n: str, estimates: Sequence[Estimate], value: float, less: float = 0.0) -> Share:
    """Count the estimates that contain the true value; `less` is the documented deficit from the claimed coverage."""
    limit = fmean(estimate.coverage for estimate in estimates) - less if estimates else None
    return Share(what, truth, n, sum(holds(estimate, value) for estimate in estimates), len(estimates), limit)


def holds(estimate: Estimate, value: float) -> bool:
    """Return whether the interval contains the value; an open end has no bound."""
    return estimate.low is not None and estimate.low <= value and (estimate.high is None or value <= estimate.high)


def true_median(draw: Draw) -> float:
    """Return the distribution's true median, to three digits."""
    return float(np.median(draw(np.random.default_rng(0), (1_000_000,))))


def drift(rng: np.random.Generator, sets: int, n: int) -> Floats:
    """Draw how a machine changes from block to block: a random walk around zero."""
    walk = np.cumsum(rng.normal(size=(sets, n)), axis=1) / sqrt(n)
    return np.asarray(walk - np.median(walk, axis=1, keepdims=True))


def check_medians(rng: np.random.Generator, sets: int) -> Iterator[Share]:
    """Check the interval of a median."""
    for (name, draw), n in product(DRAWS.items(), COUNTS):
        estimates = [median(row) for row in draw(rng, (sets, n)).tolist()]
        yield covered("median", name, str(n), estimates, true_median(draw))


def check_differences(rng: np.random.Generator, sets: int) -> Iterator[Share]:
    """Check the intervals of differences and ratios."""
    for (name, draw), n, drifts in product(DRAWS.items(), COUNTS, (False, True)):
        middle = true_median(draw)
        walk = drift(rng, sets, n) if drifts else np.zeros((sets, n))
        for effect in ("+ 1 s", "\N{MULTIPLICATION SIGN} 1.3", "\N{MULTIPLICATION SIGN} 3"):
            side, baseline = draw(rng, (sets, n)), draw(rng, (sets, n))
            amount = float(effect[2:].removesuffix(" s"))
            if effect.startswith("+"):
                side, baseline = side + amount + 1.5 * walk, baseline + 1.5 * walk
                by, times = amount, (middle + amount) / middle
            else:
                side, baseline = side * amount * np.exp(0.3 * walk), baseline * np.exp(0.3 * walk)
                by, times = (amount - 1) * middle, amount
            truth = f"{name}{', drift' if drifts else ''}; {effect}"
            threefold = amount == 3
            pairs = list(zip(side.tolist(), baseline.tolist(), strict=True))
            differences = [paired_difference(*pair) for pair in pairs]
            yield covered("paired difference", truth, str(n), differences, by, 0.01 if threefold else 0.0)
            if (side > 0).all() and (baseline > 0).all():  # additive drift can push values below zero
                yield covered("paired ratio", truth, str(n), [paired_ratio(*pair) for pair in pairs], times)
            if not drifts:
                differences = [difference(*pair) for pair in pairs]
                yield covered("difference", truth, f"{n} + {n}", differences, by, 0.03 if threefold else 0.0)
                yield covered("ratio", truth, f"{n} + {n}", [ratio(*pair) for pair in pairs], times)


def check_verdicts(rng: np.random.Generator, sets: int) -> Iterator[Share]:
    """Check the verdicts on equal sides and on different sides."""
    for (name, draw), n, drifts in product({**DRAWS, "5 % noise": steady_s}.items(), COUNTS, (False, True)):
        many = FALSE_VERDICT_SETS * sets
        walk = 1.5 * drift(rng, many, n) if drifts else np.zeros((many, n))
        arms = [(draw(rng, (many, n)) + walk).tolist() for _ in range(3)]
        blocks = [[dict(enumerate(samples)) for samples in one] for one in zip(*arms, strict=True)]
        truth = f"{name}{', drift' if drifts else ''}; A/A"
        verdicts = [compare(side, baseline).verdict for side, baseline, _ in blocks]
        yield called("false verdict", truth, str(n), verdicts, FALSE_CALLS)
        verdicts = [compare(*one).verdict for one in blocks]
        yield called("false verdict, A/A arm", truth, str(n), verdicts, FALSE_CALLS)
        if not drifts:
            verdicts = [compare_unpaired(side, baseline).verdict for side, baseline, _ in zip(*arms, strict=True)]
            yield called("false verdict, unpaired", truth, f"{n} + {n}", verdicts, FALSE_CALLS)
    for change, n in product((0.7, 0.9), COUNTS):
        truth = f"5 % noise; \N{MULTIPLICATION SIGN} {change}"
        least = 0.99 if change == 0.7 else None
        arms = [(factor * steady_s(rng, (sets, n))).tolist() for factor in (change, 1, 1)]
        blocks = [[dict(enumerate(samples)) for samples in one] for one in zip(*arms, strict=True)]
        comparisons = [compare(*one) for one in blocks]
        yield found("faster", truth, str(n), [one.verdict for one in comparisons], least)
        verdicts = [compare_unpaired(side, baseline).verdict for side, baseline, _ in zip(*arms, strict=True)]
        yield found("faster, unpaired", truth, f"{n} + {n}", verdicts, least)
    for (name, draw), change in product({"5 % noise": steady_s, **DRAWS}.items(), (1, 0.9, 0.7)):
        decided = list(decide_later(rng, draw, change, sets // 10))
        truth = f"{name}; \N{MULTIPLICATION SIGN} {change}"
        if decided:
            yield Share("decided by more_blocks", truth, "5 + more", sum(decided), len(decided), None)


def decide_later(rng: np.random.Generator, draw: Draw, change: float, sets: int) -> Iterator[bool]:
    """Check whether comparisons that are undecided after 5 blocks are decided with the suggested number of blocks."""
    for _ in range(sets):
        side, baseline = (change * draw(rng, (5,))).tolist(), draw(rng, (5,)).tolist()
        more = compare(dict(enumerate(side)), dict(enumerate(baseline))).more_blocks
        if more is not None and more < 1_000:
            side += (change * draw(rng, (more,))).tolist()
            baseline += draw(rng, (more,)).tolist()
            yield compare(dict(enumerate(side)), dict(enumerate(baseline))).verdict is not Verdict.UNDECIDED


def check_gates(rng: np.random.Generator, sets: int) -> Iterator[Share]:
    """Check the rulings of `bench gate` where they are hardest: with the truth at the limit, and beyond it by a little.

    At the limit itself, a single ruling either way is wrong. With several locations, one that is ruled over is.
    """
    many = FALSE_VERDICT_SETS * sets
    for (name, draw), n in product({**DRAWS, "5 % noise": steady_s}.items(), GATE_COUNTS):
        middle = true_median(draw)
        for places in (1, 3, 7):
            confidence = confidence_of_each(places)
            samples = draw(rng, (many // places, places, n)).tolist()
            rulings = [[rule(median(one, confidence), middle, confidence) for one in gate] for gate in samples]
            yield misjudged("gate, limit", f"{name}; at the limit", f"{places} \N{MULTIPLICATION SIGN} {n}", rulings)
        confidence = confidence_of_each(1)
        for drifts, effect in product((False, True), (1.1, 1.5)):
            walk = np.exp(0.3 * drift(rng, many, n)) if drifts else np.ones((many, n))
            head, base = effect * draw(rng, (many, n)) * walk, draw(rng, (many, n)) * walk
            pairs = list(zip(head.tolist(), base.tolist(), strict=True))
            truth = f"{name}{', drift' if drifts else ''}; \N{MULTIPLICATION SIGN} {effect} at the limit"
            beside = [[rule(paired_ratio(*pair, confidence), effect, confidence)] for pair in pairs]
            yield misjudged("gate, against", truth, str(n), beside)
            if not drifts:
                before = [[rule(ratio(*pair, confidence), effect, confidence)] for pair in pairs]
                yield misjudged("gate, baseline", truth, f"{n} + {n}", before)
    for n, (change, ruling) in product(GATE_COUNTS, ((1.0, Ruling.UNDER), (1.3, Ruling.OVER))):
        truth = f"5 % noise; \N{MULTIPLICATION SIGN} {change} under a limit of 1.1"
        pairs = list(zip((change * steady_s(rng, (sets, n))).tolist(), steady_s(rng, (sets, n)).tolist(), strict=True))
        hits = sum(rule(ratio(*pair), 1.1, CONFIDENCE) is ruling for pair in pairs)
        yield Share(f"gate, baseline: {ruling}", truth, f"{n} + {n}", hits, sets, 0.99 if change > 1 else None)


def misjudged(what: str, truth: str, n: str, gates: Sequence[Sequence[Ruling]]) -> Share:
    """Count the gates that are decided although the truth is at the limit."""
    wrong = {Ruling.OVER, Ruling.UNDER} if len(gates[0]) == 1 else {Ruling.OVER}
    hits = sum(not wrong.isdisjoint(rulings) for rulings in gates)
    return Share(what, truth, n, hits, len(gates), WRONG, at_most=True)


def called(what: str, truth: str, n: str, verdicts: Sequence[Verdict], most: float) -> Share:
    """Count the verdicts that report a difference."""
    hits = sum(verdict in (Verdict.FASTER, Verdict.SLOWER) for verdict in verdicts)
    return Share(what, truth, n, hits, len(verdicts), most, at_most=True)


def found(what: str, truth: str, n: str, verdicts: Sequence[Verdict], least: float | None) -> Share:
    """Count the verdicts that report faster."""
    return Share(what, truth, n, verdicts.count(Verdict.FASTER), len(verdicts), least)


def check_lines(rng: np.random.Generator, sets: int) -> Iterator[Share]:
    """Check the intervals of a line's slope, predictions and inverse."""
    for (name, draw), launches, growth in product(DRAWS.items(), (3, 5, 10), NOISE_GROWTHS):
        x = np.repeat(SIZES, launches)
        noise = (draw(rng, (sets, len(x))) - true_median(draw)) * (1 + (growth - 1) * x / SIZES[-1])
        fits = [fit_line(x.tolist(), row) for row in (FLOOR_S + ASSETS_S * x + noise).tolist()]
        truth, n = f"{name}; noise \N{MULTIPLICATION SIGN} {growth}", f"{len(SIZES)} \N{MULTIPLICATION SIGN} {launches}"
        grows = growth > 1
        yield covered("slope", truth, n, [fit.slope for fit in fits], ASSETS_S, 0.05 if grows else 0.0)
        for size in (0.0, 2_000.0, 10_000.0, 20_000.0):
            predictions = [fit.predict(size) for fit in fits]
            yield covered(
                f"predict({size:,.0f})", truth, n, predictions, FLOOR_S + ASSETS_S * size, 0.04 if grows else 0.01
            )
        for limit_s in (8.0, 12.0):
            largest = [estimate for fit in fits if (estimate := fit.largest_x(limit_s)) is not None]
            size = (limit_s - FLOOR_S) / ASSETS_S
            yield covered(f"largest_x({limit_s:.0f} s)", truth, n, largest, size, 0.04 if grows else 0.01)


def check_bends(rng: np.random.Generator, sets: int) -> Iterator[Share]:
    """Check bends where there is one and where there is none."""

    def normal_s(generator: np.random.Generator, shape: tuple[int, ...]) -> Floats:
        return generator.normal(scale=0.5, size=shape)

    x = np.repeat(SIZES, 5)
    n = f"{len(SIZES)} \N{MULTIPLICATION SIGN} 5"
    steep = 0.002
    for (name, draw), growth in product({"0.5 s of noise": normal_s, **DRAWS}.items(), NOISE_GROWTHS):
        noise = (draw(rng, (sets, len(x))) - true_median(draw)) * (1 + (growth - 1) * x / SIZES[-1])
        truth = f"{name} \N{MULTIPLICATION SIGN} {growth}"
        straight = [find_bend(x.tolist(), row) for row in (FLOOR_S + steep * x + noise).tolist()]
        hits = sum(bend is not None for bend in straight)
        yield Share("false bend", f"straight; {truth}", n, hits, sets, FALSE_CALLS, at_most=True)
        clear = draw is normal_s and growth == 1
        for place in (2_000.0, 5_000.0):
            bent = FLOOR_S + steep * np.maximum(0, x - place) + noise
            bends = [bend for row in bent.tolist() if (bend := find_bend(x.tolist(), row)) is not None]
            where = f"bend at {place:,.0f}; {truth}"
            yield Share("bend found", where, n, len(bends), sets, 0.9 if clear else None)
            if len(bends) > sets / 2:
                yield covered("place of the bend", where, n, [bend.place for bend in bends], place)
                less = 0.02 if growth > 1 else 0.01
                yield covered("slope before", where, n, [bend.before.slope for bend in bends], 0.0, less)
                yield covered("slope after", where, n, [bend.after.slope for bend in bends], steep, less)


CHECKS = {
    "medians": check_medians,
    "differences": check_differences,
    "verdicts": check_verdicts,
    "lines": check_lines,
    "bends": check_bends,
    "gates": check_gates,
}


def as_table(shares: Sequence[Share]) -> Table:
    """Return the shares as a table for display, with one row per limit."""
    groups: defaultdict[tuple[str, str, str], list[Share]] = defaultdict(list)
    for share in shares:
        sign = "\N{LESS-THAN OR EQUAL TO}" if share.at_most else "\N{GREATER-THAN OR EQUAL TO}"
        groups[share.what, share.n, "" if share.limit is None else f"{sign} {100 * share.limit:.1f}"].append(share)
    table = Table(
        title="Of the data sets, in %",
        caption="n: blocks, launches of each side, or sizes and launches of each",
        box=None,
    )
    for column in ("what", "n", "truths", "limit", "lowest", "highest", "closest to the limit"):
        table.add_column(column, justify="left" if column in ("what", "closest to the limit") else "right")
    for (what, n, limit), group in groups.items():
        lowest, highest = (f"{100 * end(share.share for share in group):.1f}" for end in (min, max))
        worst = max(group, key=lambda share: share.beyond)
        where = f"{worst.truth}{': missed' if worst.missed else ''}"
        table.add_row(what, n, str(len(group)), limit, lowest, highest, where, style="red" if worst.missed else None)
    return table


@click.command(help=__doc__, context_settings={"show_default": True})
@click.option("--sets", default=SETS, help="Data sets per row.")
@click.option("--seed", default=1, help="Seed of the draws.")
@click.option("--only", multiple=True, type=click.Choice(list(CHECKS)), help="Check these alone; may be repeated.")
@click.option("--json", "as_json", is_flag=True, help="Print JSON instead of a table.")
def main(sets: int, seed: int, only: tuple[str, ...], as_json: bool) -> None:
    rng = np.random.default_rng(seed)
    shares: list[Share] = []
    for name in only or CHECKS:
        shares += CHECKS[name](rng, sets)
        click.echo(f"{name} measured", err=True)
    if as_json:
        click.echo(json.dumps([{**asdict(share), "share": share.share, "missed": share.missed} for share in shares]))
    else:
        Console().print(as_table(shares))
    missed = sum(share.missed for share in shares)
    click.echo(f"{missed} of {len(shares)} missed by more than {STANDARD_ERRORS} standard errors", err=True)
    sys.exit(1 if missed else 0)


if __name__ == "__main__":
    main()
