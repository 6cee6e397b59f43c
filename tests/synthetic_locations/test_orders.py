"""The orders are the same everywhere, and a batch's expected sum is what reading and transforming it gives."""

from hypothesis import given
from hypothesis import strategies as st

from synthetic_locations.kinds import Etl
from synthetic_locations.orders import (
    MAX_CENTS,
    expected_sum,
    order_amounts,
    orders_of,
    print_orders,
    read_amounts,
    transform_amounts,
)

etls = st.builds(
    lambda batches, stages, further: Etl(batches, stages, batches + further),
    st.integers(1, 50),
    st.integers(2, 20),
    st.integers(0, 300),
)


def test_the_orders_are_the_same_in_every_process_and_python_version() -> None:
    assert order_amounts(4) == [7808, 3344, 485, 1242]
    assert sum(order_amounts(Etl.rows)) == 14_826_423
    assert print_orders(2) == "order,cents\n0,7808\n1,3344\n"


@given(st.integers(0, 3_000), st.integers(0, 3_000))
def test_fewer_orders_are_the_first_of_more(rows: int, further: int) -> None:
    amounts = order_amounts(rows + further)
    assert amounts[:rows] == order_amounts(rows)
    assert all(1 <= amount <= MAX_CENTS for amount in amounts)


@given(etls)
def test_every_order_is_in_one_batch_and_batches_are_of_one_size(etl: Etl) -> None:
    batches = [orders_of(etl, number) for number in range(etl.batches)]
    assert [order for batch in batches for order in batch] == list(range(etl.rows))
    assert {len(batch) for batch in batches} <= {etl.rows // etl.batches, etl.rows // etl.batches + 1}


@given(etls, st.data())
def test_the_expected_sum_is_that_of_reading_and_transforming(etl: Etl, data: st.DataObject) -> None:
    batch = data.draw(st.integers(0, etl.batches - 1))
    cents = read_amounts(print_orders(etl.rows).splitlines(), orders_of(etl, batch))
    assert len(cents) == len(orders_of(etl, batch))
    for _ in range(etl.stages - 2):
        cents = transform_amounts(cents)
    assert sum(cents) == expected_sum(etl, batch)
