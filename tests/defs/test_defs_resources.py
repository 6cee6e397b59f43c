"""The results database as a resource of a user's own assets."""

from pathlib import Path

import dagster as dg
import duckdb
import pytest
import samples
from dagster_duckdb import DuckDBResource

from bench_orchestrator.definitions import defs
from bench_orchestrator.defs.resources import ResultsResource
from bench_orchestrator.results.store import Store


class TestAUsersAsset:
    def test_queries_the_results_by_asking_for_a_duckdb_resource(
        self, home: Path, home_instance: dg.DagsterInstance
    ) -> None:
        Store.in_directory(home / "results").save(samples.measured_sweep())

        @dg.asset
        def slowest(results: DuckDBResource) -> dg.MaterializeResult:  # type: ignore[type-arg]
            with results.get_connection() as connection:
                found = connection.execute(
                    "SELECT location FROM launch_measurements WHERE outcome = 'ok' ORDER BY lag_us DESC LIMIT 1"
                ).fetchall()
            return dg.MaterializeResult(metadata={"location": found[0][0]})

        result = dg.materialize([slowest], instance=home_instance, resources=defs().resources)
        (materialization,) = result.asset_materializations_for_node("slowest")
        assert materialization.metadata["location"].value == "a10k"

    def test_reads_beside_other_readers_and_writes_alone(self, home: Path) -> None:
        database = home / "own.duckdb"
        resource = ResultsResource(database=str(database), connection_config={"threads": 1})
        resource.store.save(samples.failed_sweep())
        with resource.get_connection() as connection:
            assert connection.execute("SELECT current_setting('threads')").fetchall() == [(1,)]
            with pytest.raises(duckdb.InvalidInputException, match="read-only"):
                connection.execute("CREATE TABLE mine (x INTEGER)")
        with resource.get_connection(read_only=False) as connection:
            connection.execute("CREATE TABLE mine AS SELECT 1 AS x")
        with resource.get_connection() as connection:
            assert connection.execute("FROM mine").fetchall() == [(1,)]

    def test_is_closed_whatever_a_query_raises(self, home: Path) -> None:
        resource = ResultsResource(database=str(home / "own.duckdb"))
        resource.store.save(samples.failed_sweep())
        with pytest.raises(duckdb.CatalogException), resource.get_connection() as connection:
            connection.execute("FROM nowhere")
        with pytest.raises(duckdb.ConnectionException, match="closed"):
            connection.execute("SELECT 1")
