"""A run that waits says for how long, for what, who has it, and what to do; on Kubernetes, how far its pod got."""

from collections.abc import Mapping
from contextlib import nullcontext
from pathlib import Path
from typing import Any

import dagster as dg
import pytest
from dagster._core.events import EngineEventData
from dagster._core.remote_origin import RegisteredCodeLocationOrigin, RemoteJobOrigin, RemoteRepositoryOrigin
from dagster._core.run_coordinator import QueuedRunCoordinator
from dagster._core.utils import make_new_run_id
from dagster._daemon.run_coordinator import QueuedRunCoordinatorDaemon
from dagster._daemon.types import DaemonHeartbeat

from bench_orchestrator.analysis.run_queue import describe
from bench_orchestrator.model.instants import MICROSECONDS
from bench_orchestrator.model.runs import Pod
from bench_orchestrator.model.stages import BootStage, Stage
from bench_orchestrator.results.store import Store
from bench_orchestrator.waterfall import lookup, waits
from bench_orchestrator.waterfall.layout import Waterfall, headline, remarks
from bench_orchestrator.waterfall.lookup import find_launch
from bench_orchestrator.waterfall.text import summarize_waterfall

NOW_US = 1_800_000_000 * MICROSECONDS
Status = dg.DagsterRunStatus
JOB = {"Kubernetes Job name": "dagster-run-1", "Kubernetes Namespace": "bench"}


def ago(seconds: float) -> int:
    return NOW_US - round(seconds * MICROSECONDS)


@pytest.fixture
def queue(instance: dg.DagsterInstance, monkeypatch: pytest.MonkeyPatch) -> dg.DagsterInstance:
    """Return an instance with a queue with two limits, at a fixed time, when its daemon runs."""
    return _with_queue(instance, monkeypatch)


@pytest.fixture
def queue_with_pools(home_instance: dg.DagsterInstance, monkeypatch: pytest.MonkeyPatch) -> dg.DagsterInstance:
    """Return the same with a storage that has pools."""
    return _with_queue(home_instance, monkeypatch)


def _with_queue(instance: dg.DagsterInstance, monkeypatch: pytest.MonkeyPatch) -> dg.DagsterInstance:
    monkeypatch.setattr(lookup, "now_us", lambda: NOW_US)
    coordinator = QueuedRunCoordinator(3, [{"key": "team", "limit": 1}])
    monkeypatch.setattr(instance, "_run_coordinator", coordinator)
    daemon = QueuedRunCoordinatorDaemon.daemon_type()
    instance.add_daemon_heartbeat(DaemonHeartbeat(NOW_US / MICROSECONDS, daemon, None))
    return instance


class Log:
    """Writes a run with its log, each event so many seconds ago."""

    def __init__(self, instance: dg.DagsterInstance, status: Status, tags: Mapping[str, str] | None = None) -> None:
        self.instance = instance
        repository = RemoteRepositoryOrigin(RegisteredCodeLocationOrigin("sales"), "__repository__")
        origin = RemoteJobOrigin(repository, "nightly")
        run = dg.DagsterRun(
            "nightly", make_new_run_id(), tags=dict(tags or {}), status=status, remote_job_origin=origin
        )
        self.run_id = instance.add_run(run).run_id

    def add(self, kind: str, seconds: float, message: str = "", step: str | None = None, **metadata: str) -> "Log":
        data: Any = EngineEventData({name.replace("_", " "): value for name, value in metadata.items()})
        has_data = kind in ("ENGINE_EVENT", "STEP_WORKER_STARTING", "STEP_WORKER_STARTED", "RESOURCE_INIT_STARTED")
        event = dg.DagsterEvent(
            kind, "nightly", step_key=step, event_specific_data=data if has_data else None, message=message
        )
        self.instance.event_log_storage.store_event(
            dg.EventLogEntry(None, 20, "", self.run_id, ago(seconds) / MICROSECONDS, step, "nightly", event)  # type: ignore[no-untyped-call]
        )
        return self

    def queued(self, seconds: float) -> "Log":
        return self.add("PIPELINE_ENQUEUED", seconds)

    def on_kubernetes(self, seconds: float) -> "Log":
        self.queued(seconds + 1).add("PIPELINE_STARTING", seconds)
        self.add(
            "ENGINE_EVENT",
            seconds,
            "Creating Kubernetes run worker job",
            Kubernetes_Job_name="dagster-run-1",
            Kubernetes_Namespace="bench",
        )
        return self.add("ENGINE_EVENT", seconds - 0.2, "[K8sRunLauncher] Kubernetes run worker job created")

    def started(self, seconds: float) -> "Log":
        return self.add("ENGINE_EVENT", seconds + 1, "Started process for run (pid: 1).").add("PIPELINE_START", seconds)

    def launched(self, step: str, seconds: float) -> "Log":
        return self.add(
            "STEP_WORKER_STARTING",
            seconds,
            f'Executing step "{step}" in Kubernetes job.',
            step,
            Kubernetes_Job_name=f"job-{step}",
        )

    def shown(self, store: Store) -> Waterfall:
        return find_launch([self.run_id], store, lambda: nullcontext(self.instance))[0]


@pytest.fixture
def store(tmp_path: Path) -> Store:
    return Store.in_directory(tmp_path / "results")


@pytest.fixture
def pods(monkeypatch: pytest.MonkeyPatch) -> dict[str, Pod]:
    """Return the pods that Kubernetes has, by their job."""
    known: dict[str, Pod] = {}
    monkeypatch.setattr(waits, "read_pod", lambda namespace, job: known[f"{namespace}/{job}"])
    return known


def said(shown: Waterfall) -> str:
    return " ".join([headline(shown), *remarks(shown)])


class TestInTheQueue:
    def test_two_minutes_behind_a_tag_limit(self, queue: dg.DagsterInstance, store: Store) -> None:
        holder = Log(queue, Status.STARTED, {"team": "data"}).queued(900).started(800)
        earlier = Log(queue, Status.QUEUED, {"team": "data"}).queued(300)
        shown = Log(queue, Status.QUEUED, {"team": "data"}).queued(120).shown(store)
        assert headline(shown) == "No step has started: 120.0 s so far in the queue"
        assert "The tag limit on 'team' lets 1 run at a time. Held by run " in said(shown)
        assert f"{holder.run_id} (job nightly, STARTED for" in said(shown)
        assert "silent for 800 s). Before it in the queue: 1. Raise it under concurrency.runs" in said(shown)
        assert earlier.run_id not in said(shown)
        data = summarize_waterfall(shown)
        assert data["so_far_s"] == data["unfinished"]["seconds"] == 120
        (hold,) = data["waits_for"]
        assert (hold["kind"], hold["ahead"]) == ("tag_limit", 1)
        (who,) = hold["holders"]
        assert (who["run_id"], who["job"], who["status"]) == (holder.run_id, "nightly", "STARTED")
        assert who["last_sign_epoch_s"] == ago(800) / MICROSECONDS

    def test_it_waits_from_the_first_time_that_it_was_queued(self, queue: dg.DagsterInstance, store: Store) -> None:
        again = Log(queue, Status.QUEUED).queued(120).add("PIPELINE_STARTING", 100).queued(90)
        assert headline(again.shown(store)) == "No step has started: 120.0 s so far in the queue"
        assert "No limit holds it" in said(again.shown(store))

    def test_a_run_that_has_left_the_queue_meanwhile_has_no_holds(
        self, queue: dg.DagsterInstance, store: Store, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        monkeypatch.setattr(waits, "read_queue", lambda *_: None)
        assert Log(queue, Status.QUEUED).queued(9).shown(store).holds == ()


class TestLater:
    def test_a_run_whose_worker_has_not_reported(self, queue: dg.DagsterInstance, store: Store) -> None:
        shown = Log(queue, Status.STARTING).queued(70).add("PIPELINE_STARTING", 60).shown(store)
        assert headline(shown) == "No step has started: 60.0 s so far waiting for the run worker"
        assert "Its process has not reported yet. If it has died, the run stays as it is: run_monitoring" in said(shown)

    def test_each_stage_says_so(self, queue: dg.DagsterInstance, store: Store) -> None:
        log = Log(queue, Status.STARTED).queued(100).add("PIPELINE_STARTING", 90)
        for kind, seconds, words in (
            ("ENGINE_EVENT", 80, "while the run worker loads the definitions"),
            ("PIPELINE_START", 70, "until the executor starts a step"),
            ("STEP_WORKER_STARTING", 60, "waiting for the step worker"),
            ("STEP_WORKER_STARTED", 50, "while the step worker loads the definitions"),
            ("RESOURCE_INIT_STARTED", 40, "while the step's resources start"),
        ):
            step = None if kind in ("ENGINE_EVENT", "PIPELINE_START") else "a"
            shown = log.add(kind, seconds, "Started process for run (pid: 1).", step).shown(store)
            assert headline(shown) == f"No step has started: {seconds}.0 s so far {words}"
            assert shown.end_us == shown.now_us == 100 * MICROSECONDS

    def test_a_step_that_waits_for_a_slot_says_who_has_it(
        self, queue_with_pools: dg.DagsterInstance, store: Store
    ) -> None:
        queue_with_pools.event_log_storage.set_concurrency_slots("db", 1)
        holder, waiting = (Log(queue_with_pools, Status.STARTED).queued(99).started(90) for _ in range(2))
        for log in (holder, waiting):
            queue_with_pools.event_log_storage.claim_concurrency_slot("db", log.run_id, "load")
        shown = waiting.shown(store)
        assert headline(shown) == "No step has started: 90.0 s so far until the executor starts a step"
        assert (
            f"Step load waits for a slot of the pool db, which has 1 slot. Held by step load of run {holder.run_id}"
            in said(shown)
        )

    def test_a_run_that_has_ended_waits_for_nothing(self, queue: dg.DagsterInstance, store: Store) -> None:
        shown = Log(queue, Status.FAILURE).queued(70).add("PIPELINE_FAILURE", 10).shown(store)
        assert (shown.holds, shown.now_us) == ((), None)
        assert headline(shown) == "Failed in queue wait, 60.0 s after RUN_ENQUEUED"
        assert summarize_waterfall(shown)["so_far_s"] is None


class TestOnKubernetes:
    def test_worker_and_step_boot_fall_into_pieces(
        self, queue: dg.DagsterInstance, store: Store, pods: dict[str, Pod]
    ) -> None:
        log = Log(queue, Status.SUCCESS).on_kubernetes(100).started(80).launched("a", 79)
        log.add("STEP_WORKER_STARTED", 70, step="a").add("STEP_START", 65, step="a").add("PIPELINE_SUCCESS", 60)
        pods["bench/dagster-run-1"] = Pod("x", "n", ago(99), ago(98), ago(90), ago(85))
        pods["bench/job-a"] = Pod("y", "n", ago(79), ago(78), ago(75), ago(73))
        shown = log.shown(store)
        assert [bar.stage for bar in shown.boot] == list(BootStage)
        assert [bar.stage for bar in shown.step_boot] == list(BootStage)[1:]
        (whole,) = [bar for bar in shown.bars if bar.stage is Stage.STEP_BOOT]
        assert (shown.step_boot[0].start_us, shown.step_boot[-1].end_us) == (whole.start_us, whole.end_us)
        rows = [row.stage for row in shown.rows]
        assert rows[rows.index(Stage.STEP_BOOT) + 1 :][:4] == list(BootStage)[1:]
        assert sum(piece["seconds"] for piece in summarize_waterfall(shown)["step_boot"]) == pytest.approx(9)
        assert "is not split" not in said(shown)

    def test_or_say_why_they_do_not(self, queue: dg.DagsterInstance, store: Store, pods: dict[str, Pod]) -> None:
        log = Log(queue, Status.SUCCESS).on_kubernetes(100).started(80).launched("a", 79)
        log.add("STEP_WORKER_STARTED", 70, step="a").add("STEP_START", 65, step="a").add("PIPELINE_SUCCESS", 60)
        pods["bench/dagster-run-1"] = Pod(trouble="its pod is gone")
        pods["bench/job-a"] = Pod(unknown="the bench may not list pods")
        shown = log.shown(store)
        assert shown.warnings[-2:] == (
            "worker boot is not split: its pod is gone",
            "step boot is not split: the bench may not list pods",
        )
        assert (shown.boot, shown.step_boot) == ((), ())

    def test_a_run_in_processes_says_nothing_of_pods(
        self, queue: dg.DagsterInstance, store: Store, pods: dict[str, Pod]
    ) -> None:
        shown = Log(queue, Status.STARTED).queued(70).add("PIPELINE_STARTING", 60).started(50).shown(store)
        assert pods == {}
        assert "pod" not in said(shown)

    @pytest.mark.parametrize(
        ("pod", "words"),
        [
            (
                Pod(trouble="its pod cannot be scheduled: 0/1 nodes are available: 1 Insufficient cpu."),
                "Its pod cannot be scheduled: 0/1 nodes are available: 1 Insufficient cpu, 180 s so far.",
            ),
            (Pod(unknown="no rights"), "Nothing is known of its pod: no rights, 180 s so far."),
            (Pod("x"), "Its pod is not scheduled yet, 180 s so far."),
            (Pod("x", scheduled_us=1), "Its pod's image is not there yet, 180 s so far."),
            (Pod("x", scheduled_us=1, pulled_us=2), "Its pod's container does not run yet, 180 s so far."),
            (
                Pod("x", scheduled_us=1, pulled_us=2, started_us=3),
                "Its pod's container runs, and Python starts in it, 180 s",
            ),
        ],
    )
    def test_a_run_that_waits_for_its_pod_says_how_far_it_got(
        self, queue: dg.DagsterInstance, store: Store, pods: dict[str, Pod], pod: Pod, words: str
    ) -> None:
        pods["bench/dagster-run-1"] = pod
        shown = Log(queue, Status.STARTING).on_kubernetes(180).shown(store)
        assert headline(shown) == "No step has started: 180.0 s so far waiting for the run worker"
        assert words in said(shown)

    def test_a_step_that_cannot_be_scheduled_says_so_also_if_it_is_not_the_first(
        self, queue: dg.DagsterInstance, store: Store, pods: dict[str, Pod]
    ) -> None:
        pods["bench/dagster-run-1"] = Pod("x", "n", ago(300), ago(299), ago(298), ago(297))
        pods["bench/job-a"] = pods["bench/job-b"] = Pod(trouble="its pod cannot be scheduled: Insufficient cpu")
        log = Log(queue, Status.STARTED).on_kubernetes(300).started(200).launched("a", 180)
        shown = log.shown(store)
        assert headline(shown) == "No step has started: 180.0 s so far waiting for the step worker"
        assert "Step a: its pod cannot be scheduled: Insufficient cpu, 180 s so far." in said(shown)
        pods["bench/job-a"] = Pod("y", "n", ago(180), ago(179), ago(178), ago(177))
        later = (
            log.add("STEP_WORKER_STARTED", 170, step="a")
            .add("STEP_START", 160, step="a")
            .launched("b", 90)
            .shown(store)
        )
        assert [describe(hold, NOW_US) for hold in later.holds] == [
            "Step b: its pod cannot be scheduled: Insufficient cpu, 90 s so far."
        ]
        assert later.lag_us is not None

    def test_a_step_pod_in_an_unknown_namespace_says_so(
        self, queue: dg.DagsterInstance, store: Store, pods: dict[str, Pod]
    ) -> None:
        log = Log(queue, Status.STARTED).queued(99).add("PIPELINE_STARTING", 90).started(80).launched("a", 70)
        assert (
            "Step a: nothing is known of its pod: the namespace of its Kubernetes job is not known, 70 s so far."
            in said(log.shown(store))
        )
        assert pods == {}
