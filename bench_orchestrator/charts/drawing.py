"""Charts of a sweep.

Each states its finding in the title and shows every launch if possible. Missing data raises no error: a location
without a measurement keeps its row, labelled with how its trials ended.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from itertools import cycle
from typing import TYPE_CHECKING, Any

from bench_orchestrator.analysis import wording
from bench_orchestrator.analysis.summary import MedianLaunch, Row, location_rows, startup_fits, sweep_rows
from bench_orchestrator.charts import canvas, marks
from bench_orchestrator.model.content import Content
from bench_orchestrator.model.launch import Outcome, Sweep
from bench_orchestrator.model.stages import PIECES

if TYPE_CHECKING:
    from matplotlib.artist import Artist
    from matplotlib.axes import Axes
    from matplotlib.figure import Figure

SERIES_COLOURS = ("#0B5A9E", "#D5630A", "#009E73", "#CC79A7")
"""Colours of the variants in a scatter plot, in order; they repeat after four."""

_STARTUP: dict[str, Any] = {"ms": 4.5, "mew": 0, "alpha": 0.6}
_LAG: dict[str, Any] = {"ms": 3.6, "mew": 0.7, "mfc": "none", "alpha": 0.5}


@dataclass(frozen=True)
class Chart:
    """A chart of a report."""

    stem: str
    """The name of its files without the suffix."""
    caption: str
    draw: Callable[[Sweep], Figure]
    content: Content
    """The data that a sweep must hold for the chart."""


def all_locations(sweep: Sweep) -> Figure:
    """Draw queue and init time of each location's median launch, the lag's interval, and every launch as a dot."""
    rows = location_rows(sweep.trials)

    def pieces(launch: MedianLaunch) -> list[tuple[str, float]]:
        return [(canvas.QUEUE, launch.queue_s), (canvas.INIT, launch.init_s)]

    dots: dict[str, Any] = {"marker": "o", "linestyle": "", "markersize": 3.4, "color": canvas.INK, "mew": 0}
    figure, ax = _stacked_bars(sweep, rows, wording.span(rows), "launch lag, seconds", pieces)
    for position, row in enumerate(rows):
        if row.lag_s is None:
            continue
        marks.draw_interval(ax, row.lag_s, position + 0.36)
        marks.draw_launches(ax, row.lags_s, position + 0.36, **dots)
        marks.label_end(ax, row.lag_s.value, position, f"{row.lag_s.value:.1f} s", row)
    legend = [
        canvas.patch(color=canvas.QUEUE, label="queue time"),
        canvas.patch(color=canvas.INIT, label="init time"),
        canvas.line(**dots, label="launches and interval"),
    ]
    marks.legend(ax, legend)
    return figure


def stage_breakdown(sweep: Sweep) -> Figure:
    """Draw the stages of each location's or variant's median launch, from the request to the first step."""
    rows = sweep_rows(sweep, in_turn=False)
    shown = [piece for piece in PIECES if any(r.median_launch and piece in r.median_launch.pieces_s for r in rows)]

    def pieces(launch: MedianLaunch) -> list[tuple[str, float]]:
        return [(canvas.COLOURS[piece], launch.pieces_s.get(piece, 0.0)) for piece in shown]

    figure, ax = _stacked_bars(
        sweep, rows, wording.dominance(rows), "seconds from the request to the first step", pieces
    )
    for position, row in enumerate(rows):
        if row.median_launch is not None:
            total_s = sum(seconds for _, seconds in pieces(row.median_launch))
            marks.label_end(ax, total_s, position, f"{total_s:.1f} s", row)
    marks.legend(ax, [canvas.patch(color=canvas.COLOURS[piece], label=piece.label) for piece in shown])
    return figure


def lag_vs_assets(sweep: Sweep) -> Figure:
    """Draw startup time and launch lag against number of assets, for locations without partitions.

    The line is fitted to the startup times; what the lags exceed them by is the random queue wait.
    """
    rows = [row for row in location_rows(sweep.trials) if not row.partition_count]
    fits = startup_fits(sweep.trials)
    note = f"Launches: n = {sum(len(row.lags_s) for row in rows)}"
    if fits:
        coverage = min(fit.slope.coverage for fit in fits.values())
        note += f"; the interval covers the slope with {100 * coverage:.0f} %"
    figure, (ax,) = canvas.frame(sweep, wording.growth(fits), note, 3.0)
    if not any(row.lags_s for row in rows):
        canvas.say_nothing_measured(ax, wording.NOTHING_MEASURED)
        return figure
    largest = max(row.asset_count for row in rows)
    variants = sorted({row.variant for row in rows})
    colours = dict(zip(variants, cycle(SERIES_COLOURS), strict=False))
    for variant, colour in colours.items():
        mine = [row for row in rows if row.variant == variant]
        if (fit := fits.get(variant)) is not None:
            ends = (0, max(row.asset_count for row in mine if row.lags_s))
            ax.plot(ends, [fit.predict(x).value / 1000 for x in ends], color=colour, lw=1.2, alpha=0.6)
        for row in mine:
            marks.draw_launches(ax, row.asset_count, row.lags_s, **_LAG, color=colour)
            marks.draw_launches(ax, row.asset_count, row.startups_s, **_STARTUP, color=colour)
            if row.startup_s is not None:
                ax.plot(row.asset_count, row.startup_s.value, "_", ms=13, mew=2, color=canvas.INK)
    kinds = (("startup time", _STARTUP), ("launch lag, with the queue wait", _LAG))
    legend: list[Artist] = [
        canvas.line(marker="o", linestyle="", color=canvas.INK, label=label, **style) for label, style in kinds
    ]
    if len(variants) > 1:
        legend += [
            canvas.patch(color=colour, label=canvas.shorten(variant, marks.NAME_LETTERS))
            for variant, colour in colours.items()
        ]
    marks.legend(ax, legend)
    _name_points(ax, rows, largest)
    ax.set_xlim(0, (largest or 1) * 1.08)
    ax.set_ylim(0, (max(lag_s for row in rows for lag_s in row.lags_s) or 1.0) * 1.2)
    ax.xaxis.set_major_formatter("{x:,.0f}")
    canvas.place_ticks(ax.yaxis, 6, integer=True)
    ax.grid(axis="y", color=canvas.GRID, linewidth=0.8)
    ax.set_xlabel("assets in the code location", fontsize=canvas.TEXT_POINTS, color=canvas.INK)
    ax.set_ylabel("seconds", fontsize=canvas.TEXT_POINTS, color=canvas.INK)
    return figure


def assets_vs_partitions(sweep: Sweep) -> Figure:
    """Draw startup and init time of every launch by location, to compare partitions with assets."""
    rows = location_rows(sweep.trials)
    figure, axes = canvas.frame(
        sweep, wording.comparison(rows), canvas.sample_note(rows), marks.rows_height(rows), panels=2
    )
    if not any(row.startups_s for row in rows):
        for ax in axes:
            canvas.say_nothing_measured(ax, wording.NOTHING_MEASURED if ax is axes[0] else "")
        return figure
    quantities = (
        ("startup time, seconds", [(row.startup_s, row.startups_s) for row in rows]),
        ("of which init time, seconds", [(row.init_s, row.inits_s) for row in rows]),
    )
    for ax, (unit, samples) in zip(axes, quantities, strict=True):
        marks.lay_out_rows(ax, rows, unit, named=ax is axes[0])
        for position, (row, (estimate, values_s)) in enumerate(zip(rows, samples, strict=True)):
            colour = canvas.INIT if row.partition_count else canvas.QUEUE
            marks.draw_launches(ax, values_s, position + 0.18, ms=4.5, mew=0, color=colour, alpha=0.7)
            if estimate is not None:
                marks.draw_interval(ax, estimate, position - 0.1)
                ax.plot(estimate.value, position - 0.1, "D", ms=4, color=canvas.INK)
                marks.label_end(ax, max(*values_s, estimate.high or 0), position, f"{estimate.value:.1f} s")
            elif ax is axes[0]:
                marks.label_nothing(ax, position, row)
        marks.leave_room(ax, max((value for _, values_s in samples for value in values_s), default=1.0), 1.3)
    return figure


def trial_outcomes(sweep: Sweep) -> Figure:
    """Draw how the trials of each location or variant ended: ok, rejected, failed, canceled, timed out, lost."""
    rows = sweep_rows(sweep)
    warmups = sum(row.warmups for row in rows)
    bad_warmups = warmups - sum(row.warmup_outcomes[Outcome.OK] for row in rows)
    note = f"Trials: n = {sum(row.trials for row in rows)}"
    if warmups:
        note += f"; {warmups} warm-ups are left out, {bad_warmups} of them not ok"
    figure, (ax,) = canvas.frame(sweep, wording.tally(rows), note, marks.rows_height(rows))
    if not rows:
        canvas.say_nothing_measured(ax, "No trials")
        return figure
    marks.lay_out_rows(ax, rows, "trials")
    for position, row in enumerate(rows):
        left = 0
        for outcome, count in row.outcomes.items():
            colour = canvas.OUTCOME_COLOURS[outcome]
            ax.barh(position, count, 0.55, left=left, color=colour, edgecolor="white", linewidth=1)
            if count:
                marks.label_piece(ax, left + count / 2, position, str(count), colour)
            left += count
    ax.set_xlim(0, max(1, *(row.trials for row in rows)) * 1.02)
    canvas.place_ticks(ax.xaxis, 6, integer=True)
    seen = [outcome for outcome in Outcome if any(row.outcomes[outcome] for row in rows)]
    marks.legend(
        ax,
        [
            canvas.patch(color=canvas.OUTCOME_COLOURS[outcome], label=wording.describe_outcome(outcome))
            for outcome in seen
        ],
    )
    return figure


CHARTS: tuple[Chart, ...] = (
    Chart(
        "all_locations",
        "Queue and init time of each location's median launch (for an even number, the mean of the two middle "
        "launches), so that each bar ends at the median lag. Below it, each dot is one launch, and the line is the "
        "interval of the median lag.",
        all_locations,
        Content.LOCATIONS,
    ),
    Chart(
        "lag_vs_assets",
        "Each launch in a location without partitions: filled its startup time, hollow its launch lag, which includes "
        "the random queue wait. Dashes are median startup times; the line is fitted to all of them (Theil-Sen).",
        lag_vs_assets,
        Content.SIZES,
    ),
    Chart(
        "stage_breakdown",
        "The stages of the median launch, from the request to the first step. They are not the medians of the "
        "stages, which do not add up. Blue is queue time, amber is init time; grey precedes the launch lag.",
        stage_breakdown,
        Content.TRIALS,
    ),
    Chart(
        "assets_vs_partitions",
        "Each dot is one launch: blue without partitions, amber with. Diamonds are medians, whiskers their intervals.",
        assets_vs_partitions,
        Content.BOTH_KINDS,
    ),
    Chart(
        "trial_outcomes",
        "Outcomes of all trials except warm-ups. The charts above contain successful trials only.",
        trial_outcomes,
        Content.TRIALS,
    ),
)
"""The charts of any sweep, in the order of a report."""


def _stacked_bars(
    sweep: Sweep,
    rows: Sequence[Row],
    title: str,
    unit: str,
    pieces: Callable[[MedianLaunch], list[tuple[str, float]]],
) -> tuple[Figure, Axes]:
    """Draw a bar for each row's median launch, stacked from its pieces (colour, seconds)."""
    figure, (ax,) = canvas.frame(sweep, title, canvas.sample_note(rows), marks.rows_height(rows))
    if not rows:
        canvas.say_nothing_measured(ax, wording.NOTHING_MEASURED)
        return figure, ax
    marks.lay_out_rows(ax, rows, unit)
    totals_s = [sum(s for _, s in pieces(row.median_launch)) for row in rows if row.median_launch]
    longest_s = max([*totals_s, *(lag_s for row in rows for lag_s in row.lags_s)], default=1.0)
    marks.leave_room(ax, longest_s, 1.42 if any(row.failures for row in rows) else 1.18)
    for position, row in enumerate(rows):
        if row.median_launch is None:
            marks.label_nothing(ax, position, row)
            continue
        left_s = 0.0
        for colour, seconds in pieces(row.median_launch):
            ax.barh(position, seconds, 0.5, left=left_s, color=colour, edgecolor="white", linewidth=0.6)
            if seconds > 0.065 * longest_s:
                marks.label_piece(ax, left_s + seconds / 2, position, f"{seconds:.1f}", colour)
            left_s += seconds
    return figure, ax


def _name_points(ax: Axes, rows: Sequence[Row], largest: int) -> None:
    """Write names and median startup times beside the launches if there is room, largest first; failures always."""
    taken = {"bottom": float("inf"), "top": float("inf")}
    for row in reversed(rows):
        if row.startup_s is None:
            ending = wording.describe_outcomes(row.failures) or "no trials"
            ax.annotate(
                f"\N{MULTIPLICATION SIGN} {canvas.shorten(row.label, marks.NAME_LETTERS)}: {ending}",
                (row.asset_count, 0),
                xytext=(0, 4),
                textcoords="offset points",
                ha="center",
                va="bottom",
                rotation=90,
                fontsize=canvas.SMALL_POINTS,
                color=canvas.ALARM,
            )
            continue
        for side, edge, offset in (("bottom", max(row.lags_s), 5), ("top", min(row.startups_s), -5)):
            if taken[side] - row.asset_count > 0.1 * largest:
                ax.annotate(
                    f"{canvas.shorten(row.label, marks.NAME_LETTERS)}{' ' if side == 'top' else chr(10)}"
                    f"{row.startup_s.value:.1f} s",
                    (row.asset_count, edge),
                    xytext=(0, offset),
                    textcoords="offset points",
                    ha="center" if row.asset_count > 0.04 * largest else "left",
                    va=side,
                    fontsize=canvas.SMALL_POINTS,
                    color=canvas.INK,
                )
                taken[side] = row.asset_count
                break
