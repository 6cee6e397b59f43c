"""The samples of an execution, kept in a file, and the tables that follow from them."""

from collections import defaultdict
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import asdict, dataclass
from enum import StrEnum
from pathlib import Path
from typing import Any

from bench_orchestrator.analysis.wording import describe_estimate, span_of
from bench_orchestrator.report.text import table
from bench_orchestrator.statistics import Estimate, median, paired_ratio
from benchmarks.rows import read_rows, write_rows
from benchmarks.warm_server.sides import STOCK, WARM


class Quantity(StrEnum):
    """What is measured, in seconds or MiB."""

    STARTUP = "startup_s"
    SMALL_STARTUP = "small_startup_s"
    TIME_TO_CODE = "time_to_code_s"
    STEPS = "steps_s"
    LIGHT_STEPS = "light_steps_s"
    AT_ONCE = "at_once_s"
    MEMORY = "memory_mib"
    LOAD = "load_s"

    @property
    def unit(self) -> str:
        """The unit of its samples."""
        return "MiB" if self is Quantity.MEMORY else "s"

    @property
    def label(self) -> str:
        """The row's name in the table, without its assets."""
        return _LABELS[self]


_LABELS: Mapping[Quantity, str] = {
    Quantity.STARTUP: "from RUN_STARTING to the first STEP_START",
    Quantity.SMALL_STARTUP: "the same",
    Quantity.TIME_TO_CODE: "from the click to your code (Dagster's defaults; no queue)",
    Quantity.STEPS: "six steps one after the other, the whole run",
    Quantity.LIGHT_STEPS: "forty steps one after the other, the whole run",
    Quantity.AT_ONCE: "eight runs at once, until all have ended",
    Quantity.MEMORY: "memory of each of eight runs",
    Quantity.LOAD: "from the server's start until it answers",
}


@dataclass(frozen=True)
class Sample:
    """One measurement of one server in one block."""

    quantity: Quantity
    assets: int
    server: str
    block: int
    value: float


@dataclass(frozen=True)
class Limit:
    """A claim: the ratio of two medians, and its limit."""

    name: str
    over: tuple[str, Quantity]
    under: tuple[str, Quantity]
    limit: float
    at_least: bool

    def is_missed(self, ratio: Estimate) -> bool:
        """Whether the whole interval is beyond the limit."""
        low, high = ratio.low or 0.0, ratio.high or float("inf")
        return high < self.limit if self.at_least else low > self.limit


LIMITS = (
    Limit("RUN_STARTING to STEP_START, stock ÷ warm", (STOCK, Quantity.STARTUP), (WARM, Quantity.STARTUP), 30, True),
    Limit(
        "the same, warm at the large size ÷ warm at the small one",
        (WARM, Quantity.STARTUP),
        (WARM, Quantity.SMALL_STARTUP),
        1.2,
        False,
    ),
    Limit(
        "the same, warm at the large size ÷ stock at the small one",
        (WARM, Quantity.STARTUP),
        (STOCK, Quantity.SMALL_STARTUP),
        0.25,
        False,
    ),
    Limit("click to code, stock ÷ warm", (STOCK, Quantity.TIME_TO_CODE), (WARM, Quantity.TIME_TO_CODE), 10, True),
    Limit("six serial steps, stock ÷ warm", (STOCK, Quantity.STEPS), (WARM, Quantity.STEPS), 10, True),
    Limit("forty serial steps, stock ÷ warm", (STOCK, Quantity.LIGHT_STEPS), (WARM, Quantity.LIGHT_STEPS), 10, True),
    Limit("runs at once, stock ÷ warm", (STOCK, Quantity.AT_ONCE), (WARM, Quantity.AT_ONCE), 5, True),
    Limit("memory of a run, stock ÷ warm", (STOCK, Quantity.MEMORY), (WARM, Quantity.MEMORY), 3, True),
    Limit("server ready, warm ÷ stock", (WARM, Quantity.LOAD), (STOCK, Quantity.LOAD), 1.5, False),
)


@dataclass(frozen=True)
class Execution:
    """All samples of one execution."""

    machine: Mapping[str, Any]
    samples: tuple[Sample, ...]

    @classmethod
    def read(cls, directory: Path) -> "Execution":
        """Read an execution's rows."""
        machine, rows = read_rows(directory)
        return cls(machine, tuple(Sample(**{**row, "quantity": Quantity(row["quantity"])}) for row in rows))

    def write(self, directory: Path) -> None:
        """Write its rows and its table."""
        write_rows(directory, self.machine, map(asdict, self.samples), str(self))

    def __str__(self) -> str:
        return f"{self.table()}\n\n{self.caption()}\n\n{self.limits()}"

    def table(self) -> str:
        """Return a Markdown table: both servers' medians, and the ratio of the two within blocks."""
        return table(["", "Dagster's code server", "dagster-warm", "before ÷ after"], self._rows())

    def caption(self) -> str:
        """Return the sentence that says what the table's numbers are and where they were measured."""
        blocks = span_of([len(values) for values in self._arms.values()])
        covered = span_of([round(100 * median(list(values.values())).coverage) for values in self._arms.values()])
        machine = self.machine
        return (
            f"Medians with intervals that cover {covered} %, n = {blocks} blocks, each with one sample of both servers "
            "in random order; "
            f"on {machine['cpu_count']} CPUs ({machine['cpu_model']}), Python {machine['python']}, Dagster "
            f"{machine['dagster']}."
        )

    def limits(self) -> str:
        """Return a Markdown table of the claims with their limits."""
        return table(
            ["claim", "ratio", "limit"],
            (
                [limit.name, _describe(ratio, ""), f"at {'least' if limit.at_least else 'most'} {limit.limit:g}"]
                for limit, ratio in self._ratios()
            ),
        )

    def ratio(self, limit: Limit) -> Estimate | None:
        """Return the ratio that a claim is about, within blocks; None if it was not measured."""
        over, under = (self._arms.get(arm, {}) for arm in (limit.over, limit.under))
        blocks = sorted(over.keys() & under.keys())
        return paired_ratio([over[one] for one in blocks], [under[one] for one in blocks]) if blocks else None

    @property
    def missed(self) -> list[str]:
        """The claims whose whole interval is beyond the limit."""
        return [limit.name for limit, ratio in self._ratios() if limit.is_missed(ratio)]

    def _ratios(self) -> Iterator[tuple[Limit, Estimate]]:
        for limit in LIMITS:
            if (ratio := self.ratio(limit)) is not None:
                yield limit, ratio

    def _rows(self) -> Iterator[Sequence[str]]:
        for quantity in Quantity:
            arms = [self._arms.get((server, quantity)) for server in (STOCK, WARM)]
            stock, warm = arms
            if stock and warm:
                assets = next(one.assets for one in self.samples if one.quantity is quantity)
                ratio = self.ratio(Limit(quantity, (STOCK, quantity), (WARM, quantity), 0, True))
                medians = (_describe(median(list(arm.values())), quantity.unit) for arm in (stock, warm))
                yield [f"{assets:,} assets, {quantity.label}", *medians, _describe(ratio, "")]

    @property
    def _arms(self) -> dict[tuple[str, Quantity], dict[int, float]]:
        arms: defaultdict[tuple[str, Quantity], dict[int, float]] = defaultdict(dict)
        for sample in self.samples:
            arms[sample.server, sample.quantity][sample.block] = sample.value
        return arms


def _describe(estimate: Estimate | None, unit: str) -> str:
    return describe_estimate(estimate, unit, None)
