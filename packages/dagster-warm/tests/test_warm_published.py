"""Dagster's own example projects run unchanged on the warm server: its scaffold, and two from its packages."""

import subprocess
from pathlib import Path

import pytest
from environments import create_environment
from lone_server import serve

SCAFFOLD = (
    "dagster.asset assets.py",
    "dagster.multi_asset multi.py",
    "dagster.asset_check checks.py --asset-key assets",
    "dagster.job jobs.py",
    "dagster.schedule schedules.py",
    "dagster.sensor sensors.py",
)
PANDAS = ("dagstermill", "dagster-pandas", "matplotlib", "scikit-learn", "seaborn")
"""dagster-pandas needs dagstermill without declaring it; their notebooks need the others."""


@pytest.mark.thorough
def test_a_scaffold(tmp_path: Path) -> None:
    python = create_environment(tmp_path, "create-dagster", "dagster-dg-cli")
    scripts = python.parent
    subprocess.run([scripts / "create-dagster", "project", "example", "--no-uv-sync"], cwd=tmp_path, check=True)
    project = tmp_path / "example"
    subprocess.run([python, "-m", "pip", "install", "-q", "--no-deps", "--editable", project], check=True)
    for arguments in SCAFFOLD:
        subprocess.run([scripts / "dg", "scaffold", "defs", *arguments.split()], cwd=project, check=True)
    with serve(tmp_path, ["--module-name", "example.definitions"], project, python) as server:
        for job in ("jobs", "__ASSET_JOB"):
            assert server.run(job)["warmth"]["template_assets"] == 3


@pytest.fixture(scope="module")
def python(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Return the interpreter of an environment with both libraries and a kernel for their notebooks."""
    python = create_environment(tmp_path_factory.mktemp("pandas"), *PANDAS)
    kernel = ["-m", "ipykernel", "install", "--prefix", str(python.parent.parent), "--name", "dagster"]
    subprocess.run([python, *kernel], check=True)
    return python


@pytest.mark.thorough
def test_the_examples_of_dagster_pandas(tmp_path: Path, python: Path) -> None:
    (package,) = python.parent.parent.glob("lib/*/site-packages/dagster_pandas/examples")
    with serve(tmp_path, ["--module-name", "dagster_pandas.examples"], package, python) as server:
        for repository in ("dagstermill_pandas_test_repo", "dagstermill_pandas_prod_repo"):
            for job in ("pandas_hello_world", "papermill_pandas_hello_world_graph"):
                assert server.run(job, repository)["warmth"]


@pytest.mark.thorough
def test_the_examples_of_dagstermill(tmp_path: Path, python: Path) -> None:
    served = ["--module-name", "dagstermill.examples.repository", "--attribute", "notebook_repo"]
    with serve(tmp_path, served, None, python) as server:
        for job in ("hello_world_job", "add_job", "hello_logging_job", "yield_3_job"):
            assert server.run(job, "notebook_repo")["warmth"]
