"""What a measurement depends on besides the code under test: versions, the machine, the deployment's settings.

The only module that looks into a Dagster instance's make-up (its launcher, coordinator, storages and limits), for
which Dagster has no public API; `tests/sweeps/test_environment.py` pins what it relies on.
"""

import os
import platform
from collections.abc import Mapping
from importlib.metadata import version
from pathlib import Path
from typing import Any

from dagster import DagsterInstance

from dagster_warm.launcher import WarmRunLauncher


def describe_environment(instance: DagsterInstance) -> dict[str, Any]:
    """The environment as plain data, for the row of every launch and the foot of every chart."""
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
        "dequeue_interval_s": getattr(instance.run_coordinator, "dequeue_interval_seconds", None),
        "run_monitoring": instance.run_monitoring_enabled,
    }


def kubernetes_namespace(instance: DagsterInstance) -> str | None:
    """The namespace of the Kubernetes jobs that runs are; None where they are none."""
    launcher = instance.run_launcher
    if isinstance(launcher, WarmRunLauncher):
        launcher = launcher.cold
    return getattr(launcher, "job_namespace", None)


def is_launched_warm(instance: DagsterInstance, location: str) -> bool:
    """Whether the launcher has the runs of this location forked by its code server."""
    launcher = instance.run_launcher
    return isinstance(launcher, WarmRunLauncher) and launcher.is_warm(location)


def blocking_limit(instance: DagsterInstance, sweep_tags: dict[str, str], trial_tags: dict[str, str]) -> str:
    """Why the run limits cannot let a sweep and one of its trials run together; empty when they can."""
    queue = instance.get_concurrency_config().run_queue_config
    if queue is None:
        return ""
    if 0 <= queue.max_concurrent_runs < 2:
        return (
            f"max_concurrent_runs is {queue.max_concurrent_runs}, and a sweep and its trial are two runs. "
            "Set concurrency.runs.max_concurrent_runs in dagster.yaml to 2 or more."
        )
    for limit in queue.tag_concurrency_limits:
        needed = _runs_counted(limit, sweep_tags, trial_tags)
        if limit["limit"] < needed:
            return (
                f"the tag limit on {limit['key']!r} lets {limit['limit']} run at a time, and a sweep and its "
                f"trial need {needed}. Raise or remove it in dagster.yaml under "
                "concurrency.runs.tag_concurrency_limits."
            )
    return ""


def _runs_counted(limit: Mapping[str, Any], sweep_tags: dict[str, str], trial_tags: dict[str, str]) -> int:
    """How many of a sweep and its trial fall under one tag limit together."""
    key, value = limit["key"], limit.get("value")
    per_value = isinstance(value, dict) and value["applyLimitPerUniqueValue"]
    counted = [
        tags[key]
        for tags in (sweep_tags, trial_tags)
        if key in tags and (value == tags[key] or not isinstance(value, str))
    ]
    if per_value:  # applyLimitPerUniqueValue: only equal values compete
        return max((counted.count(one) for one in counted), default=0)
    return len(counted)


def _cpu_model() -> str:
    cpuinfo = Path("/proc/cpuinfo")
    if cpuinfo.exists():
        for line in cpuinfo.read_text().splitlines():
            if line.startswith("model name"):
                return line.partition(":")[2].strip()
    return platform.processor() or platform.machine()
