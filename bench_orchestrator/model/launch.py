"""What became of a plan: the launches, the trials that they came of, and the sweep as a whole."""

from collections.abc import Mapping
from dataclasses import dataclass, field
from enum import StrEnum
from typing import Any

from bench_orchestrator.model.plan import LaunchPath, SweepPlan
from bench_orchestrator.model.runs import Pod, RunLog, RunStatus, StepSpan
from bench_orchestrator.model.stages import BootStage, Boundary, Stage


class Outcome(StrEnum):
    """How a launch ended, and with it its trial. Every planned trial has exactly one."""

    OK = "ok"
    REJECTED = "rejected"
    """The deployment refused the launch: no run exists."""
    FAILED = "failed"
    CANCELED = "canceled"
    TIMED_OUT = "timed_out"
    LOST = "lost"
    """It is not known: planned and never launched, or launched and its events are gone."""


OUTCOMES = {
    RunStatus.SUCCESS: Outcome.OK,
    RunStatus.FAILURE: Outcome.FAILED,
    RunStatus.CANCELED: Outcome.CANCELED,
}
"""How a run ended, by its last status."""


@dataclass(frozen=True)
class TrialNote:
    """What the sweep itself knows of a trial and the run's own log cannot tell."""

    number: int
    outcome: Outcome
    reason: str = ""
    run_id: str | None = None
    requested_us: int | None = None
    created_us: int | None = None
    """When its run was created, by a deployment that is gone once the sweep is over."""
    log: RunLog | None = None
    """Its run's log, likewise; None where the run stays in the instance of the sweep."""
    usage: Mapping[str, float] = field(default_factory=dict)
    """What the trial cost, by `usage.MEASURES`; empty where the processes are not on the sweep's machine."""
    pod: Pod | None = None
    """Of its run's worker, where that is a Kubernetes job."""


@dataclass(frozen=True)
class Launch:
    """The start of one run, from the request to its first step, and what the run did. Any run has one.

    `timeline.launches` makes it of the run's log. All times are microseconds.
    """

    run_id: str | None
    """None where no run came of it."""
    outcome: Outcome | None
    """None while the run is not over."""
    reason: str = ""
    """One line a human understands; empty when the outcome is ok."""
    executor: str | None = None
    """`multiprocess`, `pods` or `in_process`, as the run's events show it."""
    at_us: Mapping[Boundary, int | None] = field(default_factory=lambda: dict.fromkeys(Boundary))
    """The raw instants as the log has them, before any mending."""
    ended_us: int | None = None
    stages_us: Mapping[Stage, int | None] = field(default_factory=lambda: dict.fromkeys(Stage))
    queue_us: int | None = None
    init_us: int | None = None
    lag_us: int | None = None
    time_to_code_us: int | None = None
    warnings: tuple[str, ...] = ()
    step_process: Mapping[str, Any] = field(default_factory=dict)
    """What the asset reported of its own process: import and build seconds, CPU, memory, throttling."""
    work: int = 0
    """Units of work materialized."""
    materialized_us: int | None = None
    """When the last asset was materialized."""
    work_us: int | None = None
    """From the request until then: the whole of what was asked for is there."""
    steps: tuple[StepSpan, ...] = ()
    template: Mapping[str, float] = field(default_factory=dict)
    """Of a run that was forked: `fork_ms`, and the `template_generation`, `_age_s` and `_assets` it came from."""
    boot_us: Mapping[BootStage, int] = field(default_factory=dict)
    """The pieces of worker boot, which they sum to; empty where it is whole."""
    pod: Pod | None = None

    @property
    def processes(self) -> int:
        """How many processes the run had: its worker, and one for each step that was given its own."""
        return 1 + sum(step.launched_us is not None for step in self.steps)


@dataclass(frozen=True)
class Trial:
    """An entry of a sweep's plan, with the launches that came of it.

    The results hold a row for each launch, so that the key of a row is the sweep, the trial and the launch's position.
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
    """The first of the assets selected."""
    partition_key: str | None
    launches: tuple[Launch, ...]
    """In the order in which they were asked for. Never empty: one that led to no run, or was never asked for, tells why
    by its outcome."""
    deployment: str = ""
    path: LaunchPath = LaunchPath.GRAPHQL
    assets: int = 1
    """How many were selected."""
    usage: Mapping[str, float] = field(default_factory=dict)
    """What its runs cost together, by `processes.MEASURES`."""

    @property
    def launch(self) -> Launch:
        """The trial's launch; of several, the first."""
        return self.launches[0]

    @property
    def outcome(self) -> Outcome:
        """How it ended: as its launches did, or the first that did not end well. One that is not over took too long."""
        return self._telling.outcome or Outcome.TIMED_OUT

    @property
    def reason(self) -> str:
        """Why it did not end well, in one line; empty when the outcome is ok."""
        return self._telling.reason

    @property
    def measured(self) -> bool:
        """Whether this trial counts in the statistics."""
        return self.outcome is Outcome.OK and not self.warmup

    @property
    def _telling(self) -> Launch:
        return next((launch for launch in self.launches if launch.outcome is not Outcome.OK), self.launch)


@dataclass(frozen=True)
class Sweep:
    """A sweep as the results database holds it: its plan and what became of it, in trial order."""

    plan: SweepPlan
    status: str
    """`complete`: every planned trial was launched or refused; `canceled`; `failed`: it ended early."""
    trials: tuple[Trial, ...]
