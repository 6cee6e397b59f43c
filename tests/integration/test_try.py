"""`bench try` on a project of its own: real launches behind both servers, nothing executed, nothing left."""

import json
import os
import signal
import subprocess
import sys
from pathlib import Path

import psutil
import pytest

from bench_orchestrator.scenarios.trying import STOCK, WARM

SHOP = """
import os
from pathlib import Path

import dagster as dg

TOKEN = os.environ["SHOP_TOKEN"]  # dagster-warm: known

def note(what):
    Path("executed").write_text(what)

@dg.asset
def orders() -> None:
    note("the asset")

@dg.io_manager
def warehouse(_context):
    note("the I/O manager")

@dg.sensor(asset_selection=[orders], default_status=dg.DefaultSensorStatus.RUNNING, minimum_interval_seconds=1)
def watch(_context):
    note("the sensor")
    return dg.SkipReason("nothing new")

defs = dg.Definitions([orders], sensors=[watch], resources={"io_manager": warehouse})
"""


@pytest.fixture
def project(tmp_path: Path) -> Path:
    """Create a project whose code needs its .env, and would leave a file if any of it were executed."""
    folder = tmp_path / "my shop"
    (folder / "temporary").mkdir(parents=True)
    (folder / "shop.py").write_text(SHOP)
    (folder / "pyproject.toml").write_text('[tool.dagster]\nmodule_name = "shop"\n')
    (folder / ".env").write_text("SHOP_TOKEN=secret\n")
    return folder


def bench_try(project: Path, *arguments: str) -> "subprocess.Popen[str]":
    """Start the command in the project's folder; whatever it starts has the folder in its environment."""
    environment = {**os.environ, "TMPDIR": str(project / "temporary")}
    for name in ("SHOP_TOKEN", "DAGSTER_HOME"):
        environment.pop(name, None)
    return subprocess.Popen(
        [sys.executable, "-m", "bench_orchestrator", "try", *arguments],
        cwd=project,
        env=environment,
        stdin=subprocess.DEVNULL,
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
    )


def assert_nothing_left(project: Path) -> None:
    """Fail if a file or a process of the command is left, or if any of the code was executed."""
    left = []
    for process in psutil.process_iter():
        try:
            if process.environ().get("TMPDIR") == str(project / "temporary"):
                left.append(process.as_dict(["pid", "cmdline"]))
        except (psutil.Error, OSError):
            continue
    assert left == []
    assert list((project / "temporary").iterdir()) == []
    assert not (project / "executed").exists(), (project / "executed").read_text()


def test_a_project_is_measured_on_both_sides_and_nothing_of_it_is_executed(project: Path) -> None:
    with bench_try(project, "--launches", "2", "--html", "try.html", "--json") as process:
        printed, said = process.communicate(timeout=400)
    assert process.returncode == 0, said
    told = json.loads(printed)
    assert (told["code"], told["assets"]) == ("shop", 1)
    assert told["failures"] == []
    assert {side: found["launches"] for side, found in told["sides"].items()} == {STOCK: 2, WARM: 2}
    assert told["waterfalls"][WARM]["template"]["template_assets"] == 2
    assert told["waterfalls"][STOCK]["template"] == {}
    assert told["warm"]["is_cold"] is False
    assert told["answer"] in said.replace("\n", " ")
    assert told["answer"].startswith("Your launches take ")
    assert "data:image/svg+xml" in (project / "try.html").read_text()
    assert_nothing_left(project)


@pytest.mark.thorough
@pytest.mark.parametrize("when", ["Loading ", "trial 1/"])
def test_an_interrupted_command_leaves_nothing(project: Path, when: str) -> None:
    with bench_try(project) as process:
        assert process.stdout is not None
        for line in process.stdout:
            if line.startswith(when):
                break
        process.send_signal(signal.SIGTERM)
        process.communicate(timeout=120)
    assert process.returncode == 130
    assert_nothing_left(project)
