"""A command's sweep from its start to its rows, with a scripted client; tests/integration has real ones."""

import io
from collections.abc import Iterator
from pathlib import Path

import pytest
import samples
from rich.console import Console

from bench_orchestrator.cli.sweeping import measure
from bench_orchestrator.deployment import DeploymentError
from bench_orchestrator.model.runs import RunStatus
from bench_orchestrator.scenarios.registry import SCENARIOS
from bench_orchestrator.sweeps import client
from bench_orchestrator.sweeps.client import Progress

URL = "http://127.0.0.1:3000"
AWAY = Progress(RunStatus.FAILURE, failure="Could not reach user code server")
BROKEN = Progress(RunStatus.FAILURE, failure="no such image")
DONE = Progress(RunStatus.SUCCESS, planned=1, done=1, lines=["trial 1: ok"])
SWEEP = samples.measured_sweep(("a250",), repeats=6)


@pytest.fixture
def started(monkeypatch: pytest.MonkeyPatch, request: pytest.FixtureRequest, home: Path) -> list[str]:
    """Follow each start to the next of the test's ends; return the runs that were started."""
    assert home.is_dir()
    ends: list[Progress] = list(request.param)
    runs: list[str] = []

    def start(*_: object) -> str:
        runs.append(f"run-{len(runs) + 1}")
        return runs[-1]

    def follow(*_: object) -> Iterator[Progress]:
        yield ends.pop(0)

    monkeypatch.setattr(client, "start_sweep", start)
    monkeypatch.setattr(client, "follow", follow)
    monkeypatch.setattr(client, "fetch_sweep", lambda *_: SWEEP)
    return runs


def carry_out() -> str:
    output = io.StringIO()
    assert measure(SCENARIOS["quick"], {}, (), URL, Console(file=output, width=200)) == SWEEP
    return output.getvalue()


@pytest.mark.parametrize("started", [[AWAY, AWAY, DONE]], indirect=True)
def test_a_run_whose_code_server_was_away_is_started_again(started: list[str]) -> None:
    said = carry_out()
    assert started == ["run-1", "run-2", "run-3"]
    assert said.count("was away when the run was launched. Starting again") == 2


@pytest.mark.parametrize(
    ("started", "starts"), [([AWAY, AWAY, AWAY, DONE], 3), ([BROKEN, DONE], 1)], indirect=["started"]
)
def test_a_sweep_that_cannot_begin_ends_with_the_reason(started: list[str], starts: int) -> None:
    with pytest.raises(DeploymentError, match=r"Could not reach user code server|no such image"):
        carry_out()
    assert len(started) == starts
