"""The `bench` commands for users and scripts: help, exit codes, messages, tables and JSON."""

import csv
import json
import shutil
from pathlib import Path
from typing import Any

import click
import dagster as dg
import pytest
import samples
from click.testing import CliRunner, Result
from recording import Served, make_run, measured

from bench_orchestrator.cli import COMMANDS, main
from bench_orchestrator.model.runs import RunStatus
from bench_orchestrator.model.stages import Stage
from bench_orchestrator.results.rows import COLUMNS
from bench_orchestrator.results.store import Store
from bench_orchestrator.sweeps import client
from synthetic_locations.catalog import LOCATIONS


def bench(*arguments: str) -> Result:
    """Invoke a command and return its result; an unhandled exception fails the test."""
    result = CliRunner().invoke(main, arguments)
    if result.exception is not None and not isinstance(result.exception, SystemExit):
        raise result.exception
    return result


def printed_json(result: Result) -> Any:
    assert result.exit_code == 0, result.output
    return json.loads(result.stdout)


@pytest.fixture(scope="module")
def saved(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Return a results folder with one sweep."""
    folder = tmp_path_factory.mktemp("saved")
    Store.in_directory(folder).save(samples.troubled_sweep())
    return folder


@pytest.fixture
def results(home: Path, saved: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """Return a copy of that folder, for a home without a deployment."""
    assert home.is_dir()
    folder = tmp_path / "measured"
    shutil.copytree(saved, folder)
    monkeypatch.setenv("BENCH_RESULTS_DIR", str(folder))
    return folder


@pytest.fixture
def nowhere(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """Change to a working directory that is not a project, without a DAGSTER_HOME."""
    monkeypatch.delenv("DAGSTER_HOME", raising=False)
    monkeypatch.delenv("BENCH_RESULTS_DIR", raising=False)
    monkeypatch.chdir(tmp_path)
    return tmp_path


class TestHelp:
    def test_it_lists_every_command_and_the_exit_codes(self) -> None:
        result = bench("--help")
        assert result.exit_code == 0
        for name, line in COMMANDS.items():
            assert f"  {name}" in result.output
            assert line in result.output
        assert "3  the deployment, its results or a file cannot be used" in result.output
        assert bench("-h").output == result.output

    @pytest.mark.parametrize("name", COMMANDS)
    def test_each_command_has_a_summary_an_example_and_a_line_for_every_option(self, name: str) -> None:
        result = bench(name, "--help")
        assert result.exit_code == 0
        assert "Example" in result.output
        assert f"bench {name}" in result.output.split("Example")[1]
        command = main.get_command(click.Context(main), name)
        assert command is not None
        assert command.name == name
        options = [parameter for parameter in command.params if isinstance(parameter, click.Option)]
        assert all(option.help for option in options)

    def test_the_file_of_each_command_is_in_the_list(self) -> None:
        import bench_orchestrator.cli

        folder = Path(bench_orchestrator.cli.__path__[0])
        files = {path.stem.removesuffix("_").replace("_", "-"): path.read_text() for path in folder.glob("*.py")}
        assert set(COMMANDS) <= set(files)
        assert {name for name, content in files.items() if "@click.command" in content} <= set(COMMANDS)


class TestBadUsage:
    @pytest.mark.parametrize(
        "arguments",
        [
            ("nonsense",),
            ("run",),
            ("run", "nonsense"),
            ("run", "quick", "--repeats", "0"),
            ("run", "quick", "--warmups", "-1"),
            ("run", "quick", "--timeout", "0"),
            ("up", "--port", "0"),
            ("shapes", "b7"),
            ("sweeps", "extra"),
            ("report", "--nonsense"),
        ],
        ids=" ".join,
    )
    def test_it_exits_with_2_and_says_what_is_wrong(self, home: Path, arguments: tuple[str, ...]) -> None:
        assert home.is_dir()
        result = bench(*arguments)
        assert result.exit_code == 2
        assert "Error: " in result.stderr
        assert result.stdout == ""

    def test_an_unknown_scenario_is_answered_with_the_known_ones(self) -> None:
        assert "assets-scaling" in bench("run", "nonsense").stderr

    def test_a_bad_shape_is_answered_with_the_grammar(self) -> None:
        assert "'b7'" in bench("shapes", "b7").stderr

    @pytest.mark.parametrize("command", [["locations"], ["run", "quick"]], ids=" ".join)
    def test_a_url_that_is_none_is_answered_with_an_example(self, home: Path, command: list[str]) -> None:
        assert home.is_dir()
        result = bench(*command, "--url", "localhost:3000")
        assert result.exit_code == 2
        assert "Example: http://127.0.0.1:3000" in result.stderr

    def test_a_report_of_an_unknown_sweep_names_the_command_that_lists_them(self, results: Path) -> None:
        result = bench("report", "quick-9")
        assert result.exit_code == 2
        assert "There is no sweep 'quick-9'" in result.stderr
        assert "bench sweeps" in result.stderr
        assert not (results / "reports").exists()


class TestWithoutADeployment:
    @pytest.mark.parametrize(
        "command", [("sweeps",), ("report",), ("timeline",), ("locations",), ("run", "quick"), ("up",)], ids=" ".join
    )
    def test_outside_a_project_it_exits_with_3_and_says_what_to_do(
        self, nowhere: Path, command: tuple[str, ...]
    ) -> None:
        result = bench(*command)
        assert result.exit_code == 3
        assert f"no dagster.yaml in {nowhere}" in result.stderr
        assert "set DAGSTER_HOME" in result.stderr

    def test_a_home_that_is_no_folder_exits_with_3(self, home: Path, monkeypatch: pytest.MonkeyPatch) -> None:
        monkeypatch.setenv("DAGSTER_HOME", str(home / "absent"))
        result = bench("sweeps")
        assert result.exit_code == 3
        assert "is not a folder. Create it, or unset it." in result.stderr

    def test_a_url_that_does_not_answer_exits_with_3(self, home: Path, monkeypatch: pytest.MonkeyPatch) -> None:
        assert home.is_dir()
        monkeypatch.setattr(client, "_PATIENCE_S", 0)
        for command in (["locations"], ["run", "quick"]):
            result = bench(*command, "--url", "http://127.0.0.1:9")
            assert result.exit_code == 3
            assert "does not answer" in result.stderr

    def test_a_deployment_without_the_meta_location_exits_with_3(self, home: Path, served: Served) -> None:
        assert home.is_dir()
        result = bench("run", "quick", "--url", served.url)
        assert result.exit_code == 3
        assert "no usable code location 'bench_orchestrator'" in result.stderr


class TestShapes:
    def test_without_names_the_catalog_is_explained(self) -> None:
        result = bench("shapes")
        assert result.exit_code == 0
        assert all(name in result.stdout for name in LOCATIONS)
        assert "Grammar:" in result.stdout

    def test_the_options_of_a_name_are_told_in_words(self) -> None:
        words = " ".join(bench("shapes", "a4_pools2_triggers_singleflight").stdout.split())
        assert "in 2 pools, 100 ms of work, schedule and sensor, single-flight schedule, multiprocess executor" in words

    def test_as_json_each_shape_is_an_object(self) -> None:
        assert [shape["name"] for shape in printed_json(bench("shapes", "--json"))] == list(LOCATIONS)
        (shape,) = printed_json(bench("shapes", "a100p30_daily_checks2", "--json"))
        assert (shape["assets"], shape["partitions"], shape["checks"]) == (100, 30, 2)

    def test_an_etl_job_is_explained(self) -> None:
        assert "3,000 rows in 60 batches of 5 stages" in " ".join(bench("shapes", "a1_etl60x5_at4").stdout.split())
        (shape,) = printed_json(bench("shapes", "a1_etl60x5_at4", "--json"))
        assert (shape["etl"], shape["at"]) == ({"batches": 60, "stages": 5, "rows": 3_000}, 4)


class TestSweeps:
    def test_before_the_first_one_it_says_how_to_get_one(self, home: Path) -> None:
        result = bench("sweeps")
        assert result.exit_code == 0
        assert "bench run quick" in result.stdout
        assert not (home / "results").exists()
        assert printed_json(bench("sweeps", "--json")) == []

    def test_it_lists_them_with_their_time_and_outcome(self, results: Path) -> None:
        assert results.is_dir()
        output = bench("sweeps").stdout
        assert samples.SWEEP_ID in output
        assert "2026-07-14 09:30" in output
        assert "complete" in output

    def test_as_json_it_counts_trials(self, results: Path) -> None:
        assert results.is_dir()
        (summary,) = printed_json(bench("sweeps", "--json"))
        assert (summary["sweep_id"], summary["trials"]) == (samples.SWEEP_ID, 42)
        assert 0 < summary["ok"] < 42

    def test_a_damaged_database_is_named(self, results: Path) -> None:
        (results / "bench.duckdb").write_text("not a database")
        for command in ("sweeps", "report"):
            result = bench(command)
            assert result.exit_code == 3
            assert "bench.duckdb cannot be opened" in " ".join(result.stderr.split())


class TestReport:
    def test_before_the_first_sweep_it_says_how_to_get_one(self, home: Path) -> None:
        assert home.is_dir()
        result = bench("report")
        assert result.exit_code == 2
        assert "bench run quick" in result.stderr

    @pytest.mark.usefixtures("undrawn")
    def test_it_prints_the_table_and_writes_every_file(self, results: Path) -> None:
        result = bench("report")
        assert result.exit_code == 0
        assert all(location in result.stdout for location in samples.STUDY)
        folder = results / "reports" / samples.SWEEP_ID
        assert f"Report: {folder / 'report.html'}" in result.stdout
        files = {path.name for path in folder.iterdir()}
        assert {"report.md", "report.html", "launches.csv", "launches.parquet"} <= files
        assert {"stage_breakdown.png", "stage_breakdown.svg"} <= files
        with (folder / "launches.csv").open(newline="") as lines:
            rows = list(csv.DictReader(lines))
        assert len(rows) == len(samples.troubled_sweep().trials)
        assert list(rows[0]) == [column.name for column in COLUMNS]

    @pytest.mark.usefixtures("undrawn")
    def test_it_goes_to_the_given_folder(self, results: Path, tmp_path: Path) -> None:
        result = bench("report", samples.SWEEP_ID, "--output", str(tmp_path / "docs" / "new"))
        assert result.exit_code == 0
        assert (tmp_path / "docs" / "new" / "report.md").exists()
        assert not (results / "reports").exists()

    @pytest.mark.usefixtures("undrawn")
    def test_as_json_only_the_numbers_are_on_stdout(self, results: Path) -> None:
        assert results.is_dir()
        result = bench("report", "--json")
        numbers = printed_json(result)
        assert Path(numbers["report"]).exists()
        assert Path(numbers["html"]).exists()
        assert samples.SWEEP_ID in json.dumps(numbers)
        assert "a250" in result.stderr

    @pytest.mark.usefixtures("undrawn")
    def test_a_sweep_without_a_single_success_is_reported_like_any_other(self, results: Path) -> None:
        Store.in_directory(results).save(samples.failed_sweep())
        result = bench("report")
        assert result.exit_code == 0
        assert (results / "reports" / samples.SWEEP_ID / "report.html").exists()


class TestLocations:
    def test_without_a_deployment_those_of_the_workspace_are_listed(
        self, home: Path, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        assert home.is_dir()
        monkeypatch.chdir(Path(__file__).parent.parent.parent)
        rows = printed_json(bench("locations", "--json"))
        assert {"a10", "a10k", "bench_orchestrator"} <= {row["location"] for row in rows}
        assert {row["state"] for row in rows} == {"not running"}
        assert "a10p10k" in bench("locations").stdout

    def test_a_deployment_by_its_url_lists_what_it_has_loaded(self, home: Path, served: Served) -> None:
        assert home.is_dir()
        assert printed_json(bench("locations", "--url", served.url, "--json")) == []


class TestTimeline:
    def test_a_launch_is_laid_out_and_drawn_into_a_separate_folder(self, results: Path) -> None:
        trial = samples.troubled_sweep().trials[-1]
        assert trial.launch.run_id is not None
        result = bench("timeline", trial.launch.run_id[:8])
        assert result.exit_code == 0
        assert result.stdout.startswith("Launch lag ")
        assert "worker load" in result.stdout
        folder = results / "timelines" / trial.launch.run_id
        assert f"Chart: {folder / 'timeline.png'}" in result.stdout
        assert sorted(path.name for path in folder.iterdir()) == ["timeline.png", "timeline.svg"]

    @pytest.mark.usefixtures("undrawn")
    def test_as_json_only_the_numbers_are_on_stdout(self, results: Path, tmp_path: Path) -> None:
        assert results.is_dir()
        result = bench("timeline", "--location", "a250", "--json", "--output", str(tmp_path / "here"))
        numbers = printed_json(result)
        assert numbers["median_of"]["lag_s"]["n"] == 5
        assert [stage["stage"] for stage in numbers["stages"]] == list(Stage)
        assert Path(numbers["png"]).parent == tmp_path / "here"
        assert Path(numbers["svg"]).exists()
        assert "worker load" in result.stderr

    @pytest.mark.usefixtures("undrawn")
    def test_a_sweep_may_be_named_and_the_latest_is_the_default(self, results: Path) -> None:
        assert results.is_dir()
        named = bench("timeline", "--sweep", samples.SWEEP_ID)
        assert named.exit_code == 0
        assert "in a5k, trial" in named.stdout
        assert bench("timeline").stdout == named.stdout

    @pytest.mark.usefixtures("undrawn")
    def test_any_run_of_the_instance_is_accepted(self, home: Path, home_instance: dg.DagsterInstance) -> None:
        run_id = dg.materialize([measured], instance=home_instance).run_id
        result = bench("timeline", run_id[:8], "--json")
        assert printed_json(result)["run_id"] == run_id
        assert (home / "results" / "timelines" / run_id / "timeline.svg").exists()

    @pytest.mark.usefixtures("undrawn")
    def test_a_run_that_waits_says_for_how_long_and_for_what(self, home_instance: dg.DagsterInstance) -> None:
        run_id = make_run(home_instance, {}, RunStatus.STARTING)
        result = bench("timeline", run_id[:8], "--json")
        data = printed_json(result)
        assert data["so_far_s"] >= 0
        assert "No step has started: " in result.stderr
        assert " so far " in result.stderr

    @pytest.mark.parametrize(
        ("arguments", "message"),
        [
            (["4f2a1"], "'4f2a1' is too short"),
            (["4f2a1b%\n"], "is not the id of a run, nor the beginning of one"),
            (["4f2a1b2c"], "There is no run 4f2a1b2c"),
            (["000000"], "runs begin with 000000, such as"),
            (["4f2a1b2c", "--location", "a10"], "Give either run ids, or a sweep"),
            (["--sweep", "quick-9"], "There is no sweep 'quick-9'"),
            (["--location", "a10k"], "has no measurement of a10k"),
        ],
        ids=str,
    )
    def test_what_cannot_be_meant_exits_with_2(self, results: Path, arguments: list[str], message: str) -> None:
        result = bench("timeline", *arguments)
        assert result.exit_code == 2
        assert message in result.stderr
        assert not (results / "timelines").exists()

    def test_before_the_first_sweep_it_says_how_to_get_one(self, home: Path) -> None:
        assert home.is_dir()
        result = bench("timeline")
        assert result.exit_code == 2
        assert "bench run quick" in result.stderr

    def test_a_home_without_an_instance_exits_with_3(self, home: Path) -> None:
        (home / "dagster.yaml").unlink()
        result = bench("timeline", "4f2a1b2c")
        assert result.exit_code == 3
        assert f"no Dagster instance in {home}" in result.stderr
        assert list(home.iterdir()) == []


def test_a_variable_that_is_no_number_ends_every_command_that_reads_it_with_one_line(
    results: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    assert results.is_dir()
    monkeypatch.setenv("BENCH_LOCK_WAIT_S", "abc")
    for arguments in (("sweeps",), ("report",), ("advise", "--assets", "10")):
        result = bench(*arguments)
        assert result.exit_code == 3
        assert result.stderr.startswith("Error: BENCH_LOCK_WAIT_S is 'abc'; it has to be a number of seconds")
        assert result.stderr.count("\n") == 1
