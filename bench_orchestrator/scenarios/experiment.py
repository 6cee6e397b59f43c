"""Building blocks of an experiment: a scenario with sides, the measures that compare them, and remedies.

Plain data and pure functions; no Dagster, no matplotlib.
"""

from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from typing import Any, Literal

from bench_orchestrator.model.instants import MICROSECONDS
from bench_orchestrator.model.launch import Launch, Trial
from bench_orchestrator.model.plan import Scenario
from bench_orchestrator.model.stages import Stage
from bench_orchestrator.model.workload import Workload
from bench_orchestrator.timeline.occupancy import Breach

MEBIBYTE = 1 << 20


@dataclass(frozen=True)
class Measure:
    """A quantity that the sides of an experiment are compared by; less is better."""

    name: str
    """The name in metadata and columns: `run_cpu_s`."""
    label: str
    """The name in reports: `CPU of the run`."""
    unit: str
    of: Callable[[Trial], float | None]
    """Returns the value for one launch, in the unit; None if it was not measured."""
    with_wait: "Measure | None" = None
    """The same quantity with the queue wait, for a measure that leaves it out."""


def seconds(duration_us: int | None) -> float | None:
    """Convert microseconds to seconds."""
    return None if duration_us is None else duration_us / MICROSECONDS


LAG = Measure("lag_s", "launch lag", "s", lambda trial: seconds(trial.launch.lag_us))
QUEUE = Measure("queue_s", "queue time", "s", lambda trial: seconds(trial.launch.queue_us))
INIT = Measure("init_s", "init time", "s", lambda trial: seconds(trial.launch.init_us))
STARTUP = Measure("startup_s", "startup time", "s", lambda trial: seconds(trial.launch.startup_us), LAG)
TIME_TO_CODE = Measure("time_to_code_s", "time to code", "s", lambda trial: seconds(trial.launch.time_to_code_us))
UNQUEUED_TIME_TO_CODE = Measure(
    "unqueued_time_to_code_s",
    "time to code without the queue wait",
    "s",
    lambda trial: seconds(trial.launch.unqueued_time_to_code_us),
    TIME_TO_CODE,
)
WORK = Measure("work_s", "time until all work is done", "s", lambda trial: seconds(trial.launch.work_us))


@dataclass(frozen=True)
class Remedy:
    """A change that a user can make, measured by one side of an experiment against its baseline."""

    name: str
    """An imperative: `Run steps in the run worker's process`."""
    variant: str
    """The side that measures it."""
    costs: str
    """What it costs: memory, isolation, observability, partitioning, work."""
    apply: str
    """A few lines of code or configuration that work as shown."""
    language: Literal["python", "yaml"]


@dataclass(frozen=True)
class Gate:
    """Something that has to be kept in every trial with several runs. Where it is not, the trial has failed."""

    what: str
    """What is kept, in words: `the run of high priority takes the next free slot`."""
    breaches: Callable[[Workload, Sequence[Launch]], Iterator[Breach]]
    """Yields what was not kept among the launches of a trial with this workload."""


@dataclass(frozen=True)
class Ahead:
    """A side that has to have less of a measure than any other side of its block, the A/A arms included.

    Where it does not, the evaluation of the sweep fails its check; the trials are results nonetheless.
    """

    side: str
    measure: Measure
    """One of the experiment's measures."""


@dataclass(frozen=True)
class Experiment:
    """A named comparison."""

    scenario: Scenario
    measures: tuple[Measure, ...] = ()
    """Measures in addition to `COMMON_MEASURES`."""
    remedies: tuple[Remedy, ...] = ()
    headline: Measure = STARTUP
    """The measure that answers the question. It leaves the queue wait out, unless the wait is what is asked about: the
    wait is random, and with few launches it would decide the answer."""
    gate: Gate | None = None
    """What else has to be kept in a trial with several runs, besides the limits of its workload."""
    ahead: Ahead | None = None
    """What has to be kept between the sides of each block."""
    flat: bool = False
    """Whether the differences between its sides are independent of the location's size."""

    @property
    def name(self) -> str:
        """The scenario's name."""
        return self.scenario.name

    def remedy_of(self, variant: str) -> Remedy:
        """Return the remedy that one of its sides measures."""
        return next(remedy for remedy in self.remedies if remedy.variant == variant)


def run_coordinator(*, prompt: bool = False, **config: Any) -> dict[str, Any]:
    """Return the entry of dagster.yaml for a queue: Dagster's, or the one that answers at once.

    Args:
        prompt: whether the queue answers at once, instead of at an interval.
        config: its settings.
    """
    module, name = (
        ("dagster_warm.queue", "PromptRunCoordinator")
        if prompt
        else ("dagster.core.run_coordinator", "QueuedRunCoordinator")
    )
    return {"run_coordinator": {"module": module, "class": name, "config": config}}


def stage_measure(stage: Stage) -> Measure:
    """Return a measure of a stage, in seconds."""
    return Measure(f"{stage}_s", stage.label, "s", lambda trial: seconds(trial.launch.stages_us.get(stage)))


def usage_measure(key: str, label: str, unit: str = "s", scale: float = 1.0) -> Measure:
    """Return a measure of one of `processes.MEASURES`, in its unit divided by `scale`."""

    def of(trial: Trial) -> float | None:
        value = trial.usage.get(key)
        return None if value is None else value / scale

    return Measure(key, label, unit, of)


def _peak_bytes(trial: Trial) -> float | None:
    """Return the peak memory in MiB; from PSS, which counts shared pages once, if it was recorded, else from RSS."""
    value = trial.usage.get("run_peak_pss_bytes", trial.usage.get("run_peak_rss_bytes"))
    return None if value is None else value / MEBIBYTE


RUN_PEAK = Measure("run_peak_bytes", "peak memory of the run's processes", "MiB", _peak_bytes)

CODE_SERVER = usage_measure("code_server_bytes", "memory of the code server", "MiB", MEBIBYTE)
"""Memory of the code server of the launched location; a side with several locations has several servers."""


def _daemon_share(trial: Trial) -> float | None:
    """Return the daemon's CPU use in percent of one CPU, from the request until the runs' processes were gone."""
    cpu_s, wall_s = trial.usage.get("daemon_cpu_s"), trial.usage.get("wall_s")
    return 100 * cpu_s / wall_s if cpu_s is not None and wall_s else None


DAEMON_SHARE = Measure("daemon_cpu_percent", "the daemon's share of a CPU", "%", _daemon_share)

COMMON_MEASURES: tuple[Measure, ...] = (
    LAG,
    STARTUP,
    TIME_TO_CODE,
    WORK,
    Measure("processes", "processes of the run", "", lambda trial: float(trial.launch.processes)),
    usage_measure("run_cpu_s", "CPU of the run's processes"),
    RUN_PEAK,
    CODE_SERVER,
)
"""The measures that every experiment records for each launch."""
