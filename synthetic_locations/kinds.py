"""The options of a shape; each value is the word that appears in a shape's name."""

from dataclasses import dataclass
from enum import StrEnum


class Partitioning(StrEnum):
    """How assets are partitioned; every kind has exactly the number of keys in the shape."""

    STATIC = "static"
    DAILY = "daily"
    HOURLY = "hourly"
    MULTI = "multi"
    """Two static dimensions."""
    DYNAMIC = "dynamic"


class Structure(StrEnum):
    """What an asset is made of."""

    PLAIN = "plain"
    """A separate `@dg.asset` that does one unit of work."""
    GRAPH = "graph"
    """A `@dg.graph_asset`: a chain of ops that each do one unit of work."""
    MULTI = "multi"
    """One of several outputs of a `@dg.multi_asset`, which does one unit of work for each."""
    FUSED = "fused"
    """A separate `@dg.asset` that does several units of work in sequence."""


class Dependencies(StrEnum):
    """How assets depend on each other."""

    NONE = "none"
    CHAIN = "chain"
    """Each asset depends on the one before it."""
    CHAINS = "chains"
    """Independent chains of consecutive assets, equally long except for the last."""
    LAYERED = "layered"
    """A few wide layers; each asset depends on several of the previous layer."""
    SPINE = "spine"
    """Assets at a fixed distance, starting with the first, form a chain; all others are independent."""


class Imports(StrEnum):
    """Whether and when heavy libraries are imported."""

    NONE = "importnone"
    TOP = "importtop"
    """When the definitions are built, like imports at the top of a user's module."""
    LATE = "importlate"
    """When an asset computes, like imports inside a user's function."""


class Executor(StrEnum):
    """What executes the steps of a run."""

    MULTIPROCESS = "multiprocess"
    """Dagster's default: each step in a new process that loads the location."""
    IN_PROCESS = "inprocess"
    FORKSERVER = "forkserver"
    """Each step in a fork of a process that has imported the location's module."""
    PRELOADED = "preloaded"
    """Like `forkserver`, but that process has also built the location's asset job."""
    PODS = "pods"
    """Each step in a separate Kubernetes pod."""


@dataclass(frozen=True)
class Part:
    """Position of a location among the parts of a split one."""

    number: int
    """Counted from 1."""
    of: int


@dataclass(frozen=True)
class Etl:
    """Size of a location's extract–transform–load job."""

    batches: int
    stages: int
    """Steps of a batch: the first extracts, the last loads, those between transform."""
    rows: int = 3_000
    """Rows of all batches together."""
