"""What a synthetic code location contains, and the names that say so: `a250`, `a10p10k`, `a100p30_daily`.

A name is all that is stored of a shape (in workspaces, environment variables, results), so every shape has
exactly one name, and parsing is the exact inverse of printing. Names are Python identifiers, because a
location is also an attribute of the module `synthetic_locations.catalog`. No Dagster in here.
"""

import re
from dataclasses import dataclass
from enum import StrEnum

GRAMMAR = """\
a<assets>[p<partitions>][_<partitioning>][_<dependencies>][_checks<n>][_sleep<n>ms][_inprocess]
  assets, partitions   1 to 100k; whole thousands are written with k: 10k, not 10000
  partitioning         daily, hourly, multi or dynamic; static if left out
  dependencies         chain or layered; none if left out
  checks<n>            asset checks per asset, 1 to 100; none if left out
  sleep<n>ms           how long each asset computes, 0 to 3600000 ms; 100 ms if left out
  inprocess            the in-process executor; Dagster's default, multiprocess, if left out
Examples: a250, a1p2k, a10p10k, a500_chain, a100p30_daily_checks2_sleep500ms_inprocess"""

MAX_ASSETS = 100_000
MAX_PARTITIONS = 100_000
"""Per asset; Dagster recommends staying at or below it."""
MAX_CHECKS = 100
MAX_COMPUTE_MS = 3_600_000


class Partitioning(StrEnum):
    """The kind of partitions; each kind has exactly as many keys as the shape says."""

    STATIC = "static"
    DAILY = "daily"
    HOURLY = "hourly"
    MULTI = "multi"
    """Two static dimensions."""
    DYNAMIC = "dynamic"


class Dependencies(StrEnum):
    """How assets depend on each other."""

    NONE = "none"
    CHAIN = "chain"
    """Each asset on the one before it."""
    LAYERED = "layered"
    """A few wide layers; each asset on several of the layer before it."""


class Executor(StrEnum):
    """What executes the steps of a run."""

    MULTIPROCESS = "multiprocess"
    IN_PROCESS = "inprocess"


@dataclass(frozen=True)
class Shape:
    """What a synthetic code location contains.

    Raises:
        ValueError: a number is out of its range, or there is a kind of partitions and no partitions.
    """

    assets: int
    partitions: int = 0
    """Per asset; 0 means not partitioned."""
    partitioning: Partitioning = Partitioning.STATIC
    dependencies: Dependencies = Dependencies.NONE
    checks: int = 0
    """Asset checks per asset."""
    compute_ms: int = 100
    """How long each asset sleeps."""
    executor: Executor = Executor.MULTIPROCESS

    def __post_init__(self) -> None:
        _require_range("assets", self.assets, 1, MAX_ASSETS)
        _require_range("partitions", self.partitions, 0, MAX_PARTITIONS)
        _require_range("checks per asset", self.checks, 0, MAX_CHECKS)
        _require_range("milliseconds of sleep", self.compute_ms, 0, MAX_COMPUTE_MS)
        if self.partitioning is not Partitioning.STATIC and not self.partitions:
            raise ValueError(f"{self.partitioning} partitions need a number: a{self.assets}p<partitions>_…")

    @property
    def name(self) -> str:
        """The one name that `parse_shape` reads back as this shape."""
        size = f"a{_print_count(self.assets)}"
        if self.partitions:
            size += f"p{_print_count(self.partitions)}"
        options = (
            ("" if self.partitioning is Partitioning.STATIC else self.partitioning),
            ("" if self.dependencies is Dependencies.NONE else self.dependencies),
            (f"checks{self.checks}" if self.checks else ""),
            ("" if self.compute_ms == Shape.compute_ms else f"sleep{self.compute_ms}ms"),
            ("" if self.executor is Executor.MULTIPROCESS else self.executor),
        )
        return "_".join((size, *filter(None, options)))

    def __str__(self) -> str:
        return self.name


def parse_shape(name: str) -> Shape:
    """The shape of that name.

    Raises:
        ValueError: it is not the name of a shape, or not the one way to write it; the message says what is
            wrong, what to write instead where that is known, and shows the grammar.
    """
    try:
        shape = _read(name)
        if shape.name != name:
            raise ValueError(f"this shape is written {shape.name!r}")
    except ValueError as error:
        raise ValueError(f"{name!r} is not the name of a shape: {error}.\n{GRAMMAR}") from None
    return shape


# Reading is more lenient than the grammar, so that what is nearly right can be answered with what is right.
# Nine digits are more than any limit and fewer than Python refuses to convert.
_COUNT = r"[0-9]{1,9}k?"
_SIZE = re.compile(rf"a({_COUNT})(?:p({_COUNT}))?")
_CHECKS = re.compile(r"checks([0-9]{1,9})")
_SLEEP = re.compile(r"sleep([0-9]{1,9})ms")


def _read(name: str) -> Shape:
    size, *options = name.split("_")
    counts = _SIZE.fullmatch(size)
    if counts is None:
        raise ValueError(f"{size!r} is not a<assets> or a<assets>p<partitions>")
    partitioning, dependencies, executor = Partitioning.STATIC, Dependencies.NONE, Executor.MULTIPROCESS
    checks, compute_ms = 0, Shape.compute_ms
    given = set[str]()
    for option in options:
        if option in set(Partitioning):
            kind, partitioning = "partitioning", Partitioning(option)
        elif option in set(Dependencies):
            kind, dependencies = "dependencies", Dependencies(option)
        elif option in set(Executor):
            kind, executor = "executor", Executor(option)
        elif match := _CHECKS.fullmatch(option):
            kind, checks = "checks", int(match[1])
        elif match := _SLEEP.fullmatch(option):
            kind, compute_ms = "sleep", int(match[1])
        else:
            raise ValueError(f"there is no option {option!r}")
        if kind in given:
            raise ValueError(f"{option!r} is a second {kind} option")
        given.add(kind)
    assets, partitions = (_read_count(count) if count else 0 for count in counts.groups())
    return Shape(assets, partitions, partitioning, dependencies, checks, compute_ms, executor)


def _read_count(text: str) -> int:
    return int(text[:-1]) * 1000 if text.endswith("k") else int(text)


def _print_count(count: int) -> str:
    return f"{count // 1000}k" if count and count % 1000 == 0 else str(count)


def _require_range(what: str, value: int, lowest: int, highest: int) -> None:
    if not lowest <= value <= highest:
        raise ValueError(f"{value} {what}, where {lowest} to {highest} are possible")
