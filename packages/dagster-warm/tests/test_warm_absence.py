"""Runs that are dequeued while their code server is away fail for no setting: they wait for it, or go cold."""

import time
from collections.abc import Callable, Iterator
from contextlib import AbstractContextManager, ExitStack, contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import dagster as dg
import pytest
import yaml
from dagster._core.errors import DagsterCodeLocationLoadError, DagsterUserCodeUnreachableError
from dagster._core.launcher import LaunchRunContext
from dagster._core.run_coordinator import SubmitRunContext
from dagster._core.utils import make_new_run_id
from dagster._core.workspace.context import WorkspaceProcessContext
from dagster._core.workspace.load_target import WorkspaceFileTarget
from dagster._daemon.run_coordinator.queued_run_coordinator_daemon import QueuedRunCoordinatorDaemon
from dagster._utils.error import SerializableErrorInfo  # type: ignore[attr-defined]
from lone_server import PATIENCE_S, SETTINGS, LoneServer, serve

from dagster_warm import absence

pytestmark = pytest.mark.filterwarnings("ignore:Error loading repository location it")

Status = dg.DagsterRunStatus
COLD = {"module": "dagster._core.launcher.sync_in_memory_run_launcher", "class": "SyncInMemoryRunLauncher"}
WAITS = "Waits in the queue until its code server, which is away, is back."
MODULE = """
import dagster as dg

@dg.op
def nothing(): ...

@dg.job(executor_def=dg.in_process_executor)
def job():
    nothing()

defs = dg.Definitions(jobs=[job])
"""


@dataclass
class Queue:
    """The queue of an instance, and a daemon that is run by hand."""

    context: WorkspaceProcessContext
    daemon: QueuedRunCoordinatorDaemon
    earlier: dg.DagsterRun

    @property
    def instance(self) -> dg.DagsterInstance:
        return self.context.instance

    def submit(self, **tags: str) -> str:
        """Put a run into the queue."""
        run = self.earlier._replace(run_id=make_new_run_id(), status=Status.NOT_STARTED, tags=tags)
        run = self.instance.add_run(run)
        self.instance.run_coordinator.submit_run(SubmitRunContext(run, self.context.create_request_context()))
        return run.run_id

    def dequeue(self) -> None:
        for _ in self.daemon.run_iteration(self.context):
            pass

    def status(self, run_id: str) -> Status:
        run = self.instance.get_run_by_id(run_id)
        assert run is not None
        return run.status

    def wait_for_end(self, run_id: str) -> Status:
        deadline = time.monotonic() + PATIENCE_S
        while (status := self.status(run_id)) not in (Status.SUCCESS, Status.FAILURE):
            assert time.monotonic() < deadline, self.story(run_id)
            time.sleep(0.05)
        return status

    def story(self, run_id: str) -> list[str]:
        return [entry.message or entry.user_message for entry in self.instance.all_logs(run_id)]


def settings(retries: int = 0, **launcher: Any) -> dict[str, Any]:
    """Return an instance's settings, with a queue and this configuration of the launcher."""
    queue = {"max_user_code_failure_retries": retries, "user_code_failure_retry_delay": 0}
    return {
        "run_coordinator": {
            "module": "dagster.core.run_coordinator",
            "class": "QueuedRunCoordinator",
            "config": queue,
        },
        "run_launcher": {"module": "dagster_warm.launcher", "class": "WarmRunLauncher", "config": launcher},
    }


def serving(home: Path, port: int | None = None, **options: Any) -> AbstractContextManager[LoneServer]:
    return serve(home, ["--no-reload", "--python-file", str(home / "served.py")], port=port, **options)


@pytest.fixture(scope="module")
def home(tmp_path_factory: pytest.TempPathFactory) -> Path:
    home = tmp_path_factory.mktemp("home")
    (home / "served.py").write_text(MODULE)
    return home


@pytest.fixture(scope="module")
def earlier(home: Path) -> dg.DagsterRun:
    """Return a run of a server that is no more."""
    with serving(home) as server:
        server.run("job")
        (run,) = server.instance.get_runs()
        return run


@pytest.fixture
def queue_of(home: Path, earlier: dg.DagsterRun) -> Callable[..., AbstractContextManager[Queue]]:
    """Open a queue: `queue_of(retries=0, **launcher)`."""

    @contextmanager
    def open_queue(**options: Any) -> Iterator[Queue]:
        (home / "dagster.yaml").write_text(yaml.safe_dump({**SETTINGS, **settings(**options)}))
        with (
            dg.DagsterInstance.from_config(str(home)) as instance,
            WorkspaceProcessContext(instance, WorkspaceFileTarget([str(home / "workspace.yaml")])) as context,
            QueuedRunCoordinatorDaemon(interval_seconds=1) as daemon,
        ):
            yield Queue(context, daemon, earlier)
            for run in instance.get_runs(dg.RunsFilter(statuses=[Status.QUEUED])):
                instance.delete_run(run.run_id)

    return open_queue


QueueOf = Callable[..., AbstractContextManager[Queue]]


def test_a_run_waits_in_the_queue_whatever_dagster_would_do(queue_of: QueueOf) -> None:
    for retries in (0, 1):
        with queue_of(retries=retries) as queue:
            assert queue.context.create_request_context().get_code_location_error("it")
            run_id = queue.submit()
            for _ in range(4):
                queue.dequeue()
                assert queue.status(run_id) is Status.QUEUED
            story = queue.story(run_id)
            assert story.count(WAITS) == 1
            assert sum("re-submitting the run into the queue" in line for line in story) == retries


def test_a_run_goes_cold_on_request(queue_of: QueueOf, monkeypatch: pytest.MonkeyPatch) -> None:
    with queue_of(cold=COLD, cold_after_s=300) as queue:
        run_id = queue.submit()
        queue.dequeue()
        assert queue.status(run_id) is Status.QUEUED
        now_s = time.monotonic()
        monkeypatch.setattr(time, "monotonic", lambda: now_s + 301)
        queue.dequeue()
        monkeypatch.undo()
        assert queue.wait_for_end(run_id) is Status.SUCCESS
        (reason,) = (line for line in queue.story(run_id) if line.startswith("Launched cold, by SyncInMemory"))
        assert "the code server of it has been away for 30" in reason


def test_a_server_that_is_back_gets_the_runs_that_waited(queue_of: QueueOf, home: Path, earlier: dg.DagsterRun) -> None:
    assert earlier.remote_job_origin
    origin = earlier.remote_job_origin.repository_origin.code_location_origin
    port = int(origin.get_display_metadata()["port"])
    with ExitStack() as opened:
        with serving(home, port, **settings()):
            queue = opened.enter_context(queue_of())
            at_once = queue.submit()
            queue.dequeue()
            assert queue.wait_for_end(at_once) is Status.SUCCESS
        assert not queue.context.create_request_context().get_code_location_error("it")
        run_ids = [queue.submit(), queue.submit()]
        queue.dequeue()
        assert {queue.status(run_id) for run_id in run_ids} == {Status.QUEUED}
        with serving(home, port, **settings()):
            time.sleep(absence._PAUSE_S)
            queue.dequeue()
            assert {queue.wait_for_end(run_id) for run_id in run_ids} == {Status.SUCCESS}
            for run_id in run_ids:
                assert sum(line.startswith("Launched warm") for line in queue.story(run_id)) == 1


def test_a_server_that_launched_the_run_although_its_answer_was_lost_is_not_asked_again(
    queue_of: QueueOf, monkeypatch: pytest.MonkeyPatch
) -> None:
    with queue_of() as queue:
        launcher: Any = queue.instance.run_launcher

        def launch_and_go(context: LaunchRunContext, *_: Any) -> None:
            queue.instance.report_dagster_event(
                dg.DagsterEvent(dg.DagsterEventType.RUN_START.value, "job"), context.dagster_run.run_id
            )
            raise DagsterUserCodeUnreachableError("lost")

        monkeypatch.setattr(launcher, "_start", launch_and_go)
        run_id = queue.submit()
        queue.dequeue()
        assert queue.status(run_id) is Status.STARTED


def test_code_that_does_not_load_is_no_absence(queue_of: QueueOf, monkeypatch: pytest.MonkeyPatch) -> None:
    with queue_of() as queue:
        launcher: Any = queue.instance.run_launcher

        def fail(*_: Any) -> None:
            raise load_error("ImportError")

        monkeypatch.setattr(launcher, "_start", fail)
        run_id = queue.submit()
        queue.dequeue()
        assert queue.status(run_id) is Status.FAILURE


def load_error(*causes: str) -> DagsterCodeLocationLoadError:
    info = None
    for cause in causes:
        info = SerializableErrorInfo("", [], cause, cause=info)
    return DagsterCodeLocationLoadError("", load_error_infos=[info])  # type: ignore[no-untyped-call]


@pytest.mark.parametrize(
    ("error", "expected"),
    [
        (DagsterUserCodeUnreachableError(), True),
        (load_error("DagsterUserCodeUnreachableError"), True),
        (load_error("DagsterUserCodeUnreachableError", "CheckError"), True),
        (load_error("ImportError"), False),
        (ValueError(), False),
    ],
)
def test_an_error_says_whether_the_server_is_away(error: Exception, expected: bool) -> None:
    assert absence.is_absence(error) is expected


class TestAbsences:
    def test_a_server_that_is_away_is_asked_again_after_a_pause(self, monkeypatch: pytest.MonkeyPatch) -> None:
        now = [100.0]
        monkeypatch.setattr(time, "monotonic", lambda: now[0])
        known = absence.Absences()
        asked: list[bool] = []
        answers: list[Exception | None] = [DagsterUserCodeUnreachableError()] * 2

        def launch(is_away: bool) -> None:
            asked.append(is_away)
            if answers and (answer := answers.pop()):
                raise answer

        for _ in range(3):
            with pytest.raises(DagsterUserCodeUnreachableError):
                known.attempt("it", launch)
        known.attempt("another", lambda is_away: asked.append(is_away))
        assert asked == [False, False]
        now[0] += 60
        assert known.duration_s("it") == 60
        with pytest.raises(DagsterUserCodeUnreachableError):
            known.attempt("it", launch)
        now[0] += 60
        known.attempt("it", launch)
        known.attempt("it", launch)
        assert asked == [False, False, True, True, False]
        assert known.duration_s("it") == 0
