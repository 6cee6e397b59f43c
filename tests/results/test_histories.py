"""DuckDB gives the history of each location: medians per sweep, in order, of what counts, and no more than is asked."""

from dataclasses import replace
from pathlib import Path

import pytest
from experiment_samples import experiment_sweep
from history_samples import GROWN, as_sweeps, make_history
from samples import CREATED_US, ENVIRONMENT, SWEEP_ID, failed_sweep, make_sweep, make_trial, relaunched, troubled_sweep

from bench_orchestrator.analysis.history import LocationHistory
from bench_orchestrator.analysis.summary import location_rows
from bench_orchestrator.model.launch import Outcome, Sweep
from bench_orchestrator.model.stages import LAG_STAGES
from bench_orchestrator.results import queries
from bench_orchestrator.results.queries import location_histories
from bench_orchestrator.results.store import Store


@pytest.fixture
def store(tmp_path: Path) -> Store:
    return Store.in_directory(tmp_path)


def renamed(sweep: Sweep, sweep_id: str, created_us: int) -> Sweep:
    plan = replace(sweep.plan, sweep_id=sweep_id, created_us=created_us)
    return replace(sweep, plan=plan, trials=tuple(replace(trial, sweep_id=sweep_id) for trial in sweep.trials))


def test_without_a_database_there_is_none(store: Store) -> None:
    assert location_histories(store) == ()


def test_a_point_holds_the_medians_of_the_launches_that_count(store: Store) -> None:
    sweep = troubled_sweep()
    store.save(sweep)
    histories = {history.location: history for history in location_histories(store)}
    rows = {row.location: row for row in location_rows(sweep.trials)}
    assert list(histories) == sorted(name for name, row in rows.items() if row.n)  # a10k never succeeded
    for location, history in histories.items():
        (point,) = history.points
        row = rows[location]
        assert row.lag_s is not None
        assert row.startup_s is not None
        assert point.lag_s == pytest.approx(row.lag_s.value)
        assert point.startup_s == pytest.approx(row.startup_s.value)
        for stage in LAG_STAGES:
            median_s = row.stages_s[stage]
            assert median_s is not None
            assert point.stages_s[stage] == pytest.approx(median_s.value)
        assert (point.sweep_id, point.at_us) == (SWEEP_ID, CREATED_US)


def test_a_point_holds_what_is_known_about_its_circumstances(store: Store) -> None:
    sweep = make_sweep([make_trial(1, "a1p2k")])
    store.save(replace(sweep, plan=replace(sweep.plan, environment={**ENVIRONMENT, "max_concurrent_runs": None})))
    ((point,),) = (history.points for history in location_histories(store))
    known = {name: str(value) for name, value in ENVIRONMENT.items() if name != "max_concurrent_runs"}
    assert {name: point.circumstances.get(name) for name in known} == known
    assert point.circumstances.keys() - known == {"scenario", "assets", "partitions", "executor"}
    assert point.circumstances["partitions"] == "2,000"


def test_points_come_in_order_of_time_from_an_instant_on(store: Store) -> None:
    history = make_history(parts=((3, {}, {}), (2, *GROWN[1:])))
    for sweep in reversed(as_sweeps(history)):
        store.save(sweep)
    (found,) = location_histories(store)
    assert [point.sweep_id for point in found.points] == [f"monitor-{number}" for number in range(5)]
    assert [point.circumstances["assets"] for point in found.points] == ["250", "250", "250", "2,000", "2,000"]
    assert [point.startup_s for point in found.points] == pytest.approx(
        [point.startup_s for point in history.points], abs=1e-5
    )
    (later,) = location_histories(store, since_us=history.points[3].at_us)
    assert later == LocationHistory("a250", found.points[3:])


def test_experiments_failures_warm_ups_and_other_deployments_are_no_points(store: Store) -> None:
    trials = [
        make_trial(1, "a250", warmup=True),
        make_trial(2, "a250", outcome=Outcome.FAILED),
        replace(make_trial(3, "a250"), deployment="one"),
        relaunched(make_trial(4, "a250"), lag_us=None),
        make_trial(5, "a500"),
    ]
    for number, sweep in enumerate((make_sweep(trials), failed_sweep(), experiment_sweep(repeats=1))):
        store.save(renamed(sweep, f"sweep-{number}", CREATED_US))
    assert [history.location for history in location_histories(store)] == ["a500"]


def test_a_long_history_is_not_read_as_a_whole(store: Store, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(queries, "_LONGEST_HISTORY", 2)
    monkeypatch.setattr(queries, "_MOST_HISTORIES", 2)
    for number, locations in enumerate((("a10", "a250"), ("a10", "a500"), ("a10", "a250"))):
        trials = [make_trial(position, location) for position, location in enumerate(locations, start=1)]
        store.save(renamed(make_sweep(trials), f"sweep-{number}", CREATED_US + number))
    assert {one.location: [point.sweep_id for point in one.points] for one in location_histories(store)} == {
        "a10": ["sweep-1", "sweep-2"],
        "a250": ["sweep-0", "sweep-2"],
    }
