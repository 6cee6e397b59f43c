"""Requests in mailboxes are launched exactly once, or one run after the other in single flight."""

from collections.abc import Callable, Iterator
from datetime import UTC, datetime

import dagster as dg
import pytest
from dagster._core.remote_origin import RegisteredCodeLocationOrigin, RemoteJobOrigin, RemoteRepositoryOrigin
from dagster._core.storage.tags import RUN_KEY_TAG
from materializing import definitions_of

from synthetic_locations.triggers import LaunchRequest, Trigger, clear_request, mailbox_key, read_request, write_request

LOCATION = "a3_triggers"
REQUEST = LaunchRequest("sweep-7", (f"{LOCATION}/asset_0000", f"{LOCATION}/asset_0002"), {"bench/trial": "7"})

SINGLE_FLIGHT = "a3_sleep0ms_singleflight"
REQUEST_IN_SINGLE_FLIGHT = LaunchRequest("sweep-9", (f"{SINGLE_FLIGHT}/asset_0000",), {"bench/trial": "9"})
IN_PROGRESS = {"QUEUED", "STARTING", "STARTED", "CANCELING"}


@pytest.fixture
def instance(home_instance: dg.DagsterInstance) -> dg.DagsterInstance:
    """Return an instance on disk, like a deployment's: a schedule's tick opens it once more."""
    return home_instance


def tick_of_schedule(
    definitions: dg.Definitions, instance: dg.DagsterInstance, trigger: Trigger = Trigger.SCHEDULE, minute: int = 0
) -> tuple[list[dg.RunRequest], str | None]:
    with dg.build_schedule_context(
        instance=instance,
        repository_def=definitions.get_repository_def(),
        scheduled_execution_time=datetime(2026, 1, 1, minute=minute, tzinfo=UTC),
    ) as context:
        data = definitions.resolve_schedule_def(trigger).evaluate_tick(context)
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


def test_both_launch_without_being_turned_on() -> None:
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


def tick_in_single_flight(
    instance: dg.DagsterInstance, minute: int = 0, location: str = SINGLE_FLIGHT
) -> tuple[list[dg.RunRequest], str | None]:
    return tick_of_schedule(definitions_of(SINGLE_FLIGHT, location), instance, Trigger.SINGLE_FLIGHT, minute)


def launch(instance: dg.DagsterInstance, minute: int, status: dg.DagsterRunStatus) -> dg.DagsterRun:
    """Store the run that Dagster makes of this minute's tick."""
    (request,), _ = tick_in_single_flight(instance, minute)
    tags = {**request.tags, RUN_KEY_TAG: str(request.run_key)}
    repository = RemoteRepositoryOrigin(RegisteredCodeLocationOrigin(SINGLE_FLIGHT), "__repository__")
    return instance.add_run(
        dg.DagsterRun("job", tags=tags, status=status, remote_job_origin=RemoteJobOrigin(repository, "job"))
    )


def delete_runs(instance: dg.DagsterInstance) -> None:
    for run in instance.get_runs():
        instance.delete_run(run.run_id)


@pytest.fixture(scope="class")
def shared_instance() -> Iterator[dg.DagsterInstance]:
    """Yield an instance on disk, like a deployment's."""
    with dg.instance_for_test() as instance:
        yield instance


@pytest.fixture
def requested(shared_instance: dg.DagsterInstance) -> Iterator[dg.DagsterInstance]:
    """Yield that instance without runs, with a request to the single-flight schedule."""
    write_request(shared_instance, SINGLE_FLIGHT, Trigger.SINGLE_FLIGHT, REQUEST_IN_SINGLE_FLIGHT)
    yield shared_instance
    delete_runs(shared_instance)


class TestSingleFlight:
    def test_every_tick_launches_the_request_with_a_run_key_of_its_own(self, requested: dg.DagsterInstance) -> None:
        (first,), _ = tick_in_single_flight(requested, 0)
        (second,), _ = tick_in_single_flight(requested, 1)
        assert (first.run_key, second.run_key) == (
            "sweep-9/2026-01-01T00:00:00+00:00",
            "sweep-9/2026-01-01T00:01:00+00:00",
        )
        assert first.asset_selection == second.asset_selection == [dg.AssetKey([SINGLE_FLIGHT, "asset_0000"])]
        assert first.tags == {
            "bench/trial": "9",
            "bench/location": SINGLE_FLIGHT,
            "dagster/schedule_name": "single_flight",
        }

    @pytest.mark.parametrize("status", dg.DagsterRunStatus)
    def test_it_skips_while_the_run_before_is_in_progress_and_names_it(
        self, requested: dg.DagsterInstance, status: dg.DagsterRunStatus
    ) -> None:
        launch(requested, 0, dg.DagsterRunStatus.SUCCESS)
        run = launch(requested, 1, status)
        requests, reason = tick_in_single_flight(requested, 2)
        if status.value in IN_PROGRESS:
            assert requests == []
            assert reason == f"Run {run.run_id}, launched before, is in progress: {status.value}."
        else:
            assert len(requests) == 1

    def test_it_launches_again_after_the_end(self, requested: dg.DagsterInstance) -> None:
        run = launch(requested, 0, dg.DagsterRunStatus.STARTED)
        assert tick_in_single_flight(requested, 1)[0] == []
        requested.report_run_failed(run)
        later = launch(requested, 2, dg.DagsterRunStatus.QUEUED)
        assert later.run_id in str(tick_in_single_flight(requested, 3)[1])

    def test_without_a_request_it_skips_whatever_is_in_progress(self, requested: dg.DagsterInstance) -> None:
        launch(requested, 0, dg.DagsterRunStatus.STARTED)
        clear_request(requested, SINGLE_FLIGHT, Trigger.SINGLE_FLIGHT)
        assert tick_in_single_flight(requested, 1) == ([], "The mailbox is empty: no run is requested.")

    def test_only_its_own_runs_count(self, requested: dg.DagsterInstance) -> None:
        write_request(requested, "other", Trigger.SINGLE_FLIGHT, REQUEST_IN_SINGLE_FLIGHT)
        launch(requested, 0, dg.DagsterRunStatus.STARTED)
        assert len(tick_in_single_flight(requested, 1, "other")[0]) == 1
        assert tick_in_single_flight(requested, 1)[0] == []

        delete_runs(requested)
        by_hand = {"bench/location": SINGLE_FLIGHT, **REQUEST_IN_SINGLE_FLIGHT.tags}
        requested.add_run(dg.DagsterRun("job", tags=by_hand, status=dg.DagsterRunStatus.STARTED))
        assert len(tick_in_single_flight(requested, 1)[0]) == 1

    def test_a_tick_that_is_repeated_asks_for_the_same_run(self, requested: dg.DagsterInstance) -> None:
        """As Dagster does if its daemon dies after it created the run."""
        created = launch(requested, 0, dg.DagsterRunStatus.NOT_STARTED)
        (request,), _ = tick_in_single_flight(requested, 0)
        assert request.run_key == created.tags[RUN_KEY_TAG]

    def test_it_is_off_at_first_and_not_in_other_locations(self) -> None:
        schedule = definitions_of(SINGLE_FLIGHT).resolve_schedule_def(Trigger.SINGLE_FLIGHT)
        assert schedule.default_status is dg.DefaultScheduleStatus.STOPPED
        assert [schedule.name for schedule in definitions_of(LOCATION).get_repository_def().schedule_defs] == [
            "launch_on_schedule"
        ]

    @pytest.mark.parametrize(
        ("name", "made"),
        [
            ("a3_chain_singleflight", 1),
            ("a4_fused2_checks2_triggers_singleflight", 1),
            ("a5_multi2_chain_singleflight", 2),
            ("a2_graph3_singleflight", 1),
            ("a4_spine2_part2of2_singleflight", 1),
        ],
    )
    def test_its_job_makes_the_first_asset_or_all_of_the_first_multi_asset(self, name: str, made: int) -> None:
        job = definitions_of(name).resolve_job_def("__anonymous_asset_job_single_flight")
        keys = {dg.AssetKey([name, f"asset_000{number}"]) for number in range(made)}
        assert job.asset_layer.executable_asset_keys == keys

    def test_a_partition_is_requested(self, requested: dg.DagsterInstance) -> None:
        location = "a3p5_singleflight"
        request = LaunchRequest("p", (f"{location}/asset_0000",), {}, "partition_3")
        write_request(requested, location, Trigger.SINGLE_FLIGHT, request)
        (launched,), _ = tick_of_schedule(definitions_of(location), requested, Trigger.SINGLE_FLIGHT)
        assert launched.tags["dagster/partition"] == "partition_3"
