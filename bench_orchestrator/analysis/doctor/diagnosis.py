"""The diagnosis of a deployment: its launches, its findings in order, and what these rest on. Pure."""

from dataclasses import dataclass
from datetime import tzinfo

from bench_orchestrator.analysis.doctor import failing, now, queueing, starting
from bench_orchestrator.analysis.doctor.finding import Finding, rank
from bench_orchestrator.analysis.doctor.launches import (
    Hour,
    Launched,
    LocationLaunches,
    by_hour,
    by_location,
    launched_of,
    median_s,
)
from bench_orchestrator.analysis.wording import describe_estimate
from bench_orchestrator.model.deployment_reading import DeploymentReading
from bench_orchestrator.model.estimates import Estimate
from bench_orchestrator.model.stages import LAG_STAGES, Stage


@dataclass(frozen=True)
class Diagnosis:
    """What a deployment's own runs say about it."""

    reading: DeploymentReading
    launched: tuple[Launched, ...]
    """The runs whose logs were read, in the order of their creation."""
    locations: tuple[LocationLaunches, ...]
    hours: tuple[Hour, ...]
    findings: tuple[Finding, ...]
    """What is wrong now comes first, then what saves most seconds."""

    @property
    def lag_s(self) -> Estimate | None:
        """The median launch lag of all runs read; None if none has one."""
        return median_s(self.launched, lambda one: one.lag_s)

    @property
    def longest(self) -> tuple[Stage, Estimate] | None:
        """The stage that takes most of all lags together, and its median; None if no launch has a lag."""
        whole = [one for one in self.launched if one.lag_s is not None]
        totals_us = {stage: sum(one.launch.stages_us[stage] or 0 for one in whole) for stage in LAG_STAGES}
        stage = max(totals_us, key=lambda stage: totals_us[stage])
        took_s = median_s(whole, lambda one: one.seconds(stage))
        return None if took_s is None else (stage, took_s)


def diagnose(reading: DeploymentReading, zone: tzinfo) -> Diagnosis:
    """Return the diagnosis of what was read of a deployment. Accepts any reading; raises nothing.

    Args:
        zone: in which the hours of the day are counted.
    """
    launched = launched_of(reading)
    locations = by_location(reading, launched)
    findings = (
        *now.find(reading),
        *failing.find(reading, launched),
        *starting.find(locations),
        *queueing.find(reading, launched, zone),
    )
    return Diagnosis(reading, launched, locations, by_hour(launched, zone), rank(findings))


def headline(diagnosis: Diagnosis) -> str:
    """Return the answer in one sentence: the lag, what dominates it, and what to do first."""
    said = "No run that was read has a launch to measure"
    if diagnosis.longest is not None:
        stage, took_s = diagnosis.longest
        lag = describe_estimate(diagnosis.lag_s)
        said = f"Launch lag {lag}: most of it is {stage.label}, {describe_estimate(took_s)}"
    urgent = sum(finding.urgent for finding in diagnosis.findings)
    return f"{said}; {urgent} {'thing is' if urgent == 1 else 'things are'} wrong now" if urgent else said


def describe_sample(diagnosis: Diagnosis) -> str:
    """Return which runs the diagnosis rests on, and why they are not more."""
    reading = diagnosis.reading
    listed, read = len(reading.runs), reading.logs_read
    if not listed:
        return "No runs"
    if read == listed:
        return f"The logs of all {listed:,} runs that were listed: the latest of each location"
    return (
        f"A sample: the logs of {read:,} of the {listed:,} latest runs, spread evenly over the locations and over "
        f"time. The time of {reading.budget_s:g} s did not allow more, or logs could not be read"
    )
