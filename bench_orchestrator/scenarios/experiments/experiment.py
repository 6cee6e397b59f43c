"""What an experiment consists of: a scenario with sides, what they are compared by, and the remedies they stand for.

Plain data and pure functions; no Dagster, no matplotlib.
"""

from collections.abc import Callable
from dataclasses import dataclass
from typing import Literal

from bench_orchestrator.model.instants import MICROSECONDS
from bench_orchestrator.model.launch import Trial
from bench_orchestrator.model.plan import Scenario
from bench_orchestrator.model.stages import Stage

MEBIBYTE = 1 << 20


@dataclass(frozen=True)
class Measure:
    """A quantity that the sides of an experiment are compared by; less of it is better."""

    name: str
    """Of metadata and columns: `run_cpu_s`."""
    label: str
    """What a person reads: `CPU of the run`."""
    unit: str
    of: Callable[[Trial], float | None]
    """Its value in one launch, in the unit; None where the launch does not show it."""


def seconds(duration_us: int | None) -> float | None:
    """Microseconds in seconds."""
    return None if duration_us is None else duration_us / MICROSECONDS


LAG = Measure("lag_s", "launch lag", "s", lambda trial: seconds(trial.launch.lag_us))
TIME_TO_CODE = Measure("time_to_code_s", "time to code", "s", lambda trial: seconds(trial.launch.time_to_code_us))
WORK = Measure("work_s", "until all work is done", "s", lambda trial: seconds(trial.launch.work_us))


@dataclass(frozen=True)
class Remedy:
    """Something that a user can change, as one side of an experiment against its baseline shows it."""

    name: str
    """As an order: `Run steps in the run worker's process`."""
    variant: str
    costs: str
    """What it costs: memory, isolation, observability, partitioning, work."""
    apply: str
    """Three lines of code or configuration that work as shown."""
    language: Literal["python", "yaml"]


@dataclass(frozen=True)
class Experiment:
    """A named comparison."""

    scenario: Scenario
    measures: tuple[Measure, ...] = ()
    """Beside the launch lag and `COMMON_MEASURES`."""
    remedies: tuple[Remedy, ...] = ()
    headline: Measure = LAG
    """What its answer is about."""
    flat: bool = False
    """Whether its sides differ by what takes as long in a small location as in a large one."""

    @property
    def name(self) -> str:
        """Its scenario's."""
        return self.scenario.name


def stage_measure(stage: Stage) -> Measure:
    """A stage as a measure, in seconds."""
    return Measure(f"{stage}_s", stage.label, "s", lambda trial: seconds(trial.launch.stages_us.get(stage)))


def usage_measure(key: str, label: str, unit: str = "s", scale: float = 1.0) -> Measure:
    """One of `processes.MEASURES`, in its unit divided by `scale`."""

    def of(trial: Trial) -> float | None:
        value = trial.usage.get(key)
        return None if value is None else value / scale

    return Measure(key, label, unit, of)


def _peak_bytes(trial: Trial) -> float | None:
    """Without what is shared counting more than once, where that is known."""
    value = trial.usage.get("run_peak_pss_bytes", trial.usage.get("run_peak_rss_bytes"))
    return None if value is None else value / MEBIBYTE


CODE_SERVER = usage_measure("code_server_bytes", "memory of the code server", "MiB", MEBIBYTE)
"""Of the one that a launch was in; a side with several has several."""

COMMON_MEASURES: tuple[Measure, ...] = (
    TIME_TO_CODE,
    WORK,
    Measure("processes", "processes of the run", "", lambda trial: float(trial.launch.processes)),
    usage_measure("run_cpu_s", "CPU of the run's processes"),
    Measure("run_peak_bytes", "peak memory of the run's processes", "MiB", _peak_bytes),
    CODE_SERVER,
)
"""What every experiment records of each launch beside its lag."""
