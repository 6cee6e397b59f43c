"""`bench gate` on recorded sweeps: its output and its exit code.

tests/integration uses it with real launches.
"""

import json
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Any

import pytest
import samples
from click.testing import CliRunner, Result
from try_samples import CHECKED, CODE, try_sweep

from bench_orchestrator.analysis.baseline import baseline_of, read_baseline, write_baseline
from bench_orchestrator.cli import gate, main, own_code
from bench_orchestrator.cli.results import open_results
from bench_orchestrator.model.launch import Sweep
from bench_orchestrator.scenarios.trying import BASE, NOTHING_EXECUTED, STOCK
from bench_orchestrator.sweeps import client
from bench_orchestrator.sweeps.trying import Attempt
from dagster_warm.loading import Outcome as Checked
from synthetic_locations.probed import PROBE

pytestmark = pytest.mark.usefixtures("undrawn")

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
        (("--max-regression", "10%"), "--max-regression needs --baseline or --against"),
        (("--max-lag", "3s", "--max-regression", "10"), "'10' is not a percentage"),
        (("--baseline", "b", "--max-regression", "0%"), "is not a percentage over 0 %"),
        (("-m", "a", "--max-lag", "3s", "--locations", "a10"), "launched without one"),
        (("-m", "a", "--max-lag", "3s", "--url", "http://b"), "launched without one"),
        (("--max-lag", "3s", "--against", "."), "--against and --location belong to your own code"),
        (("-m", "a", "--baseline", "b", "--against", "."), "one of --baseline and --against"),
        (("-f", "/a.py", "--against", "."), "relative to the checkouts"),
        (("-m", "a", "-f", "b.py", "--max-lag", "3s"), "Name the code once"),
        (("--max-lag", "3s", "--probe"), "belong to --locations"),
        (("--max-lag", "3s", "--locations", "a", "--asset", "b/c"), "really materializes b/c: agree to it"),
        (("--max-lag", "3s", "--locations", "a10,sales"), "really materializes an asset of sales: agree to it"),
        (("--max-lag", "3s", "--locations", "a", "--asset", "b", "--execute", "--probe"), "one of --probe and"),
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


@pytest.mark.usefixtures("undrawn")
@pytest.mark.parametrize(
    ("arguments", "assets", "said"),
    [
        (("--probe",), [PROBE], "no other asset was executed"),
        (("--execute",), None, "really materialized"),
        (("--asset", "orders", "--asset", "b/c", "--execute"), ["orders", "b/c"], "really materialized"),
    ],
)
def test_the_assets_to_launch_are_chosen(
    recorded: Callable[[Sweep], list[Mapping[str, Any]]],
    arguments: tuple[str, ...],
    assets: list[str] | None,
    said: str,
) -> None:
    asked = recorded(samples.measured_sweep(("a250",), 9))
    result = bench_gate("--max-lag", "5min", "--locations", "sales", *arguments)
    assert result.exit_code == 0
    assert asked == [{"locations": ["sales"], "repeats": 9} | ({"assets": assets} if assets else {})]
    assert said in result.output


@pytest.mark.usefixtures("undrawn")
@pytest.mark.parametrize("kind", ["file", "sweep"])
def test_a_baseline_is_a_file_or_an_earlier_sweep(
    recorded: Callable[[Sweep], list[Mapping[str, Any]]], tmp_path: Path, kind: str
) -> None:
    sweep = samples.measured_sweep(("a250",), 12)
    recorded(sweep)
    name = sweep.plan.sweep_id
    if kind == "file":
        name = str(tmp_path / "base.json")
        Path(name).write_text(write_baseline(baseline_of(sweep)))
    else:
        open_results().save(sweep)
    result = bench_gate("--baseline", name, "--max-regression", "100%", "--json")
    assert result.exit_code == 0
    (judged,) = json.loads(result.stdout)["locations"][0]["judgements"]
    assert (judged["what"], judged["limit"], judged["estimate"]["value"]) == ("startup_ratio", 2.0, 1.0)
    assert f"The startup time is under 2 × that of {sweep.plan.sweep_id}." in result.stderr


def test_a_baseline_that_is_not_there_is_exit_code_3(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    monkeypatch.delenv("DAGSTER_HOME", raising=False)
    result = bench_gate("-m", CODE, "--baseline", "base.json")
    assert result.exit_code == 3
    assert result.stderr.startswith("Error: There is no file base.json, and no such sweep: ")


def test_an_experiment_is_no_baseline(home: Path) -> None:
    assert home.is_dir()
    open_results().save(try_sweep())
    result = bench_gate("--baseline", try_sweep().plan.sweep_id)
    assert result.exit_code == 2
    assert "is an experiment" in result.stderr


@pytest.fixture
def tried(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Callable[..., list[Attempt]]:
    """Make the gate launch a recorded sweep in the user's own code, in an empty folder, without a Dagster home."""
    monkeypatch.chdir(tmp_path)
    monkeypatch.delenv("DAGSTER_HOME", raising=False)
    attempts: list[Attempt] = []

    def record(sweep: Sweep, checked: Checked = CHECKED) -> list[Attempt]:
        def carry_out(attempt: Attempt, _view: object) -> Sweep:
            attempts.append(attempt)
            return sweep

        monkeypatch.setattr(own_code, "check_code", lambda *_: checked)
        monkeypatch.setattr(gate, "carry_out", carry_out)
        return attempts

    return record


def test_own_code_is_launched_without_a_deployment_and_all_files_are_written(
    tried: Callable[..., list[Attempt]], tmp_path: Path
) -> None:
    attempts = tried(try_sweep([STOCK]))
    files = ("--save-baseline", "out/base.json", "--junit", "out/gate.xml", "--markdown", "out/gate.md")
    result = bench_gate("-m", CODE, "--max-startup", "30s", "--trials", "8", *files)
    assert result.exit_code == 0, result.output
    (attempt,) = attempts
    assert (attempt.head.code.target, attempt.warm, attempt.launches, attempt.base) == (CODE, False, 8, None)
    assert NOTHING_EXECUTED in result.output.replace("\n", " ")
    assert "The startup time is under 30 s." in result.output
    baseline = read_baseline((tmp_path / "out" / "base.json").read_text(), "base.json")
    ((place, launches),) = baseline.places.items()
    assert (place, launches.assets, len(launches.startups_s)) == (f"{CODE}_stock", 3_000, 8)
    assert "<testcase" in (tmp_path / "out" / "gate.xml").read_text()
    assert (tmp_path / "out" / "gate.md").read_text().startswith("### Launches: passed")
    assert {path.name for path in tmp_path.iterdir()} == {"out"}
    again = bench_gate("-m", CODE, "--baseline", "out/base.json")
    assert again.exit_code == 0, again.output
    assert f"The startup time is under 1.1 × that of {baseline.sweep}." in again.output


@pytest.mark.parametrize(("factor", "code"), [(1.0, 0), (0.5, 1)])
def test_another_checkout_is_launched_in_the_same_blocks(
    tried: Callable[..., list[Attempt]], tmp_path: Path, factor: float, code: int
) -> None:
    attempts = tried(try_sweep([STOCK, BASE], factors={BASE: factor}))
    (tmp_path / "base").mkdir()
    result = bench_gate("-f", "shop.py", "-d", "src", "--against", "base", "--json")
    assert result.exit_code == code, result.output
    (attempt,) = attempts
    assert attempt.base is not None
    for checkout, folder in ((attempt.head, tmp_path), (attempt.base, tmp_path / "base")):
        assert checkout.folder == folder
        assert (checkout.code.target, checkout.code.working_directory) == (str(folder / "shop.py"), folder / "src")
    (place,) = json.loads(result.stdout)["locations"]
    assert place["location"] == f"{CODE}_stock"
    assert place["judgements"][0]["estimate"]["value"] == pytest.approx(1 / factor, rel=1e-4)


@pytest.mark.parametrize(
    ("files", "arguments", "refused"),
    [
        (("shop.py", "base/shop.py"), (), False),
        (("src/shop/__init__.py", "base/src/shop/__init__.py"), ("-d", "src"), False),
        (("src/shop/__init__.py", "base/src/shop/__init__.py"), (), True),
        (("shop.py",), (), True),
    ],
)
def test_two_checkouts_never_import_one_installed_module(
    tried: Callable[..., list[Attempt]],
    tmp_path: Path,
    files: Sequence[str],
    arguments: tuple[str, ...],
    refused: bool,
) -> None:
    attempts = tried(try_sweep([STOCK, BASE]))
    for name in ("base/README.md", *files):
        (tmp_path / name).parent.mkdir(parents=True, exist_ok=True)
        (tmp_path / name).write_text("")
    result = bench_gate("-m", "shop", *arguments, "--against", "base")
    assert (result.exit_code, len(attempts)) == ((3, 0) if refused else (0, 1)), result.output
    if refused:
        assert f"{tmp_path / 'base'} has no shop: each checkout would import the one that is installed" in result.stderr


@pytest.mark.parametrize("limit", [(), ("--max-startup", "5min")])
def test_what_was_not_measured_is_neither_passed_nor_saved(
    tried: Callable[..., list[Attempt]], tmp_path: Path, limit: tuple[str, ...]
) -> None:
    tried(try_sweep([STOCK], failing=[STOCK]))
    result = bench_gate("-m", CODE, *limit, "--save-baseline", "base.json")
    assert result.exit_code == 4
    assert "base.json is not written" in result.output
    assert "RuntimeError: no token" in result.output
    assert not (tmp_path / "base.json").exists()


def test_own_code_that_cannot_be_loaded_is_one_line(tried: Callable[..., list[Attempt]]) -> None:
    attempts = tried(try_sweep([STOCK]), Checked(error="KeyError: 'TOKEN' (shop.py:3)", is_complete=False))
    result = bench_gate("-m", CODE, "--max-lag", "3s")
    assert (result.exit_code, attempts) == (3, [])
    assert result.stderr == f"Error: {CODE} cannot be loaded: KeyError: 'TOKEN' (shop.py:3)\n"


def test_a_report_that_cannot_be_written_leaves_the_exit_code_and_a_lost_baseline_does_not(
    tried: Callable[..., list[Attempt]], tmp_path: Path
) -> None:
    tried(try_sweep([STOCK]))
    (tmp_path / "file").write_text("")
    result = bench_gate("-m", CODE, "--max-lag", "5min", "--junit", "file/gate.xml", "--markdown", "file/gate.md")
    assert result.exit_code == 0
    assert result.stderr.count("Warning: ") == 2
    assert bench_gate("-m", CODE, "--save-baseline", "file/base.json").exit_code == 3


def test_without_an_answering_deployment_it_exits_with_3(home: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    assert home.is_dir()
    monkeypatch.setattr(client, "_PATIENCE_S", 0)
    result = bench_gate("--max-lag", "3s", "--url", "http://127.0.0.1:9")
    assert result.exit_code == 3
    assert "does not answer" in result.stderr
