"""The warm server's contract with Dagster holds in every release that it says it supports."""

import subprocess
from pathlib import Path

import pytest
from environments import PROJECT, create_environment

from bench_orchestrator.warm_server.internals import TESTED

HERE = Path(__file__).parent


@pytest.mark.thorough
@pytest.mark.parametrize("release", TESTED)
def test_the_contract_holds(tmp_path: Path, release: str) -> None:
    """In an environment of its own, with Dagster and pytest alone."""
    python = create_environment(tmp_path, f"dagster=={release}", "pytest", free="dagster")
    # Not the settings and the fixtures of the rest, which needs more than is installed.
    alone: list[str | Path] = ["-c", "/dev/null", "--rootdir", HERE, "--confcutdir", HERE, "-p", "no:cacheprovider"]
    done = subprocess.run(
        [python, "-m", "pytest", *alone, HERE / "test_internals.py", HERE / "test_command.py"],
        cwd=tmp_path,
        env={"PATH": "/usr/bin:/bin", "PYTHONPATH": str(PROJECT)},
        capture_output=True,
        text=True,
        check=False,
    )
    assert done.returncode == 0, done.stdout + done.stderr
