"""Names of shapes: parsing is the exact inverse of printing, and a bad name is answered with the grammar."""

import keyword
from dataclasses import fields

import pytest
from hypothesis import assume, given
from hypothesis import strategies as st

from synthetic_locations.shape import (
    GRAMMAR,
    MAX_ASSETS,
    MAX_CHECKS,
    MAX_COMPUTE_MS,
    MAX_PARTITIONS,
    Dependencies,
    Executor,
    Partitioning,
    Shape,
    parse_shape,
)


def counts(lowest: int, highest: int) -> st.SearchStrategy[int]:
    """Numbers of a range, whole thousands about as often as others."""
    thousands = st.integers(0, highest // 1000).map(lambda thousand: thousand * 1000)
    return st.one_of(st.integers(lowest, highest), thousands.filter(lambda count: lowest <= count))


@st.composite
def shapes(draw: st.DrawFn) -> Shape:
    partitions = draw(counts(0, MAX_PARTITIONS))
    return Shape(
        assets=draw(counts(1, MAX_ASSETS)),
        partitions=partitions,
        partitioning=draw(st.sampled_from(Partitioning)) if partitions else Partitioning.STATIC,
        dependencies=draw(st.sampled_from(Dependencies)),
        checks=draw(counts(0, MAX_CHECKS)),
        compute_ms=draw(st.one_of(st.just(Shape.compute_ms), counts(0, MAX_COMPUTE_MS))),
        executor=draw(st.sampled_from(Executor)),
    )


# Most of these are almost a name: in the wrong order, with leading zeros, with a default spelled out.
near_names = st.builds(
    lambda size, options: "_".join([size, *options]),
    st.from_regex(r"a0?[0-9]{1,6}k?(p0?[0-9]{1,6}k?)?", fullmatch=True),
    st.lists(
        st.one_of(
            st.sampled_from([*Partitioning, *Dependencies, *Executor, "", "forkserver"]),
            st.from_regex(r"checks[0-9]{0,4}|sleep[0-9]{0,4}(ms|s)?", fullmatch=True),
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
            Shape(100, 30, Partitioning.DAILY, Dependencies.LAYERED, 2, 500, Executor.IN_PROCESS),
        ),
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
        ("a0", "0 assets, where 1 to 100000 are possible"),
        ("a101k", "101000 assets, where 1 to 100000 are possible"),
        ("a1p101k", "101000 partitions, where 0 to 100000 are possible"),
        ("a10_weekly", "there is no option 'weekly'"),
        ("a10_", "there is no option ''"),
        ("a10_checks", "there is no option 'checks'"),
        ("a10_checks101", "101 checks per asset, where 0 to 100 are possible"),
        ("a10_sleep1s", "there is no option 'sleep1s'"),
        ("a10_sleep3600001ms", "3600001 milliseconds of sleep, where 0 to 3600000 are possible"),
        ("a10_daily", "daily partitions need a number"),
        ("a10p5_daily_hourly", "'hourly' is a second partitioning option"),
        ("a10_chain_chain", "'chain' is a second dependencies option"),
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


def test_the_grammar_names_every_option_there_is() -> None:
    options = [*Partitioning, *Dependencies, Executor.IN_PROCESS, "checks<n>", "sleep<n>ms"]
    assert not [option for option in options if option not in GRAMMAR]
    assert len(fields(Shape)) == 7
