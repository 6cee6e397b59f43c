"""Fixtures for the tests of sweeps."""

import pytest

from bench_orchestrator.sweeps import ending


@pytest.fixture(autouse=True)
def nothing_is_late(monkeypatch: pytest.MonkeyPatch) -> None:
    """Do not wait for late runs at the end of a sweep; a test of these restores the wait."""
    monkeypatch.setattr(ending, "LATE_S", 0.0)
