"""The launcher is built from dagster.yaml and routes runs by tag and location."""

import subprocess
import sys
from pathlib import Path

import dagster as dg
import pytest
import yaml
from dagster._core.launcher.sync_in_memory_run_launcher import SyncInMemoryRunLauncher
from dagster._core.remote_origin import GrpcServerCodeLocationOrigin, RemoteJobOrigin, RemoteRepositoryOrigin

from dagster_warm.launcher import WarmRunLauncher

COLD = {"module": "dagster._core.launcher.sync_in_memory_run_launcher", "class": "SyncInMemoryRunLauncher"}


def launcher_of(home: Path, config: dict[str, object]) -> WarmRunLauncher:
    settings = {"module": "dagster_warm.launcher", "class": "WarmRunLauncher", "config": config}
    (home / "dagster.yaml").write_text(yaml.safe_dump({"telemetry": {"enabled": False}, "run_launcher": settings}))
    with dg.DagsterInstance.from_config(str(home)) as instance:
        assert isinstance(instance.run_launcher, WarmRunLauncher)
        return instance.run_launcher


def run_in(location: str, **tags: str) -> dg.DagsterRun:
    origin = GrpcServerCodeLocationOrigin(host="localhost", port=4000, location_name=location)
    return dg.DagsterRun(
        "job", tags=tags, remote_job_origin=RemoteJobOrigin(RemoteRepositoryOrigin(origin, "__repository__"), "job")
    )


@pytest.mark.parametrize(
    ("config", "cold"),
    [
        ({}, dg.DefaultRunLauncher),
        ({"cold": COLD}, SyncInMemoryRunLauncher),
        ({"cold": {**COLD, "config": {}}}, SyncInMemoryRunLauncher),
    ],
)
def test_runs_go_to_their_code_server_and_cold_ones_to_the_launcher_named(
    tmp_path: Path, config: dict[str, object], cold: type
) -> None:
    launcher = launcher_of(tmp_path, config)
    assert launcher.is_warm("a10")
    for run in (dg.DagsterRun("job", tags={}), run_in("a10")):
        assert type(launcher._launcher_of(run)) is dg.DefaultRunLauncher
    assert type(launcher._launcher_of(dg.DagsterRun("job", tags={"bench/cold": "no"}))) is dg.DefaultRunLauncher
    assert type(launcher._launcher_of(dg.DagsterRun("job", tags={"bench/cold": "true"}))) is cold


def test_where_warm_locations_are_named_runs_of_all_others_are_cold(tmp_path: Path) -> None:
    launcher = launcher_of(tmp_path, {"cold": COLD, "locations": ["a10_warm"]})
    assert [launcher.is_warm(name) for name in ("a10_warm", "a10")] == [True, False]
    assert type(launcher._launcher_of(run_in("a10_warm"))) is dg.DefaultRunLauncher
    assert type(launcher._launcher_of(run_in("a10_warm", **{"bench/cold": "true"}))) is SyncInMemoryRunLauncher
    assert type(launcher._launcher_of(run_in("a10"))) is SyncInMemoryRunLauncher
    assert not launcher_of(tmp_path, {"cold": COLD, "locations": []}).is_warm("a10")


def test_the_processes_of_a_deployment_import_it_without_the_server() -> None:
    imported = subprocess.run(
        [sys.executable, "-c", "import sys, dagster_warm.launcher; print(*sys.modules)"],
        check=True,
        capture_output=True,
        text=True,
    ).stdout.split()
    ours = {name for name in imported if name.startswith(("bench_orchestrator", "dagster_warm"))}
    assert ours == {"dagster_warm", "dagster_warm.launcher"}


def test_a_launcher_that_does_not_exist_is_an_error_that_names_it(tmp_path: Path) -> None:
    with pytest.raises(Exception, match="no_such_module"):
        launcher_of(tmp_path, {"cold": {"module": "no_such_module", "class": "Launcher"}})
