"""The schedule and the sensor launch the request in the mailbox exactly once."""

from collections.abc import Callable, Iterator
from datetime import UTC, datetime

import dagster as dg
import pytest
from dagster._core.storage.tags import RUN_KEY_TAG
from materializing import definitions_of

from synthetic_locations.triggers import LaunchRequest, Trigger, clear_request, mailbox_key, read_request, write_request

LOCATION = "a3_triggers"
REQUEST = LaunchRequest("sweep-7", (f"{LOCATION}/asset_0000", f"{LOCATION}/asset_0002"), {"bench/trial": "7"})


@pytest.fixture
def instance() -> Iterator[dg.DagsterInstance]:
    """Yield an instance on disk, like a deployment's."""
    with dg.instance_for_test() as instance:
        yield instance


def tick_of_schedule(
    definitions: dg.Definitions, instance: dg.DagsterInstance
) -> tuple[list[dg.RunRequest], str | None]:
    with dg.build_schedule_context(
        instance=instance,
        repository_def=definitions.get_repository_def(),
        scheduled_execution_time=datetime(2026, 1, 1, tzinfo=UTC),
    ) as context:
        data = definitions.resolve_schedule_def(Trigger.SCHEDULE).evaluate_tick(context)
    return list(data.run_requests or []), data.skip_message


def tick_of_sensor(definitions: dg.Definitions, instance: dg.DagsterInstance) -> tuple[list[dg.RunRequest], str | None]:
    with dg.build_sensor_context(instance=instance, repository_def=definitions.get_repository_def()) as context:
        data = definitions.resolve_sensor_def(Trigger.SENSOR).evaluate_tick(context)
    return list(data.run_requests or []), data.skip_message


Tick = Callable[[dg.Definitions, dg.DagsterInstance], tuple[list[dg.RunRequest], str | None]]
each_trigger = pytest.mark.parametrize(
    ("tick", "trigger"), [(tick_of_schedule, Trigger.SCHEDULE), (tick_of_sensor, Trigger.SENSOR)]
)


def test_a_request_is_read_as_it_was_written_until_it_is_replaced_or_cleared(instance: dg.DagsterInstance) -> None:
    assert read_request(instance, LOCATION, Trigger.SENSOR) is None
    write_request(instance, LOCATION, Trigger.SENSOR, REQUEST)
    assert read_request(instance, LOCATION, Trigger.SENSOR) == REQUEST
    other = LaunchRequest("sweep-8", ("a/b",), {}, "partition_2")
    write_request(instance, LOCATION, Trigger.SENSOR, other)
    assert read_request(instance, LOCATION, Trigger.SENSOR) == other
    clear_request(instance, LOCATION, Trigger.SENSOR)
    clear_request(instance, LOCATION, Trigger.SENSOR)
    assert read_request(instance, LOCATION, Trigger.SENSOR) is None


def test_each_trigger_of_each_location_has_its_own_mailbox(instance: dg.DagsterInstance) -> None:
    write_request(instance, LOCATION, Trigger.SENSOR, REQUEST)
    assert read_request(instance, "a4_triggers", Trigger.SENSOR) is None
    assert len({mailbox_key(LOCATION, trigger) for trigger in Trigger}) == len(Trigger)


@each_trigger
def test_an_empty_mailbox_is_skipped(instance: dg.DagsterInstance, tick: Tick, trigger: Trigger) -> None:
    other = next(one for one in Trigger if one is not trigger)
    write_request(instance, LOCATION, other, REQUEST)
    requests, reason = tick(definitions_of(LOCATION), instance)
    assert requests == []
    assert reason == "The mailbox is empty: no run is requested."


@each_trigger
def test_the_requested_run_is_launched(instance: dg.DagsterInstance, tick: Tick, trigger: Trigger) -> None:
    write_request(instance, LOCATION, trigger, REQUEST)
    (request,), _ = tick(definitions_of(LOCATION), instance)
    assert request.run_key == "sweep-7"
    assert request.asset_selection == [dg.AssetKey([LOCATION, name]) for name in ("asset_0000", "asset_0002")]
    assert request.tags["bench/trial"] == "7"
    assert request.partition_key is None


@each_trigger
def test_a_partition_is_requested(instance: dg.DagsterInstance, tick: Tick, trigger: Trigger) -> None:
    location = "a3p5_triggers"
    write_request(instance, location, trigger, LaunchRequest("p", (f"{location}/asset_0001",), {}, "partition_3"))
    (request,), _ = tick(definitions_of(location), instance)
    assert request.partition_key == "partition_3"
    assert request.tags["dagster/partition"] == "partition_3"


@each_trigger
def test_what_was_launched_is_not_requested_again(instance: dg.DagsterInstance, tick: Tick, trigger: Trigger) -> None:
    definitions = definitions_of("a3_sleep0ms_triggers", LOCATION)
    write_request(instance, LOCATION, trigger, REQUEST)
    job = definitions.resolve_implicit_global_asset_job_def()
    job.execute_in_process(instance=instance, tags={RUN_KEY_TAG: REQUEST.run_key})
    requests, reason = tick(definitions, instance)
    assert requests == []
    assert reason == "The requested run, sweep-7, has already been launched."


def test_a_parts_triggers_leave_out_the_asset_that_it_cannot_make() -> None:
    definitions = definitions_of("a4_spine2_part2of2_triggers")
    job = definitions.resolve_job_def("__anonymous_asset_job_launch_on_schedule")
    assert {key.path[0] for key in job.asset_layer.executable_asset_keys} == {"a4_spine2_part2of2_triggers"}


def test_both_are_on() -> None:
    definitions = definitions_of(LOCATION)
    assert definitions.resolve_schedule_def(Trigger.SCHEDULE).default_status is dg.DefaultScheduleStatus.RUNNING
    assert definitions.resolve_sensor_def(Trigger.SENSOR).default_status is dg.DefaultSensorStatus.RUNNING


@pytest.mark.parametrize("name", ["a2p3_triggers", "a4p3_multi2_triggers", "a2p3_graph2_triggers"])
def test_a_backfill_of_partitions_is_a_single_run(name: str) -> None:
    graph = definitions_of(name).resolve_asset_graph()
    assert {node.backfill_policy for node in graph.asset_nodes} == {dg.BackfillPolicy.single_run()}


@pytest.mark.parametrize("name", ["a2_triggers", "a2p3"])
def test_otherwise_backfills_are_dagsters_default(name: str) -> None:
    graph = definitions_of(name).resolve_asset_graph()
    assert {node.backfill_policy for node in graph.asset_nodes} == {None}
