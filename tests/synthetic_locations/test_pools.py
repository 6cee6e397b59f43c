"""Names of pools are ones that Dagster takes, and no two locations share one."""

import dagster as dg
import pytest
from hypothesis import given
from hypothesis import strategies as st

from synthetic_locations.pools import pool_names
from synthetic_locations.shape import Shape, parse_shape

locations = st.one_of(
    st.from_regex(r"[A-Za-z0-9_-]{1,20}", fullmatch=True),
    st.from_regex(r"a(_pool_[0-9]{1,2}){0,2}", fullmatch=True),
)


@pytest.mark.parametrize(
    ("name", "location", "names"),
    [
        ("a10_pools3", "a10_pools3", ["a10_pools3_pool_0", "a10_pools3_pool_1", "a10_pools3_pool_2"]),
        ("a10_pools1", "my-location", ["my-location_pool_0"]),
        ("a10", "a10", []),
    ],
)
def test_known_names(name: str, location: str, names: list[str]) -> None:
    assert pool_names(parse_shape(name), location) == names


@given(st.integers(1, 50), locations)
def test_dagster_takes_every_name(pools: int, location: str) -> None:
    for name in pool_names(Shape(50, pools=pools), location):
        assert dg.op(name="op", pool=name)(lambda: None).pool == name


@given(st.lists(locations, max_size=5, unique=True))
def test_pools_have_different_names_throughout_a_deployment(names: list[str]) -> None:
    shape = Shape(20, pools=15)
    found = [name for location in names for name in pool_names(shape, location)]
    assert len(set(found)) == 15 * len(names)
