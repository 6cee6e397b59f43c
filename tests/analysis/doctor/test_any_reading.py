"""Whatever was read of a deployment, its diagnosis is made, adds up, and is shown in every form."""

import io
import json
from datetime import UTC, timedelta, timezone, tzinfo

from hypothesis import given
from hypothesis import strategies as st
from rich.console import Console

from bench_orchestrator.analysis.doctor.changes import changes
from bench_orchestrator.analysis.doctor.diagnosis import diagnose
from bench_orchestrator.model.deployment_reading import (
    Contents,
    Daemon,
    DeploymentReading,
    FailedTick,
    InstanceSettings,
    QueueState,
    ReadLocation,
    ReadRun,
)
from bench_orchestrator.model.instants import LATEST_US, MICROSECONDS
from bench_orchestrator.model.run_queue import LOCATION_AWAY_MESSAGE, Granularity, Holder, Pool, QueuedRun, RunLimits
from bench_orchestrator.model.run_queue import TagLimit as Limit
from bench_orchestrator.model.runs import Run, RunError, RunEvent, RunStatus
from bench_orchestrator.model.stages import LAG_STAGES
from bench_orchestrator.model.story import Story
from bench_orchestrator.report.doctor import render_diagnosis, render_diagnosis_markdown, summarize_diagnosis
from bench_orchestrator.report.html import render_page
from bench_orchestrator.timeline.run_log import LOG_TYPES
from bench_orchestrator.timeline.story import StoryFold

ZONES: list[tzinfo] = [UTC, timezone(timedelta(hours=14)), timezone(timedelta(hours=-5, minutes=-30))]
INSTANTS = st.one_of(
    st.integers(1_784_000_000, 1_784_000_090).map(lambda s: s * MICROSECONDS), st.sampled_from([0, LATEST_US])
)
NAMES = st.sampled_from(["sales", "a|b`<i>", "x\x1b[2J", "pool \udce9"])
TAGS = st.dictionaries(
    st.sampled_from(["team", "dagster/partition", "dagster/retry_number", "dagster/parent_run_id", "dagster/priority"]),
    st.sampled_from(["1", "x", "r0"]),
    max_size=3,
)
EVENTS = st.lists(
    st.builds(
        RunEvent,
        type=st.sampled_from([*sorted(LOG_TYPES), "ASSET_MATERIALIZATION_PLANNED", "STEP_UP_FOR_RETRY"]),
        time_us=INSTANTS,
        step_key=st.sampled_from([None, "a"]),
        message=st.sampled_from(
            [
                "",
                "Step blocked by limit for pool db",
                LOCATION_AWAY_MESSAGE,
                "Kubernetes run worker job created",
                "x\ny",
            ]
        ),
        error=st.none() | st.builds(RunError, st.sampled_from(["", "DEADLINE_EXCEEDED", "[red]"])),
    ),
    max_size=14,
)


def told(events: list[RunEvent]) -> Story:
    fold = StoryFold()
    for one in events:
        fold.take(one)
    return fold.story()


STATUSES = st.sampled_from(list(RunStatus))
RUNS = st.builds(
    ReadRun,
    st.builds(
        Run,
        run_id=st.integers(0, 99).map(lambda number: f"r{number}"),
        status=STATUSES,
        job=NAMES,
        tags=TAGS,
        created_us=INSTANTS,
        updated_us=INSTANTS,
        started_us=st.none() | INSTANTS,
    ),
    NAMES,
    st.none() | EVENTS.map(told),
)
QUEUED = st.builds(
    QueuedRun,
    run_id=st.sampled_from(["r1", "r2", "r3"]),
    job=NAMES,
    status=STATUSES,
    tags=TAGS,
    since_us=INSTANTS,
    location=NAMES,
    pools=st.frozensets(st.just("db")),
    first_pools=st.dictionaries(st.just("db"), st.integers(0, 3)),
    begins_freely=st.booleans(),
)
POOLS = st.builds(
    Pool,
    st.just("db"),
    st.integers(-1, 3),
    claims=st.lists(
        st.builds(Holder, st.sampled_from(["r1", "r2"]), NAMES, st.none() | STATUSES, st.none() | INSTANTS), max_size=3
    ).map(tuple),
    waiting=st.lists(st.tuples(st.sampled_from(["r1", "r2"]), NAMES), max_size=3).map(tuple),
    asked=st.integers(0, 3),
)
LIMITS = st.none() | st.builds(
    RunLimits,
    st.integers(-1, 2),
    st.lists(st.builds(Limit, st.just("team"), st.integers(0, 2), st.sampled_from([None, "x"])), max_size=2).map(tuple),
    granularity=st.sampled_from([None, *Granularity]),
)
COUNTS = st.none() | st.integers(0, 10**6)
READINGS = st.builds(
    DeploymentReading,
    url=st.just("http://127.0.0.1:3000"),
    at_us=INSTANTS,
    version=NAMES,
    locations=st.lists(
        st.builds(
            ReadLocation,
            NAMES,
            st.sampled_from(["loaded", "loading", "error"]),
            NAMES,
            st.none() | INSTANTS,
            st.builds(Contents, COUNTS, COUNTS, COUNTS, st.just(1), COUNTS, COUNTS),
        ),
        max_size=3,
        unique_by=lambda location: location.name,
    ).map(tuple),
    daemons=st.lists(
        st.builds(
            Daemon,
            st.sampled_from(["QUEUED_RUN_COORDINATOR", "SENSOR"]),
            st.booleans(),
            st.none() | st.booleans(),
            st.none() | INSTANTS,
            st.lists(NAMES, max_size=1).map(tuple),
        ),
        max_size=2,
    ).map(tuple),
    settings=st.builds(InstanceSettings, interval_s=st.sampled_from([None, 0.0, 1.0, 5.0])),
    queue=st.builds(
        QueueState,
        LIMITS,
        st.booleans(),
        st.lists(QUEUED, max_size=3).map(tuple),
        st.booleans(),
        st.lists(QUEUED, max_size=3).map(tuple),
        st.dictionaries(st.just("db"), POOLS),
    ),
    runs=st.lists(RUNS, max_size=16, unique_by=lambda one: one.run.run_id).map(tuple),
    ticks=st.lists(
        st.builds(
            FailedTick, NAMES, st.sampled_from(["schedule", "sensor"]), NAMES, INSTANTS, st.just("DEADLINE_EXCEEDED")
        ),
        max_size=2,
    ).map(tuple),
    missing=st.lists(NAMES, max_size=2).map(tuple),
)


@given(READINGS, st.sampled_from(ZONES))
def test_a_diagnosis_adds_up_and_is_ordered(reading: DeploymentReading, zone: tzinfo) -> None:
    diagnosis = diagnose(reading, zone)
    for one in diagnosis.launched:
        stages_us = [one.launch.stages_us[stage] for stage in LAG_STAGES]
        if one.launch.lag_us is not None:
            assert sum(us or 0 for us in stages_us) == one.launch.lag_us
    keys = [(not finding.urgent, -finding.total_s) for finding in diagnosis.findings]
    assert keys == sorted(keys)
    assert len({finding.name for finding in diagnosis.findings}) == len(diagnosis.findings)
    for finding in diagnosis.findings:
        assert finding.total_s >= 0
        assert finding.runs <= len(diagnosis.launched)
        assert finding.what
        assert finding.remedy
        if finding.saved_s is not None:
            assert finding.saved_s.n == finding.runs
            assert 0 <= finding.saved_s.value <= finding.total_s * 1.000001
    assert sum(location.listed for location in diagnosis.locations) <= len(reading.runs)
    assert sum(hour.lag_s.n for hour in diagnosis.hours) <= len(diagnosis.launched)


@given(READINGS, READINGS)
def test_it_is_shown_in_every_form_and_compared_with_any_other(
    reading: DeploymentReading, other: DeploymentReading
) -> None:
    diagnosis, after = diagnose(reading, UTC), diagnose(other, UTC)
    Console(file=io.StringIO(), width=80).print(render_diagnosis(diagnosis, "UTC"))
    json.dumps(summarize_diagnosis(diagnosis, "UTC"))
    page = render_page(render_diagnosis_markdown(diagnosis, "UTC"), {})
    page.encode()
    assert "<i>" not in page
    list(changes(diagnosis, after))
    assert list(changes(diagnosis, diagnosis)) == []


def test_nothing_read_is_nothing_said() -> None:
    diagnosis = diagnose(DeploymentReading("http://h", 0), UTC)
    assert diagnosis.findings == ()
    assert diagnosis.lag_s is None
