"""A job whose steps have processes of their own, which import this file and nothing else of the tests."""

import dagster as dg


@dg.op
def first() -> int:
    return 1


@dg.op
def second(number: int) -> int:
    return number + 1


@dg.job(executor_def=dg.multiprocess_executor)
def two_steps() -> None:
    second(first())
