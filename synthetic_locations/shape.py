"""The shape of a synthetic code location, and its name: `a250`, `a10p10k`, `a100p30_daily`.

Only the name of a shape is stored (in workspaces, environment variables, results), so every shape has exactly one name,
and parsing is the exact inverse of printing. Names are Python identifiers, because locations are also attributes of
`synthetic_locations.catalog`. Does not depend on Dagster.
"""

import math
import re
from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass
from typing import Any

from synthetic_locations.kinds import Dependencies, Etl, Executor, Imports, Part, Partitioning, Structure

GRAMMAR = """\
a<assets>[p<partitions>][_<partitioning>][_<structure>][_<dependencies>][_part<k>of<n>]
    [_etl<batches>x<stages>[of<rows>]][_checks<n>][_pools<n>][_sleep<n>ms][_<imports>][_rebuilt][_nogc][_triggers]
    [_singleflight][_at<k>][_<executor>]
  assets, partitions   1 to 100k; whole thousands are written with k, here and below: 10k, not 10000
  partitioning         daily, hourly, multi or dynamic; static if left out
  structure            one @dg.asset for each asset, a unit of work, if left out; otherwise, with n from 2 to 1k,
      graph<n>         each asset a graph of n ops in a chain; without dependencies and checks
      multi<n>         functions that make n assets each
      fused<n>         each asset a function that does n units of work
  dependencies         none if left out; otherwise, with n from 2 and fewer than there are assets,
      chain            each asset on the one before it
      chains<n>        the same, in chains of n assets
      layered          each asset on several of the layer before it
      spine<n>         every nth asset on the one n before it
  part<k>of<n>         the kth of n locations that a spine runs through, 2 to 1000; their names differ in k only
  etl                  an extract–transform–load job in three forms: etl_static, etl_dynamic and etl_prioritised;
                       1 to 1k batches of 2 to 20 stages, of up to 100k rows in all, 3k if left out; not with pods
  checks<n>            asset checks per asset, 1 to 100; none if left out
  pools<n>             each asset, multi-asset or graph in one of n pools by turns, 1 to 1k; none if left out
  sleep<n>ms           how long a unit of work or a stage takes, 0 to 3600000 ms; 100 ms if left out
  imports              importtop, heavy libraries when the definitions are built, or importlate, when an asset
                       computes; none if left out
  rebuilt              definitions are built each time Dagster asks, not once per process; not with forks
  nogc                 no garbage collection until an asset computes
  triggers             a schedule and a sensor that launch on request, and backfills in a single run
  singleflight         a schedule, off at first, that launches the first asset each minute on request, unless its last
                       run is in progress
  at<k>                how many steps of a run are executed at once, 1 to 1k; if left out, what the executor
                       does by default; not with inprocess
  executor             inprocess, forkserver (steps are forks of a process that has imported the location's
                       module), preloaded (and has built its asset job), or pods (on Kubernetes, a pod for each
                       step); multiprocess if left out
Examples: a250, a1p2k, a10p10k, a500_chain, a100p30_daily_checks2_sleep500ms_inprocess, a200_graph10,
a3k_spine1k_part2of3, a2k_preloaded, a1_etl60x5_sleep500ms_at4"""

MAX_ASSETS = 100_000
MAX_PARTITIONS = 100_000
"""Per asset; Dagster recommends not to exceed it."""
MAX_PIECES = 1_000
MAX_PARTS = 1_000
MAX_BATCHES = 1_000
MAX_STAGES = 20
MAX_ROWS = 100_000
MAX_AT = 1_000
MAX_CHECKS = 100
MAX_POOLS = 1_000
MAX_COMPUTE_MS = 3_600_000


@dataclass(frozen=True)
class Shape:
    """The contents of a synthetic code location.

    Raises:
        ValueError: a number is out of range, or the options conflict; the message says why.
    """

    assets: int
    partitions: int = 0
    """Per asset; 0 means not partitioned."""
    partitioning: Partitioning = Partitioning.STATIC
    structure: Structure = Structure.PLAIN
    pieces: int = 1
    """Ops per graph, outputs per multi-asset, or units of work per fused asset; 1 for plain assets."""
    dependencies: Dependencies = Dependencies.NONE
    span: int = 0
    """Assets per chain, or the distance between spine assets; 0 for other dependencies."""
    part: Part | None = None
    """None for a complete location. The first asset of a later part depends on the previous part's last spine asset."""
    etl: Etl | None = None
    """None for a location without an extract–transform–load job."""
    checks: int = 0
    """Asset checks per asset."""
    pools: int = 0
    """How many pools the assets are in, by turns; 0 means that they are in none."""
    compute_ms: int = 100
    """How long a unit of work sleeps, and each stage of a batch."""
    imports: Imports = Imports.NONE
    rebuilt: bool = False
    """Whether the definitions are built each time Dagster asks for them, rather than once per process."""
    nogc: bool = False
    """Whether garbage collection is off from the loading until an asset computes."""
    triggers: bool = False
    """Whether a schedule and a sensor launch on request, and backfills are single runs."""
    singleflight: bool = False
    """Whether a schedule launches the first asset each minute on request, unless its last run is in progress."""
    at: int = 0
    """How many steps of a run are executed at once; 0 for the executor's default."""
    executor: Executor = Executor.MULTIPROCESS

    def __post_init__(self) -> None:
        _require_range("assets", self.assets, 1, MAX_ASSETS)
        _require_range("partitions", self.partitions, 0, MAX_PARTITIONS)
        _require_range("checks per asset", self.checks, 0, MAX_CHECKS)
        _require_range("pools", self.pools, 0, MAX_POOLS)
        _require_range("milliseconds of sleep", self.compute_ms, 0, MAX_COMPUTE_MS)
        if self.partitioning is not Partitioning.STATIC and not self.partitions:
            raise ValueError(f"{self.partitioning} partitions need a number: a{self.assets}p<partitions>_…")
        self._check_structure()
        self._check_dependencies()
        self._check_part()
        if self.pools > self.functions:
            functions = "multi-assets" if self.structure is Structure.MULTI else "assets"
            raise ValueError(f"pools{_print_count(self.pools)} needs at least as many {functions}")
        self._check_etl()
        _require_range("steps at once", self.at, 0, MAX_AT)
        if self.at and self.executor is Executor.IN_PROCESS:
            raise ValueError("the in-process executor executes one step at a time")
        if self.rebuilt and self.executor in (Executor.FORKSERVER, Executor.PRELOADED):
            raise ValueError(f"rebuilt definitions are not kept, so {self.executor} would preload them in vain")

    @property
    def name(self) -> str:
        """The only name that `parse_shape` reads as this shape."""
        size = f"a{_print_count(self.assets)}"
        if self.partitions:
            size += f"p{_print_count(self.partitions)}"
        options = (
            ("" if self.partitioning is Partitioning.STATIC else self.partitioning),
            ("" if self.structure is Structure.PLAIN else f"{self.structure}{_print_count(self.pieces)}"),
            ("" if self.dependencies is Dependencies.NONE else self.dependencies + self._printed_span),
            (f"part{self.part.number}of{self.part.of}" if self.part else ""),
            self._printed_etl,
            (f"checks{self.checks}" if self.checks else ""),
            (f"pools{_print_count(self.pools)}" if self.pools else ""),
            ("" if self.compute_ms == Shape.compute_ms else f"sleep{self.compute_ms}ms"),
            ("" if self.imports is Imports.NONE else self.imports),
            ("rebuilt" if self.rebuilt else ""),
            ("nogc" if self.nogc else ""),
            ("triggers" if self.triggers else ""),
            ("singleflight" if self.singleflight else ""),
            (f"at{_print_count(self.at)}" if self.at else ""),
            ("" if self.executor is Executor.MULTIPROCESS else self.executor),
        )
        return "_".join((size, *filter(None, options)))

    @property
    def functions(self) -> int:
        """How many functions or graphs make the assets."""
        return math.ceil(self.assets / self.pieces) if self.structure is Structure.MULTI else self.assets

    @property
    def work_per_asset(self) -> int:
        """Units of work per materialization of an asset."""
        return self.pieces if self.structure in (Structure.GRAPH, Structure.FUSED) else 1

    def __str__(self) -> str:
        return self.name

    @property
    def _printed_span(self) -> str:
        return _print_count(self.span) if self.span else ""

    @property
    def _printed_etl(self) -> str:
        if self.etl is None:
            return ""
        of = "" if self.etl.rows == Etl.rows else f"of{_print_count(self.etl.rows)}"
        return f"etl{_print_count(self.etl.batches)}x{self.etl.stages}{of}"

    def _check_structure(self) -> None:
        if self.structure is Structure.PLAIN:
            if self.pieces != 1:
                raise ValueError("plain assets take no number of pieces")
            return
        if self.pieces == 1:
            raise ValueError(f"{self.structure} needs a number of 2 or more: {self.structure}<n>")
        _require_range(f"pieces in {self.structure}", self.pieces, 2, MAX_PIECES)
        if self.structure is Structure.MULTI and self.pieces > self.assets:
            raise ValueError(f"multi{_print_count(self.pieces)} needs at least as many assets")
        if self.structure is Structure.GRAPH and self.dependencies is not Dependencies.NONE:
            # A graph declares dependencies as inputs of its ops, which load differently from `deps`.
            raise ValueError("graph assets cannot have dependencies")
        if self.structure is Structure.GRAPH and self.checks:
            # A graph runs its checks in an op, which would be an extra step per asset.
            raise ValueError("graph assets cannot have checks")
        if self.structure is Structure.GRAPH and self.executor is Executor.PODS:
            raise ValueError("the ops of a graph pass on their values in files, which pods do not share")

    def _check_dependencies(self) -> None:
        if self.dependencies not in (Dependencies.CHAINS, Dependencies.SPINE):
            if self.span:
                raise ValueError(f"{self.dependencies} takes no number")
            return
        if self.span < 2:
            raise ValueError(f"{self.dependencies} needs a number of 2 or more: {self.dependencies}<n>")
        _require_range(f"assets in {self.dependencies}", self.span, 2, MAX_ASSETS)
        if self.span >= self.assets and not self.part:
            instead = "chain" if self.dependencies is Dependencies.CHAINS else "no dependencies"
            raise ValueError(
                f"{self.dependencies}{self._printed_span} of {self.assets} assets is the same as {instead}"
            )

    def _check_part(self) -> None:
        if self.part is None:
            return
        _require_range("parts", self.part.of, 2, MAX_PARTS)
        if not 1 <= self.part.number <= self.part.of:
            raise ValueError(f"there is no part {self.part.number} of {self.part.of}")
        if self.dependencies is not Dependencies.SPINE:
            raise ValueError("parts are connected by a spine: spine<n>_part<k>of<n>")

    def _check_etl(self) -> None:
        if self.etl is None:
            return
        _require_range("batches", self.etl.batches, 1, MAX_BATCHES)
        _require_range("stages", self.etl.stages, 2, MAX_STAGES)
        _require_range("rows", self.etl.rows, self.etl.batches, MAX_ROWS)
        if self.executor is Executor.PODS:
            raise ValueError("the stages of a batch pass on their values in files, which pods do not share")


def is_shape(name: str) -> bool:
    """Return whether this is the name of a shape."""
    try:
        parse_shape(name)
    except ValueError:
        return False
    return True


def parse_shape(name: str) -> Shape:
    """Return the shape with this name.

    Raises:
        ValueError: no shape has this name, or it is a variant spelling. The message gives the error, the correct
            spelling where there is one, and the grammar.
    """
    try:
        shape = _read(name)
        if shape.name != name:
            raise ValueError(f"this shape is written {shape.name!r}")
    except ValueError as error:
        raise ValueError(f"{name!r} is not the name of a shape: {error}.\n{GRAMMAR}") from None
    return shape


# Reading is more lenient than the grammar, so that a near miss can be answered with the correct name.
# Nine digits exceed every limit and are few enough for Python to convert.
_NUMBER = "[0-9]{1,9}"
_COUNT = f"{_NUMBER}k?"
_SIZE = re.compile(f"a({_COUNT})(?:p({_COUNT}))?")


def _words(words: Iterable[str]) -> str:
    return f"({'|'.join(words)})"


_OPTIONS: Mapping[str, tuple[str, Callable[..., Mapping[str, Any]]]] = {
    "partitioning": (_words(Partitioning), lambda word: {"partitioning": Partitioning(word)}),
    "structure": (
        f"{_words(Structure)}({_COUNT})?",
        lambda word, count: {"structure": Structure(word), "pieces": _read_count(count) if count else 1},
    ),
    "dependencies": (
        f"{_words(Dependencies)}({_COUNT})?",
        lambda word, count: {"dependencies": Dependencies(word), "span": _read_count(count) if count else 0},
    ),
    "part": (f"part({_NUMBER})of({_NUMBER})", lambda number, of: {"part": Part(int(number), int(of))}),
    "etl": (
        f"etl({_COUNT})x({_NUMBER})(?:of({_COUNT}))?",
        lambda batches, stages, rows: {
            "etl": Etl(_read_count(batches), int(stages), _read_count(rows) if rows else Etl.rows)
        },
    ),
    "checks": (f"checks({_NUMBER})", lambda count: {"checks": int(count)}),
    "pools": (f"pools({_COUNT})", lambda count: {"pools": _read_count(count)}),
    "sleep": (f"sleep({_NUMBER})ms", lambda count: {"compute_ms": int(count)}),
    "imports": (_words(Imports), lambda word: {"imports": Imports(word)}),
    "rebuilt": ("rebuilt", lambda: {"rebuilt": True}),
    "nogc": ("nogc", lambda: {"nogc": True}),
    "triggers": ("triggers", lambda: {"triggers": True}),
    "singleflight": ("singleflight", lambda: {"singleflight": True}),
    "at": (f"at({_COUNT})", lambda steps: {"at": _read_count(steps)}),
    "executor": (_words(Executor), lambda word: {"executor": Executor(word)}),
}
"""Each kind of option: its pattern, and the shape's fields that its groups set."""


def _read(name: str) -> Shape:
    size, *options = name.split("_")
    counts = _SIZE.fullmatch(size)
    if counts is None:
        raise ValueError(f"{size!r} is not a<assets> or a<assets>p<partitions>")
    fields = dict[str, Any]()
    given = set[str]()
    for option in options:
        kind, values = _read_option(option)
        if kind in given:
            raise ValueError(f"{option!r} is a second {kind} option")
        given.add(kind)
        fields.update(values)
    assets, partitions = (_read_count(count) if count else 0 for count in counts.groups())
    return Shape(assets, partitions, **fields)


def _read_option(option: str) -> tuple[str, Mapping[str, Any]]:
    for kind, (pattern, read) in _OPTIONS.items():
        if match := re.fullmatch(pattern, option):
            return kind, read(*match.groups())
    raise ValueError(f"there is no option {option!r}")


def _read_count(text: str) -> int:
    return int(text[:-1]) * 1000 if text.endswith("k") else int(text)


def _print_count(count: int) -> str:
    return f"{count // 1000}k" if count and count % 1000 == 0 else str(count)


def _require_range(what: str, value: int, lowest: int, highest: int) -> None:
    if not lowest <= value <= highest:
        raise ValueError(f"{value} {what}, but the range is {lowest} to {highest}")
