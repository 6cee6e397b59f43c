"""The order in which a part of something stands for all of it."""

from collections.abc import Collection, Sequence
from itertools import zip_longest
from typing import TypeVar

_Item = TypeVar("_Item")


def spread_evenly(items: Sequence[_Item]) -> list[_Item]:
    """Return the items in an order of which each beginning is spread over the whole sequence (van der Corput)."""
    bits = (len(items) - 1).bit_length()
    positions = (int(format(number, f"0{bits}b")[::-1], 2) for number in range(1 << bits))
    return [items[position] for position in positions if position < len(items)]


def take_turns(groups: Collection[Sequence[_Item]]) -> list[_Item]:
    """Return the items of all groups, one of each in turn, each group in an order that is spread evenly."""
    absent = object()
    turns = zip_longest(*map(spread_evenly, groups), fillvalue=absent)
    return [item for turn in turns for item in turn if item is not absent]  # type: ignore[misc]  # only `absent` is none
