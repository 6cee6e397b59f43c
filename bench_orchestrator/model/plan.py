"""A sweep's plan: scenarios, their variants, and every trial."""

from collections.abc import Mapping
from dataclasses import dataclass, field
from enum import StrEnum
from typing import Any

from bench_orchestrator.model.workload import Workload


def again(baseline: str) -> str:
    """Return the variant name of a baseline's second copy: the A/A arm, whose difference is the noise."""
    return f"{baseline}, again"


@dataclass(frozen=True)
class Prediction:
    """An expected value, computed before the measurement, with an interval; the basis says which kind."""

    value: float
    low: float | None
    high: float | None
    basis: str
    """The source of the prediction and of its interval, as text."""


class LaunchPath(StrEnum):
    """How a trial's run is launched."""

    GRAPHQL = "graphql"
    """Like the button in the UI."""
    SCHEDULE = "schedule"
    SENSOR = "sensor"
    BACKFILL = "backfill"
    """A backfill whose partitions are one run."""


class ServerState(StrEnum):
    """What happens to the code server of a trial's location before the trial."""

    AS_IT_IS = "as it is"
    REPLACED = "replaced"
    """Replaced: another server is up and loaded when the launch is requested."""
    FROM_ZERO = "from zero"
    """Down: the request counts from the start of a new server."""


@dataclass(frozen=True)
class Variant:
    """One side of a comparison: what each of its trials launches, and in what deployment."""

    name: str
    locations: tuple[str, ...]
    """Each trial launches in one of them, chosen at random."""
    assets: int = 1
    """The number of assets that a trial selects."""
    stride: int = 1
    """The distance between selected assets: 1 for neighbours; otherwise the location's first asset is the first."""
    partitions: int = 1
    """The number of latest partitions that a trial launches as one range, if there are partitions."""
    work: int | None = None
    """Units of work that a trial has to materialize, so that all sides do the same; None: not checked."""
    path: LaunchPath = LaunchPath.GRAPHQL
    instance: Mapping[str, Any] = field(default_factory=dict)
    """Entries of dagster.yaml that this side needs, for which it gets a separate deployment."""
    cpus: float | None = None
    """CPU limit shared by its code servers and their runs; None: no limit. Needs a separate deployment or, on
    Kubernetes, locations that are served with this limit (`deployments.served_name`)."""
    warm: bool | None = None
    """Whether its code servers are warm; needs the same. None: whichever server its locations have."""
    server: ServerState = ServerState.AS_IT_IS
    against: str = ""
    """The variant that it is compared with; a baseline names itself. Empty: the experiment's first."""
    in_turn: bool = False
    """Whether to launch it only once in each of its locations, in order, after all blocks; it is not compared."""
    workload: Workload | None = None
    """What each of its trials does, with many runs; None: the trial is one launch. Needs a separate deployment, which
    it shares with the sides of the same dagster.yaml."""

    @property
    def has_units(self) -> bool:
        """Whether a launch has several units of work, so that the time until all are done is a result, too."""
        return self.workload is None and (self.work or 0) > 1


@dataclass(frozen=True)
class Scenario:
    """A named question: which code locations to launch, and how often by default.

    Experiments have variants instead of locations; the first variant is the baseline.
    """

    name: str
    question: str
    locations: tuple[str, ...] = ()
    repeats: int = 5
    warmups: int = 1
    timeout_s: float = 300
    """Seconds until a trial is terminated and counted as timed out."""
    variants: tuple[Variant, ...] = ()
    quick_variants: tuple[Variant, ...] = ()
    """The same experiment at a size for laptops and tests."""
    holds_equal: str = ""
    """What the sides of an experiment have in common, as text."""


@dataclass(frozen=True)
class Location:
    """What preflight found out about a code location: where to launch, and its size."""

    name: str
    repository: str
    job: str
    asset_count: int
    partition_count: int
    """Partitions of the selected assets; 0 if they are not partitioned."""
    deployment: str = ""
    """The plan's name for the deployment that serves it; empty: the deployment of the sweep itself."""
    load_s: float | None = None
    """Seconds from the start of its code server until it answered, if known."""
    server_id: str = ""
    """The id of its code server, which changes with every deploy; empty if it is not known."""


@dataclass(frozen=True)
class PlannedTrial:
    """One launch of the plan, exactly one run unless something fails; or its variant's workload."""

    number: int
    """1 for the first launch of the sweep; unique in it."""
    block: int
    """Blocks launch each variant once, in shuffled order; counted from 1, warm-up blocks first."""
    location: str
    variant: str
    warmup: bool
    asset_keys: tuple[str, ...]
    """As Dagster displays them: parts joined with `/`."""
    partition_key: str | None = None
    """The partition, or the first of a range."""
    last_partition_key: str | None = None
    """The last of a range; None for a single partition."""
    work: int | None = None
    """Units of work that it has to materialize; None: not checked."""
    deployment: str = ""
    path: LaunchPath = LaunchPath.GRAPHQL
    server: ServerState = ServerState.AS_IT_IS


@dataclass(frozen=True)
class SweepPlan:
    """Everything that a sweep is going to do, recorded before its first launch."""

    sweep_id: str
    scenario: str
    seed: int
    created_us: int
    locations: tuple[Location, ...]
    trials: tuple[PlannedTrial, ...]
    settings: Mapping[str, Any]
    """The parameters of its job: repeats, warmups, timeout_s, pause_s, jitter_s, and others."""
    environment: Mapping[str, Any]
    """What the results depend on: versions, CPU, launcher, coordinator, storage, limits."""
    variants: tuple[Variant, ...] = ()
    """An experiment's sides, its baseline first, each baseline followed by its A/A arm; empty for other sweeps."""
    environments: Mapping[str, Mapping[str, Any]] = field(default_factory=dict)
    """For each separate deployment of the plan, by name: the environment, and its dagster.yaml."""
    predicted_startups_s: Mapping[str, Prediction] = field(default_factory=dict)
    """The expected startup time of each variant, computed before its first launch from earlier sweeps."""
    resumes: str | None = None
    """The run id of the interrupted sweep that this one continues, with the same plan and its notes."""

    @property
    def places(self) -> dict[tuple[str, str], Location]:
        """The locations by deployment and name."""
        return {(location.deployment, location.name): location for location in self.locations}

    @property
    def dequeue_interval_s(self) -> float | None:
        """The dequeue interval of all its trials' deployments; None if they differ, or there is no queue."""
        used = {trial.deployment for trial in self.trials}
        intervals = {self.environment_of(deployment).get("dequeue_interval_s") for deployment in used}
        return intervals.pop() if len(intervals) == 1 else None

    def workload_of(self, trial: PlannedTrial) -> Workload | None:
        """Return what a trial with several runs does; None if it is one launch."""
        return next((variant.workload for variant in self.variants if variant.name == trial.variant), None)

    def environment_of(self, deployment: str) -> Mapping[str, Any]:
        """Return the environment of one of its deployments, or of the deployment of the sweep itself."""
        return self.environments.get(deployment, self.environment)
