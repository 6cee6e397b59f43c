"""All forms of the job load every batch once, with the right sum, and differ in the order of their steps alone."""

import os
import re
import subprocess
import sys
from collections.abc import Callable, Sequence
from pathlib import Path

import dagster as dg
import pytest
from materializing import definitions_of, reports_of

from synthetic_locations import etl, orders
from synthetic_locations.etl import PRIORITY_TAG

LOCATION = "a1_etl3x3_sleep0ms"
FORMS = ("etl_static", "etl_dynamic", "etl_prioritised")

SPLIT = ["split"]
STAGE_BY_STAGE = SPLIT + [f"{stage}[{number}]" for stage in ("extract", "transform_1", "load") for number in range(3)]
BATCH_BY_BATCH = SPLIT + [f"{stage}[{number}]" for number in range(3) for stage in ("extract", "transform_1", "load")]


def execute(
    instance: dg.DagsterInstance, form: str, location: str = LOCATION, location_name: str | None = None
) -> dg.ExecuteInProcessResult:
    job = definitions_of(location, location_name).resolve_job_def(form)
    return job.execute_in_process(instance=instance, raise_on_error=False)


def stage_of(step_key: str) -> str:
    """Return a step's stage and batch, in the same words for all forms: `load[2]`."""
    return re.sub(r"[_\[]batch_0*(\d+)\]?$", r"[\1]", step_key)


def started(events: Sequence[dg.DagsterEvent]) -> list[str]:
    return [stage_of(event.step_key) for event in events if event.is_step_start and event.step_key]


def failures_of(result: dg.ExecuteInProcessResult) -> dict[str, str | None]:
    """Return what each failed step says about its failure."""
    said = {}
    for event in result.filter_events(lambda event: event.is_step_failure):
        user_data = event.step_failure_data.user_failure_data
        said[stage_of(str(event.step_key))] = user_data.description if user_data else None
    return said


@pytest.mark.parametrize("form", FORMS)
def test_every_batch_is_loaded_once_with_its_sum(instance: dg.DagsterInstance, form: str) -> None:
    result = execute(instance, form)
    assert result.success
    reports = reports_of(result)
    assert [
        (report["asset"], report["batch"], report["rows"], report["sum"], report["work"]) for report in reports
    ] == [
        ("loaded", 0, 1_000, 9_989_210, 1),
        ("loaded", 1, 1_000, 9_979_674, 1),
        ("loaded", 2, 1_000, 9_686_962, 1),
    ]
    assert {report["pid"] for report in reports} == {os.getpid()}


@pytest.mark.parametrize(
    ("form", "order"),
    [("etl_static", STAGE_BY_STAGE), ("etl_dynamic", STAGE_BY_STAGE), ("etl_prioritised", BATCH_BY_BATCH)],
)
def test_with_priorities_a_batch_is_loaded_before_another_begins(
    instance: dg.DagsterInstance, form: str, order: list[str]
) -> None:
    assert started(execute(instance, form).all_events) == order


@pytest.mark.parametrize("form", FORMS)
@pytest.mark.parametrize(
    ("location", "steps"), [("a1_etl1x2_sleep0ms", 2), ("a1_etl5x4of7_sleep0ms", 20), ("a1p2_etl2x2_sleep0ms", 4)]
)
def test_jobs_of_other_sizes_and_beside_partitioned_assets(
    instance: dg.DagsterInstance, form: str, location: str, steps: int
) -> None:
    result = execute(instance, form, location)
    assert result.success
    assert len(started(result.all_events)) == 1 + steps


def test_priority_rises_along_the_chain_of_one_form_alone() -> None:
    definitions = definitions_of("a1_etl2x5_sleep0ms")

    def priorities(form: str) -> dict[str, str | None]:
        return {node.name: node.tags.get(PRIORITY_TAG) for node in definitions.resolve_job_def(form).nodes}

    chain = ("extract", "transform_1", "transform_2", "transform_3", "load")
    expected = {stage: str(number) for number, stage in enumerate(chain)}
    assert priorities("etl_prioritised") == {"split": None, **expected}
    assert priorities("etl_dynamic") == dict.fromkeys(("split", *chain))
    assert set(priorities("etl_static").values()) == {None}


@pytest.mark.parametrize("form", FORMS)
def test_a_batch_that_lost_a_row_is_not_loaded(
    instance: dg.DagsterInstance, monkeypatch: pytest.MonkeyPatch, form: str
) -> None:
    monkeypatch.setattr(etl, "print_orders", lambda rows: orders.print_orders(rows - 1))
    result = execute(instance, form)
    assert not result.success
    assert failures_of(result) == {"load[2]": "Batch 2 sums to 9670979 cents in place of 9686962."}
    assert [report["batch"] for report in reports_of(result)] == [0, 1]


@pytest.mark.parametrize("form", FORMS)
def test_batches_that_are_not_transformed_are_not_loaded(
    instance: dg.DagsterInstance, monkeypatch: pytest.MonkeyPatch, form: str
) -> None:
    unchanged: Callable[[list[int]], list[int]] = list
    monkeypatch.setattr(etl, "transform_amounts", unchanged)
    result = execute(instance, form)
    assert set(failures_of(result)) == {"load[0]", "load[1]", "load[2]"}
    assert reports_of(result) == []


def test_batches_are_loaded_under_the_location_s_name(instance: dg.DagsterInstance) -> None:
    result = execute(instance, "etl_dynamic", location_name="my-blue")
    keys = {event.materialization.asset_key.to_user_string() for event in result.get_asset_materialization_events()}
    assert keys == {"my-blue/loaded"}


def test_the_location_has_an_asset_to_launch_and_one_that_shows_what_is_loaded() -> None:
    graph = definitions_of(LOCATION).resolve_asset_graph()
    assert {key.to_user_string(): graph.get(key).is_executable for key in graph.get_all_asset_keys()} == {
        f"{LOCATION}/asset_0000": True,
        f"{LOCATION}/loaded": False,
    }


@pytest.mark.thorough
def test_no_more_batches_are_under_way_than_steps_at_once(tmp_path: Path) -> None:
    command = [str(Path(sys.executable).with_name("dagster")), "job", "execute", "-j", "etl_prioritised"]
    with dg.instance_for_test(temp_dir=str(tmp_path)) as instance:
        subprocess.run([*command, "-m", "synthetic_locations.catalog", "-a", f"{LOCATION}_at2"], check=True)
        (run,) = instance.get_runs()
        events = [entry.dagster_event for entry in instance.all_logs(run.run_id) if entry.dagster_event]
    assert run.is_success
    running, under_way, loaded, pids = set[str](), set[str](), set[str](), set[object]()
    for event in events:
        stage, _, batch = stage_of(event.step_key or "").partition("[")
        if event.is_step_start:
            running.add(f"{stage}[{batch}")
            under_way |= {batch} if batch else set()
        elif event.is_step_success:
            running.remove(f"{stage}[{batch}")
            if stage == "load":
                loaded.add(batch)
                under_way.remove(batch)
        elif event.is_step_materialization:
            pids.add(event.step_materialization_data.materialization.metadata["bench/pid"].value)
        assert len(running) <= 2
        assert len(under_way) <= 2
    assert loaded == {"0]", "1]", "2]"}
    assert len(pids) == 3
