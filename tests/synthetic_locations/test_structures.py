"""Each structure of assets does its work in the expected steps, and every materialization reports its share."""

import time
from collections import Counter

import dagster as dg
import pytest
from materializing import definitions_of, materialize_all, reports_of, specs_of, upstream_of

from synthetic_locations.shape import parse_shape


def steps_of(result: dg.ExecuteInProcessResult) -> list[str]:
    return [event.step_key for event in result.get_step_success_events() if event.step_key]


@pytest.mark.parametrize(
    ("name", "steps", "work_each"),
    [
        ("a20_sleep0ms", 20, 1),
        ("a20_chains10_sleep0ms", 20, 1),
        ("a20_multi10_sleep0ms", 2, 1),
        ("a2_graph10_sleep0ms", 20, 10),
        ("a2_fused10_sleep0ms", 2, 10),
    ],
)
def test_the_same_work_is_done_and_reported_in_every_structure(
    instance: dg.DagsterInstance, name: str, steps: int, work_each: int
) -> None:
    shape = parse_shape(name)
    result = materialize_all(definitions_of(name), instance)
    work = [report["work"] for report in reports_of(result)]
    assert work == [work_each] * shape.assets
    assert work_each == shape.work_per_asset
    assert sum(work) == 20
    assert len(steps_of(result)) == steps


@pytest.mark.parametrize("name", ["a1_fused3", "a3_multi3", "a1_graph3"])
def test_a_unit_of_work_takes_as_long_as_the_name_says(instance: dg.DagsterInstance, name: str) -> None:
    definitions = definitions_of(f"{name}_sleep60ms")
    started_s = time.perf_counter()
    materialize_all(definitions, instance)
    assert time.perf_counter() - started_s >= 0.18


@pytest.mark.parametrize("name", ["a2", "a2_fused5", "a4_multi2", "a4_multi2_chains2", "a2_graph3"])
def test_one_run_for_a_range_does_and_reports_the_work_of_each_partition(
    instance: dg.DagsterInstance, name: str
) -> None:
    size, _, options = name.partition("_")
    shape = parse_shape("_".join(filter(None, [f"{size}p5", options, "sleep10ms"])))
    started_s = time.perf_counter()
    result = materialize_all(definitions_of(shape.name), instance, partition_range=("partition_1", "partition_3"))
    took_s = time.perf_counter() - started_s
    reports = reports_of(result)
    assert Counter(report["partition"] for report in reports) == {
        f"partition_{number}": shape.assets for number in (1, 2, 3)
    }
    assert {report["work"] for report in reports} == {shape.work_per_asset}
    assert took_s >= sum(report["work"] for report in reports) * 0.01


@pytest.mark.parametrize("name", ["a2p3_graph3", "a4p3_multi2", "a2p3_fused5", "a4p9_multi_multi2_chain"])
def test_every_structure_has_partitions(instance: dg.DagsterInstance, name: str) -> None:
    key = "column_1|row_2" if "p9" in name else "partition_2"
    result = materialize_all(definitions_of(f"{name}_sleep0ms"), instance, key)
    assert {report["partition"] for report in reports_of(result)} == {key}


@pytest.mark.parametrize("name", ["a3_fused2_checks2", "a4_multi2_checks2"])
def test_functions_of_several_pieces_have_checks(instance: dg.DagsterInstance, name: str) -> None:
    result = materialize_all(definitions_of(f"{name}_sleep0ms"), instance)
    evaluated = Counter(check.asset_key for check in result.get_asset_check_evaluations())
    assert set(evaluated.values()) == {2}
    assert len(evaluated) == parse_shape(name).assets


def test_a_graph_is_a_chain_of_its_own_ops(instance: dg.DagsterInstance) -> None:
    result = materialize_all(definitions_of("a2_graph3_sleep0ms"), instance)
    steps = steps_of(result)
    for asset in ("asset_0000", "asset_0001"):
        graph = f"a2_graph3_sleep0ms__{asset}"
        assert [step for step in steps if asset in step] == [f"{graph}.{asset}_op_{op:03}" for op in range(3)]


def test_a_multi_asset_makes_consecutive_assets_and_the_last_one_the_rest() -> None:
    definitions = list(definitions_of("a25_multi10").assets or [])
    made = [
        sorted(key.path[-1] for key in assets.keys) for assets in definitions if isinstance(assets, dg.AssetsDefinition)
    ]
    assert [(keys[0], keys[-1]) for keys in made] == [
        ("asset_0000", "asset_0009"),
        ("asset_0010", "asset_0019"),
        ("asset_0020", "asset_0024"),
    ]
    assert not any(assets.can_subset for assets in definitions if isinstance(assets, dg.AssetsDefinition))


def test_a_multi_assets_outputs_depend_on_what_the_shape_says() -> None:
    upstream = upstream_of(definitions_of("a4_multi2_chain"))
    location = "a4_multi2_chain"
    assert upstream == {f"{location}/asset_000{number}": [f"{location}/asset_000{number - 1}"] for number in (1, 2, 3)}


@pytest.mark.parametrize(
    ("name", "by_asset"),
    [
        ("a5_pools2", [0, 1, 0, 1, 0]),
        ("a3_fused2_checks2_pools3", [0, 1, 2]),
        ("a7_multi2_pools2", [0, 0, 1, 1, 0, 0, 1]),
        ("a3_graph3_pools2", [0, 1, 0]),
        ("a3_pools1", [0, 0, 0]),
    ],
)
def test_functions_and_graphs_are_in_pools_by_turns(name: str, by_asset: list[int]) -> None:
    graph = definitions_of(name, "my-location").resolve_asset_graph()
    pools = {key.path[-1]: graph.get(key).pools for key in graph.get_all_asset_keys()}
    assert pools == {f"asset_000{number}": {f"my-location_pool_{pool}"} for number, pool in enumerate(by_asset)}


def test_all_ops_of_a_graph_are_in_its_pool() -> None:
    job = definitions_of("a2_graph3_pools2").resolve_implicit_global_asset_job_def()
    pools = [(op.name, op.pool) for op in job.all_node_defs if isinstance(op, dg.OpDefinition)]
    assert sorted(pools) == [
        (f"asset_000{graph}_op_00{op}", f"a2_graph3_pools2_pool_{graph}") for graph in (0, 1) for op in (0, 1, 2)
    ]


@pytest.mark.parametrize("name", ["a5", "a3_fused2", "a4_multi2", "a2_graph3"])
def test_otherwise_assets_are_in_no_pool(name: str) -> None:
    assert not any(node.pools for node in definitions_of(name).resolve_asset_graph().asset_nodes)


@pytest.mark.parametrize("name", ["a101_graph2", "a101_multi2", "a101_fused2"])
def test_every_structure_looks_like_a_users(name: str) -> None:
    *_, last = specs_of(definitions_of(name, "my-location"))
    assert last.key.to_user_string() == "my-location/asset_0100"
    assert last.description == "Synthetic asset 100 of 101 in my-location."
    assert last.group_name == "my_location_001"
    assert last.kinds == {"python"}
    assert last.tags["bench/shape"] == name
