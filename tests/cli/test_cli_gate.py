"""`bench gate` on recorded sweeps: its output and its exit code.

tests/integration uses it with real launches.
"""

import json
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

import pytest
import samples
from click.testing import CliRunner, Result

from bench_orchestrator.cli import gate, main
from bench_orchestrator.model.launch import Sweep
from bench_orchestrator.sweeps import client

pytestmark = pytest.mark.usefixtures("undrawn")


def bench_gate(*arguments: str) -> Result:
    """Invoke the command and return its result; an unhandled exception fails the test."""
    result = CliRunner().invoke(main, ("gate", *arguments))
    if result.exception is not None and not isinstance(result.exception, SystemExit):
        raise result.exception
    return result


@pytest.fixture
def recorded(home: Path, monkeypatch: pytest.MonkeyPatch) -> Callable[[Sweep], list[Mapping[str, Any]]]:
    """Make the gate measure a recorded sweep; return the configurations that it requests."""
    assert home.is_dir()
    asked: list[Mapping[str, Any]] = []

    def record(sweep: Sweep) -> list[Mapping[str, Any]]:
        def measure(scenario: object, config: Mapping[str, Any], *_: object) -> Sweep:
            assert scenario is not None
            asked.append(config)
            return sweep

        monkeypatch.setattr(gate, "measure", measure)
        return asked

    return record


@pytest.mark.parametrize(("limit", "code"), [("5min", 0), ("1ms", 1), ("25", 4)])
def test_the_exit_code_is_the_ruling_on_a_recorded_sweep(
    recorded: Callable[[Sweep], list[Mapping[str, Any]]], limit: str, code: int
) -> None:
    asked = recorded(samples.measured_sweep(("a250", "a10k"), repeats=6))
    result = bench_gate("--max-lag", limit, "--locations", "a250,a10k", "--trials", "6", "--timeout", "60")
    assert result.exit_code == code, result.output
    assert asked == [{"locations": ["a250", "a10k"], "repeats": 6, "timeout_s": 60.0}]
    assert "6/6" in result.output
    conclusion, report = result.output.splitlines()[-2:]
    assert report.startswith("Report: ")
    said = {0: "is under 300 s", 1: "is over 0.001 s", 4: "Cannot tell whether the launch lag is under 25 s"}
    assert said[code] in conclusion


def test_failed_trials_never_pass(recorded: Callable[[Sweep], list[Mapping[str, Any]]]) -> None:
    recorded(samples.failed_sweep())
    result = bench_gate("--max-lag", "5min", "--json")
    assert result.exit_code == 4
    answer = json.loads(result.stdout)
    assert answer["ruling"] == "undecided"
    assert {place["ruling"] for place in answer["locations"]} == {"undecided"}
    assert all(place["lag_s"] is None and sum(place["failures"].values()) for place in answer["locations"])
    assert "6 are needed" in answer["locations"][0]["reason"]


def test_json_has_the_figures_and_the_report_is_written(
    recorded: Callable[[Sweep], list[Mapping[str, Any]]],
) -> None:
    sweep = samples.measured_sweep(("a250",), repeats=9)
    recorded(sweep)
    result = bench_gate("--max-lag", "500ms", "--json")
    assert result.exit_code == 1
    answer = json.loads(result.stdout)
    (place,) = answer["locations"]
    assert (answer["max_lag_s"], answer["ruling"], answer["sweep"]) == (0.5, "over", sweep.plan.sweep_id)
    assert place["lag_s"]["low"] > 0.5
    assert place["lag_s"]["n"] == place["trials"] == 9
    report = next(line.removeprefix("Report: ") for line in result.stderr.splitlines() if line.startswith("Report: "))
    assert Path(report).is_file()


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        ((), "--max-lag"),
        (("--max-lag", "fast"), "Examples: 10s, 500ms, 2min."),
        (("--max-lag", "0s"), "is not a positive duration"),
        (("--max-lag", "-3s"), "is not a positive duration"),
        (("--max-lag", "3h"), "is not a positive duration"),
        (("--max-lag", "3s", "--trials", "5"), "5 is not in the range 6<=x<=10000"),
        (("--max-lag", "3s", "--locations", ","), "give at least one name"),
    ],
)
def test_bad_usage_exits_with_2(home: Path, arguments: tuple[str, ...], message: str) -> None:
    assert home.is_dir()
    result = bench_gate(*arguments)
    assert result.exit_code == 2
    assert message in result.stderr


def test_without_an_answering_deployment_it_exits_with_3(home: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    assert home.is_dir()
    monkeypatch.setattr(client, "_PATIENCE_S", 0)
    result = bench_gate("--max-lag", "3s", "--url", "http://127.0.0.1:9")
    assert result.exit_code == 3
    assert "does not answer" in result.stderr
