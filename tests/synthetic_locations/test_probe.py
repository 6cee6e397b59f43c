"""The probe joins whatever Dagster loads as a code location, and nothing of that is executed."""

import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any, NoReturn

import dagster as dg
import pytest
from dagster._core.definitions.reconstruct import repository_def_from_target_def
from hypothesis import given
from hypothesis import strategies as st

from synthetic_locations import probe
from synthetic_locations.probed import PROBE, environment_of, read_options

EMPTY: dict[str, str | None] = dict.fromkeys(
    ("python_file", "module_name", "package_name", "autoload_defs_module_name", "working_directory", "attribute")
)


@dg.asset
def own() -> None:
    raise AssertionError("the user's asset was executed")


probe_of_its_own = probe.probe_asset()


@dg.op
def count() -> None:
    pass


@dg.job
def count_job() -> None:
    count()


@dg.graph
def count_graph() -> None:
    count()


@dg.repository
def shop() -> list[Any]:
    return [own, count_job]


@dg.repository
def lazy_shop() -> dict[str, Any]:
    return {"jobs": {"count_job": lambda: count_job}}


@dg.resource
def refusing(_context: object) -> NoReturn:
    raise AssertionError("the user's resource was started")


@dg.io_manager
def refusing_io_manager(_context: object) -> NoReturn:
    raise AssertionError("the user's I/O manager was started")


@dg.executor(name="far_away")
def far_away(_context: object) -> NoReturn:
    raise AssertionError("the user's executor was started")


@pytest.fixture(autouse=True)
def fresh(monkeypatch: pytest.MonkeyPatch) -> None:
    """Undo what the probe changes in this process."""
    for kind in (dg.SensorDefinition, dg.ScheduleDefinition):
        monkeypatch.setattr(kind, "default_status", kind.default_status)
    monkeypatch.setattr(probe, "_replaced", None)
    monkeypatch.setattr(probe, "_with_probe", {})


def repository_of(target: object) -> dg.RepositoryDefinition:
    repository = repository_def_from_target_def(target)
    assert repository is not None
    return repository


def keys_of(target: object) -> set[str]:
    return {key.to_user_string() for key in repository_of(target).asset_graph.get_all_asset_keys()}


def launch(target: object) -> dg.ExecuteInProcessResult:
    """Launch the probe alone, as the command does."""
    job = repository_of(target).get_job("__ASSET_JOB")
    return job.execute_in_process(asset_selection=[dg.AssetKey(PROBE)])


@pytest.mark.parametrize(
    ("target", "others"),
    [
        (dg.Definitions(assets=[own]), {"own"}),
        (dg.Definitions(assets=[own, probe_of_its_own]), {"own"}),
        (dg.Definitions(jobs=[count_job]), set()),
        ([own], {"own"}),
        ([own, probe_of_its_own], {"own"}),
        (shop, {"own"}),
        (count_job, set()),
        (count_graph, set()),
    ],
    ids=[
        "definitions",
        "definitions with a probe",
        "definitions without assets",
        "assets",
        "assets with a probe",
        "repository",
        "job",
        "graph",
    ],
)
def test_it_joins_what_dagster_loads(target: object, others: set[str]) -> None:
    with_probe = probe.with_probe(target)
    assert keys_of(with_probe) == others | {PROBE}
    assert launch(with_probe).success
    own_jobs = set(repository_of(target).job_names) - {"__ASSET_JOB"}
    assert own_jobs <= set(repository_of(with_probe).job_names)


def test_one_object_stays_one_so_that_it_is_resolved_once() -> None:
    definitions = dg.Definitions(assets=[own])
    assert probe.with_probe(definitions) is probe.with_probe(definitions)
    assert probe.with_probe(dg.Definitions(assets=[own])) is not probe.with_probe(definitions)


def test_a_function_is_called_as_often_as_dagster_would_call_it() -> None:
    calls: list[int] = []

    @dg.definitions
    def load() -> dg.Definitions:
        calls.append(1)
        return dg.Definitions(assets=[own])

    with_probe = probe.with_probe(load)
    assert calls == []
    for times in (1, 2):
        assert keys_of(with_probe) == {"own", PROBE}
        assert len(calls) == times


def test_a_repository_that_is_not_a_list_is_refused() -> None:
    with pytest.raises(dg.DagsterInvariantViolationError, match="lazy_shop is not a list: it takes no probe"):
        probe.with_probe(lazy_shop)


def test_nothing_of_the_code_is_started() -> None:
    definitions = dg.Definitions(
        assets=[own],
        resources={"io_manager": refusing_io_manager, "warehouse": refusing},
        executor=far_away,
    )
    result = launch(probe.with_probe(definitions))
    assert result.success
    (materialized,) = result.get_asset_materialization_events()
    assert materialized.materialization.metadata[probe.REPLACED_EXECUTOR].value == "far_away"


TWO_STEPS = dg.multiprocess_executor.configured({"max_concurrent": 2})


@pytest.mark.parametrize("executor", [None, dg.in_process_executor, TWO_STEPS])
def test_an_executor_of_this_machine_stays(executor: dg.ExecutorDefinition | None) -> None:
    made = probe.with_probe(dg.Definitions(assets=[own], executor=executor))
    assert isinstance(made, dg.Definitions)
    assert made.executor is executor
    (materialized,) = launch(made).get_asset_materialization_events()
    assert materialized.materialization.metadata == {}


@pytest.fixture
def module(tmp_path: Path) -> Iterator[Path]:
    """Yield a module with a running sensor and a running schedule; it is forgotten afterwards."""
    file = tmp_path / "watching_shop.py"
    file.write_text(
        "import dagster as dg\n"
        "@dg.asset\n"
        "def own(): ...\n"
        "job = dg.define_asset_job('own_job', [own])\n"
        "@dg.sensor(job=job, default_status=dg.DefaultSensorStatus.RUNNING)\n"
        "def watch(context): ...\n"
        "hourly = dg.ScheduleDefinition(\n"
        "    name='hourly', job=job, cron_schedule='@hourly', default_status=dg.DefaultScheduleStatus.RUNNING\n"
        ")\n"
        "defs = dg.Definitions([own], jobs=[job], sensors=[watch], schedules=[hourly])\n"
    )
    yield file
    sys.modules.pop("watching_shop", None)


@pytest.mark.parametrize("attribute", [None, "defs"])
@pytest.mark.parametrize("kind", ["module_name", "python_file"])
def test_it_loads_what_the_environment_names_and_stops_what_would_run(
    module: Path, monkeypatch: pytest.MonkeyPatch, kind: str, attribute: str | None
) -> None:
    target = str(module) if kind == "python_file" else module.stem
    options = {**EMPTY, kind: target, "attribute": attribute, "working_directory": str(module.parent)}
    for name, value in environment_of(options).items():
        monkeypatch.setenv(name, value)
    repository = repository_of(probe.definitions())
    assert {PROBE, "own"} == {key.to_user_string() for key in repository.asset_graph.get_all_asset_keys()}
    assert repository.get_sensor_def("watch").default_status is dg.DefaultSensorStatus.STOPPED
    assert repository.get_schedule_def("hourly").default_status is dg.DefaultScheduleStatus.STOPPED


def test_several_repositories_are_refused(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (tmp_path / "two_shops.py").write_text(
        "import dagster as dg\n@dg.repository\ndef one(): return []\n@dg.repository\ndef two(): return []\n"
    )
    options = {**EMPTY, "python_file": str(tmp_path / "two_shops.py")}
    monkeypatch.setenv(*environment_of(options).popitem())
    with pytest.raises(dg.DagsterInvariantViolationError, match="several repositories: one, two"):
        probe.definitions()


def test_without_the_environment_it_says_what_is_missing(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv("BENCH_PROBED", raising=False)
    with pytest.raises(ValueError, match="BENCH_PROBED is not set"):
        probe.definitions()


@given(st.dictionaries(st.text(), st.none() | st.text()))
def test_any_options_are_read_as_they_were_written(options: dict[str, str | None]) -> None:
    assert read_options(environment_of(options)) == options
