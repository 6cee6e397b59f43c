"""The warm server's contract with Dagster holds in every release that it says it supports."""

import subprocess
from pathlib import Path

import pytest
from environments import create_environment

from dagster_warm.internals import TESTED

HERE = Path(__file__).parent


@pytest.mark.thorough
@pytest.mark.parametrize("release", TESTED)
def test_the_contract_holds(tmp_path: Path, release: str) -> None:
    """In an environment of its own, with dagster-warm and pytest alone."""
    python = create_environment(tmp_path, f"dagster=={release}", "pytest", free="dagster")
    # Not the settings and the fixtures of the rest, which needs more than is installed.
    alone: list[str | Path] = ["-c", "/dev/null", "--rootdir", HERE, "--confcutdir", HERE, "-p", "no:cacheprovider"]
    done = subprocess.run(
        [python, "-m", "pytest", *alone, HERE / "test_warm_internals.py", HERE / "test_warm_command.py"],
        cwd=tmp_path,
        env={"PATH": "/usr/bin:/bin"},
        capture_output=True,
        text=True,
        check=False,
    )
    assert done.returncode == 0, done.stdout + done.stderr
