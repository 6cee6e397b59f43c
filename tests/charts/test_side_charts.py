"""A report on workloads has a Gantt chart of its sides, and one for the steps of each."""

from experiment_samples import experiment_sweep

from bench_orchestrator.charts import charts_for


def test_a_job_s_sides_are_drawn_together_and_each_on_its_own() -> None:
    sweep = experiment_sweep("priority-ops", repeats=1)
    charts = {chart.stem: chart for chart in charts_for(sweep) if chart.stem.startswith("gantt")}
    assert list(charts) == ["gantt", "gantt_static", "gantt_dynamic", "gantt_dynamic_with_priorities"]
    together, alone = charts["gantt"].draw(sweep), charts["gantt_dynamic"].draw(sweep)
    assert together.get_suptitle().split() == [
        *("Makespan:", "static", "10.0", "s,", "dynamic", "10.0", "s,"),
        *("dynamic", "with", "priorities", "10.0", "s"),
    ]
    assert alone.get_suptitle() == "19 steps in 10.0 s, up to 2 in progress"
    assert "‘dynamic’" in charts["gantt_dynamic"].caption


def test_runs_are_drawn_together_alone() -> None:
    sweep = experiment_sweep("max-concurrent-runs", repeats=1)
    charts = [chart for chart in charts_for(sweep) if chart.stem.startswith("gantt")]
    assert [chart.stem for chart in charts] == ["gantt"]
    assert "Each row is a run" in charts[0].caption
    assert charts[0].draw(sweep).get_suptitle().startswith("Makespan: limit 2")


def test_single_launches_have_none() -> None:
    assert not any(chart.stem.startswith("gantt") for chart in charts_for(experiment_sweep(repeats=1)))
