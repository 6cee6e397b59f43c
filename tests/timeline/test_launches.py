"""The launch of any run combines its timeline and its log, with or without a sweep."""

from dataclasses import replace

from bench_orchestrator.model.launch import Outcome
from bench_orchestrator.model.runs import Pod, RunEvent, RunLog, StepSpan
from bench_orchestrator.model.stages import BootStage, Origin, Stage
from bench_orchestrator.timeline.launches import launch_of

S = 1_000_000
LOG = RunLog(
    events=(
        RunEvent("PIPELINE_ENQUEUED", 10 * S),
        RunEvent("PIPELINE_STARTING", 12 * S),
        RunEvent("ENGINE_EVENT", 12 * S, message="[K8sRunLauncher] Kubernetes run worker job created"),
        RunEvent("ENGINE_EVENT", 16 * S, message="Started process for run (pid: 1)."),
        RunEvent("PIPELINE_START", 17 * S),
        RunEvent("RESOURCE_INIT_STARTED", 18 * S),
        RunEvent("STEP_START", 19 * S, "asset_0"),
        RunEvent("PIPELINE_SUCCESS", 25 * S),
    ),
    failure="its first attempt broke",
    step_process={"import_s": 1.5},
    steps=(StepSpan("asset_0", None, 19 * S, 24 * S),),
    materializations=2,
    work=7,
    materialized_us=23 * S,
    template={"fork_ms": 3.0},
)


def test_it_has_the_timeline_of_its_log_and_what_the_log_says() -> None:
    launch = launch_of("4f2a", LOG, outcome=Outcome.OK, requested_us=8 * S, created_us=9 * S)
    assert (launch.run_id, launch.outcome, launch.reason) == ("4f2a", Outcome.OK, "")
    assert (launch.queue_us, launch.init_us, launch.lag_us, launch.time_to_code_us) == (7 * S, 2 * S, 9 * S, 11 * S)
    assert (launch.work, launch.materialized_us, launch.work_us) == (7, 23 * S, 15 * S)
    assert (launch.executor, launch.processes, launch.ended_us) == ("in_process", 1, 25 * S)
    assert (launch.step_process, launch.template, launch.steps) == (LOG.step_process, LOG.template, LOG.steps)


def test_one_that_went_wrong_says_why() -> None:
    launch = launch_of("4f2a", LOG, outcome=Outcome.FAILED, requested_us=None, created_us=None)
    assert (launch.outcome, launch.reason) == (Outcome.FAILED, "its first attempt broke")
    assert (launch.time_to_code_us, launch.work_us) == (None, None)


def test_one_that_a_schedule_asked_for_begins_at_the_scheduled_time() -> None:
    """The schedule's function took 40 s, which no other stage has."""
    log = replace(LOG, events=tuple(replace(event, time_us=event.time_us + 60 * S) for event in LOG.events))
    launch = launch_of("4f2a", log, outcome=Outcome.OK, requested_us=29 * S, created_us=69 * S, origin=Origin.SCHEDULE)
    assert (launch.origin, launch.stages_us[Stage.SUBMIT]) == (Origin.SCHEDULE, 40 * S)
    assert (launch.time_to_code_us, launch.lag_us) == (50 * S, 9 * S)


def test_of_a_pod_it_has_the_pieces_of_worker_boot() -> None:
    pod = Pod("dagster-run-4f2a", "node1", scheduled_us=12 * S, started_us=14 * S)
    launch = launch_of("4f2a", LOG, outcome=Outcome.OK, requested_us=None, created_us=9 * S, pod=pod)
    assert list(launch.boot_us) == list(BootStage)
    assert sum(launch.boot_us.values()) == launch.stages_us[Stage.WORKER_BOOT] == 4 * S
    assert launch.pod == pod


def test_a_launch_without_a_run_is_empty() -> None:
    launch = launch_of(None, RunLog(), outcome=None, requested_us=None, created_us=None)
    assert (launch.run_id, launch.outcome, launch.reason, launch.warnings) == (None, None, "", ())
    assert launch.lag_us is None


def test_a_long_reason_is_cut_off() -> None:
    log = RunLog(failure="it broke " * 1_000)
    launch = launch_of("4f2a", log, outcome=Outcome.FAILED, requested_us=None, created_us=None)
    assert 400 < len(launch.reason) < 600
