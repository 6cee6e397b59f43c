"""Generators that are seeded."""

import random

import numpy as np

random.seed(42)
np.random.seed(42)
DICE = random.Random(7)
RNG = np.random.default_rng(7)


def look() -> dict[str, object]:
    return {"common": random.random(), "numpy": np.random.rand(), "dice": DICE.random(), "rng": RNG.random()}
