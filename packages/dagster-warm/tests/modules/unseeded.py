"""Generators that nobody seeds."""

import random

import numpy as np

DICE = random.Random()
RNG = np.random.default_rng()
OLD = np.random.RandomState()


def look() -> dict[str, object]:
    return {"seeds": 0}


def own() -> dict[str, object]:
    return {"dice": DICE.random(), "rng": RNG.random(), "old": OLD.rand(), "spawned": RNG.spawn(1)[0].random()}
