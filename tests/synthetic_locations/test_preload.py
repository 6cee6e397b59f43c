"""Out-of-process steps of a real run find the definitions that the fork server built."""

import os
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import dagster as dg
import pytest

needs_forks = pytest.mark.skipif(sys.platform == "win32", reason="Windows has no forkserver")


@pytest.fixture
def home(tmp_path: Path) -> Iterator[dg.DagsterInstance]:
    """Yield an instance on disk that other processes find through DAGSTER_HOME."""
    with dg.instance_for_test(temp_dir=str(tmp_path)) as instance:
        yield instance


def materialize_in_processes(
    instance: dg.DagsterInstance, module: str, attribute: str, key: str, **environment: str
) -> dict[str, Any]:
    """Materialize an asset with Dagster's own command; return its report."""
    command = [str(Path(sys.executable).with_name("dagster")), "asset", "materialize", "--select", f'key:"{key}"']
    subprocess.run([*command, "-m", module, "-a", attribute], check=True, env={**os.environ, **environment})
    event = instance.get_latest_materialization_event(dg.AssetKey.from_user_string(key))
    assert event is not None
    materialization = event.asset_materialization
    assert materialization is not None
    return {name.removeprefix("bench/"): value.value for name, value in materialization.metadata.items()}


@needs_forks
@pytest.mark.parametrize(
    "location",
    ["a20_sleep0ms_importtop_forkserver", pytest.param("a20_sleep0ms_preloaded", marks=pytest.mark.thorough)],
)
def test_a_step_is_a_fork_that_finds_the_definitions_built(home: dg.DagsterInstance, location: str) -> None:
    report = materialize_in_processes(home, "synthetic_locations.catalog", location, f"{location}/asset_0007")
    assert (report["build_s"], report["import_s"], report.get("heavy_import_s", 0)) == (0, 0, 0)
    assert bool(report.get("imported")) == ("importtop" in location)


@needs_forks
def test_a_location_by_another_name_is_preloaded_by_that_name(home: dg.DagsterInstance) -> None:
    report = materialize_in_processes(
        home,
        "synthetic_locations.from_environment",
        "definitions",
        "my-blue/asset_0000",
        BENCH_SHAPE="a2_sleep0ms_preloaded",
        BENCH_LOCATION_NAME="my-blue",
    )
    assert (report["build_s"], report["import_s"]) == (0, 0)


def test_by_default_a_step_builds_the_definitions_itself(home: dg.DagsterInstance) -> None:
    location = "a20_sleep0ms"
    report = materialize_in_processes(home, "synthetic_locations.catalog", location, f"{location}/asset_0007")
    assert report["build_s"] > 0
    assert report["import_s"] > 0
