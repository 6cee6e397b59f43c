"""Each beginning of the order stands for the whole: it is spread over the sequence, and over the groups."""

from itertools import pairwise

from hypothesis import given
from hypothesis import strategies as st

from bench_orchestrator.model.sampling import spread_evenly, take_turns


@given(st.integers(0, 300), st.data())
def test_a_beginning_leaves_no_large_gap(count: int, data: st.DataObject) -> None:
    order = spread_evenly(range(count))
    assert sorted(order) == list(range(count))
    if count:
        taken = data.draw(st.integers(1, count))
        chosen = [-1, *sorted(order[:taken]), count]
        # The positions are fractions of a power of two that is less than twice as large.
        assert max(later - earlier for earlier, later in pairwise(chosen)) <= 4 * count / taken + 1


@given(st.lists(st.lists(st.integers(), max_size=40), max_size=6))
def test_each_group_has_its_turn(groups: list[list[int]]) -> None:
    named = [[(number, position, item) for position, item in enumerate(group)] for number, group in enumerate(groups)]
    order = take_turns(named)
    assert sorted(order) == sorted(item for group in named for item in group)
    for taken in range(len(order)):
        counts = [sum(number == item[0] for item in order[:taken]) for number in range(len(named))]
        fullest = max(counts, default=0)
        assert all(count >= min(fullest - 1, len(group)) for count, group in zip(counts, named, strict=True))
