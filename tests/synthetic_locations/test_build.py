"""Definitions match the shape's name, and their assets really materialize."""

import os
from datetime import UTC, datetime
from typing import Any

import dagster as dg
import pytest
from examples import fewer
from hypothesis import given
from hypothesis import strategies as st
from materializing import definitions_of, materialize_all, reports_of, specs_of, upstream_of

from synthetic_locations.build import KEYS_PER_TICK, build_definitions, upstream_numbers
from synthetic_locations.kinds import Dependencies, Partitioning
from synthetic_locations.shape import Shape, parse_shape


def asset_keys(definitions: dg.Definitions) -> list[str]:
    return [spec.key.to_user_string() for spec in specs_of(definitions)]


def partitions_of(definitions: dg.Definitions) -> dg.PartitionsDefinition[Any]:
    (found,) = {spec.partitions_def for spec in specs_of(definitions)}
    assert found is not None
    return found


def test_keys_begin_with_the_location_and_are_unique_in_a_deployment() -> None:
    assert asset_keys(definitions_of("a2")) == ["a2/asset_0000", "a2/asset_0001"]
    assert asset_keys(definitions_of("a2", "my-location"))[0] == "my-location/asset_0000"
    assert set(asset_keys(definitions_of("a3"))).isdisjoint(asset_keys(definitions_of("a3_chain")))


def test_assets_look_like_a_users() -> None:
    *_, last = specs_of(definitions_of("a101"))
    assert last.description == "Synthetic asset 100 of 101 in a101."
    assert last.group_name == "a101_001"
    assert last.kinds == {"python"}
    assert last.tags["bench/shape"] == "a101"


def test_a_location_name_that_dagster_does_not_take_is_refused() -> None:
    with pytest.raises(dg.DagsterInvalidDefinitionError, match="not a valid"):
        definitions_of("a2", "two words")


@pytest.mark.parametrize(
    "now",
    [datetime(2025, 1, 1), datetime(2026, 3, 29, 1, 30), datetime(2028, 2, 29, 23, 59), datetime(2400, 1, 1)],
)
@pytest.mark.parametrize("kind", ["daily", "hourly"])
@pytest.mark.parametrize("count", ["1", "24", "366", "10k"])
def test_time_partitions_are_as_many_as_the_name_says_on_every_day(count: str, kind: str, now: datetime) -> None:
    shape = parse_shape(f"a1p{count}_{kind}")
    partitions = partitions_of(build_definitions(shape))
    keys = partitions.get_partition_keys(current_time=now.replace(tzinfo=UTC))
    assert len(set(keys)) == len(keys) == shape.partitions


@fewer(3)
@given(
    st.integers(1, 3_000),
    st.sampled_from([kind for kind in Partitioning if kind is not Partitioning.DYNAMIC]),
)
def test_partitions_are_as_many_as_the_name_says(count: int, kind: Partitioning) -> None:
    partitions = partitions_of(build_definitions(Shape(1, count, kind)))
    keys = partitions.get_partition_keys()
    assert len(set(keys)) == count
    assert list(keys) == sorted(keys)


@pytest.mark.parametrize("kind", ["", "_daily", "_hourly", "_multi"])
def test_the_most_partitions_there_can_be(kind: str) -> None:
    partitions = partitions_of(definitions_of(f"a1p100k{kind}"))
    assert len(partitions.get_partition_keys()) == 100_000


def test_multi_partitions_have_two_dimensions_as_square_as_can_be() -> None:
    partitions = partitions_of(definitions_of("a1p10k_multi"))
    assert isinstance(partitions, dg.MultiPartitionsDefinition)
    assert [len(dimension.partitions_def.get_partition_keys()) for dimension in partitions.partitions_defs] == [
        100,
        100,
    ]


def test_the_sensor_adds_dynamic_partition_keys_in_batches_until_all_exist(
    instance: dg.DagsterInstance,
) -> None:
    definitions = definitions_of(f"a1p{KEYS_PER_TICK + 5}_dynamic")
    sensor = definitions.resolve_sensor_def("add_partition_keys")
    assert sensor.default_status is dg.DefaultSensorStatus.RUNNING
    partitions = partitions_of(definitions)

    def tick() -> int:
        """Tick as the daemon does; return the number of keys afterwards."""
        result = sensor.evaluate_tick(dg.build_sensor_context(instance=instance))
        for request in result.dynamic_partitions_requests or ():
            instance.add_dynamic_partitions(request.partitions_def_name, list(request.partition_keys or []))
        return len(partitions.get_partition_keys(dynamic_partitions_store=instance))

    assert [tick(), tick(), tick()] == [KEYS_PER_TICK, KEYS_PER_TICK + 5, KEYS_PER_TICK + 5]
    instance.delete_dynamic_partition("a1p1005_dynamic_partitions", "partition_0700")
    assert tick() == KEYS_PER_TICK + 5


def test_other_locations_have_no_sensor() -> None:
    assert not list(definitions_of("a1p5").sensors or [])


def test_an_asset_reports_what_its_process_saw_and_stores_nothing(instance: dg.DagsterInstance) -> None:
    result = materialize_all(definitions_of("a1_sleep0ms"), instance)
    (report,) = reports_of(result)
    assert report["pid"] == os.getpid()
    assert {"build_s", "cpu_s"} <= report.keys()
    assert report["build_s"] > 0
    assert not [event for event in result.all_events if event.event_type is dg.DagsterEventType.HANDLED_OUTPUT]


@pytest.mark.parametrize(
    ("name", "partition_key"),
    [
        ("a3_sleep0ms_inprocess", None),
        ("a3p5_sleep0ms", "partition_4"),
        ("a3p5_daily_chain_sleep0ms", "2024-12-27"),
        ("a3p24_hourly_sleep0ms", "2024-12-31-00:00"),
        ("a3p6_multi_sleep0ms", "column_2|row_1"),
        ("a8_layered_checks2_sleep0ms", None),
    ],
)
def test_locations_materialize(instance: dg.DagsterInstance, name: str, partition_key: str | None) -> None:
    shape = parse_shape(name)
    result = materialize_all(build_definitions(shape), instance, partition_key)
    assert result.success
    assert len(result.get_asset_materialization_events()) == shape.assets
    assert {event.partition for event in result.get_asset_materialization_events()} == {partition_key}
    assert len(result.get_asset_check_evaluations()) == shape.assets * shape.checks


def test_dynamic_partitions_materialize(instance: dg.DagsterInstance) -> None:
    instance.add_dynamic_partitions("a2p5_dynamic_sleep0ms_partitions", ["partition_3"])
    assert materialize_all(definitions_of("a2p5_dynamic_sleep0ms"), instance, "partition_3").success


def test_an_asset_computes_as_long_as_the_name_says(instance: dg.DagsterInstance) -> None:
    run_id = materialize_all(definitions_of("a1_sleep60ms"), instance).run_id
    (step,) = instance.get_run_step_stats(run_id)
    assert step.start_time is not None
    assert step.end_time is not None
    assert step.end_time - step.start_time >= 0.06


def test_a_chain_runs_in_order(instance: dg.DagsterInstance) -> None:
    result = materialize_all(definitions_of("a4_chain_sleep0ms"), instance)
    order = [event.asset_key.path[-1] for event in result.get_asset_materialization_events() if event.asset_key]
    assert order == ["asset_0000", "asset_0001", "asset_0002", "asset_0003"]


def test_definitions_have_the_executor_of_the_shape() -> None:
    assert definitions_of("a1").executor is None
    assert definitions_of("a1_inprocess").executor is dg.in_process_executor


@given(st.integers(3, 300), st.sampled_from(Dependencies))
def test_assets_depend_on_smaller_numbers(assets: int, dependencies: Dependencies) -> None:
    takes_number = dependencies in (Dependencies.CHAINS, Dependencies.SPINE)
    shape = Shape(assets, dependencies=dependencies, span=2 if takes_number else 0)
    for number in range(assets):
        upstream = upstream_numbers(shape, number)
        assert all(0 <= other < number for other in upstream)
        assert upstream == sorted(set(upstream))


def test_layers_fan_in() -> None:
    shape = Shape(20, dependencies=Dependencies.LAYERED)
    assert [upstream_numbers(shape, number) for number in (3, 4, 7, 19)] == [
        [],
        [0, 1, 2],
        [0, 1, 3],
        [12, 13, 15],
    ]


def test_definitions_have_the_dependencies_of_the_shape() -> None:
    assert upstream_of(definitions_of("a3_chain")) == {
        "a3_chain/asset_0001": ["a3_chain/asset_0000"],
        "a3_chain/asset_0002": ["a3_chain/asset_0001"],
    }


def test_chains_are_of_consecutive_assets_and_independent() -> None:
    shape = parse_shape("a7_chains3")
    assert [upstream_numbers(shape, number) for number in range(7)] == [[], [0], [1], [], [3], [4], []]


def path_through(*names: str) -> list[str]:
    """Return the path along the spine of these locations, from its end to its beginning."""
    upstream: dict[str, list[str]] = {}
    for name in names:
        upstream |= upstream_of(definitions_of(name))
    (end,) = upstream.keys() - {key for keys in upstream.values() for key in keys}
    path = [end]
    while path[-1] in upstream:
        (key,) = upstream[path[-1]]
        path.append(key)
    assert len(path) == len(upstream) + 1
    return path


@pytest.mark.parametrize(
    "names",
    [
        ("a90_spine10",),
        tuple(f"a30_spine10_part{number}of3" for number in (1, 2, 3)),
        tuple(f"a10_spine10_part{number}of9" for number in range(1, 10)),
    ],
)
def test_a_spine_is_one_path_of_the_same_length_however_it_is_split(names: tuple[str, ...]) -> None:
    shapes = [parse_shape(name) for name in names]
    assert sum(shape.assets for shape in shapes) == 90
    places = [f"{shape.name}/asset_{number:04}" for shape in shapes for number in range(0, shape.assets, 10)]
    assert path_through(*names) == places[::-1]


def test_a_later_part_knows_the_last_asset_of_the_spine_before_it_and_cannot_make_it(
    instance: dg.DagsterInstance,
) -> None:
    definitions = definitions_of("a5_spine2_part2of3_sleep0ms")
    graph = definitions.resolve_asset_graph()
    assert [key.to_user_string() for key in graph.external_asset_keys] == ["a5_spine2_part1of3_sleep0ms/asset_0004"]
    assert {report["asset"] for report in reports_of(materialize_all(definitions, instance))} == {
        f"asset_000{number}" for number in range(5)
    }
    assert not definitions_of("a5_spine2_part1of3").resolve_asset_graph().external_asset_keys


@pytest.mark.parametrize(
    ("options", "partition_key"),
    [("", "partition_1"), ("_daily", "2024-12-31"), ("_multi", "column_1|row_0"), ("_dynamic", "partition_1")],
)
def test_parts_have_partitions(instance: dg.DagsterInstance, options: str, partition_key: str) -> None:
    name = f"a4p4{options}_spine2_part2of2_sleep0ms"
    instance.add_dynamic_partitions(f"{name}_partitions", ["partition_1"])
    result = materialize_all(definitions_of(name), instance, partition_key)
    assert len(reports_of(result)) == 4


def test_a_part_cannot_be_renamed() -> None:
    with pytest.raises(ValueError, match=r"cannot be called 'blue'.*by the shape's name"):
        definitions_of("a5_spine2_part2of3", "blue")
    assert definitions_of("a5_spine2_part2of3", "a5_spine2_part2of3")
