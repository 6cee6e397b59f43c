"""The launcher is made from dagster.yaml, and sends a run where its tag says."""

from pathlib import Path

import dagster as dg
import pytest
import yaml
from dagster._core.launcher.sync_in_memory_run_launcher import SyncInMemoryRunLauncher

from bench_orchestrator.warm_server.launcher import WarmRunLauncher

COLD = {"module": "dagster._core.launcher.sync_in_memory_run_launcher", "class": "SyncInMemoryRunLauncher"}


def launcher_of(home: Path, config: dict[str, object]) -> WarmRunLauncher:
    settings = {"module": "bench_orchestrator.warm_server.launcher", "class": "WarmRunLauncher", "config": config}
    (home / "dagster.yaml").write_text(yaml.safe_dump({"telemetry": {"enabled": False}, "run_launcher": settings}))
    with dg.DagsterInstance.from_config(str(home)) as instance:
        assert isinstance(instance.run_launcher, WarmRunLauncher)
        return instance.run_launcher


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
    assert type(launcher._launcher_of(dg.DagsterRun("job", tags={}))) is dg.DefaultRunLauncher
    assert type(launcher._launcher_of(dg.DagsterRun("job", tags={"bench/cold": "no"}))) is dg.DefaultRunLauncher
    assert type(launcher._launcher_of(dg.DagsterRun("job", tags={"bench/cold": "true"}))) is cold


def test_a_launcher_that_does_not_exist_is_an_error_that_names_it(tmp_path: Path) -> None:
    with pytest.raises(Exception, match="no_such_module"):
        launcher_of(tmp_path, {"cold": {"module": "no_such_module", "class": "Launcher"}})
