"""Evidence is the latest and best answer to each question, and empty where nothing was measured."""

from dataclasses import replace
from pathlib import Path

from advice_samples import sample_experiment, sized_sweep
from samples import failed_sweep

from bench_orchestrator.analysis.evidence import Evidence, gather, location_sweeps
from bench_orchestrator.model.launch import Sweep
from bench_orchestrator.results.store import Store


def stored(directory: Path, *sweeps: Sweep) -> Store:
    store = Store.in_directory(directory)
    for sweep in sweeps:
        store.save(sweep)
    return store


def renamed(sweep: Sweep, sweep_id: str, day: int = 0) -> Sweep:
    plan = replace(sweep.plan, sweep_id=sweep_id, created_us=sweep.plan.created_us + day * 86_400_000_000)
    return Sweep(plan, sweep.status, tuple(replace(trial, sweep_id=sweep_id) for trial in sweep.trials))


def test_without_a_database_there_is_none(tmp_path: Path) -> None:
    evidence = gather(Store.in_directory(tmp_path))
    assert evidence == Evidence()
    assert evidence.model is None
    assert not list(tmp_path.iterdir())


def test_sweeps_of_locations_come_latest_first_and_experiments_once(tmp_path: Path) -> None:
    executors = sample_experiment("executors")
    store = stored(
        tmp_path,
        sized_sweep(day=1),
        sized_sweep((10, 250, 2_000), scenario="quick", day=2),
        sized_sweep(scenario="monitor", day=3),
        renamed(executors, "executors-1"),
        renamed(executors, "executors-2", day=1),
        renamed(sample_experiment("executors", quick=True), "executors-3", day=2),
    )
    evidence = gather(store)
    assert [sweep.plan.sweep_id for sweep in evidence.sweeps] == ["quick-2", "assets-scaling-1"]
    assert evidence.sweeps == location_sweeps(store)
    assert {name: one.sweep.plan.sweep_id for name, one in evidence.by_experiment.items()} == {
        "executors": "executors-2"
    }
    assert evidence.model is not None
    assert evidence.model.plan.sweep_id == "assets-scaling-1"


def test_a_long_history_is_not_read_as_a_whole(tmp_path: Path) -> None:
    sweeps = [sized_sweep((250, 500, 2_000), scenario="quick", day=day, repeats=1) for day in range(13)]
    assert [sweep.plan.sweep_id for sweep in location_sweeps(stored(tmp_path, *sweeps))] == [
        f"quick-{day}" for day in range(12, 2, -1)
    ]


def test_a_sweep_without_a_success_is_evidence_of_nothing(tmp_path: Path) -> None:
    assert gather(stored(tmp_path, failed_sweep())).model is None
