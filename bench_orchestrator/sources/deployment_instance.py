"""Read what a deployment's webserver tells of its instance: version, settings, daemons, limits, pools, queue.

Each function sends one query with its own fields, so a field that an older webserver lacks fails that query alone.
"""

from collections import Counter
from collections.abc import Mapping
from typing import Any

import yaml
from pydantic import TypeAdapter

from bench_orchestrator.model.deployment_reading import Daemon, InstanceSettings
from bench_orchestrator.model.errors import one_line
from bench_orchestrator.model.run_queue import (
    Granularity,
    Holder,
    PendingStep,
    Pool,
    QueuedRun,
    RunLimits,
    pool_of,
    read_tag_limits,
)
from bench_orchestrator.model.runs import Run, RunStatus
from bench_orchestrator.sources.graphql import LOCATION_FIELD, find_runs, list_runs, location_of, run_of, to_us
from bench_orchestrator.webserver import Webserver, understood

DAGSTERS_INTERVAL_S = 5.0
"""How often Dagster's daemon looks at the queue unless it is told otherwise."""

_PROMPT, _QUEUED = "PromptRunCoordinator", "QueuedRunCoordinator"
_LIMITS = frozenset({"max_concurrent_runs", "tag_concurrency_limits"})
_DAEMON_OF, _SETTINGS_OF = TypeAdapter(Daemon), TypeAdapter(InstanceSettings)
_LIMITS_OF, _QUEUED_RUN_OF = TypeAdapter(RunLimits), TypeAdapter(QueuedRun)
_NAMED_NUMBER = TypeAdapter(tuple[str, int])
_STEPS, _PENDING = TypeAdapter(list[tuple[str, str]]), TypeAdapter(list[PendingStep])
_POOL_FIELDS = "allPools rootConcurrencyKeys hasUnconstrainedRootNodes"


@understood
def read_version(webserver: Webserver) -> str:
    """Return the webserver's version of Dagster."""
    return one_line(str(webserver.query(_VERSION)["version"] or ""), 40)


@understood
def read_daemons(webserver: Webserver) -> tuple[Daemon, ...]:
    """Return the daemons of the instance."""
    statuses = webserver.query(_DAEMONS)["instance"]["daemonHealth"]["allDaemonStatuses"]
    return tuple(_daemon(status) for status in statuses)


@understood
def read_settings(webserver: Webserver) -> InstanceSettings:
    """Return the settings that the webserver shows of dagster.yaml, and what follows from its queue."""
    instance = webserver.query(_SETTINGS)["instance"]
    launcher, queues = instance["runLauncher"], instance["runQueuingSupported"]
    shown = _read_yaml(instance["info"])
    coordinator = shown.get("run_coordinator")
    own = coordinator if isinstance(coordinator, Mapping) else {}
    name = str(own.get("class") or (_QUEUED if queues else ""))
    config = own.get("config")
    config = config if isinstance(config, Mapping) else {}
    interval_s = config.get("dequeue_interval_seconds")
    if name == _PROMPT:
        interval_s = 0.0
    elif interval_s is None and name == _QUEUED and shown:
        interval_s = DAGSTERS_INTERVAL_S
    elsewhere = "run_queue" in shown or not _LIMITS.isdisjoint(config)
    monitoring = shown.get("run_monitoring")
    return _SETTINGS_OF.validate_python(
        {
            "launcher": launcher["name"] if launcher else "",
            "coordinator": name,
            "interval_s": interval_s if queues else None,
            "section": "run_queue or run_coordinator" if elsewhere else "concurrency.runs",
            "shown": bool(shown),
            "free_slots_after_s": (
                monitoring.get("free_slots_after_run_end_seconds") if isinstance(monitoring, Mapping) else None
            ),
        }
    )


@understood
def read_run_limits(webserver: Webserver, section: str) -> RunLimits | None:
    """Return the limits of the run queue; None if the instance has none."""
    instance = webserver.query(_RUN_LIMITS)["instance"]
    queue = instance["runQueueConfig"]
    if not instance["runQueuingSupported"] or queue is None:
        return None
    return _LIMITS_OF.validate_python(
        {
            "max_concurrent_runs": queue["maxConcurrentRuns"],
            "tag_limits": read_tag_limits(yaml.safe_load(queue["tagConcurrencyLimitsYaml"] or "[]")),
            "section": section,
        }
    )


@understood
def read_pool_settings(webserver: Webserver) -> tuple[Granularity | None, int]:
    """Return what takes a slot of a pool, None if runs are not held in the queue for pools, and the slot buffer."""
    instance = webserver.query(_POOL_SETTINGS)["instance"]
    queue, pools = instance["runQueueConfig"], instance["poolConfig"] or {}
    if not queue or not queue["isOpConcurrencyAware"]:
        return None, 0
    return Granularity(pools.get("poolGranularity") or Granularity.OP), int(pools.get("opGranularityRunBuffer") or 0)


@understood
def read_pools(webserver: Webserver) -> dict[str, Pool]:
    """Return the pools with limits by name, with the runs that hold their slots."""
    answers = webserver.query(_POOLS)["instance"]["concurrencyLimits"]
    holding = {slot["runId"] for answer in answers for slot in (*answer["claimedSlots"], *answer["pendingSteps"])}
    runs = find_runs(webserver, {}, run_ids=sorted(holding)) if holding else []
    holders = {run.run_id: Holder(run.run_id, run.job, run.status) for run in runs}
    return {answer["concurrencyKey"]: _pool(answer, holders) for answer in answers}


@understood
def read_queued_runs(
    webserver: Webserver, statuses: list[RunStatus], *, most: int, with_pools: bool = True
) -> list[QueuedRun]:
    """Return the newest runs of these statuses as the queue counts them, oldest first.

    Args:
        with_pools: whether to ask for the pools of their steps, which older webservers do not know.
    """
    fields = f"{LOCATION_FIELD} {_POOL_FIELDS if with_pools else ''}"
    answers = list_runs(webserver, {"statuses": statuses}, most=most, more_fields=fields)
    return [_queued_run(answer, run_of(answer)) for answer in reversed(answers)]


def _read_yaml(text: str | None) -> Mapping[str, Any]:
    """Return the instance's settings; empty if they are not shown, or hold what only Dagster's own YAML can."""
    try:
        shown = yaml.safe_load(text or "")
    except yaml.YAMLError:
        return {}
    return shown if isinstance(shown, Mapping) else {}


def _daemon(status: Mapping[str, Any]) -> Daemon:
    heartbeat_s = status["lastHeartbeatTime"]
    return _DAEMON_OF.validate_python(
        {
            "name": status["daemonType"],
            "required": status["required"],
            "healthy": status["healthy"],
            "heartbeat_us": None if heartbeat_s is None else to_us(heartbeat_s),
            "errors": tuple(one_line(error["message"], 300) for error in status["lastHeartbeatErrors"]),
        }
    )


def _pool(answer: Mapping[str, Any], holders: Mapping[str, Holder]) -> Pool:
    name, slots = _NAMED_NUMBER.validate_python((answer["concurrencyKey"], answer["slotCount"]))
    claimed = _STEPS.validate_python([(slot["runId"], slot["stepKey"]) for slot in answer["claimedSlots"]])
    pending = _PENDING.validate_python(
        [
            {
                "run_id": step["runId"],
                "step": step["stepKey"],
                "asked_us": to_us(step["enqueuedTimestamp"]),
                "given_us": None if step["assignedTimestamp"] is None else to_us(step["assignedTimestamp"]),
                "priority": step["priority"] or 0,
            }
            for step in answer["pendingSteps"]
        ]
    )
    return pool_of(name, slots, claimed, pending, holders)


def _queued_run(answer: Mapping[str, Any], run: Run) -> QueuedRun:
    free = answer.get("hasUnconstrainedRootNodes")
    waits = run.status is RunStatus.QUEUED
    return _QUEUED_RUN_OF.validate_python(
        {
            "run_id": run.run_id,
            "job": run.job,
            "status": run.status,
            "tags": run.tags,
            "since_us": run.started_us or (run.created_us if waits else run.updated_us),
            "location": location_of(answer),
            "pools": frozenset(answer.get("allPools") or ()),
            "first_pools": dict(Counter(answer.get("rootConcurrencyKeys") or ())),
            "begins_freely": True if free is None else free,
        }
    )


_VERSION = """
query BenchVersion { version }
"""

_DAEMONS = """
query BenchDaemons {
  instance {
    daemonHealth {
      allDaemonStatuses { daemonType required healthy lastHeartbeatTime lastHeartbeatErrors { message } }
    }
  }
}
"""

_SETTINGS = """
query BenchSettings { instance { info runQueuingSupported runLauncher { name } } }
"""

_RUN_LIMITS = """
query BenchRunLimits {
  instance { runQueuingSupported runQueueConfig { maxConcurrentRuns tagConcurrencyLimitsYaml } }
}
"""

_POOL_SETTINGS = """
query BenchPoolSettings {
  instance { runQueueConfig { isOpConcurrencyAware } poolConfig { poolGranularity opGranularityRunBuffer } }
}
"""

_POOLS = """
query BenchPools {
  instance {
    concurrencyLimits {
      concurrencyKey
      slotCount
      claimedSlots { runId stepKey }
      pendingSteps { runId stepKey enqueuedTimestamp assignedTimestamp priority }
    }
  }
}
"""
