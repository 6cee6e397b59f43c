"""What a sweep is going to do: scenarios, their variants, and the plan of every trial."""

from collections.abc import Mapping
from dataclasses import dataclass, field
from enum import StrEnum
from typing import Any


def again(baseline: str) -> str:
    """The name of the variant that launches a baseline a second time: the A/A arm, whose difference is the noise."""
    return f"{baseline}, again"


@dataclass(frozen=True)
class Prediction:
    """A value that was expected before it was measured, with its interval."""

    value: float
    low: float | None
    high: float | None
    basis: str
    """What it was predicted from, in words."""


class LaunchPath(StrEnum):
    """How a trial's run comes to be launched."""

    GRAPHQL = "graphql"
    """As by the button in the UI."""
    SCHEDULE = "schedule"
    SENSOR = "sensor"
    BACKFILL = "backfill"
    """A backfill whose partitions are one run."""


class ServerState(StrEnum):
    """What is done to the code server of a trial's location before the trial."""

    AS_IT_IS = "as it is"
    REPLACED = "replaced"
    """It is ended, and another is up and loaded again when the launch is requested."""
    FROM_ZERO = "from zero"
    """It is down, and the request counts from when another is asked to come up."""


@dataclass(frozen=True)
class Variant:
    """One side of a comparison: what each of its trials asks for, and of what deployment."""

    name: str
    locations: tuple[str, ...]
    """Each trial launches in one of them, chosen at random."""
    assets: int = 1
    """How many assets a trial selects."""
    stride: int = 1
    """From one selected asset to the next: 1 for neighbours; beyond that, the first asset is the location's first."""
    partitions: int = 1
    """How many of the latest partitions a trial launches as one range, where there are partitions."""
    work: int | None = None
    """Units of work that a trial has to materialize, so that sides can be held to the same; None: not checked."""
    path: LaunchPath = LaunchPath.GRAPHQL
    instance: Mapping[str, Any] = field(default_factory=dict)
    """Entries of dagster.yaml that this side needs: it then runs in a deployment of its own."""
    cpus: float | None = None
    """CPUs that its code servers, with their runs, may use: a deployment of its own again, or locations that are served
    so (`deployments.served_name`), as on Kubernetes. None: all."""
    warm: bool | None = None
    """Whether its code servers are the warm ones, likewise. None: whatever serves its locations."""
    server: ServerState = ServerState.AS_IT_IS
    against: str = ""
    """The variant that it is compared with, which is a baseline and names itself; empty: the experiment's first."""
    in_turn: bool = False
    """Launched once in each of its locations, in their order, after all blocks; not compared."""


@dataclass(frozen=True)
class Scenario:
    """A named question: which code locations are launched, and how often by default.

    An experiment has variants in place of locations, the first of which is its baseline.
    """

    name: str
    question: str
    locations: tuple[str, ...] = ()
    repeats: int = 5
    warmups: int = 1
    variants: tuple[Variant, ...] = ()
    quick_variants: tuple[Variant, ...] = ()
    """The same experiment at a size for laptops and tests."""
    holds_equal: str = ""
    """What the sides of an experiment have in common, in words."""


@dataclass(frozen=True)
class Location:
    """What preflight found out about a code location: where to launch, and its size."""

    name: str
    repository: str
    job: str
    asset_count: int
    partition_count: int
    """Partitions of the chosen assets; 0 where they have none."""
    deployment: str = ""
    """The deployment that serves it, by its name in the plan; empty: the one that the sweep itself runs in."""
    load_s: float | None = None
    """How long its code server took to start until it answered, where that is known."""


@dataclass(frozen=True)
class PlannedTrial:
    """One launch of the plan: exactly one run, if all goes well."""

    number: int
    """1 for the first launch of the sweep; unique in it."""
    block: int
    """Blocks launch each variant once, in shuffled order; counted from 1, warm-up blocks first."""
    location: str
    variant: str
    warmup: bool
    asset_keys: tuple[str, ...]
    """As Dagster prints them to users: parts joined with `/`."""
    partition_key: str | None = None
    """The partition, or the first of a range."""
    last_partition_key: str | None = None
    """The last of a range; None where it is one partition."""
    work: int | None = None
    """Units of work that it has to materialize; None where nobody counts."""
    deployment: str = ""
    path: LaunchPath = LaunchPath.GRAPHQL
    server: ServerState = ServerState.AS_IT_IS


@dataclass(frozen=True)
class SweepPlan:
    """Everything a sweep is going to do, recorded before its first launch."""

    sweep_id: str
    scenario: str
    seed: int
    created_us: int
    locations: tuple[Location, ...]
    trials: tuple[PlannedTrial, ...]
    settings: Mapping[str, Any]
    """The knobs that shaped it: repeats, warmups, timeout_s, pause_s, jitter_s, and what else its job was given."""
    environment: Mapping[str, Any]
    """What the numbers depend on: versions, CPU, launcher, coordinator, storage, limits."""
    variants: tuple[Variant, ...] = ()
    """An experiment's sides, its baseline first, each baseline followed by its A/A arm; empty for other sweeps."""
    environments: Mapping[str, Mapping[str, Any]] = field(default_factory=dict)
    """Of each deployment of the plan's own, by its name: the environment, and its dagster.yaml."""
    predictions_s: Mapping[str, Prediction] = field(default_factory=dict)
    """What each variant's lag was expected to be, before its first launch, from an earlier fit."""
    resumes: str | None = None
    """The run id of the interrupted sweep that this one continues: the same plan, and its notes count."""

    @property
    def places(self) -> dict[tuple[str, str], Location]:
        """The locations by their deployment and their name."""
        return {(location.deployment, location.name): location for location in self.locations}

    def environment_of(self, deployment: str) -> Mapping[str, Any]:
        """The environment of one of its deployments, or of the one that the sweep itself runs in."""
        return self.environments.get(deployment, self.environment)
