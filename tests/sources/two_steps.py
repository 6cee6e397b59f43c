"""A job whose steps have processes of their own, which import this file and nothing else of the tests.

The process of its first step dies before the step starts, and is tried again.
"""

import os
from pathlib import Path

import dagster as dg


@dg.resource
def fatal_once(context: dg.InitResourceContext) -> None:
    """End the first process of an instance that asks for it, without a word."""
    assert context.instance is not None
    seen = Path(context.instance.root_directory) / "fatal_once"
    if not seen.exists():
        seen.touch()
        os._exit(9)


@dg.op(required_resource_keys={"fatal_once"}, retry_policy=dg.RetryPolicy(max_retries=1))
def first() -> int:
    return 1


@dg.op
def second(number: int) -> int:
    return number + 1


@dg.job(executor_def=dg.multiprocess_executor, resource_defs={"fatal_once": fatal_once})
def two_steps() -> None:
    second(first())
