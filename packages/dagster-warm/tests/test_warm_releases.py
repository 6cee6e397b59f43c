"""The warm server's contract with Dagster holds in every supported release."""

from pathlib import Path

import pytest
from environments import create_environment, hold_contract

from dagster_warm.internals import TESTED


@pytest.mark.thorough
@pytest.mark.parametrize("release", TESTED)
def test_the_contract_holds(tmp_path: Path, release: str) -> None:
    """Run the contract tests in an environment with only dagster-warm, as pip installs it, and pytest."""
    hold_contract(create_environment(tmp_path, f"dagster=={release}", "pytest", free="dagster"), tmp_path)
