"""The kinds of things that a shape chooses from; each value is the word that a shape's name has for it."""

from dataclasses import dataclass
from enum import StrEnum


class Partitioning(StrEnum):
    """The kind of partitions; each kind has exactly as many keys as the shape says."""

    STATIC = "static"
    DAILY = "daily"
    HOURLY = "hourly"
    MULTI = "multi"
    """Two static dimensions."""
    DYNAMIC = "dynamic"


class Structure(StrEnum):
    """What an asset is made of."""

    PLAIN = "plain"
    """An `@dg.asset` of its own that does one unit of work."""
    GRAPH = "graph"
    """A `@dg.graph_asset`: a chain of ops, each of which does one unit of work."""
    MULTI = "multi"
    """One of several outputs of a `@dg.multi_asset`, which does one unit of work for each."""
    FUSED = "fused"
    """An `@dg.asset` of its own that does several units of work in turn."""


class Dependencies(StrEnum):
    """How assets depend on each other."""

    NONE = "none"
    CHAIN = "chain"
    """Each asset on the one before it."""
    CHAINS = "chains"
    """Independent chains of consecutive assets, all of the same length but the last."""
    LAYERED = "layered"
    """A few wide layers; each asset on several of the layer before it."""
    SPINE = "spine"
    """Assets at a fixed distance, from the first on, each on the one before it; the others on none."""


class Imports(StrEnum):
    """Whether a heavy library is imported, and when."""

    NONE = "importnone"
    TOP = "importtop"
    """When the definitions are built, as by a user's module that imports it at its top."""
    LATE = "importlate"
    """When an asset computes, as by a user's function that imports what it needs."""


class Executor(StrEnum):
    """What executes the steps of a run."""

    MULTIPROCESS = "multiprocess"
    """Dagster's default: each step in a new process that loads the location."""
    IN_PROCESS = "inprocess"
    FORKSERVER = "forkserver"
    """Each step in a fork of a process that has imported the location's module."""
    PRELOADED = "preloaded"
    """The same, where that process has also built the location's asset job."""
    PODS = "pods"
    """Each step in a pod of its own, on Kubernetes."""


@dataclass(frozen=True)
class Part:
    """Which of the parts that a larger location was split into."""

    number: int
    """Counted from 1."""
    of: int
