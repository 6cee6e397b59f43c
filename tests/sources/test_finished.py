"""Finished runs are read page by page in the order in which they last changed, each once."""

from collections.abc import Sequence

import dagster as dg
import pytest
import sqlalchemy as sa
from dagster._core.storage.event_log import SqlEventLogStorage
from dagster._core.storage.runs import SqlRunStorage
from finished_runs import NOON_US, add_run, change_run
from hypothesis import given, settings
from hypothesis import strategies as st

from bench_orchestrator.model.runs import FINISHED, RunStatus
from bench_orchestrator.sources import finished
from bench_orchestrator.sources.finished import find_gaps, finished_since, id_of

OFFSETS = st.integers(0, 4)


@settings(max_examples=25)
@given(
    runs=st.lists(st.tuples(st.sampled_from([*FINISHED, RunStatus.STARTED]), OFFSETS), max_size=9),
    page=st.integers(1, 4),
    since=st.integers(-1, 4),
    in_a_database=st.booleans(),
)
def test_each_finished_run_is_yielded_once_in_order_however_many_changed_at_one_instant(
    runs: Sequence[tuple[RunStatus, int]], page: int, since: int, in_a_database: bool
) -> None:
    with dg.DagsterInstance.ephemeral() as instance, pytest.MonkeyPatch.context() as patch:
        added = [(NOON_US + offset, add_run(instance, NOON_US + offset, status=status)) for status, offset in runs]
        patch.setattr(finished, "_PAGE", page)
        if not in_a_database:
            patch.setattr(finished, "SqlRunStorage", SqlEventLogStorage)  # which no run storage is
        found = list(finished_since(instance, NOON_US + since))
        expected = [
            one for one, (status, offset) in zip(added, runs, strict=True) if status in FINISHED and offset > since
        ]
    assert sorted((run.updated_us, run.run_id) for run in found) == sorted(expected)
    assert [run.updated_us for run in found] == sorted(run.updated_us for run in found)


def test_a_run_that_changes_meanwhile_is_yielded_with_its_later_change(
    instance: dg.DagsterInstance, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(finished, "_PAGE", 2)
    first, second, third = (add_run(instance, NOON_US + number) for number in range(3))
    runs = finished_since(instance, 0)
    assert [next(runs).run_id, next(runs).run_id] == [first, second]
    change_run(instance, first, NOON_US + 9)
    assert [(run.run_id, run.updated_us - NOON_US) for run in runs] == [(third, 2), (first, 9)]


def test_a_time_without_a_fraction_as_the_database_itself_writes_it_is_read(
    home_instance: dg.DagsterInstance, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(finished, "_PAGE", 1)
    added = {add_run(home_instance, NOON_US) for _ in range(3)}
    storage = home_instance.run_storage
    assert isinstance(storage, SqlRunStorage)
    with storage.connect() as connection:
        connection.execute(
            sa.text("UPDATE runs SET update_timestamp = replace(update_timestamp, '.000000', '') WHERE id > 1")
        )
        texts = connection.execute(sa.text("SELECT update_timestamp FROM runs ORDER BY id")).scalars().all()
    assert [len(text) for text in texts] == [26, 19, 19]
    found = list(finished_since(home_instance, 0))
    assert {run.run_id for run in found} == added
    assert {run.updated_us for run in found} == {NOON_US}


class TestGaps:
    def test_a_first_look_finds_none(self, instance: dg.DagsterInstance) -> None:
        assert find_gaps(instance, None) == (None, 0)
        instance.delete_run([add_run(instance) for _ in range(3)][1])
        assert find_gaps(instance, None) == (3, 0)

    def test_each_deleted_run_since_an_earlier_look_is_one(self, instance: dg.DagsterInstance) -> None:
        first, *later = (add_run(instance) for _ in range(5))
        newest_id, _ = find_gaps(instance, None)
        assert find_gaps(instance, newest_id) == (5, 0)
        assert find_gaps(instance, 1) == (5, 0)
        for run_id in (first, later[0], later[2]):
            instance.delete_run(run_id)
        assert find_gaps(instance, 1) == (5, 2)

    def test_without_a_database_nothing_is_known(
        self, instance: dg.DagsterInstance, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        add_run(instance)
        monkeypatch.setattr(finished, "SqlRunStorage", SqlEventLogStorage)
        assert (find_gaps(instance, None), id_of(instance)) == ((None, 0), "")


def test_instances_are_told_apart(instance: dg.DagsterInstance, home_instance: dg.DagsterInstance) -> None:
    assert id_of(instance) == id_of(instance) != id_of(home_instance)
