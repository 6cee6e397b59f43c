"""The queue is looked at when it changes, by Dagster's daemon, and otherwise at its interval.

Needs only Dagster and pytest: `test_warm_releases` runs it against other releases. The interval of most tests is
longer than their patience: what is launched in them was not waited for.
"""

import json
import logging
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from itertools import pairwise
from pathlib import Path
from typing import Any

import dagster as dg
import pytest
from dagster._core.launcher import LaunchRunContext, RunLauncher
from dagster._core.remote_origin import GrpcServerCodeLocationOrigin, RemoteJobOrigin, RemoteRepositoryOrigin
from dagster._core.run_coordinator import QueuedRunCoordinator, SubmitRunContext
from dagster._core.storage import dagster_run
from dagster._core.workspace.context import WorkspaceProcessContext
from dagster._core.workspace.load_target import EmptyWorkspaceTarget
from dagster._daemon import controller
from dagster._daemon.run_coordinator.queued_run_coordinator_daemon import (
    QueuedRunCoordinatorDaemon as DagstersDaemon,
)
from lone_server import PATIENCE_S, wait_until

from dagster_warm import changes, dequeuing
from dagster_warm.dequeuing import ACTIVE_STATUSES, QueuedRunCoordinatorDaemon, QueueState

Status = dg.DagsterRunStatus
Kind = dg.DagsterEventType

NEVER_S = 10 * int(PATIENCE_S)
PROMPT = {"module": "dagster_warm.queue", "class": "PromptRunCoordinator"}
STOCK = {"module": "dagster.core.run_coordinator", "class": "QueuedRunCoordinator"}
ORIGIN = RemoteJobOrigin(
    RemoteRepositoryOrigin(GrpcServerCodeLocationOrigin("localhost", port=1, location_name="it"), "__repository__"),
    "job",
)


class PassiveLauncher(RunLauncher):
    """Notes what it is to launch; runs end when a test says so."""

    def __init__(self) -> None:
        self.launched: list[str] = []
        self.puts_back = False
        super().__init__()  # type: ignore[no-untyped-call]

    def launch_run(self, context: LaunchRunContext) -> None:
        self.launched.append(context.dagster_run.run_id)
        if self.puts_back:
            event = dg.DagsterEvent.job_enqueue(context.dagster_run)
            self._instance.report_dagster_event(event, context.dagster_run.run_id)

    def terminate(self, run_id: str) -> bool:
        raise NotImplementedError


@dataclass
class Queue:
    """The queue of an instance whose runs do nothing."""

    context: WorkspaceProcessContext
    launcher: PassiveLauncher
    logged: list[logging.LogRecord] = field(default_factory=list)

    @property
    def instance(self) -> dg.DagsterInstance:
        return self.context.instance

    def submit(self, **options: Any) -> str:
        """Put a run into the queue."""
        run = dg.DagsterRun("job", status=Status.NOT_STARTED, remote_job_origin=ORIGIN, **options)
        self.instance.add_run(run)
        self.instance.run_coordinator.submit_run(SubmitRunContext(run, self.context.create_request_context()))
        return run.run_id

    def status(self, run_id: str) -> Status:
        run = self.instance.get_run_by_id(run_id)
        assert run is not None
        return run.status

    def end(self, run_id: str) -> None:
        """End a run in progress."""
        event = dg.DagsterEvent(Kind.RUN_SUCCESS.value, "job")
        self.instance.report_dagster_event(event, run_id)

    def wait_for_launches(self, *run_ids: str) -> None:
        """Wait until exactly these have been launched, in this order."""
        wait_until(lambda: len(self.launcher.launched) >= len(run_ids))
        assert self.launcher.launched == list(run_ids)

    @contextmanager
    def daemon(self, heartbeat_interval_s: float = 30) -> Iterator[DagstersDaemon]:
        """Run the daemon that Dagster creates for this instance, as its controller does."""
        daemons = controller.create_daemons_from_instance(self.instance)
        (daemon,) = (one for one in daemons if isinstance(one, DagstersDaemon))
        shutdown = threading.Event()
        thread = threading.Thread(
            target=daemon.run_daemon_loop, args=(self.context, "id", shutdown, heartbeat_interval_s, 300)
        )
        handler = logging.Handler()
        handler.emit = self.logged.append  # type: ignore[method-assign, assignment]
        daemon._logger.addHandler(handler)
        daemon._logger.setLevel(logging.INFO)
        with daemon:
            thread.start()
            try:
                yield daemon
            finally:
                shutdown.set()
                thread.join(PATIENCE_S)
                daemon._logger.removeHandler(handler)
                assert not thread.is_alive()


@contextmanager
def queue_in(home: Path, coordinator: dict[str, Any] = PROMPT, **settings: Any) -> Iterator[Queue]:
    """Yield the queue of a new instance, whose interval nobody waits for unless another one is set."""
    config = {"dequeue_interval_seconds": NEVER_S, **settings.pop("config", {})}
    run_coordinator = {**coordinator, "config": config}
    (home / "dagster.yaml").write_text(
        json.dumps({"telemetry": {"enabled": False}, "run_coordinator": run_coordinator, **settings})
    )
    launcher = PassiveLauncher()
    with dg.DagsterInstance.from_config(str(home)) as instance:
        launcher.register_instance(instance)
        instance._run_launcher = launcher
        with WorkspaceProcessContext(instance, EmptyWorkspaceTarget()) as context:
            yield Queue(context, launcher)


@pytest.fixture
def queue(tmp_path: Path) -> Iterator[Queue]:
    with queue_in(tmp_path) as queue:
        yield queue


class TestTheCoordinator:
    CONFIG: tuple[dict[str, Any], ...] = (
        {},
        {"max_concurrent_runs": 3, "dequeue_use_threads": True, "dequeue_num_workers": 2},
        {"tag_concurrency_limits": [{"key": "a", "value": {"applyLimitPerUniqueValue": True}, "limit": 1}]},
        {"max_user_code_failure_retries": 2, "user_code_failure_retry_delay": 7},
        {"block_op_concurrency_limited_runs": {"enabled": True, "op_concurrency_slot_buffer": 1}},
    )

    @pytest.mark.parametrize("config", CONFIG)
    def test_has_the_settings_of_dagsters(self, tmp_path: Path, config: dict[str, Any]) -> None:
        found = []
        for coordinator in (STOCK, PROMPT):
            with queue_in(tmp_path, coordinator, config=config) as queue:
                one = queue.instance.run_coordinator
                assert isinstance(one, QueuedRunCoordinator)
                threads = (one.dequeue_use_threads, one.dequeue_num_workers)
                found.append((queue.instance.get_concurrency_config(), one.dequeue_interval_seconds, threads))
        assert found[0] == found[1]

    def test_has_dagsters_daemon_decide(self, queue: Queue) -> None:
        with queue.daemon() as daemon:
            assert type(daemon) is QueuedRunCoordinatorDaemon
        own = set(vars(QueuedRunCoordinatorDaemon)) & set(vars(DagstersDaemon))
        assert own <= {"run_iteration", "__doc__", "__module__", "__abstractmethods__", "_abc_impl", "__parameters__"}
        assert daemon._logger.name == "dagster.daemon.QueuedRunCoordinatorDaemon"

    def test_counts_the_runs_that_dagsters_limits_count(self) -> None:
        counted = getattr(dagster_run, "ACTIVE_RUN_STATUSES", dagster_run.IN_PROGRESS_RUN_STATUSES)
        assert set(ACTIVE_STATUSES) == set(counted)


class TestARun:
    def test_is_launched_when_it_is_queued(self, queue: Queue) -> None:
        with queue.daemon():
            first = queue.submit()
            queue.wait_for_launches(first)
            second = queue.submit()
            queue.wait_for_launches(first, second)

    def test_that_was_queued_before_the_daemon_started_is_launched(self, queue: Queue) -> None:
        first = queue.submit()
        with queue.daemon():
            queue.wait_for_launches(first)

    @pytest.mark.parametrize("use_threads", [False, True])
    def test_is_launched_when_another_has_ended(self, tmp_path: Path, use_threads: bool) -> None:
        config = {"max_concurrent_runs": 1, "dequeue_use_threads": use_threads}
        with queue_in(tmp_path, config=config) as queue, queue.daemon():
            first, second, third = queue.submit(), queue.submit(), queue.submit()
            urgent = queue.submit(tags={"dagster/priority": "1"})
            queue.wait_for_launches(first)
            queue.end(first)
            queue.wait_for_launches(first, urgent)
            queue.instance.report_run_canceled(queue.instance.get_run_by_id(urgent))  # type: ignore[arg-type]
            queue.wait_for_launches(first, urgent, second)
            queue.instance.delete_run(second)
            queue.wait_for_launches(first, urgent, second, third)

    def test_waits_for_its_tag_and_lets_others_go_first(self, tmp_path: Path) -> None:
        config = {"tag_concurrency_limits": [{"key": "one", "limit": 1}]}
        with queue_in(tmp_path, config=config) as queue, queue.daemon():
            first, second = queue.submit(tags={"one": "a"}), queue.submit(tags={"one": "b"})
            other = queue.submit()
            queue.wait_for_launches(first, other)
            assert queue.status(second) is Status.QUEUED
            queue.end(first)
            queue.wait_for_launches(first, other, second)

    def test_is_launched_when_a_step_leaves_its_slot_or_the_pool_grows(self, queue: Queue) -> None:
        storage = queue.instance.event_log_storage
        storage.set_concurrency_slots("pool", 1)
        storage.claim_concurrency_slot("pool", "elsewhere", "step")
        needs = dagster_run.RunOpConcurrency(
            root_key_counts={"pool": 1}, has_unconstrained_root_nodes=False, all_pools={"pool"}
        )
        with queue.daemon():
            first = queue.submit(run_op_concurrency=needs)
            other = queue.submit()
            queue.wait_for_launches(other)
            assert queue.status(first) is Status.QUEUED
            storage.free_concurrency_slot_for_step("elsewhere", "step")
            queue.wait_for_launches(other, first)
            second = queue.submit(run_op_concurrency=needs)
            other = queue.submit()
            wait_until(lambda: other in queue.launcher.launched)
            assert queue.status(second) is Status.QUEUED
            storage.set_concurrency_slots("pool", 2)
            wait_until(lambda: second in queue.launcher.launched)

    def test_that_its_launcher_puts_back_waits_for_the_interval(
        self, queue: Queue, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        queue.launcher.puts_back = True
        states = _record_states(monkeypatch)
        with queue.daemon() as daemon:
            first = queue.submit()
            queue.wait_for_launches(first)
            for count in range(3):
                with _more(lambda: len(states)):
                    queue.instance.run_storage.set_cursor_values({"written": str(count)})
            assert queue.launcher.launched == [first]
            assert daemon._errors == type(daemon._errors)([], 5)

    def test_is_launched_at_the_interval_if_nothing_tells_of_it(
        self, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        monkeypatch.setattr(
            changes.SqliteChanges, "wait", lambda _self, shutdown, timeout_s, _: shutdown.wait(timeout_s)
        )
        with queue_in(tmp_path, config={"dequeue_interval_seconds": 1}) as queue, queue.daemon():
            for _ in range(3):
                with _more(lambda: len(queue.launcher.launched)):
                    queue.submit()


class TestTheDaemon:
    def test_does_not_look_at_an_empty_queue(self, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
        states, looks = _record_states(monkeypatch), _record_looks(monkeypatch)
        with queue_in(tmp_path, config={"dequeue_interval_seconds": 1}) as queue, queue.daemon():
            wait_until(lambda: len(states) > 3)
        assert looks == []

    def test_rests_for_as_long_as_its_looks_took(self, queue: Queue, monkeypatch: pytest.MonkeyPatch) -> None:
        look = DagstersDaemon._get_runs_to_dequeue

        def compute(*args: Any, **options: Any) -> Any:
            until_s = time.thread_time() + 0.1
            while time.thread_time() < until_s:
                pass
            return look(*args, **options)

        monkeypatch.setattr(DagstersDaemon, "_get_runs_to_dequeue", compute)
        looks = _record_looks(monkeypatch)
        with queue.daemon():
            for _ in range(10):
                queue.submit()
                time.sleep(0.05)
            wait_until(lambda: len(queue.launcher.launched) == 10)
        pauses_s = [later - earlier for earlier, later in pairwise(looks)]
        assert all(pause_s >= 0.2 for pause_s in pauses_s), pauses_s

    def test_sends_heartbeats_while_it_waits(self, queue: Queue) -> None:
        def beat() -> float:
            beats = queue.instance.get_daemon_heartbeats()
            return beats[kind].timestamp if kind in beats else 0.0

        kind = DagstersDaemon.daemon_type()
        with queue.daemon(heartbeat_interval_s=0.1):
            for _ in range(3):
                with _more(beat):
                    pass

    def test_goes_on_after_an_error_and_reports_it(self, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
        def fail(*_: Any) -> None:
            monkeypatch.undo()
            raise ValueError("the storage is away")

        monkeypatch.setattr(QueueState, "read", fail)
        with queue_in(tmp_path, config={"dequeue_interval_seconds": 1}) as queue, queue.daemon() as daemon:
            first = queue.submit()
            queue.wait_for_launches(first)
            assert "the storage is away" in str(daemon._errors)

    def test_fails_no_faster_than_dagsters(self, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
        tries: list[float] = []

        def fail(*_: Any) -> None:
            tries.append(time.monotonic())
            raise ValueError("the storage is away")

        monkeypatch.setattr(QueueState, "read", fail)
        with queue_in(tmp_path, config={"dequeue_interval_seconds": 1}) as queue, queue.daemon():
            wait_until(lambda: len(tries) == 3)
        assert all(later - earlier >= 1 for earlier, later in pairwise(tries))

    def test_says_once_that_a_storage_does_not_tell_its_changes(
        self, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        monkeypatch.setattr(changes, "SqliteRunStorage", type("Another", (), {}))
        looks = _record_looks(monkeypatch)
        with queue_in(tmp_path, config={"dequeue_interval_seconds": 1}) as queue, queue.daemon():
            wait_until(lambda: len(looks) == 3)
            queue.wait_for_launches(queue.submit())
        assert [one.getMessage() for one in queue.logged if one.levelno >= logging.WARNING] == [dequeuing._NO_CHANGES]
        assert all(later - earlier >= 1 for earlier, later in pairwise(looks))

    def test_of_dagsters_coordinator_waits_as_dagsters(self, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
        dequeuing.install()
        looks = _record_looks(monkeypatch)
        with queue_in(tmp_path, STOCK, config={"dequeue_interval_seconds": 1}) as queue, queue.daemon() as daemon:
            assert isinstance(daemon, QueuedRunCoordinatorDaemon)
            queue.submit()
            wait_until(lambda: len(looks) == 3)
        assert all(later - earlier >= 1 for earlier, later in pairwise(looks))
        assert not [one for one in queue.logged if one.levelno >= logging.WARNING]


@pytest.mark.parametrize(
    ("before", "now", "lets_more_run"),
    [
        (QueueState(), QueueState(), False),
        (QueueState(), QueueState(frozenset("a")), True),
        (QueueState(frozenset("a")), QueueState(frozenset("a")), False),
        (QueueState(frozenset("a")), QueueState(frozenset("b"), frozenset("a")), True),
        (QueueState(frozenset("ab")), QueueState(frozenset("b"), frozenset("a")), False),
        (QueueState(frozenset("ab")), QueueState(frozenset("b")), True),
        (QueueState(frozenset("a"), frozenset("b")), QueueState(frozenset("a")), True),
        (QueueState(frozenset("a"), frozenset("b")), QueueState(frozenset("a"), frozenset("bc")), False),
        (QueueState(pending_steps=frozenset([("b", "s")])), QueueState(), True),
        (QueueState(), QueueState(pending_steps=frozenset([("b", "s")])), False),
        (QueueState(slots=frozenset([1])), QueueState(slots=frozenset([1, 2])), True),
        (QueueState(slots=frozenset([1, 2])), QueueState(slots=frozenset([1])), False),
    ],
)
def test_what_lets_more_run(before: QueueState, now: QueueState, lets_more_run: bool) -> None:
    assert now.lets_more_run_than(before) is lets_more_run


@contextmanager
def _more(count: Callable[[], float]) -> Iterator[None]:
    """Wait at the end of the context until something counts more than at its beginning."""
    before = count()
    yield
    wait_until(lambda: count() > before)


def _record_states(monkeypatch: pytest.MonkeyPatch) -> list[QueueState]:
    """Return a list that receives each state that the daemon reads."""
    states: list[QueueState] = []
    read = QueueState.read

    def record(instance: dg.DagsterInstance, with_pools: bool) -> QueueState:
        states.append(read(instance, with_pools))
        return states[-1]

    monkeypatch.setattr(QueueState, "read", record)
    return states


def _record_looks(monkeypatch: pytest.MonkeyPatch) -> list[float]:
    """Return a list that receives the time of each look at the queue by Dagster's class."""
    looks: list[float] = []
    look = DagstersDaemon._get_runs_to_dequeue

    def record(*args: Any, **options: Any) -> Any:
        looks.append(time.monotonic())
        return look(*args, **options)

    monkeypatch.setattr(DagstersDaemon, "_get_runs_to_dequeue", record)
    return looks
