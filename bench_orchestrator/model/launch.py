"""What became of a plan: the outcome of each trial, its launch, and the sweep as a whole."""

from collections.abc import Mapping
from dataclasses import dataclass, field
from enum import StrEnum
from typing import Any

from bench_orchestrator.model.plan import LaunchPath, SweepPlan
from bench_orchestrator.model.runs import Pod, RunLog, StepSpan
from bench_orchestrator.model.stages import BootStage, Boundary, Stage


class Outcome(StrEnum):
    """How a trial ended. Every planned trial has exactly one."""

    OK = "ok"
    REJECTED = "rejected"
    """The deployment refused the launch: no run exists."""
    FAILED = "failed"
    CANCELED = "canceled"
    TIMED_OUT = "timed_out"
    LOST = "lost"
    """Nobody knows: planned and never launched, or launched and its events are gone."""


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
    """One row of `launch_measurements`: a planned trial and what became of it."""

    sweep_id: str
    trial: int
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
    outcome: Outcome
    reason: str
    """One line a human understands; empty when the outcome is ok."""
    run_id: str | None
    executor: str | None
    """`multiprocess`, `pods` or `in_process`, as the run's events show it."""
    at_us: Mapping[Boundary, int | None]
    """The raw instants as the log has them, before any mending."""
    ended_us: int | None
    stages_us: Mapping[Stage, int | None]
    queue_us: int | None
    init_us: int | None
    lag_us: int | None
    time_to_code_us: int | None
    warnings: tuple[str, ...] = ()
    step_process: Mapping[str, Any] = field(default_factory=dict)
    """What the asset reported of its own process: import and build seconds, CPU, memory, throttling."""
    deployment: str = ""
    path: LaunchPath = LaunchPath.GRAPHQL
    assets: int = 1
    """How many were selected."""
    work: int = 0
    """Units of work materialized."""
    materialized_us: int | None = None
    """When the last asset was materialized."""
    work_us: int | None = None
    """From the request until then: the whole of what was asked for is there."""
    steps: tuple[StepSpan, ...] = ()
    usage: Mapping[str, float] = field(default_factory=dict)
    template: Mapping[str, float] = field(default_factory=dict)
    """Of a run that was forked: `fork_ms`, and the `template_generation`, `_age_s` and `_assets` it came from."""
    boot_us: Mapping[BootStage, int] = field(default_factory=dict)
    """The pieces of worker boot, which they sum to; empty where it is whole."""
    pod: Pod | None = None

    @property
    def processes(self) -> int:
        """How many processes the run had: its worker, and one for each step that was given its own."""
        return 1 + sum(step.launched_us is not None for step in self.steps)

    @property
    def measured(self) -> bool:
        """Whether this launch counts in the statistics."""
        return self.outcome is Outcome.OK and not self.warmup


@dataclass(frozen=True)
class Sweep:
    """A sweep as the results database holds it: its plan and the launches it led to, in trial order."""

    plan: SweepPlan
    status: str
    """`complete`: every planned trial was launched or refused; `canceled`; `failed`: it ended early."""
    launches: tuple[Launch, ...]
