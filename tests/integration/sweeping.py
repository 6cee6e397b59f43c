"""What tests of real sweeps share: a deployment to sweep in, and what must be true after any sweep, good or bad."""

import time
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import dagster as dg
import psutil
from leftovers import assert_nothing_left

from bench_orchestrator import remote
from bench_orchestrator.deployment import META_LOCATION, CodeLocation, Deployment, LocationState, read_locations
from bench_orchestrator.event_log import Run, find_runs, find_trial_runs, get_run, read_journal
from bench_orchestrator.harvest import harvest_sweep
from bench_orchestrator.launching import Webserver
from bench_orchestrator.model import INIT_STAGES, MEASUREMENTS_ASSET, QUEUE_STAGES, Outcome, Stage, Sweep, SweepPlan, Tag
from bench_orchestrator.store import Store

FAST = "a3_sleep0ms_inprocess"
"""A location whose launches are as short as launches get."""

PARTITIONED = "a2p3_sleep0ms_inprocess"
ENDLESS = "a1_sleep600000ms_inprocess"
"""A location whose one asset takes ten minutes."""

RAISING_MODULE = """
import dagster as dg

@dg.asset(key_prefix="raising")
def table() -> None:
    raise ValueError("the warehouse is closed")

defs = dg.Definitions(assets=[table], executor=dg.in_process_executor)
"""

WAIT_S = 180.0
"""For things that take a few seconds on an idle machine."""


def wait_until[T](condition: Callable[[], T], what: str, timeout_s: float = WAIT_S) -> T:
    """What the condition gives as soon as it gives something."""
    deadline = time.monotonic() + timeout_s
    while not (found := condition()):
        assert time.monotonic() < deadline, f"{what}: not within {timeout_s:g} s"
        time.sleep(0.2)
    return found
