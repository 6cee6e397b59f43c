"""Gives a forked process random numbers of its own, unless the code that it inherits has seeded the generator.

Concerns `random`, its `Random` objects, numpy's global state and numpy's generators.
"""

import random
import secrets
import sys
import weakref
from collections.abc import Iterable
from functools import wraps
from typing import Any

_COMMON: random.Random = random._inst
"""The generator behind the functions of `random`."""
_unseeded = weakref.WeakSet([_COMMON])
_drawn: set[int] = set()
"""The numbers that `secrets.randbits` gave: numpy seeds a generator with one of them unless it is given a seed."""
_generators: list[Any] = []
"""numpy's bit generators that nobody has seeded."""
_states: list[Any] = []
"""The state of `random`, if it was seeded: a fork seeds it anew, whoever has seeded it."""


def watch() -> None:
    """Note from now on which generators are seeded. Must come before numpy is imported."""
    seed, setstate, randbits = random.Random.seed, random.Random.setstate, secrets.randbits

    @wraps(seed)
    def note_seed(self: random.Random, a: Any = None, *args: Any, **kwargs: Any) -> None:
        seed(self, a, *args, **kwargs)
        (_unseeded.add if a is None else _unseeded.discard)(self)

    @wraps(setstate)
    def note_state(self: random.Random, state: Any) -> None:
        setstate(self, state)
        _unseeded.discard(self)

    @wraps(randbits)
    def note_bits(k: int) -> int:
        bits = randbits(k)
        _drawn.add(bits)
        return bits

    random.Random.seed, random.Random.setstate = note_seed, note_state  # type: ignore[method-assign]
    secrets.randbits = note_bits
    random.seed, random.setstate = _COMMON.seed, _COMMON.setstate


def note_before_fork(objects: Iterable[object]) -> None:
    """Note which generators a forked process is to seed anew.

    Args:
        objects: those among which to look for numpy's generators.
    """
    if not _states and _COMMON not in _unseeded:
        _states.append(random.getstate())
    numpy_random = sys.modules.get("numpy.random")
    if numpy_random is None:
        return
    common = numpy_random.mtrand._rand._bit_generator
    for one in objects:
        if issubclass(type(one), numpy_random.BitGenerator):
            sequence = one._seed_seq  # type: ignore[attr-defined]
            if sequence is not None and (one is common or getattr(sequence, "entropy", None) in _drawn):
                _generators.append(one)


def reseed() -> None:
    """Seed the generators anew that nobody has seeded."""
    for state in _states:
        random.setstate(state)
    for generator in _unseeded:
        generator.seed()
    for generator in _generators:
        generator.__setstate__(type(generator)().__getstate__())
