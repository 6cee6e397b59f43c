"""The launches of an execution, kept in a file, and the tables that follow from them."""

from collections.abc import Iterator, Mapping
from dataclasses import asdict, dataclass
from enum import StrEnum
from pathlib import Path
from typing import Any

from bench_orchestrator.analysis.wording import describe_estimate, span_of
from bench_orchestrator.model.stages import Stage
from bench_orchestrator.report.text import table
from bench_orchestrator.statistics import Estimate, median, paired_ratio
from benchmarks.click_to_code.arms import ARMS, DEFAULT, PROMPT
from benchmarks.rows import read_rows, write_rows


class Figure(StrEnum):
    """What is measured of a launch, in seconds."""

    TO_CODE = "to_code_s"
    QUEUE_WAIT = "queue_wait_s"


@dataclass(frozen=True)
class Click:
    """One launch."""

    arm: str
    block: int
    assets: int
    stages_s: Mapping[str, float]
    """All stages from the request to STEP_START, by name."""

    @property
    def to_code_s(self) -> float:
        """From the request to STEP_START."""
        return sum(self.stages_s.values())

    @property
    def queue_wait_s(self) -> float:
        """How long the run waited in the queue."""
        return self.stages_s[Stage.QUEUE_WAIT]


LIMITS_S: Mapping[str, tuple[Figure, float]] = {
    "from the click to your code, with the warm code server, the queue and all limits in force": (Figure.TO_CODE, 0.35),
    "of that in the queue": (Figure.QUEUE_WAIT, 0.1),
}
"""The claims about the median of `PROMPT`: the figure and its limit."""


@dataclass(frozen=True)
class Execution:
    """All launches of one execution."""

    machine: Mapping[str, Any]
    clicks: tuple[Click, ...]

    @classmethod
    def read(cls, directory: Path) -> "Execution":
        """Read an execution's rows."""
        machine, rows = read_rows(directory)
        return cls(machine, tuple(Click(**row) for row in rows))

    def write(self, directory: Path) -> None:
        """Write its rows and its table."""
        write_rows(directory, self.machine, map(asdict, self.clicks), str(self))

    def __str__(self) -> str:
        """Return the table, what its numbers are, and the limits, in Markdown."""
        rows = (
            [name, describe_estimate(found, digits=2), f"at most {limit:g} s"] for name, found, limit in self._held()
        )
        return f"{self.table()}\n\n{self.caption()}\n\n{table(['claim', 'median', 'limit'], rows)}"

    def table(self) -> str:
        """Return a Markdown table: both medians of each arm, and its ratio to Dagster as it comes."""
        assets = span_of([click.assets for click in self.clicks])
        head = ["from the click to your code", f"{int(assets):,} assets", "of that in the queue", "ratio"]
        return table(head, map(self._row, ARMS))

    def caption(self) -> str:
        """Return the sentence that says what the table's numbers are and where they were measured."""
        counts = {len(self.seconds(arm, Figure.TO_CODE)) for arm in ARMS}
        covered = {round(100 * self.median(arm, Figure.TO_CODE).coverage) for arm in ARMS}
        cpus, model, python, dagster = (self.machine[key] for key in ("cpu_count", "cpu_model", "python", "dagster"))
        return (
            f"Medians with intervals that cover {span_of([*covered])} %, n = {span_of([*counts])} launches each, in "
            f"blocks with one launch of each row in random order; on {cpus} CPUs ({model}), Python {python}, Dagster "
            f"{dagster}."
        )

    @property
    def missed(self) -> list[str]:
        """The claims whose whole interval is beyond the limit."""
        return [name for name, found, limit in self._held() if (found.low or 0.0) > limit]

    def seconds(self, arm: str, figure: Figure) -> list[float]:
        """Return a figure of an arm's launches, by block."""
        clicks = sorted((click for click in self.clicks if click.arm == arm), key=lambda click: click.block)
        return [getattr(click, figure) for click in clicks]

    def median(self, arm: str, figure: Figure) -> Estimate:
        """Return the median of a figure of an arm."""
        return median(self.seconds(arm, figure))

    def _row(self, arm: str) -> list[str]:
        figures = [describe_estimate(self.median(arm, figure), digits=2) for figure in Figure]
        if arm == DEFAULT:
            return [ARMS[arm].label, *figures, ""]
        ratio = paired_ratio(self.seconds(arm, Figure.TO_CODE), self.seconds(DEFAULT, Figure.TO_CODE))
        return [ARMS[arm].label, *figures, describe_estimate(ratio, "×", digits=2)]

    def _held(self) -> Iterator[tuple[str, Estimate, float]]:
        for name, (figure, limit) in LIMITS_S.items():
            yield name, self.median(PROMPT, figure), limit
