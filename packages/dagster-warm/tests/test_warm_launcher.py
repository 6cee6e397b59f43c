"""The launcher is built from dagster.yaml, decides once whether a run is warm, and passes everything else on."""

import subprocess
import sys
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import dagster as dg
import pytest
import yaml
from dagster._check import CheckError
from dagster._core.launcher import LaunchRunContext, ResumeRunContext, RunLauncher, WorkerStatus
from dagster._core.launcher.sync_in_memory_run_launcher import SyncInMemoryRunLauncher
from dagster._core.remote_origin import GrpcServerCodeLocationOrigin, RemoteJobOrigin, RemoteRepositoryOrigin
from pods import PodLauncher

from dagster_warm.launcher import LAUNCH_TAG, WarmRunLauncher

COLD = {"module": "dagster._core.launcher.sync_in_memory_run_launcher", "class": "SyncInMemoryRunLauncher"}
GRPC_INFO = {".dagster/grpc_info": '{"host": "localhost", "port": 1}'}
Run = dg.DagsterRun


@contextmanager
def instance_with(home: Path, config: Mapping[str, Any], **settings: Any) -> Iterator[dg.DagsterInstance]:
    launcher = {"module": "dagster_warm.launcher", "class": "WarmRunLauncher", "config": dict(config)}
    (home / "dagster.yaml").write_text(
        yaml.safe_dump({"telemetry": {"enabled": False}, "run_launcher": launcher, **settings})
    )
    with dg.DagsterInstance.from_config(str(home)) as instance:
        yield instance


def launcher_of(home: Path, config: Mapping[str, Any]) -> WarmRunLauncher:
    with instance_with(home, config) as instance:
        assert isinstance(instance.run_launcher, WarmRunLauncher)
        return instance.run_launcher


def run_in(location: str, tags: Mapping[str, str] | None = None) -> Run:
    origin = GrpcServerCodeLocationOrigin(host="localhost", port=4000, location_name=location)
    return Run(
        "job",
        tags=tags or {},
        remote_job_origin=RemoteJobOrigin(RemoteRepositoryOrigin(origin, "__repository__"), "job"),
    )


def pods(folder: Path) -> dict[str, Any]:
    return {"module": "pods", "class": "PodLauncher", "config": {"folder": str(folder)}}


class Recorder(RunLauncher):
    """A cold launcher that records what it is asked, and launches nothing."""

    supports_resume_run = True
    supports_check_run_worker_health = True
    pods_per_run = 1

    def __init__(self) -> None:
        self.asked: list[tuple[str, str]] = []
        super().__init__()  # type: ignore[no-untyped-call]

    def launch_run(self, context: LaunchRunContext) -> None:
        self.asked.append(("launch", context.dagster_run.run_id))

    def terminate(self, run_id: str) -> bool:
        self.asked.append(("terminate", run_id))
        return True

    def resume_run(self, context: ResumeRunContext) -> None:
        self.asked.append(("resume", context.dagster_run.run_id))

    def get_run_worker_debug_info(self, run: Run, include_container_logs: bool | None = True) -> str | None:
        self.asked.append(("debug", run.run_id))
        return f"logs: {include_container_logs}"


@contextmanager
def recording(**options: Any) -> Iterator[tuple[dg.DagsterInstance, Recorder, WarmRunLauncher]]:
    """Yield a launcher with a recorder as the cold one, and its instance."""
    cold = Recorder()
    with dg.DagsterInstance.ephemeral() as instance:
        launcher = WarmRunLauncher(cold, **options)
        launcher.register_instance(instance)
        yield instance, cold, launcher


def messages(instance: dg.DagsterInstance, run: Run) -> list[str]:
    return [entry.user_message or entry.message for entry in instance.all_logs(run.run_id)]


class TestItsConfiguration:
    @pytest.mark.parametrize(
        ("config", "cold"),
        [
            ({}, dg.DefaultRunLauncher),
            ({"cold": COLD}, SyncInMemoryRunLauncher),
            ({"cold": {**COLD, "config": {}}, "cold_after_s": 0, "lost_after_s": 5}, SyncInMemoryRunLauncher),
        ],
    )
    def test_names_the_cold_launcher(self, tmp_path: Path, config: dict[str, object], cold: type) -> None:
        assert type(launcher_of(tmp_path, config).cold) is cold

    def test_of_a_launcher_that_does_not_exist_is_an_error_that_names_it(self, tmp_path: Path) -> None:
        with pytest.raises(Exception, match="no_such_module"):
            launcher_of(tmp_path, {"cold": {"module": "no_such_module", "class": "Launcher"}})

    def test_of_a_limit_without_a_launcher_for_what_exceeds_it_is_an_error(self, tmp_path: Path) -> None:
        with pytest.raises(dg.DagsterInvalidConfigError, match="cold_after_s needs a launcher"):
            launcher_of(tmp_path, {"cold_after_s": 60})

    def test_loads_with_resuming_if_the_cold_launcher_can_resume(self, tmp_path: Path) -> None:
        resuming = {"enabled": True, "max_resume_run_attempts": 3}
        with instance_with(tmp_path, {"cold": pods(tmp_path)}, run_monitoring=resuming) as instance:
            assert instance.run_launcher.supports_resume_run
        with (
            pytest.raises(CheckError, match="does not support resuming"),
            instance_with(tmp_path, {"cold": COLD}, run_monitoring=resuming),
        ):
            pass


@pytest.mark.parametrize(
    ("locations", "run", "is_cold"),
    [
        (None, run_in("a10"), False),
        (None, Run("job", tags={}), False),
        (["a10"], run_in("a10"), False),
        (["a10"], run_in("a250"), True),
        ([], run_in("a10"), True),
        (["a10"], run_in("a10", {"bench/cold": "true"}), True),
        (None, run_in("a10", {"bench/cold": "no"}), False),
        (None, run_in("a10", {"dagster-k8s/config": "{}"}), True),
        (None, run_in("a10", {"dagster-k8s/resource_requirements": "{}"}), True),
        (None, run_in("a10", {"ecs/memory": "4096"}), True),
        (None, run_in("a10", {"dagster-k8s/config": "{}", "bench/cold": "false"}), False),
        ([], run_in("a10", {"bench/cold": "false"}), True),
    ],
)
def test_a_run_is_cold_by_its_location_or_its_tags(locations: list[str] | None, run: Run, is_cold: bool) -> None:
    with recording(locations=locations) as (_, cold, launcher):
        assert (launcher._launcher_of(run) is cold) is is_cold


def test_without_a_cold_launcher_tags_about_containers_mean_nothing() -> None:
    launcher = WarmRunLauncher(None)
    assert launcher._why_cold(run_in("a10", {"dagster-k8s/config": "{}"})) is None
    assert launcher._why_cold(run_in("a10", {"bench/cold": "true"}))


class TestWhatIsDecidedAtTheLaunch:
    @pytest.mark.parametrize(
        ("locations", "tags", "reason"),
        [
            (["a10"], {}, "its code location a250 is not among the warm ones"),
            (None, {"bench/cold": "true"}, "its tag bench/cold says so"),
            (None, {"dagster-k8s/config": "{}"}, "its tag dagster-k8s/config asks for a container of its own"),
        ],
    )
    def test_is_told_in_an_engine_event(self, locations: list[str] | None, tags: dict[str, str], reason: str) -> None:
        with recording(locations=locations) as (instance, cold, launcher):
            run = instance.add_run(run_in("a250", tags))
            launcher.launch_run(LaunchRunContext(run, None))
            assert cold.asked == [("launch", run.run_id)]
            assert messages(instance, run) == [f"Launched cold, by Recorder: {reason}."]

    def test_holds_although_its_location_becomes_warm(self) -> None:
        with recording(locations=[]) as (instance, _, launcher):
            run = instance.add_run(run_in("a10"))
            launcher.launch_run(LaunchRunContext(run, None))
            later = WarmRunLauncher(cold := Recorder())
            later.register_instance(instance)
            assert later.terminate(run.run_id)
            kept = instance.get_run_by_id(run.run_id)
            assert kept is not None
            assert later.get_run_worker_debug_info(kept, False) == "logs: False"
            later.resume_run(ResumeRunContext(kept, None, 1))
            assert [what for what, _ in cold.asked] == ["terminate", "debug", "resume"]

    def test_holds_although_its_location_becomes_cold(self) -> None:
        with recording(locations=[]) as (instance, cold, launcher):
            run = instance.add_run(run_in("a10", GRPC_INFO))
            assert launcher._launcher_of(run) is not cold
            assert launcher.get_run_worker_debug_info(run) is None
            assert cold.asked == []

    @pytest.mark.parametrize("locations", [None, []])
    def test_is_decided_anew_for_a_run_that_repeats_another(self, locations: list[str] | None) -> None:
        copied = {**GRPC_INFO, LAUNCH_TAG: "warm" if locations is not None else "cold"}
        with recording(locations=locations) as (instance, cold, launcher):
            run = instance.add_run(run_in("a10", copied))
            if locations is None:
                with pytest.raises(AssertionError):  # it has no workspace
                    launcher.launch_run(LaunchRunContext(run, None))
            else:
                launcher.launch_run(LaunchRunContext(run, None))
            launched = instance.get_run_by_id(run.run_id)
            assert launched is not None
            assert (launcher._launcher_of(launched) is cold) is (locations is not None)


def test_a_warm_run_that_is_lost_is_resumed_by_the_cold_launcher() -> None:
    with recording() as (instance, cold, launcher):
        run = instance.add_run(run_in("a10", GRPC_INFO))
        launcher.resume_run(ResumeRunContext(run, None, 1))
        assert cold.asked == [("resume", run.run_id)]
        assert messages(instance, run)[0].startswith("Resumed cold, by Recorder: ")
        resumed = instance.get_run_by_id(run.run_id)
        assert resumed is not None
        assert launcher._launcher_of(resumed) is cold


class TestItsHealthCheck:
    def test_is_the_cold_launchers_for_its_runs(self, tmp_path: Path) -> None:
        with instance_with(tmp_path, {"cold": pods(tmp_path), "locations": []}) as instance:
            assert instance.run_launcher.supports_check_run_worker_health
            result = instance.run_launcher.check_run_worker_health(run_in("a10"))
            assert (result.status, result.msg) == (WorkerStatus.FAILED, "its pod is gone")

    def test_says_nothing_of_runs_whose_launcher_has_none(self, tmp_path: Path) -> None:
        launcher = launcher_of(tmp_path, {"cold": COLD, "locations": []})
        assert launcher.check_run_worker_health(run_in("a10")).status is WorkerStatus.RUNNING


class TestToCodeThatLooksForTheColdLauncher:
    def test_it_is_that_launcher(self, tmp_path: Path) -> None:
        with instance_with(tmp_path, {"cold": pods(tmp_path)}) as instance:
            assert isinstance(instance.run_launcher, WarmRunLauncher)
            launcher: Any = instance.run_launcher
            is_cold_one = isinstance(launcher, PodLauncher)
            assert is_cold_one
            assert launcher.pod_settings == {"folder": str(tmp_path)}
            assert launcher.inst_data
            assert launcher.inst_data.class_name == "WarmRunLauncher"
            info: Any = instance.info_dict()
            assert info["run_launcher"]["class"] == "WarmRunLauncher"
            with pytest.raises(AttributeError, match="no_such_attribute"):
                launcher.no_such_attribute  # noqa: B018

    def test_an_attribute_that_is_asked_for_too_early_is_missing(self) -> None:
        with pytest.raises(AttributeError):
            WarmRunLauncher.__new__(WarmRunLauncher).job_namespace  # noqa: B018


def test_the_processes_of_a_deployment_import_it_without_the_server() -> None:
    imported = subprocess.run(
        [sys.executable, "-c", "import sys, dagster_warm.launcher; print(*sys.modules)"],
        check=True,
        capture_output=True,
        text=True,
    ).stdout.split()
    ours = {name for name in imported if name.startswith(("bench_orchestrator", "dagster_warm"))}
    assert ours == {"dagster_warm", "dagster_warm.absence", "dagster_warm.launcher"}
