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


_TIMES = "\N{MULTIPLICATION SIGN}"


@dataclass(frozen=True)
class Claim:
    """What is claimed of `PROMPT`: a number and its limit."""

    name: str
    found: Estimate
    unit: str
    limit: float

    @property
    def row(self) -> list[str]:
        """The claim's row in the table."""
        digits = 3 if self.limit < 0.1 else 2
        return [self.name, describe_estimate(self.found, self.unit, digits), f"at most {self.limit:g} {self.unit}"]


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
        rows = [claim.row for claim in self._claims()]
        return f"{self.table()}\n\n{self.caption()}\n\n{table(['claim', 'measured', 'limit'], rows)}"

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
        return [claim.name for claim in self._claims() if (claim.found.low or 0.0) > claim.limit]

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
        return [ARMS[arm].label, *figures, describe_estimate(self._ratio(arm), _TIMES, digits=2)]

    def _ratio(self, arm: str) -> Estimate:
        return paired_ratio(self.seconds(arm, Figure.TO_CODE), self.seconds(DEFAULT, Figure.TO_CODE))

    def _claims(self) -> Iterator[Claim]:
        name = "warm code server, queue that answers at once, all limits in force, against Dagster as it comes"
        yield Claim(name, self._ratio(PROMPT), _TIMES, 0.024)
        yield Claim("of that in the queue", self.median(PROMPT, Figure.QUEUE_WAIT), "s", 0.1)
