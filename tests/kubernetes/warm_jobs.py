"""The code of the locations in test_warm_release, whose pods have this file alone."""

import time
from contextlib import suppress
from pathlib import Path

import dagster as dg
from dagster_k8s import k8s_job_executor


class Waiting(dg.Config):
    """How long a run is in progress."""

    seconds: float = 0


class Hoarding(dg.Config):
    """What a run does with memory."""

    spared: bool = False
    """Whether the kernel should kill all others in the container first: runs, template and server."""


@dg.op
def pause(config: Waiting) -> None:
    """Wait."""
    time.sleep(config.seconds)


@dg.op
def take_all(config: Hoarding) -> None:
    """Take memory until the kernel kills a process for it."""
    if config.spared:
        with suppress(PermissionError):  # where that takes a privilege, the kernel is to kill the whole container
            Path("/proc/self/oom_score_adj").write_text("0")
    taken = []
    while True:
        taken.append(b"x" * 2**20)


@dg.job(executor_def=dg.in_process_executor)
def wait() -> None:
    """Wait in the run's process."""
    pause()


@dg.job(executor_def=dg.in_process_executor)
def hoard() -> None:
    """Run out of memory in the run's process."""
    take_all()


@dg.job(executor_def=k8s_job_executor)
def pods() -> None:
    """Have a pod for each step."""
    pause.alias("first")()
    pause.alias("second")()


defs = dg.Definitions(jobs=[wait, hoard, pods])
