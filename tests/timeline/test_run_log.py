"""Events become a log in one pass, all at once or as they come, and a failure says what a person needs to know."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from bench_orchestrator.model.runs import LOG_MESSAGE, RunError, RunEvent, StepSpan
from bench_orchestrator.timeline.run_log import LOG_TYPES, RunLogFold, fold, is_in_doubt
from bench_orchestrator.timeline.stages import STEP_STARTS

IN_DOUBT = "Detected run worker status UNKNOWN: 'no answer'. Marking run 1 as failed."

EVENTS = st.lists(
    st.builds(
        RunEvent,
        type=st.sampled_from([*sorted(LOG_TYPES), LOG_MESSAGE, "HANDLED_OUTPUT"]),
        time_us=st.integers(0, 10**16),
        step_key=st.sampled_from([None, "a", "b"]),
        message=st.sampled_from(["", "Started process for run (pid: 1).", IN_DOUBT]),
        metadata=st.dictionaries(st.sampled_from(["bench/work", "rows"]), st.integers(0, 9)),
        error=st.none() | st.builds(RunError, st.text(max_size=9), st.text(max_size=9)),
        description=st.sampled_from(["", "said by the code"]),
    ),
    max_size=20,
)


def failure(*events: RunEvent) -> str:
    return fold(events).failure


def failed(message: str = "", *causes: RunError, kind: str = "STEP_FAILURE", description: str = "") -> RunEvent:
    """A failure with a chain of causes, the outermost first."""
    error: RunError | None = None
    for cause in reversed(causes):
        error = RunError(cause.message, cause.class_name, error)
    return RunEvent(kind, 1, "a" if kind == "STEP_FAILURE" else None, message, error=error, description=description)


@given(EVENTS)
def test_a_log_that_is_followed_is_at_every_point_that_of_the_events_until_then(events: list[RunEvent]) -> None:
    folding = RunLogFold()
    for taken, event in enumerate(events, start=1):
        folding.take(event)
        assert folding.log() == fold(events[:taken])
        assert folding.failure == folding.log().failure


@given(EVENTS)
def test_other_types_of_event_change_nothing(events: list[RunEvent]) -> None:
    assert fold(event for event in events if event.type in LOG_TYPES) == fold(events)


@given(EVENTS)
def test_what_is_kept_of_a_long_run_is_its_launch_and_its_end(events: list[RunEvent]) -> None:
    log = fold(events)
    assert sum(event.type in STEP_STARTS for event in log.events) <= 1
    assert not any(event.metadata or event.error or event.description for event in log.events)
    assert log.materializations == sum(event.type == "ASSET_MATERIALIZATION" for event in events)


class TestAFailure:
    def test_is_the_innermost_cause_in_one_line(self) -> None:
        assert failure(failed("it failed", RunError("outer"), RunError("inner\n  in lines"))) == "inner in lines"

    def test_of_a_code_server_that_is_away_is_not_what_grpc_says(self) -> None:
        away = RunError("Could not reach user code server", "DagsterUserCodeUnreachableError")
        assert failure(failed("", RunError("outer"), away, RunError("grpc"))) == away.message

    def test_is_what_the_code_says_of_it_where_it_does(self) -> None:
        assert failure(failed("", RunError("dagster.Failure"), description="three files\nare late")) == (
            "three files are late"
        )

    def test_of_a_step_says_more_than_that_of_its_run(self) -> None:
        assert failure(failed("step"), failed("run", kind="PIPELINE_FAILURE")) == "step"

    def test_without_a_reason_is_what_dagsters_engine_said_last(self) -> None:
        no_reason = "This run has been marked as failed from outside the execution context."
        engine = RunEvent("ENGINE_EVENT", 1, message="No pod could be created", error=RunError("quota exceeded"))
        assert failure(engine, failed(no_reason, kind="PIPELINE_FAILURE")) == "quota exceeded"
        assert failure(failed(no_reason, kind="PIPELINE_FAILURE")) == no_reason

    def test_that_is_in_doubt_gives_way_to_any_other(self) -> None:
        doubtful = failed(IN_DOUBT, kind="PIPELINE_FAILURE")
        assert failure(doubtful) == IN_DOUBT
        assert failure(doubtful, failed("it broke")) == "it broke"
        assert failure(failed("it broke"), doubtful) == "it broke"

    def test_of_kubernetes_is_told_without_the_headers_of_its_answer(self) -> None:
        body = '{"kind":"Status","message":"jobs.batch is forbidden","code":403}'
        told = f"(403)\nReason: Forbidden\nHTTP response headers: {{}}\nHTTP response body: {body}\n"
        assert failure(failed("", RunError(told))) == "Kubernetes answers 403: jobs.batch is forbidden"

    @pytest.mark.parametrize(
        ("said", "doubtful"),
        [
            (IN_DOUBT, True),
            ("Detected run worker status UNKNOWN: 'Job dagster-run-1 could not be found'.", False),
            ("Detected run worker status FAILED: 'no answer'.", False),
            ("", False),
        ],
    )
    def test_is_in_doubt_only_where_the_worker_could_not_be_asked_for(self, said: str, doubtful: bool) -> None:
        assert is_in_doubt(said) is doubtful


def test_a_step_that_is_retried_counts_from_its_first_attempt_to_its_last_end() -> None:
    events = [
        RunEvent(kind, us, "a")
        for us, kind in enumerate(
            ("STEP_WORKER_STARTING", "STEP_START", "STEP_WORKER_STARTING", "STEP_START", "STEP_SUCCESS"), start=1
        )
    ]
    assert fold(events).steps == (StepSpan("a", 1, 2, 5),)


def test_a_step_starts_with_its_retry_if_its_first_attempt_never_did() -> None:
    types = ("STEP_WORKER_STARTING", "STEP_UP_FOR_RETRY", "STEP_WORKER_STARTING", "STEP_RESTARTED", "STEP_SUCCESS")
    events = [RunEvent(kind, us, "a") for us, kind in enumerate(types, start=1)]
    assert fold(events).steps == (StepSpan("a", 1, 4, 5),)


def test_work_is_what_assets_report_else_one_each() -> None:
    reports: list[dict[str, int]] = [{"bench/work": 6, "bench/pid": 7}, {}, {"rows": 3}]
    log = fold(RunEvent("ASSET_MATERIALIZATION", us, "a", metadata=told) for us, told in enumerate(reports))
    assert (log.work, log.materializations, log.materialized_us) == (8, 3, 2)
    assert log.step_process == {"work": 6, "pid": 7}


def test_a_step_in_a_pod_has_the_job_of_its_last_attempt() -> None:
    events = [
        RunEvent("STEP_WORKER_STARTING", us, step, metadata={"Kubernetes Job name": job} if job else {})
        for us, (step, job) in enumerate([("a", "dagster-step-1"), ("b", ""), ("a", "dagster-step-1-1")])
    ]
    log = fold(events)
    assert (log.step_jobs, log.kubernetes_job) == ({"a": "dagster-step-1-1"}, None)


@pytest.mark.parametrize("told", [10**400, -(10**400), float("nan"), float("inf"), "many", None, [1]])
def test_numbers_that_cannot_be_meant_are_read_past(told: object) -> None:
    log = fold(
        [
            RunEvent("ENGINE_EVENT", 1, metadata={"bench/fork_ms": told, "Kubernetes Job name": told}),
            RunEvent("ASSET_MATERIALIZATION", 2, "a", metadata={"bench/work": told}),
            RunEvent("PIPELINE_FAILURE", 3, message='HTTP response body: {"kind":"Status",}'),
        ]
    )
    assert (log.template, log.work, log.materializations) == ({}, 1, 1)
    assert log.failure.startswith("HTTP response body")
