"""The meta location as a whole: it loads, and everything in it is described in the UI."""

import subprocess
import sys
from collections.abc import Mapping
from math import inf, nan
from typing import Annotated, Any, get_args

import dagster as dg
import pytest
from dagster._core.events import RunFailureReason
from dagster._core.execution.retries import auto_reexecution_should_retry_run
from pydantic import TypeAdapter, ValidationError

from bench_orchestrator.definitions import defs
from bench_orchestrator.model.tags import (
    DEPLOY_SENSOR,
    HARVEST_SENSOR,
    MEASUREMENTS_ASSET,
    OBSERVATION,
    OBSERVE_SENSOR,
    OBSERVED_ASSET,
    SWEEPS_ASSET,
    Tag,
)
from bench_orchestrator.scenarios.registry import MONITOR, SCENARIOS, sweep_job_name

DEFINITIONS = defs()
REPOSITORY = DEFINITIONS.get_repository_def()
SPECS = dict(sorted((spec.key.to_user_string(), spec) for spec in DEFINITIONS.resolve_all_asset_specs()))
OWN_JOBS = {name: REPOSITORY.get_job(name) for name in sorted(REPOSITORY.job_names) if not name.startswith("__")}
OTHER_KINDS = {"harvest": "harvest", "observe": OBSERVATION}
SWEEP_JOBS = {name: job for name, job in OWN_JOBS.items() if name not in OTHER_KINDS}


def test_a_process_builds_it_once() -> None:
    """Dagster calls the function twice in each run worker."""
    assert defs() is defs() is DEFINITIONS


def test_everything_can_be_loaded() -> None:
    dg.Definitions.validate_loadable(DEFINITIONS)


def test_loading_it_waits_neither_for_charts_nor_for_statistics() -> None:
    code = "import sys, bench_orchestrator.definitions as meta; meta.defs(); print(*sys.modules)"
    loaded = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True).stdout.split()
    assert {"bench_orchestrator.charts.drawing", "bench_orchestrator.statistics.ranks"} <= set(loaded)
    assert not {"matplotlib", "scipy.special", "scipy.optimize"} & set(loaded)


def test_there_is_a_job_for_each_scenario_one_that_harvests_and_one_that_observes() -> None:
    assert set(OWN_JOBS) == {*OTHER_KINDS, *map(sweep_job_name, SCENARIOS)}
    assert {sensor.name for sensor in REPOSITORY.sensor_defs} == {DEPLOY_SENSOR, HARVEST_SENSOR, OBSERVE_SENSOR}
    assert [schedule.name for schedule in REPOSITORY.schedule_defs] == [MONITOR]


@pytest.mark.parametrize("name", SPECS)
def test_an_asset_has_kinds_and_a_group_but_no_owner(name: str) -> None:
    spec = SPECS[name]
    assert spec.description
    assert spec.group_name in ("measurements", "charts", "evaluations")
    assert spec.kinds
    assert not spec.owners


def test_the_lineage_runs_from_sweeps_over_measurements_to_charts_and_evaluations() -> None:
    parents = {name: {dep.asset_key.to_user_string() for dep in spec.deps} for name, spec in SPECS.items()}
    assert parents.pop(SWEEPS_ASSET) == set()
    assert parents.pop(MEASUREMENTS_ASSET) == {SWEEPS_ASSET}
    assert parents.pop(OBSERVED_ASSET) == set()
    assert all(MEASUREMENTS_ASSET in known for known in parents.values())


@pytest.mark.parametrize("job", OWN_JOBS.values(), ids=list(OWN_JOBS))
def test_a_job_says_what_it_does_and_what_kind_its_runs_are(job: dg.JobDefinition) -> None:
    assert job.description
    assert job.tags[Tag.KIND] == OTHER_KINDS.get(job.name, "sweep")


def test_sensors_schedules_and_checks_say_what_they_do() -> None:
    assert all(sensor.description for sensor in REPOSITORY.sensor_defs)
    assert all(schedule.description for schedule in REPOSITORY.schedule_defs)
    checks = [
        spec
        for assets in DEFINITIONS.assets or ()
        if isinstance(assets, dg.AssetsDefinition)
        for spec in assets.check_specs
    ]
    assert checks
    assert all(spec.description for spec in checks)


@pytest.mark.parametrize("job", OWN_JOBS.values(), ids=list(OWN_JOBS))
def test_a_job_runs_without_any_configuration(job: dg.JobDefinition) -> None:
    assert dg.validate_run_config(job, {})


@pytest.mark.parametrize("scenario", SCENARIOS.values(), ids=list(SCENARIOS))
def test_a_sweep_jobs_defaults_are_its_scenarios(scenario: Any) -> None:
    job = SWEEP_JOBS[sweep_job_name(scenario.name)]
    (op,) = dg.validate_run_config(job, {})["ops"].values()
    config: Mapping[str, Any] = op["config"]
    assert config.get("locations", []) == list(scenario.locations)
    assert ("quick" in config) == bool(scenario.variants)
    assert (config["repeats"], config["warmups"]) == (scenario.repeats, scenario.warmups)
    assert job.tags[Tag.SCENARIO] == scenario.name


@pytest.mark.parametrize("job", SWEEP_JOBS.values(), ids=list(SWEEP_JOBS))
def test_every_field_of_a_sweeps_configuration_is_described(job: dg.JobDefinition) -> None:
    (op,) = job.graph.node_defs
    assert isinstance(op, dg.OpDefinition)
    assert op.config_schema
    fields = op.config_schema.as_field().config_type.fields  # type: ignore[attr-defined]
    assert len(fields) == 11
    assert all(field.description for field in fields.values())


def test_every_number_in_a_configuration_is_finite_and_within_bounds() -> None:
    left: list[type[dg.Config]] = [dg.Config]
    seen = set[str]()
    while left:
        left += (config := left.pop()).__subclasses__()
        for name, field in config.model_fields.items() if config.__module__.startswith("bench_orchestrator.") else ():
            if {int, float} & {field.annotation, *get_args(field.annotation)}:
                seen.add(name)
                bounded: Any = Annotated[field.annotation, *field.metadata]
                adapter: TypeAdapter[Any] = TypeAdapter(bounded)
                for value in (inf, -inf, nan, 1e308, 10**400, -1):
                    with pytest.raises(ValidationError):
                        adapter.validate_python(value)
    assert {"repeats", "warmups", "seed", "timeout_s", "settle_s", "assets", "steps"} <= seen


def test_an_instance_that_retries_runs_launches_none_of_the_bench_again() -> None:
    with dg.DagsterInstance.ephemeral(settings={"run_retries": {"enabled": True, "max_retries": 3}}) as instance:
        for job in OWN_JOBS.values():
            run = instance.create_run_for_job(job, tags=dict(job.tags), status=dg.DagsterRunStatus.FAILURE)
            assert auto_reexecution_should_retry_run(instance, run, RunFailureReason.RUN_EXCEPTION) is False
            without = run.with_tags({})
            assert auto_reexecution_should_retry_run(instance, without, RunFailureReason.RUN_EXCEPTION) is True
