"""Elements shared by all charts: colours, type sizes, and the frame with title and footer.

Figures are 5 inches wide, so that 8-point text is legible in the Dagster UI's dialog, which is 470 pixels wide.

Here and in `output`, matplotlib is imported inside functions: most processes of the meta location draw nothing, and
importing it would delay their start.
"""

from __future__ import annotations

import re
import textwrap
from collections.abc import Iterable, Mapping, Sequence
from datetime import UTC
from math import ceil
from typing import TYPE_CHECKING, Any

from bench_orchestrator.analysis import wording
from bench_orchestrator.analysis.summary import Row, shared_environment
from bench_orchestrator.model.instants import MICROSECONDS, describe_instant
from bench_orchestrator.model.launch import Outcome, Sweep
from bench_orchestrator.model.stages import BootStage, Piece, Stage

if TYPE_CHECKING:
    from matplotlib.axes import Axes
    from matplotlib.axis import Axis
    from matplotlib.figure import Figure
    from matplotlib.lines import Line2D
    from matplotlib.patches import Patch

WIDTH_INCHES = 5.0
ROW_INCHES = 0.42
TEXT_POINTS = 8
SMALL_POINTS = 6.8
TITLE_POINTS = 10.5

INK = "#222222"
MUTED = "#666666"
ALARM = "#B03A00"
GRID = "#E3E3E3"
QUEUE = "#3B82C4"
INIT = "#F0A030"

COLOURS: Mapping[Piece, str] = {
    Stage.SUBMIT: "#8C8C8C",
    Stage.PLAN_EVENTS: "#5C5C5C",
    Stage.QUEUE_WAIT: "#A9D3F2",
    Stage.WORKER_BOOT: "#5AA5DA",
    BootStage.CREATE_JOB: "#D9C7EC",
    BootStage.SCHEDULE_POD: "#B79AD9",
    BootStage.PULL_IMAGE: "#8E66BF",
    BootStage.START_CONTAINER: "#5F3A94",
    BootStage.START_PYTHON: "#5AA5DA",
    Stage.WORKER_LOAD: "#0B5A9E",
    Stage.EXECUTOR_START: "#FBE3A1",
    Stage.STEP_BOOT: "#F2B134",
    Stage.STEP_LOAD: "#D5630A",
    Stage.STEP_INIT: "#7A3303",
}
"""Queue stages are blue, init stages amber, earlier stages grey. The three hues are distinguishable with every kind of
colour blindness; within a hue, stages differ in lightness."""

OUTCOME_COLOURS: Mapping[Outcome, str] = {
    Outcome.OK: "#009E73",
    Outcome.REJECTED: "#CC79A7",
    Outcome.FAILED: "#D55E00",
    Outcome.CANCELED: "#999999",
    Outcome.TIMED_OUT: "#F0E442",
    Outcome.LOST: "#222222",
}
"""From the palette of Okabe and Ito."""


_DAY_US = 86_400 * MICROSECONDS

_MOST_LINES = 12
"""Maximum lines of a paragraph in a title or a footer."""

NO_BREAK_SPACE = "\u00a0"
_ESTIMATE = re.compile(r"[\d.]+ (%|s|\N{MULTIPLICATION SIGN}|ms per asset) \[[^]]*\]")
_ENVIRONMENT_TEMPLATES: Mapping[str, str] = {
    "dagster": "Dagster {}",
    "python": "Python {}",
    "cpu_count": "{} CPUs",
    "cpu_model": "{}",
    "launcher": "{}",
    "coordinator": "{}",
    "dequeue_interval_s": "dequeues every {} s",
    "storage": "{}",
}


def frame(
    sweep: Sweep, title: str, note: str, height_inches: float, panels: int = 1, columns: int | None = None
) -> tuple[Figure, list[Axes]]:
    """Create an empty chart of a sweep with its title, and a note and the circumstances of measurement below."""
    executors = {trial.launch.executor for trial in sweep.trials if trial.launch.executor}
    circumstances = describe_circumstances(sweep.plan.created_us, shared_environment(sweep.plan), executors)
    figure = sheet(title, [note, circumstances], height_inches)
    columns = columns or panels
    axes = [figure.add_subplot(ceil(panels / columns), columns, panel + 1) for panel in range(panels)]
    for ax in axes:
        style(ax)
    return figure, axes


def sheet(title: str, footer: Sequence[str], height_inches: float) -> Figure:
    """Create a figure without axes, with the given height for them between the title and the footer paragraphs."""
    from matplotlib.figure import Figure

    title_lines = _wrap(_ESTIMATE.sub(_hold_together, title), 50)
    footer_lines = [line for text in footer for line in _wrap(text, 86)]
    text_inches = 0.18 * len(title_lines) + 0.125 * len(footer_lines)
    figure = Figure((WIDTH_INCHES, height_inches + text_inches), layout="constrained", facecolor="white")
    figure.suptitle("\n".join(title_lines), x=0.015, ha="left", fontsize=TITLE_POINTS, fontweight="bold", color=INK)
    figure.supxlabel(
        "\n".join(line.removesuffix(" ·") for line in footer_lines),
        x=0.015,
        ha="left",
        fontsize=SMALL_POINTS,
        color=MUTED,
    )
    return figure


def place_ticks(axis: Axis, most: int, *, integer: bool = False) -> None:
    """Place ticks at round numbers, at most `most` + 1."""
    from matplotlib.ticker import MaxNLocator

    axis.set_major_locator(MaxNLocator(most, integer=integer))


def as_dates(instants_us: Iterable[int]) -> list[float]:
    """Return instants as places on a time axis: days since 1970."""
    return [us / _DAY_US for us in instants_us]


def place_dates(axis: Axis) -> None:
    """Place a few ticks at round dates or times of day (UTC)."""
    from matplotlib.dates import AutoDateLocator, ConciseDateFormatter

    locator = AutoDateLocator(tz=UTC, minticks=3, maxticks=6)  # type: ignore[no-untyped-call]
    axis.set_major_locator(locator)
    axis.set_major_formatter(ConciseDateFormatter(locator, tz=UTC))  # type: ignore[no-untyped-call]
    axis.get_offset_text().set(fontsize=SMALL_POINTS, color=MUTED)


def patch(**properties: Any) -> Patch:
    """Return a coloured box for a legend."""
    from matplotlib.patches import Patch

    return Patch(**properties)


def line(**properties: Any) -> Line2D:
    """Return a line or marker for a legend."""
    from matplotlib.lines import Line2D

    return Line2D([], [], **properties)


def fill_boxes(ax: Axes, boxes: Iterable[tuple[float, float, float, float]], colours: Sequence[str]) -> None:
    """Fill boxes (left, right, bottom, top), each with its colour: much faster than a bar for each."""
    from matplotlib.collections import PolyCollection

    corners = [[(x0, y0), (x0, y1), (x1, y1), (x1, y0)] for x0, x1, y0, y1 in boxes]
    ax.add_collection(PolyCollection(corners, facecolors=colours, linewidths=0), autolim=False)


def is_dark(colour: str) -> bool:
    """Return whether white text is more legible on a colour than black."""
    from matplotlib.colors import to_rgb

    red, green, blue = to_rgb(colour)
    return 0.3 * red + 0.59 * green + 0.11 * blue < 0.5


def style(ax: Axes) -> None:
    """Apply the common style to axes."""
    ax.spines[["top", "right", "left"]].set_visible(False)
    ax.spines["bottom"].set_color(MUTED)
    ax.tick_params(colors=INK, labelsize=TEXT_POINTS, length=0)
    ax.set_axisbelow(True)


def say_nothing_measured(ax: Axes, text: str) -> None:
    """Show a sentence in place of the axes of a chart without data."""
    ax.set_axis_off()
    ax.text(0.5, 0.5, text, ha="center", va="center", fontsize=TITLE_POINTS, color=MUTED, transform=ax.transAxes)


def sample_note(rows: Sequence[Row]) -> str:
    """Return the number of launches per location or side, and the actual coverage of the intervals."""
    kind = "location" if any(row.size for row in rows) else "side"
    note = f"Launches per {kind}: n = {wording.span_of([row.n for row in rows])}"
    coverages = [round(100 * row.coverage) for row in rows if row.coverage is not None]
    return f"{note}; intervals cover the median with {wording.span_of(coverages)} %." if coverages else f"{note}."


def describe_circumstances(started_us: int, environment: Mapping[str, Any], executors: Iterable[str]) -> str:
    """Return the date and, if known, the versions, the hardware and the configuration of the deployment."""
    parts = [
        describe_instant(started_us),
        *(
            template.format(environment[key])
            for key, template in _ENVIRONMENT_TEMPLATES.items()
            if environment.get(key) is not None
        ),
        *(f"{executor} executor" for executor in sorted(executors)),
    ]
    return " · ".join(part.replace(" ", NO_BREAK_SPACE) for part in parts)


def shorten(name: str, letters: int) -> str:
    """Shorten a long name in the middle, as many names differ at their end."""
    half = letters // 2
    return name if len(name) <= letters else f"{name[: half - 1]}\N{HORIZONTAL ELLIPSIS}{name[-half:]}"


def _wrap(text: str, width: int) -> list[str]:
    """Wrap a paragraph; what a long name would make too long is left out."""
    return textwrap.wrap(text, width, max_lines=_MOST_LINES, placeholder=" \N{HORIZONTAL ELLIPSIS}")


def _hold_together(words: re.Match[str]) -> str:
    return words[0].replace(" ", NO_BREAK_SPACE)
