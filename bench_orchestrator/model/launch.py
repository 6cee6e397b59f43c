"""The outcome of a plan: launches, trials and the sweep as a whole."""

from collections.abc import Mapping
from dataclasses import dataclass, field
from enum import StrEnum
from functools import cached_property
from typing import Any

from bench_orchestrator.model.plan import LaunchPath, SweepPlan
from bench_orchestrator.model.runs import Pod, RunLog, RunStatus, StepSpan
from bench_orchestrator.model.stages import BootStage, Boundary, Origin, RunWorker, Stage, StepWorker


class Outcome(StrEnum):
    """How a launch, and with it its trial, ended. Every planned trial has exactly one outcome."""

    OK = "ok"
    REJECTED = "rejected"
    """The deployment refused the launch: no run exists."""
    FAILED = "failed"
    CANCELED = "canceled"
    TIMED_OUT = "timed_out"
    LOST = "lost"
    """Unknown: planned and never launched, or launched and its events are gone."""


OUTCOMES = {
    RunStatus.SUCCESS: Outcome.OK,
    RunStatus.FAILURE: Outcome.FAILED,
    RunStatus.CANCELED: Outcome.CANCELED,
}
"""How a run ended, by its last status."""

REPEATED = (Outcome.LOST, Outcome.CANCELED)
"""The outcomes of trials that a resumed sweep launches again. All others are results."""


@dataclass(frozen=True)
class RunNote:
    """What the sweep knows about one run of a workload, whose deployment is gone once the sweep is over."""

    run_id: str
    role: str
    status: RunStatus
    requested_us: int | None
    created_us: int
    log: RunLog


@dataclass(frozen=True)
class TrialNote:
    """What only the sweep knows about a trial: the run's own log does not have it."""

    number: int
    outcome: Outcome
    reason: str = ""
    run_id: str | None = None
    requested_us: int | None = None
    created_us: int | None = None
    """When its run was created, if its deployment is gone once the sweep is over."""
    log: RunLog | None = None
    """Its run's log, likewise; None if the run stays in the sweep's own instance."""
    usage: Mapping[str, float] = field(default_factory=dict)
    """The trial's resource usage, by `processes.MEASURES`; empty if the processes are on another machine."""
    pod: Pod | None = None
    """The run worker's pod, if the run worker is a Kubernetes job."""
    warnings: tuple[str, ...] = ()
    """What may have disturbed its measurement: requests without an answer, other runs beside it."""
    runs: tuple[RunNote, ...] = ()
    """The runs of its workload in the order of their creation; empty if the trial is one launch."""
    acts_us: tuple[int, ...] = ()
    """When each action of its workload began, as far as it came."""


@dataclass(frozen=True)
class Launch:
    """The start of one run, from the request to its first step, and what the run did. Any run has one.

    `timeline.launches` builds it from the run's log. All times are in microseconds.
    """

    run_id: str | None
    """None if no run was created."""
    outcome: Outcome | None
    """None while the run is in progress."""
    reason: str = ""
    """A readable one-line explanation; empty if the outcome is ok."""
    executor: StepWorker | None = None
    """The worker of its first step, as the run's events show; None if no step got a worker."""
    at_us: Mapping[Boundary, int | None] = field(default_factory=lambda: dict.fromkeys(Boundary))
    """The raw instants from the log, before clock correction."""
    ended_us: int | None = None
    stages_us: Mapping[Stage, int | None] = field(default_factory=lambda: dict.fromkeys(Stage))
    queue_us: int | None = None
    init_us: int | None = None
    lag_us: int | None = None
    time_to_code_us: int | None = None
    warnings: tuple[str, ...] = ()
    step_process: Mapping[str, Any] = field(default_factory=dict)
    """What the asset reported about its process: import and build seconds, CPU, memory, throttling."""
    work: int = 0
    """Units of work materialized."""
    materialized_us: int | None = None
    """When the last asset was materialized."""
    work_us: int | None = None
    """From the request to the last materialization."""
    steps: tuple[StepSpan, ...] = ()
    template: Mapping[str, float] = field(default_factory=dict)
    """For a forked run: `fork_ms`, and its template's `template_generation`, `template_age_s`, `template_assets`."""
    boot_us: Mapping[BootStage, int] = field(default_factory=dict)
    """The pieces of worker boot, which sum to it; empty if it is not split."""
    pod: Pod | None = None
    origin: Origin = Origin.REQUEST
    """What asked for the run. Not stored, because a sweep records its trials' requests."""
    role: str = ""
    """What the run is in a trial with several; empty in a trial with one."""
    run_worker: RunWorker | None = field(default=None, compare=False)
    """What ran it; None if its launcher does not say so. Not stored, because it is the sweep's launcher for all."""

    def took_us(self, *stages: Stage) -> int | None:
        """Return how long these stages took together; None if one of them is unknown."""
        known = [us for stage in stages if (us := self.stages_us.get(stage)) is not None]
        return sum(known) if len(known) == len(stages) else None

    @property
    def startup_us(self) -> int | None:
        """The startup time: the launch lag without the queue wait; None if one of them is unknown."""
        wait_us = self.stages_us.get(Stage.QUEUE_WAIT)
        return None if self.lag_us is None or wait_us is None else self.lag_us - wait_us

    @property
    def unqueued_time_to_code_us(self) -> int | None:
        """The time to code without the queue wait; None if one of them is unknown."""
        wait_us = self.stages_us.get(Stage.QUEUE_WAIT)
        return None if self.time_to_code_us is None or wait_us is None else self.time_to_code_us - wait_us

    @property
    def processes(self) -> int:
        """The number of the run's processes: its worker, and one for each out-of-process step."""
        return 1 + sum(step.launched_us is not None for step in self.steps)


@dataclass(frozen=True)
class Trial:
    """An entry of a sweep's plan, with its launches.

    The results have a row for each launch, with sweep, trial and the launch's position as the key.
    """

    sweep_id: str
    number: int
    """1 for the first of the sweep; unique in it."""
    scenario: str
    variant: str
    location: str
    asset_count: int
    partition_count: int
    block: int
    warmup: bool
    asset_key: str
    """The first selected asset."""
    partition_key: str | None
    launches: tuple[Launch, ...]
    """In the order of their requests. Never empty: a launch without a run is an entry too, with its outcome."""
    deployment: str = ""
    path: LaunchPath = LaunchPath.GRAPHQL
    assets: int = 1
    """The number of selected assets."""
    usage: Mapping[str, float] = field(default_factory=dict)
    """The combined resource usage of its runs, by `processes.MEASURES`."""

    @cached_property
    def launch(self) -> Launch:
        """The trial's launch; of several, the one with the median lag, or the first if none has a lag."""
        with_lag = [launch for launch in self.launches if launch.lag_us is not None]
        if len(self.launches) == 1 or not with_lag:
            return self.launches[0]
        return sorted(with_lag, key=lambda launch: (launch.lag_us or 0, launch.run_id or ""))[(len(with_lag) - 1) // 2]

    @property
    def work(self) -> int:
        """Units of work materialized by all its launches."""
        return sum(launch.work for launch in self.launches)

    @property
    def outcome(self) -> Outcome:
        """The first outcome of its launches that is not ok, otherwise ok. A launch in progress counts as timed out."""
        return self._telling.outcome or Outcome.TIMED_OUT

    @property
    def reason(self) -> str:
        """Why the outcome is not ok, in one line; empty if it is."""
        return self._telling.reason

    @property
    def measured(self) -> bool:
        """Whether this trial counts in the statistics."""
        return self.outcome is Outcome.OK and not self.warmup

    @property
    def _telling(self) -> Launch:
        return next((launch for launch in self.launches if launch.outcome is not Outcome.OK), self.launches[0])


@dataclass(frozen=True)
class Sweep:
    """A sweep as the results database stores it: its plan and its trials, in order."""

    plan: SweepPlan
    status: str
    """`complete`: every planned trial was launched or refused; `canceled`; `failed`: it ended early."""
    trials: tuple[Trial, ...]
