"""DuckDB gives the history of each location: medians per sweep, in order, of what counts, and no more than is asked."""

from dataclasses import replace
from pathlib import Path

import pytest
from experiment_samples import experiment_sweep
from history_samples import DEPLOYED, GROWN, Part, as_sweeps, make_history
from samples import CREATED_US, ENVIRONMENT, SWEEP_ID, failed_sweep, make_sweep, make_trial, relaunched, troubled_sweep

from bench_orchestrator.analysis.history import CODE_SERVER, LocationHistory
from bench_orchestrator.analysis.summary import location_rows
from bench_orchestrator.model.launch import Outcome, Sweep
from bench_orchestrator.model.stages import LAG_STAGES
from bench_orchestrator.results import queries
from bench_orchestrator.results.queries import latest_deploys, location_histories
from bench_orchestrator.results.store import Store
from bench_orchestrator.statistics import median


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


def test_the_code_server_is_a_circumstance_where_it_is_known(store: Store) -> None:
    for sweep in as_sweeps(make_history(parts=((1, {}, {}), (1, {}, {CODE_SERVER: "1a2b3c4d"})))):
        store.save(sweep)
    ((earlier, later),) = (history.points for history in location_histories(store))
    assert (earlier.circumstances.get(CODE_SERVER), later.circumstances[CODE_SERVER]) == (None, "1a2b3c4d")


class TestDeploys:
    def test_the_launches_behind_the_present_code_server_are_compared_with_those_before(self, store: Store) -> None:
        earlier: list[Part] = [(8, {}, {CODE_SERVER: "1a2b3c4d"}), (9, {}, {CODE_SERVER: "2b3c4d5e"})]
        history = make_history(parts=((5, {}, {}), *earlier, DEPLOYED))
        for sweep in reversed(as_sweeps(history)):
            store.save(sweep)
        (deploy,) = latest_deploys(store)
        before, after = history.points[13:22], history.points[22:]
        assert (deploy.location, deploy.at_us) == ("a250", after[0].at_us)
        assert (deploy.before_s.n, deploy.after_s.n) == (9, 6)
        assert deploy.before_s.value == pytest.approx(median([point.startup_s for point in before]).value, abs=1e-5)
        assert deploy.after_s.value == pytest.approx(median([point.startup_s for point in after]).value, abs=1e-5)
        assert deploy.slower
        assert str(deploy).startswith("a250 +")
        assert latest_deploys(store, since_us=after[0].at_us) == ()

    def test_of_many_launches_the_latest_count(self, store: Store, monkeypatch: pytest.MonkeyPatch) -> None:
        monkeypatch.setattr(queries, "_MOST_DEPLOY_LAUNCHES", 3)
        history = make_history(parts=((8, {}, {CODE_SERVER: "1a2b3c4d"}), DEPLOYED))
        for sweep in as_sweeps(history):
            store.save(sweep)
        (deploy,) = latest_deploys(store)
        assert (deploy.before_s.n, deploy.after_s.n) == (3, 3)
        latest = sorted(point.startup_s for point in history.points[5:8])
        assert deploy.before_s.value == pytest.approx(latest[1], abs=1e-5)

    def test_without_a_deploy_or_a_database_there_is_none(self, store: Store) -> None:
        assert latest_deploys(store) == ()
        for sweep in as_sweeps(make_history(parts=((3, {}, {}), (3, {}, {CODE_SERVER: "1a2b3c4d"})))):
            store.save(sweep)
        assert latest_deploys(store) == ()


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
