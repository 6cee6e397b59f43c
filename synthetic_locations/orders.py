"""The data of an extract–transform–load job: a CSV file of orders, and what each batch of them must sum to.

The orders are made here, by Python's random number generator with a fixed seed: the same number of rows is the same
file in every process and Python version. Does not depend on Dagster.
"""

import csv
import io
import random
from collections.abc import Iterable, Sequence
from itertools import islice

from synthetic_locations.kinds import Etl

MAX_CENTS = 10_000
_SEED = 60_050


def order_amounts(rows: int) -> list[int]:
    """Return the amount of each order, 1 to MAX_CENTS cents."""
    generator = random.Random(_SEED)
    # Of all methods of the generator, `random` alone is promised to stay the same in later versions of Python.
    return [1 + int(generator.random() * MAX_CENTS) for _ in range(rows)]


def print_orders(rows: int) -> str:
    """Return the CSV file: a header, and a row with the number and amount of each order. Numbers start at 0."""
    text = io.StringIO()
    table = csv.writer(text, lineterminator="\n")
    table.writerow(["order", "cents"])
    table.writerows(enumerate(order_amounts(rows)))
    return text.getvalue()


def orders_of(etl: Etl, batch: int) -> range:
    """Return the numbers of a batch's orders: neighbours, as many as in any other batch or one more."""
    return range(batch * etl.rows // etl.batches, (batch + 1) * etl.rows // etl.batches)


def read_amounts(file: Iterable[str], orders: range) -> list[int]:
    """Return the amounts of neighbouring orders, in cents, from the lines of a CSV file."""
    return [int(row["cents"]) for row in islice(csv.DictReader(file), orders.start, orders.stop)]


def transform_amounts(cents: Sequence[int]) -> list[int]:
    """Return each amount doubled, and a cent more: the work of a transforming stage."""
    return [2 * amount + 1 for amount in cents]


def expected_sum(etl: Etl, batch: int) -> int:
    """Return the sum of a batch's amounts after its last transforming stage, in cents.

    Computed without the file and without transforming: after t stages, an amount a is (a + 1) · 2^t − 1.
    """
    orders = orders_of(etl, batch)
    extracted = sum(order_amounts(orders.stop)[orders.start :])
    return int((extracted + len(orders)) * 2 ** (etl.stages - 2)) - len(orders)
