"""The warm server's contract with Dagster holds in every supported release, and in every supported Python."""

import os
import subprocess
import sys
from pathlib import Path

import pytest
from environments import create_environment, hold_contract

from dagster_warm.internals import TESTED


@pytest.mark.thorough
@pytest.mark.parametrize("release", TESTED)
def test_the_contract_holds(tmp_path: Path, release: str) -> None:
    """Run the contract tests in an environment with only dagster-warm, as pip installs it, and pytest."""
    hold_contract(create_environment(tmp_path, f"dagster=={release}", "pytest", free="dagster"), tmp_path)


@pytest.mark.thorough
@pytest.mark.parametrize("version", ["3.12", "3.13"])
def test_the_contract_holds_in_other_pythons(tmp_path: Path, version: str) -> None:
    find = [sys.executable, "-m", "uv", "python", "find", "--no-python-downloads", version]
    environ = {**os.environ, "PYENV_VERSION": version}  # else its commands stand in the way of the search
    found = subprocess.run(find, check=False, capture_output=True, text=True, env=environ)
    if found.returncode:
        pytest.skip(found.stderr)
    hold_contract(create_environment(tmp_path, "pytest", interpreter=found.stdout.strip()), tmp_path)
