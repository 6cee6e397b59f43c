"""A diagnosis for the terminal, as JSON data and as Markdown, of which its HTML page is made. Needs no Dagster."""

from collections.abc import Iterator
from dataclasses import asdict
from datetime import UTC, datetime
from typing import Any

from rich import box
from rich.console import Group, RenderableType
from rich.table import Table
from rich.text import Text

from bench_orchestrator.analysis.doctor.diagnosis import Diagnosis, describe_sample, headline
from bench_orchestrator.analysis.doctor.finding import Finding
from bench_orchestrator.analysis.doctor.launches import Hour, LocationLaunches
from bench_orchestrator.analysis.doctor.now import explain_queue
from bench_orchestrator.analysis.wording import counted, describe_estimate
from bench_orchestrator.model.deployment_reading import Cost
from bench_orchestrator.model.instants import MICROSECONDS, describe_us
from bench_orchestrator.model.stages import Stage
from bench_orchestrator.report.rendering import render
from bench_orchestrator.report.text import bar
from bench_orchestrator.waterfall.layout import Waterfall, of_launch
from bench_orchestrator.waterfall.text import SOLID, DrawnBar, bar_table, seconds, summarize_hold

_LOCATION_HEADS = ("location", "assets", "partitioned", "partitions", "jobs", "checks", "runs", "lag, s", "most of it")
_HOUR_HEADS = ("hour", "runs", "lag, s")
_LEFT = ("location", "most of it")
"""The columns that hold words."""


def render_diagnosis(diagnosis: Diagnosis, zone_name: str) -> Group:
    """Return the diagnosis for the terminal: the answer, what to do, and what it rests on."""
    parts: list[RenderableType] = [Text(headline(diagnosis), style="bold"), Text(f"{describe_sample(diagnosis)}.")]
    if diagnosis.findings:
        parts.append(Text("\nWhat to do", style="bold"))
    for number, finding in enumerate(diagnosis.findings, start=1):
        parts += [Text(f"\n{number}. {finding.what}."), *(Text(f"   {line}") for line in _paragraphs(finding))]
    parts += [Text("\nCode locations", style="bold"), _locations(diagnosis)]
    for location in diagnosis.locations:
        if (shown := _waterfall(location)) is not None:
            parts += [Text(_subject(location), style="bold"), _stages(location, shown)]
    if diagnosis.hours:
        parts += [Text(f"The launch lag over the hours of the day ({zone_name})", style="bold"), _hours(diagnosis)]
    parts += [Text(line) for line in _endnotes(diagnosis)]
    return Group(*parts)


def summarize_diagnosis(diagnosis: Diagnosis, zone_name: str) -> dict[str, Any]:
    """Return the same as plain data for JSON: durations in seconds, instants in seconds since the epoch."""
    reading = diagnosis.reading
    return {
        "url": reading.url,
        "version": reading.version,
        "at_epoch_s": reading.at_us / MICROSECONDS,
        "finding": headline(diagnosis),
        "sample": {
            "listed": len(reading.runs),
            "read": reading.logs_read,
            "budget_s": reading.budget_s,
            "words": describe_sample(diagnosis),
        },
        "lag_s": asdict(diagnosis.lag_s) if diagnosis.lag_s else None,
        "longest_stage": diagnosis.longest[0].value if diagnosis.longest else None,
        "findings": [asdict(finding) for finding in diagnosis.findings],
        "locations": [_summarize_location(location) for location in diagnosis.locations],
        "time_zone": zone_name,
        "hours": [asdict(hour) for hour in diagnosis.hours],
        "queued": [
            {
                "run_id": run.run_id,
                "job": run.job,
                "location": run.location,
                "since_epoch_s": seconds(run.since_us),
                "waits_for": [summarize_hold(hold) for hold in holds],
            }
            for run, holds in explain_queue(reading)
        ],
        "not_answered": list(reading.missing),
        "cost": asdict(reading.cost),
    }


def render_diagnosis_markdown(diagnosis: Diagnosis, zone_name: str) -> str:
    """Render the diagnosis as Markdown."""
    read_at = datetime.fromtimestamp(diagnosis.reading.at_us / MICROSECONDS, UTC)
    longest_s = max((hour.lag_s.value for hour in diagnosis.hours), default=0.0)
    return render(
        "doctor.md.j2",
        diagnosis=diagnosis,
        headline=headline(diagnosis),
        read_at=f"{read_at:%Y-%m-%d %H:%M:%S} UTC",
        sample=describe_sample(diagnosis),
        findings=[
            (finding, [line for line in (_gain(finding), *finding.evidence) if line]) for finding in diagnosis.findings
        ],
        location_heads=_LOCATION_HEADS,
        location_rows=[_location_cells(location) for location in diagnosis.locations],
        waterfalls=[
            (
                _subject(location),
                [
                    (*cells, bar(us, max(row.duration_us for row in shown.rows)))
                    for cells, us in _stage_cells(location, shown)
                ],
            )
            for location in diagnosis.locations
            if (shown := _waterfall(location)) is not None
        ],
        hour_heads=(*_HOUR_HEADS, ""),
        hour_rows=[(*_hour_cells(hour), bar(hour.lag_s.value, longest_s)) for hour in diagnosis.hours],
        zone=zone_name,
        endnotes=list(_endnotes(diagnosis)),
    )


def describe_cost(cost: Cost) -> str:
    """Return what a reading cost the webserver, in a sentence."""
    return (
        f"This cost the webserver {cost.requests:,} requests, one at a time, which it took {cost.waited_s:.1f} s to "
        f"answer, with {cost.received_bytes / 1e6:.2f} MB; {cost.took_s:.1f} s in all. Nothing was launched or changed"
    )


def _paragraphs(finding: Finding) -> Iterator[str]:
    """Yield the lines below a finding."""
    if gain := _gain(finding):
        yield gain
    yield from (f"- {line}" for line in finding.evidence)
    yield f"What to do: {finding.remedy}"
    if finding.apply:
        yield from (f"    {line}" for line in finding.apply.splitlines())


def _gain(finding: Finding) -> str:
    """Return what the remedy saves and how sure that is."""
    if finding.saved_s is None:
        return f"{'Wrong now; ' if finding.urgent else ''}{finding.sure}"
    return (
        f"Saves up to {describe_estimate(finding.saved_s)} in a run, {finding.total_s:,.0f} s in "
        f"{counted(finding.runs, 'run')}; {finding.sure}"
    )


def _endnotes(diagnosis: Diagnosis) -> Iterator[str]:
    if len(diagnosis.findings) > 1:
        yield "Findings that shorten the same stage save less together than their sum."
    missing = diagnosis.reading.missing
    yield from (f"Not answered: {line}." for line in missing)
    yield f"{describe_cost(diagnosis.reading.cost)}."


def _locations(diagnosis: Diagnosis) -> Table:
    table = Table(box=box.SIMPLE)
    for head in _LOCATION_HEADS:
        table.add_column(head, justify="left" if head in _LEFT else "right", no_wrap=head not in _LEFT)
    for location in diagnosis.locations:
        table.add_row(*map(Text, _location_cells(location)))
    return table


def _location_cells(location: LocationLaunches) -> tuple[str, ...]:
    contents = location.location.contents
    numbers = (contents.assets, contents.partitioned, contents.partitions, contents.jobs, contents.checks)
    state = "" if location.location.state == "loaded" else f" ({location.location.state})"
    read = len(location.launched)
    return (
        f"{location.location.name}{state}",
        *("?" if number is None else f"{number:,}" for number in numbers),
        f"{read:,}" if read == location.listed else f"{read:,} of {location.listed:,}",
        describe_estimate(location.lag_s, "") if location.lag_s else "",
        location.longest.label if location.longest else "",
    )


def _subject(location: LocationLaunches) -> str:
    n = location.lag_s.n if location.lag_s else 0
    return f"{location.location.name}: launch lag {describe_estimate(location.lag_s)}, n = {n}"


def _waterfall(location: LocationLaunches) -> Waterfall | None:
    """Return the waterfall of the location's launch with the median lag; None if it has none."""
    one = location.median_launch
    return of_launch(one.launch, f"job {one.run.job}") if one else None


def _stages(location: LocationLaunches, shown: Waterfall) -> Table:
    """Return the stages with their medians, and the launch with the median lag as bars: medians do not add up."""
    table = bar_table(["stage", "process"], ["median, s", f"in run {shown.run_id[:8]}"])
    span_us = shown.rows[0].start_us, shown.rows[-1].end_us
    for row, (cells, _) in zip(shown.rows, _stage_cells(location, shown), strict=True):
        table.add_row(*map(Text, cells), DrawnBar(span_us, ((row.start_us, row.end_us, SOLID),)))
    return table


def _stage_cells(location: LocationLaunches, shown: Waterfall) -> Iterator[tuple[tuple[str, ...], int]]:
    """Yield the cells of each stage, and its microseconds in the launch with the median lag."""
    for row in shown.rows:
        estimate = location.stages_s.get(row.stage) if isinstance(row.stage, Stage) else None
        median = describe_estimate(estimate, "") if estimate else ""
        yield (
            (shown.label(row.stage), shown.process(row.stage), median, describe_us(row.duration_us)),
            row.duration_us,
        )


def _hours(diagnosis: Diagnosis) -> Table:
    table = bar_table([], _HOUR_HEADS)
    longest_us = round(MICROSECONDS * max(hour.lag_s.value for hour in diagnosis.hours))
    for hour in diagnosis.hours:
        drawn = DrawnBar((0, longest_us), ((0, round(MICROSECONDS * hour.lag_s.value), SOLID),))
        table.add_row(*map(Text, _hour_cells(hour)), drawn)
    return table


def _hour_cells(hour: Hour) -> tuple[str, ...]:
    return f"{hour.hour:02d}:00", f"{hour.lag_s.n:,}", describe_estimate(hour.lag_s, "")


def _summarize_location(location: LocationLaunches) -> dict[str, Any]:
    one = location.median_launch
    return {
        "location": location.location.name,
        "state": location.location.state,
        "error": location.location.error,
        **asdict(location.location.contents),
        "runs_listed": location.listed,
        "runs_read": len(location.launched),
        "lag_s": asdict(location.lag_s) if location.lag_s else None,
        "longest_stage": location.longest.value if location.longest else None,
        "stages_s": {stage.value: asdict(estimate) for stage, estimate in location.stages_s.items()},
        "median_launch": {
            "run_id": one.run.run_id,
            "job": one.run.job,
            "stages_s": {stage.value: seconds(us) for stage, us in one.launch.stages_us.items()},
        }
        if one
        else None,
    }
