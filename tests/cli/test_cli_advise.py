"""`bench advise` for users and scripts: a prediction, the remedies, and an honest answer to a limit."""

import re
import shutil
from pathlib import Path

import pytest
from advice_samples import sample_experiment, sized_sweep, used_sweep
from test_cli_commands import bench, printed_json

from bench_orchestrator.results.store import Store


@pytest.fixture(scope="module")
def saved(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Return a results folder with several sweeps of locations of five sizes, and two experiments."""
    folder = tmp_path_factory.mktemp("saved")
    store = Store.in_directory(folder)
    sized = (sized_sweep(noise=0.02, seed=1 - day, day=day) for day in range(-5, 1))
    for sweep in (*sized, sample_experiment("split-definitions"), sample_experiment("executors")):
        store.save(sweep)
    return folder


@pytest.fixture
def measured(home: Path, saved: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """Return a copy of that folder, which the commands use."""
    assert home.is_dir()
    folder = tmp_path / "measured"
    shutil.copytree(saved, folder)
    monkeypatch.setenv("BENCH_RESULTS_DIR", str(folder))
    return folder


@pytest.mark.usefixtures("measured")
class TestAdvise:
    def test_it_predicts_the_lag_with_its_stages_and_ranks_the_remedies(self) -> None:
        result = bench("advise", "--assets", "10000")
        assert result.exit_code == 0
        assert result.stdout.startswith("10,000 assets: launch lag 2")
        assert "from 25 launches in locations of 250 to 10,000 assets (assets-scaling-0)" in result.stdout
        assert "  worker load     1" in result.stdout
        assert "interval with the spread between 7 sweeps" in result.stdout
        assert "by stage, with within-sweep intervals:" in result.stdout
        assert "saves, s" in result.stdout
        assert "defs = dg.Definitions(assets=assets, executor=dg.in_process_executor)" in result.stdout
        assert "not measured here: bench run graph-asset" in result.stdout

    def test_several_steps_are_separate_from_the_lag(self) -> None:
        output = bench("advise", "--assets", "10000", "--steps", "6").stdout
        assert "with the starts of 5 more steps: " in output
        assert "launch lag, 6" in output

    def test_a_limit_is_answered_for_each_remedy(self) -> None:
        output = bench("advise", "--assets", "10000", "--max-lag", "15").stdout
        assert "stay under 15 s without changes." in output
        assert "under 15 s" in output
        assert " yes " in output
        assert " no " in output
        assert "Split the code location into nine\n  costs: " in output

    def test_a_limit_that_no_remedy_keeps_is_reported_without_promises(self) -> None:
        output = bench("advise", "--assets", "10000", "--max-lag", "2").stdout
        assert "No remedy alone is certain to stay under 2 s." in output
        assert "Combinations were not measured" in output
        assert "Up to 0 assets" in output

    @pytest.mark.usefixtures("undrawn")
    def test_all_of_it_is_written_on_request(self, tmp_path: Path) -> None:
        folder = tmp_path / "conclusions"
        output = bench("advise", "--assets", "10000", "--output", str(folder)).stdout
        assert f"Report: {folder / 'remedies.md'}" in output
        assert {path.name for path in folder.iterdir()} == {
            "remedies.md",
            "remedies.png",
            "remedies.svg",
            "study_claims.md",
        }
        assert "](remedies.svg)" in (folder / "remedies.md").read_text()
        assert "# The study's nine claims, judged here" in (folder / "study_claims.md").read_text()

    @pytest.mark.usefixtures("undrawn")
    def test_runs_at_once_have_their_memory_and_cpu(self, measured: Path, tmp_path: Path) -> None:
        Store.in_directory(measured).save(used_sweep(spread=0.05))
        arguments = ("advise", "--assets", "2000", "--concurrent", "20", "--output", str(tmp_path / "conclusions"))
        result = bench(*arguments)
        assert result.exit_code == 0
        assert re.search(r"20 runs at once +stock +warm", result.stdout)
        assert "Stock and warm: measured at 10, 250, 2,000 and 10,000 assets;" in result.stdout.replace("\n", " ")
        numbers = printed_json(bench(*arguments, "--json"))["capacity"]
        assert (numbers["assets"], numbers["concurrent"], numbers["missing"]) == (2_000, 20, "")
        for server, memory_mib in (("stock", 20 * 220 + 140), ("warm", 20 * 112 + 180)):
            needed = numbers["footprints"][server]["memory_mib"]
            assert needed["value"] == pytest.approx(memory_mib, rel=0.05)
            assert re.search(rf"memory in all, MiB .*\b{needed['value']:.0f} \[", result.stdout)
            assert numbers["footprints"][server]["extrapolated"] is False
        text = (tmp_path / "conclusions" / "remedies.md").read_text()
        assert "| 20 runs at once | stock | warm |" in text

    def test_runs_at_once_without_a_sweep_of_them_say_what_to_run(self) -> None:
        result = bench("advise", "--assets", "2000", "--concurrent", "20")
        assert result.exit_code == 0
        assert "runs at once  " not in result.stdout
        assert "bench run definitions-cache." in result.stdout
        numbers = printed_json(bench("advise", "--assets", "2000", "--concurrent", "20", "--json"))["capacity"]
        assert numbers["footprints"] == {}
        assert "bench run definitions-cache" in numbers["missing"]

    def test_as_json_every_number_is_there(self) -> None:
        numbers = printed_json(bench("advise", "--assets", "10000", "--max-lag", "15", "--json"))
        assert numbers["lag_s"]["low"] < numbers["lag_s"]["value"] < numbers["lag_s"]["high"]
        assert numbers["largest_assets"]["value"] < 10_000
        assert sum(stage["value"] for stage in numbers["stages_s"].values()) == pytest.approx(
            numbers["lag_s"]["value"], rel=0.05
        )
        first, *_, last = numbers["remedies"]
        assert first["saved_s"]["low"] > 0
        assert isinstance(first["within"], bool)
        assert last["saved_s"] is None
        assert last["missing"]
        assert numbers["capacity"] is None


@pytest.mark.parametrize(
    "arguments",
    [
        (),
        ("--assets", "0"),
        ("--assets", "9", "--max-lag", "0"),
        ("--assets", "9", "--concurrent", "0"),
        ("--assets", "x"),
    ],
)
def test_bad_usage_exits_with_2(home: Path, arguments: tuple[str, ...]) -> None:
    assert home.is_dir()
    assert bench("advise", *arguments).exit_code == 2


def test_before_anything_was_measured_it_exits_with_3_and_says_what_to_run(home: Path) -> None:
    assert home.is_dir()
    result = bench("advise", "--assets", "10000")
    assert result.exit_code == 3
    assert "bench run assets-scaling" in result.stderr
    assert result.stdout == ""
