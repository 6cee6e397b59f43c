"""Names of shapes: parsing is the exact inverse of printing, and a bad name is answered with the grammar."""

import keyword
import math
from dataclasses import fields

import pytest
from hypothesis import assume, given
from hypothesis import strategies as st

from synthetic_locations.kinds import Dependencies, Executor, Imports, Part, Partitioning, Structure
from synthetic_locations.shape import (
    GRAMMAR,
    MAX_ASSETS,
    MAX_CHECKS,
    MAX_COMPUTE_MS,
    MAX_PARTITIONS,
    MAX_PARTS,
    MAX_PIECES,
    MAX_POOLS,
    Shape,
    parse_shape,
)

NUMBERED = (Dependencies.CHAINS, Dependencies.SPINE)
FORKS = (Executor.FORKSERVER, Executor.PRELOADED)
FLAGS = ("rebuilt", "nogc", "triggers", "singleflight")


def counts(lowest: int, highest: int) -> st.SearchStrategy[int]:
    """Draw numbers of a range, whole thousands about as often as others."""
    thousands = st.integers(0, highest // 1000).map(lambda thousand: thousand * 1000)
    return st.one_of(st.integers(lowest, highest), thousands.filter(lambda count: lowest <= count))


@st.composite
def shapes(draw: st.DrawFn) -> Shape:
    assets = draw(counts(1, MAX_ASSETS))
    partitions = draw(counts(0, MAX_PARTITIONS))
    structure = draw(st.sampled_from([kind for kind in Structure if kind is not Structure.MULTI or assets > 1]))
    most_pieces = min(MAX_PIECES, assets) if structure is Structure.MULTI else MAX_PIECES
    is_graph = structure is Structure.GRAPH
    part = None
    if not is_graph and draw(st.booleans()):
        of = draw(counts(2, MAX_PARTS))
        part = Part(draw(st.integers(1, of)), of)
    dependencies = Dependencies.NONE
    if part:
        dependencies = Dependencies.SPINE
    elif not is_graph:
        wide = assets > 2
        dependencies = draw(st.sampled_from([kind for kind in Dependencies if wide or kind not in NUMBERED]))
    pieces = 1 if structure is Structure.PLAIN else draw(counts(2, most_pieces))
    most_pools = math.ceil(assets / pieces) if structure is Structure.MULTI else assets
    rebuilt = draw(st.booleans())
    impossible = (*(FORKS if rebuilt else ()), *([Executor.PODS] if is_graph else ()))
    return Shape(
        assets=assets,
        partitions=partitions,
        partitioning=draw(st.sampled_from(Partitioning)) if partitions else Partitioning.STATIC,
        structure=structure,
        pieces=pieces,
        dependencies=dependencies,
        span=draw(counts(2, MAX_ASSETS if part else assets - 1)) if dependencies in NUMBERED else 0,
        part=part,
        checks=0 if is_graph else draw(counts(0, MAX_CHECKS)),
        pools=draw(counts(0, min(MAX_POOLS, most_pools))),
        compute_ms=draw(st.one_of(st.just(Shape.compute_ms), counts(0, MAX_COMPUTE_MS))),
        imports=draw(st.sampled_from(Imports)),
        rebuilt=rebuilt,
        nogc=draw(st.booleans()),
        triggers=draw(st.booleans()),
        singleflight=draw(st.booleans()),
        executor=draw(st.sampled_from([kind for kind in Executor if kind not in impossible])),
    )


# Most of these are almost valid: in the wrong order, with leading zeros, with a default spelled out.
near_names = st.builds(
    lambda size, options: "_".join([size, *options]),
    st.from_regex(r"a0?[0-9]{1,6}k?(p0?[0-9]{1,6}k?)?", fullmatch=True),
    st.lists(
        st.one_of(
            st.sampled_from([*Partitioning, *Structure, *Dependencies, *Imports, *Executor, *FLAGS, "", "spawn"]),
            st.from_regex(r"checks[0-9]{0,4}|sleep[0-9]{0,4}(ms|s)?", fullmatch=True),
            st.from_regex(r"(graph|multi|fused|chain|chains|spine)[0-9]{0,4}k?", fullmatch=True),
            st.from_regex(r"pools[0-9]{0,4}k?", fullmatch=True),
            st.from_regex(r"part[0-9]{0,4}of[0-9]{0,4}", fullmatch=True),
        ),
        max_size=4,
    ),
)


@given(shapes())
def test_every_shape_is_read_back_from_its_name(shape: Shape) -> None:
    assert parse_shape(shape.name) == shape
    assert str(shape) == shape.name


@given(shapes())
def test_every_name_can_be_an_attribute_of_a_module(shape: Shape) -> None:
    assert shape.name.isidentifier()
    assert not keyword.iskeyword(shape.name)


@given(st.one_of(st.text(), near_names))
def test_every_name_that_parses_is_the_name_of_what_it_parses_to(name: str) -> None:
    try:
        shape = parse_shape(name)
    except ValueError:
        return
    assert shape.name == name


@given(shapes(), shapes())
def test_different_shapes_have_different_names(one: Shape, other: Shape) -> None:
    assume(one != other)
    assert one.name != other.name


@pytest.mark.parametrize(
    ("name", "shape"),
    [
        ("a10", Shape(10)),
        ("a250", Shape(250)),
        ("a10k", Shape(10_000)),
        ("a1p2k", Shape(1, 2_000)),
        ("a10p10k", Shape(10, 10_000)),
        ("a1500", Shape(1_500)),
        ("a100k", Shape(100_000)),
        ("a500_chain", Shape(500, dependencies=Dependencies.CHAIN)),
        ("a10_sleep0ms", Shape(10, compute_ms=0)),
        (
            "a100p30_daily_layered_checks2_sleep500ms_inprocess",
            Shape(
                100,
                30,
                Partitioning.DAILY,
                dependencies=Dependencies.LAYERED,
                checks=2,
                compute_ms=500,
                executor=Executor.IN_PROCESS,
            ),
        ),
        ("a2k_chains10", Shape(2_000, dependencies=Dependencies.CHAINS, span=10)),
        ("a200_graph10", Shape(200, structure=Structure.GRAPH, pieces=10)),
        ("a2k_multi10", Shape(2_000, structure=Structure.MULTI, pieces=10)),
        ("a200_fused10", Shape(200, structure=Structure.FUSED, pieces=10)),
        ("a4p9_multi_multi2", Shape(4, 9, Partitioning.MULTI, Structure.MULTI, 2)),
        ("a2k_importtop", Shape(2_000, imports=Imports.TOP)),
        ("a2k_importlate", Shape(2_000, imports=Imports.LATE)),
        ("a2k_forkserver", Shape(2_000, executor=Executor.FORKSERVER)),
        ("a2k_preloaded", Shape(2_000, executor=Executor.PRELOADED)),
        ("a10_pods", Shape(10, executor=Executor.PODS)),
        ("a9k_spine1k", Shape(9_000, dependencies=Dependencies.SPINE, span=1_000)),
        ("a3k_spine1k_part2of3", Shape(3_000, dependencies=Dependencies.SPINE, span=1_000, part=Part(2, 3))),
        ("a10_spine10_part9of9", Shape(10, dependencies=Dependencies.SPINE, span=10, part=Part(9, 9))),
        ("a2k_rebuilt_nogc", Shape(2_000, rebuilt=True, nogc=True)),
        ("a250p30_daily_triggers", Shape(250, 30, Partitioning.DAILY, triggers=True)),
        ("a10_pools3", Shape(10, pools=3)),
        ("a2k_pools1k", Shape(2_000, pools=1_000)),
        ("a25_multi10_pools3", Shape(25, structure=Structure.MULTI, pieces=10, pools=3)),
        ("a10_triggers_singleflight", Shape(10, triggers=True, singleflight=True)),
    ],
)
def test_known_names(name: str, shape: Shape) -> None:
    assert parse_shape(name) == shape


@pytest.mark.parametrize(
    ("name", "instead"),
    [
        ("a10000", "a10k"),
        ("a007", "a7"),
        ("a0010k", "a10k"),
        ("a10p0", "a10"),
        ("a10p5_static", "a10p5"),
        ("a10_none", "a10"),
        ("a10_multiprocess", "a10"),
        ("a10_checks0", "a10"),
        ("a10_sleep100ms", "a10"),
        ("a10_sleep0500ms", "a10_sleep500ms"),
        ("a10p5_chain_daily", "a10p5_daily_chain"),
        ("a10_inprocess_checks2", "a10_checks2_inprocess"),
        ("a10_plain", "a10"),
        ("a10_importnone", "a10"),
        ("a2000_chains1000", "a2k_chains1k"),
        ("a30_part1of3_spine10", "a30_spine10_part1of3"),
        ("a30_spine10_part01of3", "a30_spine10_part1of3"),
        ("a10_nogc_rebuilt", "a10_rebuilt_nogc"),
        ("a10_preloaded_triggers", "a10_triggers_preloaded"),
        ("a10_pools0", "a10"),
        ("a2k_pools1000", "a2k_pools1k"),
        ("a10_pools2_checks2", "a10_checks2_pools2"),
        ("a10_singleflight_triggers", "a10_triggers_singleflight"),
    ],
)
def test_a_second_way_to_write_a_shape_is_answered_with_the_first(name: str, instead: str) -> None:
    with pytest.raises(ValueError, match=f"^'{name}' is not the name of a shape: .*'{instead}'"):
        parse_shape(name)


@pytest.mark.parametrize(
    ("name", "reason"),
    [
        ("", "'' is not a<assets> or a<assets>p<partitions>"),
        ("250", "'250' is not a<assets>"),
        ("A250", "'A250' is not a<assets>"),
        ("a10\n", "is not a<assets>"),
        ("a٣", "is not a<assets>"),
        ("a" + "9" * 5000, "is not a<assets>"),
        ("a0", "0 assets, but the range is 1 to 100000"),
        ("a101k", "101000 assets, but the range is 1 to 100000"),
        ("a1p101k", "101000 partitions, but the range is 0 to 100000"),
        ("a10_weekly", "there is no option 'weekly'"),
        ("a10_", "there is no option ''"),
        ("a10_checks", "there is no option 'checks'"),
        ("a10_checks101", "101 checks per asset, but the range is 0 to 100"),
        ("a10_pools", "there is no option 'pools'"),
        ("a10_pools11", "pools11 needs at least as many assets"),
        ("a2k_pools1001", "1001 pools, but the range is 0 to 1000"),
        ("a25_multi10_pools4", "pools4 needs at least as many multi-assets"),
        ("a10_pools2_pools3", "'pools3' is a second pools option"),
        ("a10_sleep1s", "there is no option 'sleep1s'"),
        ("a10_sleep3600001ms", "3600001 milliseconds of sleep, but the range is 0 to 3600000"),
        ("a10_daily", "daily partitions need a number"),
        ("a10p5_daily_hourly", "'hourly' is a second partitioning option"),
        ("a10_chain_chain", "'chain' is a second dependencies option"),
        ("a10_nogc_nogc", "'nogc' is a second nogc option"),
        ("a10_fused2_graph2", "'graph2' is a second structure option"),
        ("a10_graph", "graph needs a number of 2 or more"),
        ("a10_fused1", "fused needs a number of 2 or more"),
        ("a10_fused1001", "1001 pieces in fused, but the range is 2 to 1000"),
        ("a10_plain2", "plain assets take no number of pieces"),
        ("a10_multi11", "multi11 needs at least as many assets"),
        ("a10_graph2_chain", "graph assets cannot have dependencies"),
        ("a10_graph2_checks2", "graph assets cannot have checks"),
        ("a10_graph2_pods", "the ops of a graph pass on their values in files, which pods do not share"),
        ("a10_chain2", "chain takes no number"),
        ("a10_chains", "chains needs a number of 2 or more"),
        ("a10_chains10", "chains10 of 10 assets is the same as chain"),
        ("a10_spine10", "spine10 of 10 assets is the same as no dependencies"),
        ("a10_part1of2", "parts are connected by a spine"),
        ("a10_spine5_part1of1", "1 parts, but the range is 2 to 1000"),
        ("a10_spine5_part3of2", "there is no part 3 of 2"),
        ("a10_spine5_part0of2", "there is no part 0 of 2"),
        ("a10_rebuilt_forkserver", "forkserver would preload them in vain"),
        ("a10_rebuilt_preloaded", "preloaded would preload them in vain"),
    ],
)
def test_a_bad_name_is_answered_with_the_reason_and_the_grammar(name: str, reason: str) -> None:
    with pytest.raises(ValueError, match="is not the name of a shape") as raised:
        parse_shape(name)
    assert reason in str(raised.value)
    assert str(raised.value).endswith(GRAMMAR)


def test_a_shape_out_of_range_cannot_be_made() -> None:
    with pytest.raises(ValueError, match="0 assets"):
        Shape(0)
    with pytest.raises(ValueError, match="hourly partitions need a number"):
        Shape(1, partitioning=Partitioning.HOURLY)


@given(shapes())
def test_as_many_units_of_work_as_pieces_if_the_asset_does_them_all(shape: Shape) -> None:
    whole = shape.structure in (Structure.GRAPH, Structure.FUSED)
    assert shape.work_per_asset == (shape.pieces if whole else 1)


def test_the_grammar_names_every_option_there_is() -> None:
    options = [
        *Partitioning,
        *(kind for kind in Structure if kind is not Structure.PLAIN),
        *Dependencies,
        *(kind for kind in Imports if kind is not Imports.NONE),
        *Executor,
        *FLAGS,
        "part<k>of<n>",
        "checks<n>",
        "pools<n>",
        "sleep<n>ms",
    ]
    assert not [option for option in options if option not in GRAMMAR]
    assert len(fields(Shape)) == 17
