"""How wrong are the pieces of worker boot on Kubernetes? A simulation with known truth.

    python -m benchmarks.worker_boot [--output benchmarks/results/worker_boot.md]

Kubernetes keeps whole seconds, of the clocks of the control plane and of the node. The simulation draws pieces of
typical lengths (lognormal, spread 0.4 on the log scale), starts at a random instant within a second, truncates
Kubernetes' instants, and gives them to `timeline.worker_boot`. The clocks of the control plane and of the node are off
from the daemon's by normal offsets, drawn anew for each sweep. The truth is the pieces as drawn.

The errors are those of one launch, and those of the median of six launches against the median of their true pieces.
The limits are what the documentation says of them. Exits with 1 if one is exceeded. It takes a few seconds.
"""

import random
import sys
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from itertools import accumulate
from math import exp
from pathlib import Path
from statistics import fmean, median, quantiles

import click

from bench_orchestrator.model.instants import MICROSECONDS
from bench_orchestrator.model.runs import Pod, RunEvent
from bench_orchestrator.model.stages import BootStage
from bench_orchestrator.report.text import table
from bench_orchestrator.timeline.worker_boot import boot_stages

SWEEPS, LAUNCHES = 500, 6
SPREAD = 0.4
BEGIN_US = 1_800_000_000 * MICROSECONDS

TYPICAL_S: Mapping[str, Mapping[BootStage, float]] = {
    name: dict(zip(BootStage, lengths_s, strict=True))
    for name, lengths_s in {
        "image on the node": (0.1, 0.2, 0.0, 0.5, 0.7),
        "image found by the kubelet": (0.1, 0.15, 0.3, 0.3, 0.6),
        "busy node": (0.3, 0.8, 0.15, 1.2, 2.5),
        "image pulled": (0.1, 0.2, 8.0, 0.6, 1.5),
        "new node": (0.1, 45.0, 12.0, 1.0, 2.0),
    }.items()
}
"""The median length of each piece in seconds; 0 is a piece that no event shows."""

OFFSETS_S = (0.0, 0.05)
"""Standard deviations of the clocks' offsets."""

BIAS_S, ONE_S, MOST_S, MEDIAN_S = 0.3, 0.8, 1.25, 0.65
"""Limits: of the mean error, of 95 % and of all errors of one launch, and of 95 % of the errors of a median of six."""


@dataclass(frozen=True)
class Errors:
    """The errors of a piece under one circumstance, in seconds: estimated minus true."""

    circumstance: str
    offset_s: float
    stage: BootStage
    single_s: Sequence[float]
    of_medians_s: Sequence[float]

    @property
    def figures(self) -> tuple[float, float, float, float, float]:
        """The mean, the 95 % quantile and the maximum of one launch's; the mean and the 95 % quantile of medians'."""
        single, medians = ([abs(error) for error in some] for some in (self.single_s, self.of_medians_s))
        return fmean(self.single_s), _most(single), max(single), fmean(self.of_medians_s), _most(medians)

    @property
    def is_exceeded(self) -> bool:
        """Whether a figure is beyond its limit."""
        limits = (BIAS_S, ONE_S, MOST_S, BIAS_S, MEDIAN_S)
        return any(abs(figure) > limit for figure, limit in zip(self.figures, limits, strict=True))


def simulate(sweeps: int, seed: int) -> Iterator[Errors]:
    """Yield the errors of every piece under every circumstance."""
    for name, typical_s in TYPICAL_S.items():
        for offset_s in OFFSETS_S:
            rng = random.Random(seed)
            drawn = [_sweep(rng, typical_s, offset_s) for _ in range(sweeps)]
            for stage in BootStage:
                if typical_s[stage] and stage is not BootStage.CREATE_JOB:  # which Dagster's own events bound
                    yield Errors(
                        name,
                        offset_s,
                        stage,
                        [told[stage] - true[stage] for sweep in drawn for true, told in sweep],
                        [
                            median(told[stage] for _, told in sweep) - median(true[stage] for true, _ in sweep)
                            for sweep in drawn
                        ],
                    )


_Pieces = Mapping[BootStage, float]


def _sweep(rng: random.Random, typical_s: _Pieces, offset_s: float) -> list[tuple[_Pieces, _Pieces]]:
    """Return the true and the estimated pieces of a few launches, under the same clocks."""
    control_s, node_s = rng.gauss(0, offset_s), rng.gauss(0, offset_s)
    return [_launch(rng, typical_s, control_s, node_s) for _ in range(LAUNCHES)]


def _launch(rng: random.Random, typical_s: _Pieces, control_s: float, node_s: float) -> tuple[_Pieces, _Pieces]:
    true_s = {stage: typical_s[stage] * exp(rng.gauss(0, SPREAD)) for stage in BootStage}
    starting_s = rng.random()
    created_s, scheduled_s, pulled_s, started_s, up_s = list(accumulate(true_s.values(), initial=starting_s))[1:]
    pod = Pod(
        scheduled_us=_whole_us(scheduled_s + control_s),
        pulled_us=_whole_us(pulled_s + node_s) if typical_s[BootStage.PULL_IMAGE] else None,
        started_us=_whole_us(started_s + node_s),
    )
    told_us, _ = boot_stages(
        [RunEvent("ENGINE_EVENT", _us(created_s), None, "Kubernetes run worker job created")],
        pod,
        starting_us=_us(starting_s),
        worker_boot_us=_us(up_s + node_s) - _us(starting_s),
    )
    return true_s, {stage: told_us[stage] / MICROSECONDS for stage in BootStage}


def _us(seconds: float) -> int:
    return BEGIN_US + round(seconds * MICROSECONDS)


def _whole_us(seconds: float) -> int:
    return _us(seconds) // MICROSECONDS * MICROSECONDS


def _most(errors_s: Sequence[float]) -> float:
    return quantiles(errors_s, n=20, method="inclusive")[-1]


def render(errors: Sequence[Errors]) -> str:
    """Render the errors as a page of Markdown; the first sentence states the worst of each figure."""
    figures = list(zip(*(one.figures for one in errors), strict=True))
    bias_s, one_s, most_s, bias_of_medians_s, median_s = (max(map(abs, column)) for column in figures)
    rows = (
        [
            one.circumstance,
            f"{one.offset_s:g}",
            one.stage.label,
            *(
                f"{round(figure, 2) + 0.0:{'+' if signed else ''}.2f}"
                for figure, signed in zip(one.figures, _SIGNED, strict=True)
            ),
        ]
        for one in errors
    )
    return f"""# How wrong the pieces of worker boot are

What `python -m benchmarks.worker_boot` wrote: {SWEEPS * LAUNCHES:,} simulated launches a row, in seconds.

**A piece of one launch is wrong by at most {one_s:.2f} s in 95 % of launches and by {most_s:.2f} s at most; on average,
by up to {bias_s:.2f} s. The median of {LAUNCHES} launches is wrong by at most {median_s:.2f} s in 95 % of sweeps; on
average, by up to {bias_of_medians_s:.2f} s.** The first piece, the creation of the job, is exact.

{table(_HEADS, rows)}
"""


_SIGNED = (True, False, False, True, False)
_HEADS = (
    "circumstance",
    "clocks' offset",
    "piece",
    "one launch: mean error",
    "95 % within",
    "most",
    "median of six: mean error",
    "95 % within",
)


@click.command(help=f"\b\n{__doc__}")
@click.option("--sweeps", default=SWEEPS, show_default=True, help="Simulated sweeps for each circumstance.")
@click.option("--seed", default=1, show_default=True, help="Seed of the draws.")
@click.option("--output", type=click.Path(dir_okay=False, path_type=Path), help="Write the page to this file.")
def main(sweeps: int, seed: int, output: Path | None) -> None:
    errors = list(simulate(sweeps, seed))
    page = render(errors)
    if output:
        output.write_text(page, encoding="utf-8")
    click.echo(page)
    exceeded = [f"{one.circumstance}, {one.stage.label}" for one in errors if one.is_exceeded]
    for one in exceeded:
        click.echo(f"beyond its limit: {one}", err=True)
    sys.exit(1 if exceeded else 0)


if __name__ == "__main__":
    main()
