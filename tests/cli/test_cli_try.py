"""`bench try`: what it accepts, prints and exits with. `tests/integration/test_try.py` has real launches."""

import json
from collections.abc import Callable
from dataclasses import dataclass, field
from pathlib import Path

import pytest
from click.testing import CliRunner, Result
from try_samples import CHECKED, CODE, COLD, try_sweep

from bench_orchestrator.cli import main, try_
from bench_orchestrator.deployment import CodeLocation, DeploymentError
from bench_orchestrator.model.launch import Sweep
from bench_orchestrator.scenarios.trying import STOCK, WARM
from bench_orchestrator.sweeps.trying import Attempt
from dagster_warm.loading import Outcome as Checked


def bench_try(*arguments: str) -> Result:
    result = CliRunner().invoke(main, ("try", *arguments))
    if result.exception is not None and not isinstance(result.exception, SystemExit):
        raise result.exception
    return result


@dataclass
class Tried:
    """What the command has asked for."""

    attempts: list[Attempt] = field(default_factory=list)
    homes: list[Path] = field(default_factory=list)


@pytest.fixture
def recorded(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Callable[..., Tried]:
    """Replace the loading and the launches by what was recorded; work in an empty folder."""
    monkeypatch.chdir(tmp_path)
    tried = Tried()

    def record(sweep: Sweep | DeploymentError, checked: Checked = CHECKED) -> Tried:
        def check(_code: CodeLocation, folder: Path, home: Path, _timeout_s: float) -> Checked:
            assert folder == tmp_path
            assert (home / "dagster.yaml").exists()
            tried.homes.append(home)
            return checked

        def carry_out(attempt: Attempt, _view: object) -> Sweep:
            tried.attempts.append(attempt)
            if isinstance(sweep, DeploymentError):
                raise sweep
            return sweep

        monkeypatch.setattr(try_, "check_code", check)
        monkeypatch.setattr(try_, "carry_out", carry_out)
        return tried

    return record


@pytest.mark.usefixtures("undrawn")
def test_it_prints_the_answer_last_and_writes_the_page(recorded: Callable[..., Tried], tmp_path: Path) -> None:
    tried = recorded(try_sweep())
    result = bench_try("-m", CODE, "--html", "answers/try.html", "--launches", "8", "--timeout", "30")
    assert result.exit_code == 0, result.output
    assert result.output.strip().endswith("Behind the warm server: 0.26 s [0.25, 0.27].")
    assert "Page: answers/try.html" in result.output
    assert (tmp_path / "answers" / "try.html").exists()
    (attempt,) = tried.attempts
    assert (attempt.code.target, attempt.warm, attempt.launches, attempt.timeout_s) == (CODE, True, 8, 30.0)
    assert not any(home.exists() for home in tried.homes)


def test_with_json_standard_output_is_json_alone(recorded: Callable[..., Tried]) -> None:
    recorded(try_sweep())
    result = bench_try("-m", CODE, "--json")
    told = json.loads(result.stdout)
    assert told["sides"].keys() == {STOCK, WARM}
    assert told["answer"] in result.stderr.replace("\n", " ")


def test_cold_code_is_launched_on_one_side_and_the_fault_is_named(recorded: Callable[..., Tried]) -> None:
    tried = recorded(try_sweep([STOCK]), COLD)
    result = bench_try("-m", CODE)
    assert result.exit_code == 0
    assert not tried.attempts[0].warm
    assert "shop/client.py:3" in result.output
    assert "because of 1 fault" in result.output


def test_a_launch_that_fails_is_exit_code_1(recorded: Callable[..., Tried]) -> None:
    recorded(try_sweep(failing=[WARM]))
    result = bench_try("-m", CODE)
    assert result.exit_code == 1
    assert "RuntimeError: no token" in result.output


def test_code_that_cannot_be_loaded_is_one_line(recorded: Callable[..., Tried]) -> None:
    tried = recorded(try_sweep(), Checked(error="KeyError: 'TOKEN' (shop.py:3)", is_complete=False))
    result = bench_try("-m", CODE)
    assert result.exit_code == 3
    assert result.stderr == f"Error: {CODE} cannot be loaded: KeyError: 'TOKEN' (shop.py:3)\n"
    assert tried.attempts == []
    assert not any(home.exists() for home in tried.homes)


def test_a_deployment_that_does_not_start_leaves_nothing(recorded: Callable[..., Tried]) -> None:
    tried = recorded(DeploymentError("The webserver does not start."))
    result = bench_try("-m", CODE)
    assert (result.exit_code, result.stderr) == (3, "Error: The webserver does not start.\n")
    assert not any(home.exists() for home in tried.homes)


def test_a_module_that_is_not_there_is_said_before_anything_starts(recorded: Callable[..., Tried]) -> None:
    tried = recorded(try_sweep(), Checked(error="ModuleNotFoundError: No module named 'no_such_shop'"))
    result = bench_try("-m", "no_such_shop")
    assert result.exit_code == 3
    assert "no_such_shop cannot be loaded: ModuleNotFoundError: No module named 'no_such_shop'" in result.stderr
    assert tried.attempts == []


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (["-m", "a", "-f", "a.py"], "Name the code once"),
        (["-a", "defs"], "-a and -d belong to -m or -f"),
        (["-m", "a", "--location", "b"], "--location belongs to a workspace"),
        (["-m", "a", "--launches", "0"], "--launches"),
    ],
)
def test_bad_usage(recorded: Callable[..., Tried], arguments: list[str], message: str) -> None:
    recorded(try_sweep())
    result = bench_try(*arguments)
    assert result.exit_code == 2
    assert message in result.stderr


def test_no_project_is_exit_code_3(recorded: Callable[..., Tried]) -> None:
    recorded(try_sweep())
    result = bench_try()
    assert result.exit_code == 3
    assert "There is no Dagster project in" in result.stderr
