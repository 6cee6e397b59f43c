"""What changed between two diagnoses of a deployment, in sentences. Pure."""

import re
from collections.abc import Iterator

from bench_orchestrator.analysis.doctor.diagnosis import Diagnosis
from bench_orchestrator.analysis.doctor.finding import Finding
from bench_orchestrator.analysis.wording import describe_estimate

_TIMES = re.compile(r"\d[\d,.:]* (?:ms|s|min|h|days?)\b|\d\d:\d\d(?::\d\d)?")


def changes(before: Diagnosis, after: Diagnosis) -> Iterator[str]:
    """Yield what is new, what is over and what is different; nothing if nothing of it changed."""
    known = {run.run.run_id for run in before.reading.runs}
    new = sum(run.run.run_id not in known for run in after.reading.runs)
    if new:
        yield f"{new:,} new {'run' if new == 1 else 'runs'}"
    yield from _states(before, after)
    queued = len(before.reading.queue.queued), len(after.reading.queue.queued)
    if queued[0] != queued[1]:
        yield f"queued runs: {queued[0]:,}, now {queued[1]:,}"
    yield from _findings(before, after)
    if after.lag_s is not None and (before.lag_s is None or before.lag_s.value != after.lag_s.value):
        yield f"launch lag {describe_estimate(before.lag_s)}, now {describe_estimate(after.lag_s)}"


def _states(before: Diagnosis, after: Diagnosis) -> Iterator[str]:
    """Yield the code locations that came, went, or are in another state."""
    earlier = {location.name: location.state for location in before.reading.locations}
    later = {location.name: location.state for location in after.reading.locations}
    for name in (*later, *(name for name in earlier if name not in later)):
        was, now = earlier.get(name, "not there"), later.get(name, "not there")
        if was != now:
            yield f"code location {name}: {was}, now {now}"


def _findings(before: Diagnosis, after: Diagnosis) -> Iterator[str]:
    """Yield the findings that are new, over, or whose words differ."""
    earlier, later = _by_name(before), _by_name(after)
    for name, finding in later.items():
        if name not in earlier:
            yield f"new: {finding.what}"
        elif finding.urgent and _timeless(finding.what) != _timeless(earlier[name].what):
            yield f"still: {finding.what}"
    yield from (f"over: {finding.what}" for name, finding in earlier.items() if name not in later)


def _timeless(what: str) -> str:
    """Return a finding's words without durations and times of day, which differ at every reading."""
    return _TIMES.sub("", what)


def _by_name(diagnosis: Diagnosis) -> dict[str, Finding]:
    return {finding.name: finding for finding in diagnosis.findings}
