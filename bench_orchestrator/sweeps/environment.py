"""The environment of a measurement: versions, the machine, the deployment's settings.

It inspects an instance's launcher, coordinator, storages and limits, for which Dagster has no public API.
`tests/sweeps/test_environment.py` pins what it relies on.
"""

import os
import platform
from importlib.metadata import version
from pathlib import Path
from typing import Any

from dagster import DagsterInstance

from bench_orchestrator.analysis.run_queue import exceeded
from bench_orchestrator.sources.run_queue import dequeue_interval_s, read_limits
from dagster_warm.launcher import WarmRunLauncher


def describe_environment(instance: DagsterInstance) -> dict[str, Any]:
    """Return the environment as plain data, for the plan of a sweep and the footer of every chart."""
    queue = instance.get_concurrency_config().run_queue_config
    return {
        "bench": version("dagster-bench"),
        "dagster": version("dagster"),
        "python": platform.python_version(),
        "platform": platform.platform(terse=True),
        "cpu_count": os.cpu_count(),
        "cpu_model": _cpu_model(),
        "launcher": type(instance.run_launcher).__name__,
        "coordinator": type(instance.run_coordinator).__name__,
        "storage": type(instance.event_log_storage).__name__,
        "max_concurrent_runs": queue.max_concurrent_runs if queue else None,
        "tag_concurrency_limits": list(queue.tag_concurrency_limits) if queue else [],
        "dequeue_interval_s": dequeue_interval_s(instance),
        "run_monitoring": instance.run_monitoring_enabled,
    }


def kubernetes_namespace(instance: DagsterInstance) -> str | None:
    """Return the namespace of the runs' Kubernetes jobs; None if runs are not Kubernetes jobs."""
    return getattr(instance.run_launcher, "job_namespace", None)


def is_launched_warm(instance: DagsterInstance, location: str) -> bool:
    """Return whether the location's code server forks its runs."""
    launcher = instance.run_launcher
    return isinstance(launcher, WarmRunLauncher) and launcher.is_warm(location)


def blocking_limit(instance: DagsterInstance, sweep_tags: dict[str, str], trial_tags: dict[str, str]) -> str:
    """Return why the run limits prevent a sweep and a trial from running together; empty if they do not."""
    limits = read_limits(instance)
    if limits is None:
        return ""
    if 0 <= limits.max_concurrent_runs < 2:
        return (
            f"max_concurrent_runs is {limits.max_concurrent_runs}, and a sweep and its trial are two runs. "
            f"Set max_concurrent_runs under {limits.section} in dagster.yaml to 2 or more."
        )
    for limit, needed in exceeded(limits, (sweep_tags, trial_tags)):
        return (
            f"{limit}, and a sweep and its trial need {needed}. Raise or remove it in dagster.yaml under "
            f"{limits.section}, tag_concurrency_limits."
        )
    return ""


def _cpu_model() -> str:
    cpuinfo = Path("/proc/cpuinfo")
    if cpuinfo.exists():
        for line in cpuinfo.read_text().splitlines():
            if line.startswith("model name"):
                return line.partition(":")[2].strip()
    return platform.processor() or platform.machine()
