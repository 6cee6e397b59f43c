"""Floating point errors that raise."""

import numpy as np

np.seterr(divide="raise")


def look() -> dict[str, object]:
    try:
        np.ones(1) / np.zeros(1)
    except FloatingPointError:
        return {"raises": True}
    return {"raises": False}
