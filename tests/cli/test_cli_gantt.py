"""`bench timeline --gantt` for users and scripts."""

import shutil
from dataclasses import replace
from pathlib import Path

import dagster as dg
import pytest
import samples
from gantt_samples import queue_of_runs
from recording import in_batches, make_run
from test_cli_commands import bench, printed_json

from bench_orchestrator.model.runs import RunStatus
from bench_orchestrator.results.store import Store


@pytest.fixture(scope="module")
def saved(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Return a results folder with a sweep with a launch in each trial, and one with forty."""
    folder = tmp_path_factory.mktemp("saved")
    store = Store.in_directory(folder)
    store.save(samples.troubled_sweep())
    trial = replace(samples.make_trial(), launches=tuple(run.launch for run in queue_of_runs(45, 4)))
    sweep = samples.make_sweep([replace(trial, sweep_id="queued")])
    store.save(replace(sweep, plan=replace(sweep.plan, sweep_id="queued")))
    return folder


@pytest.fixture
def results(home: Path, saved: Path) -> Path:
    """Return a copy of that folder, where the commands find it."""
    folder = home / "results"
    shutil.copytree(saved, folder)
    return folder


class TestGantt:
    def test_the_steps_of_a_run_of_the_instance_are_drawn_into_its_folder(
        self, home: Path, home_instance: dg.DagsterInstance
    ) -> None:
        run_id = in_batches.execute_in_process(instance=home_instance).run_id
        result = bench("timeline", "--gantt", run_id[:8])
        assert result.exit_code == 0
        assert result.stdout.startswith("5 steps in ")
        for text in ("  load[batch_1] ", "  batches in flight ", f"job in_batches; run {run_id}."):
            assert text in result.stdout
        folder = home / "results" / "timelines" / run_id
        assert f"Chart: {folder / 'gantt_steps.png'}" in result.stdout
        assert sorted(path.name for path in folder.iterdir()) == ["gantt_steps.png", "gantt_steps.svg"]

    @pytest.mark.usefixtures("undrawn")
    def test_several_runs_have_a_row_each_or_with_steps_a_panel_each(self, home_instance: dg.DagsterInstance) -> None:
        ids = [in_batches.execute_in_process(instance=home_instance).run_id for _ in range(2)]
        waiting = make_run(home_instance, {}, RunStatus.STARTED)
        data = printed_json(bench("timeline", "--gantt", *ids, waiting, "--json"))
        (panel,) = data["panels"]
        assert (data["rows"], [row["run"] for row in panel["runs"]]) == ("runs", [*ids, waiting])
        assert [row["ended_s"] is None for row in panel["runs"]] == [False, False, True]
        assert panel["peak_in_progress"] == 1
        by_steps = printed_json(bench("timeline", "--gantt", "--steps", *ids, "--json"))
        assert [panel["title"] for panel in by_steps["panels"]] == [f"run {run_id[:8]}" for run_id in ids]
        assert by_steps["png"] != data["png"]

    @pytest.mark.usefixtures("undrawn")
    def test_of_a_sweep_it_is_every_trial(self, results: Path) -> None:
        result = bench("timeline", "--gantt", "--sweep", samples.SWEEP_ID, "--json")
        (panel,) = printed_json(result)["panels"]
        trials = samples.troubled_sweep().trials
        assert len(panel["runs"]) + panel["without_row"] == len(trials)
        assert f"{panel['without_row']} runs." in result.stderr
        assert list((results / "timelines").iterdir()) == [results / "timelines" / samples.SWEEP_ID]

    @pytest.mark.usefixtures("undrawn", "results")
    def test_of_a_trial_with_many_it_is_all_of_them_and_the_terminal_shows_forty(self) -> None:
        result = bench("timeline", "--gantt", "--sweep", "queued")
        assert result.stdout.startswith("45 runs in 36.0 s, up to 4 in progress\n")
        assert "Rows left out, evenly: 5 of 45." in result.stdout
        (panel,) = printed_json(bench("timeline", "--gantt", "--sweep", "queued", "--json"))["panels"]
        assert len(panel["runs"]) == 45
        assert (panel["makespan_s"], panel["peak_in_progress"]) == (36, 4)

    @pytest.mark.usefixtures("results")
    @pytest.mark.parametrize(
        ("arguments", "message"),
        [
            (["--gantt", "4f2a1b2c"], "There is no run 4f2a1b2c"),
            (["--gantt", "4f2a1"], "'4f2a1' is too short"),
            (["--gantt", "4f2a1b2c", "--sweep", "queued"], "Give either run ids, or a sweep"),
            (["--gantt", "--sweep", "quick-9"], "There is no sweep 'quick-9'"),
            (["--gantt", "--location", "a9k"], "has no measurement of a9k"),
            (
                ["--gantt", "--steps", "--sweep", "queued"],
                "The steps of 45 runs do not fit on a chart: give at most 6.",
            ),
            (["--steps"], "--steps is a part of --gantt"),
        ],
        ids=str,
    )
    def test_what_cannot_be_meant_exits_with_2(self, arguments: list[str], message: str) -> None:
        result = bench("timeline", *arguments)
        assert result.exit_code == 2
        assert message in result.stderr

    def test_steps_of_a_run_that_has_none_yet_say_where_to_look(self, home_instance: dg.DagsterInstance) -> None:
        run_id = make_run(home_instance, {}, RunStatus.STARTED)
        result = bench("timeline", "--gantt", "--steps", run_id)
        assert result.exit_code == 2
        assert f"`bench timeline {run_id}` says why" in result.stderr
