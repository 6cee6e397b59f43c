"""What a reading tells of an instance is what the instance holds, over a real webserver."""

import time

import dagster as dg
from dagster._core.remote_origin import RegisteredCodeLocationOrigin, RemoteJobOrigin, RemoteRepositoryOrigin
from dagster._core.utils import make_new_run_id
from dagster._daemon.types import DaemonHeartbeat
from dagster_shared.error import SerializableErrorInfo
from recording import Served, in_batches, make_run

from bench_orchestrator.analysis.doctor.now import explain_queue
from bench_orchestrator.model.deployment_reading import InstanceSettings
from bench_orchestrator.model.instants import now_us
from bench_orchestrator.model.launch import Outcome
from bench_orchestrator.model.runs import RunStatus
from bench_orchestrator.sources.deployment_contents import read_latest_ticks
from bench_orchestrator.sources.deployment_instance import read_run_limits
from bench_orchestrator.sources.deployment_reading import DeploymentReader
from bench_orchestrator.sources.ended_runs import EndedRuns, read_launches
from bench_orchestrator.sources.queue_depth import QueueReader
from bench_orchestrator.sources.run_queue import read_limits, read_pools
from bench_orchestrator.webserver import Webserver


def add_queued_run(instance: dg.DagsterInstance) -> str:
    """Add a run of the location `sales` that waits in the queue, and return its id."""
    repository = RemoteRepositoryOrigin(RegisteredCodeLocationOrigin("sales"), "__repository__")
    queued = dg.DagsterRun(
        "nightly",
        make_new_run_id(),
        status=dg.DagsterRunStatus.QUEUED,
        remote_job_origin=RemoteJobOrigin(repository, "nightly"),
    )
    return instance.add_run(queued).run_id


def test_the_instance_is_read_without_a_gap(served: Served) -> None:
    works, over = (make_run(served.instance, {}, status) for status in (RunStatus.STARTED, RunStatus.SUCCESS))
    waits = add_queued_run(served.instance)
    storage = served.instance.event_log_storage
    storage.set_concurrency_slots("db", 1)
    assert storage.claim_concurrency_slot("db", over, "a").is_claimed
    storage.claim_concurrency_slot("db", works, "b", priority=3)
    errors = [SerializableErrorInfo("no table", [], None)]
    served.instance.add_daemon_heartbeat(DaemonHeartbeat(time.time() - 300, "SENSOR", None, errors))
    try:
        reading = DeploymentReader(Webserver(served.url)).read()
        pools = read_pools(served.instance)
    finally:
        storage.delete_concurrency_limit("db")
        for run_id in (waits, works):
            served.instance.delete_run(run_id)

    assert reading.missing == ()
    assert reading.settings == InstanceSettings("DefaultRunLauncher", "QueuedRunCoordinator", 5.0, shown=True)
    assert reading.queue.limits == read_limits(served.instance)
    assert (reading.locations, reading.runs) == ((), ())
    assert reading.queue.pools == pools
    (queued_run,) = (run for run in reading.queue.queued if run.run_id == waits)
    assert (queued_run.location, queued_run.begins_freely) == ("sales", True)
    assert works in {run.run_id for run in reading.queue.in_progress}
    (sensor,) = (daemon for daemon in reading.daemons if daemon.name == "SENSOR")
    assert sensor.heartbeat_us is not None
    assert 295 < (reading.at_us - sensor.heartbeat_us) / 1e6 < 600
    assert sensor.errors == ("no table",)
    assert {hold.kind for run, holds in explain_queue(reading) if run.run_id == waits for hold in holds} == {"daemon"}
    assert reading.cost.received_bytes > 100


def test_an_ended_run_is_found_once_with_its_launch(served: Served) -> None:
    webserver = Webserver(served.url)
    ended = EndedRuns(webserver, now_us())
    run_id = in_batches.execute_in_process(instance=served.instance).run_id
    runs = ended.look()
    assert [(one.run.run_id, one.location) for one in runs] == [(run_id, "")]
    ((_, launch),) = read_launches(webserver, runs)
    assert launch.init_us is not None
    assert launch.outcome is Outcome.OK
    served.instance.add_run_tags(run_id, {"team": "a"})
    assert ended.look() == []


def test_the_queue_is_counted_and_ticks_are_asked_for(served: Served) -> None:
    webserver = Webserver(served.url)
    before = QueueReader(webserver).read()
    waits = [add_queued_run(served.instance) for _ in range(2)]
    try:
        depth = QueueReader(webserver).read()
    finally:
        for run_id in waits:
            served.instance.delete_run(run_id)
    assert (before.queued, before.oldest_us, depth.queued) == (0, None, 2)
    assert depth.oldest_us is not None
    assert 0 <= now_us() - depth.oldest_us < 600_000_000
    assert depth.limits == read_run_limits(webserver, "")
    assert read_latest_ticks(webserver) == ()
