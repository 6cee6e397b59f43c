"""The timeline and the Gantt chart in the asset catalog: of the latest sweep, or of the given runs."""

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import dagster as dg
import pytest
import samples
from PIL import Image
from recording import in_batches, measured

from bench_orchestrator.defs.resources import ResultsResource
from bench_orchestrator.defs.timelines import gantt_chart, launch_timeline
from bench_orchestrator.model.stages import Boundary
from bench_orchestrator.results.store import Store
from bench_orchestrator.waterfall.layout import UnknownLaunchError


def draw(
    instance: dg.DagsterInstance,
    results: Path,
    run_ids: Sequence[str] = (),
    asset: dg.AssetsDefinition = launch_timeline,
    **config: Any,
) -> Mapping[str, Any] | None:
    """Return the asset's metadata; None if it was not materialized."""
    result = dg.materialize(
        [asset.with_attributes()],
        instance=instance,
        resources={"results": ResultsResource(database=str(results / "bench.duckdb"))},
        run_config={"ops": {asset.key.to_user_string(): {"config": {"run_ids": list(run_ids), **config}}}},
    )
    events = result.get_asset_materialization_events()
    return {name: value.value for name, value in events[0].materialization.metadata.items()} if events else None


def test_before_anything_is_measured_it_stays_as_it_is(instance: dg.DagsterInstance, tmp_path: Path) -> None:
    assert draw(instance, tmp_path) is None
    Store.in_directory(tmp_path).save(samples.failed_sweep())
    assert draw(instance, tmp_path) is None
    assert not (tmp_path / "charts").exists()


def test_it_is_the_median_launch_at_the_largest_location_of_the_latest_sweep(
    instance: dg.DagsterInstance, tmp_path: Path
) -> None:
    sweep = samples.measured_sweep()
    Store.in_directory(tmp_path).save(sweep)
    metadata = draw(instance, tmp_path)
    assert metadata is not None
    lags_us = sorted(trial.launch.lag_us or 0 for trial in sweep.trials if trial.measured and trial.location == "a10k")
    assert metadata["lag_s"] == lags_us[2] / 1e6 == pytest.approx(metadata["queue_s"] + metadata["init_s"])
    (shown,) = [trial for trial in sweep.trials if trial.launch.lag_us == lags_us[2]]
    assert metadata["run"] == shown.launch.run_id
    assert metadata["worker_load_s"] > 0

    assert metadata["summary"].startswith("Median launch lag ")
    assert "| worker load | run worker |" in metadata["summary"]
    assert len(metadata["summary"]) < 1_000
    assert metadata["chart"].startswith("![launch_timeline](data:image/png;base64,")
    with Image.open(metadata["png"]) as image:
        assert image.width == 1_100
    assert Path(metadata["svg"]).read_text().lstrip().startswith("<?xml")


@pytest.mark.usefixtures("undrawn")
def test_it_is_any_run_of_the_instance_that_is_named(instance: dg.DagsterInstance, tmp_path: Path) -> None:
    run_id = dg.materialize([measured], instance=instance).run_id
    metadata = draw(instance, tmp_path, [run_id[:8]])
    assert metadata is not None
    assert metadata["run"] == run_id
    assert metadata["summary"].startswith("Launch lag ")


@pytest.mark.parametrize("asset", [launch_timeline, gantt_chart])
def test_an_unknown_run_is_named(asset: dg.AssetsDefinition, instance: dg.DagsterInstance, tmp_path: Path) -> None:
    with pytest.raises(UnknownLaunchError, match="no run 4f2a1b2c"):
        draw(instance, tmp_path, ["4f2a1b2c"], asset)


class TestTheGanttChart:
    def test_before_anything_is_measured_it_stays_as_it_is(self, instance: dg.DagsterInstance, tmp_path: Path) -> None:
        assert draw(instance, tmp_path, asset=gantt_chart) is None

    def test_it_is_of_all_runs_of_the_latest_sweep(self, instance: dg.DagsterInstance, tmp_path: Path) -> None:
        sweep = samples.measured_sweep(["a250", "a2k"], repeats=2)
        Store.in_directory(tmp_path).save(sweep)
        metadata = draw(instance, tmp_path, asset=gantt_chart)
        assert metadata is not None
        assert (metadata["sweep"], metadata["rows"]) == (samples.SWEEP_ID, len(sweep.trials))
        ends_us = [trial.launch.ended_us or 0 for trial in sweep.trials]
        first_us = min(trial.launch.at_us[Boundary.ENQUEUED] or 0 for trial in sweep.trials)
        assert metadata["makespan_s"] == (max(ends_us) - first_us) / 1e6
        assert metadata["peak_in_progress"] == 1
        assert metadata["summary"].startswith("6 runs in ")
        assert metadata["chart"].startswith("![gantt_chart](data:image/png;base64,")
        with Image.open(metadata["png"]) as image:
            assert image.width == 1_100

    @pytest.mark.usefixtures("undrawn")
    def test_it_is_of_the_steps_of_the_runs_that_are_named(self, instance: dg.DagsterInstance, tmp_path: Path) -> None:
        ids = [in_batches.execute_in_process(instance=instance).run_id for _ in range(6)]
        metadata = draw(instance, tmp_path, [ids[0][:8]], gantt_chart)
        assert metadata is not None
        assert metadata["rows"] == 5
        assert "sweep" not in metadata
        metadata = draw(instance, tmp_path, ids, gantt_chart, steps=True)
        assert metadata is not None
        assert metadata["rows"] == 30
        assert metadata["summary"].count("| run ") == 6
        assert len(metadata["summary"]) < 1_000
