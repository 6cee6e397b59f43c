"""The answers of a small deployment to everything that a reading of it asks, by the queries' names."""

import re
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from doctor_samples import BEGIN_US, launch_events

from bench_orchestrator.model.runs import RunEvent
from bench_orchestrator.sources.graphql import _PIPELINE_TYPES
from bench_orchestrator.webserver import Webserver

BEGIN_S = BEGIN_US / 1_000_000
_GRAPHQL_TYPES = {name: kind for kind, name in _PIPELINE_TYPES.items()}


def event_answer(event: RunEvent) -> dict[str, Any]:
    """Return what GraphQL answers about an event."""
    return {
        "eventType": _GRAPHQL_TYPES.get(event.type, event.type),
        "timestamp": str(event.time_us // 1_000),
        "stepKey": event.step_key,
        "message": event.message,
    }


def run_answer(run_id: str, status: str = "SUCCESS", at_s: float = 0.0) -> dict[str, Any]:
    """Return what GraphQL answers about a run."""
    started_s = None if status == "QUEUED" else BEGIN_S + at_s + 2
    return {
        "runId": run_id,
        "status": status,
        "jobName": "nightly",
        "tags": [{"key": "team", "value": "a"}],
        "creationTime": BEGIN_S + at_s,
        "updateTime": BEGIN_S + at_s + 9,
        "startTime": started_s,
        "endTime": BEGIN_S + at_s + 9 if status == "SUCCESS" else None,
        "repositoryOrigin": {"repositoryLocationName": "sales"},
        "allPools": ["db"],
        "rootConcurrencyKeys": ["db", "db"],
        "hasUnconstrainedRootNodes": False,
    }


LOG = {
    "__typename": "EventConnection",
    "cursor": "1",
    "hasMore": False,
    "events": [event_answer(event) for event in launch_events(0.0)],
}

INFO = """
run_coordinator:
  {module: dagster.core.run_coordinator, class: QueuedRunCoordinator, config: {dequeue_interval_seconds: 2}}
run_monitoring: {enabled: true, free_slots_after_run_end_seconds: 30}
"""

_TICK = {"timestamp": BEGIN_S, "error": {"message": "late", "causes": [{"message": "DEADLINE_EXCEEDED"}]}}

ANSWERS: Mapping[str, dict[str, Any]] = {
    "BenchLocations": {
        "workspaceOrError": {
            "locationEntries": [
                {
                    "name": "sales",
                    "loadStatus": "LOADED",
                    "updatedTimestamp": BEGIN_S,
                    "displayMetadata": [],
                    "locationOrLoadError": {
                        "__typename": "RepositoryLocation",
                        "serverId": "s1",
                        "repositories": [{"name": "__repository__"}],
                    },
                },
                {
                    "name": "broken",
                    "loadStatus": "LOADED",
                    "updatedTimestamp": BEGIN_S,
                    "displayMetadata": [],
                    "locationOrLoadError": {"__typename": "PythonError", "message": "m", "causes": [{"message": "c"}]},
                },
            ]
        }
    },
    "BenchVersion": {"version": "1.13.27"},
    "BenchDaemons": {
        "instance": {
            "daemonHealth": {
                "allDaemonStatuses": [
                    {
                        "daemonType": "SENSOR",
                        "required": True,
                        "healthy": True,
                        "lastHeartbeatTime": BEGIN_S,
                        "lastHeartbeatErrors": [{"message": "no"}],
                    },
                    {
                        "daemonType": "BACKFILL",
                        "required": True,
                        "healthy": False,
                        "lastHeartbeatTime": None,
                        "lastHeartbeatErrors": [],
                    },
                ]
            }
        }
    },
    "BenchSettings": {
        "instance": {"info": INFO, "runQueuingSupported": True, "runLauncher": {"name": "DefaultRunLauncher"}}
    },
    "BenchRunLimits": {
        "instance": {
            "runQueuingSupported": True,
            "runQueueConfig": {
                "maxConcurrentRuns": 7,
                "tagConcurrencyLimitsYaml": "- {key: team, limit: 1, value: {applyLimitPerUniqueValue: true}}",
            },
        }
    },
    "BenchPoolSettings": {
        "instance": {
            "runQueueConfig": {"isOpConcurrencyAware": True},
            "poolConfig": {"poolGranularity": "run", "opGranularityRunBuffer": None},
        }
    },
    "BenchPools": {
        "instance": {
            "concurrencyLimits": [
                {
                    "concurrencyKey": "db",
                    "slotCount": 1,
                    "claimedSlots": [{"runId": "r1", "stepKey": "a"}],
                    "pendingSteps": [
                        {
                            "runId": "r2",
                            "stepKey": "b",
                            "enqueuedTimestamp": BEGIN_S,
                            "assignedTimestamp": None,
                            "priority": None,
                        }
                    ],
                }
            ]
        }
    },
    "BenchRuns": {
        "runs": {"__typename": "Runs", "results": [run_answer("r2", at_s=60.0), run_answer("r1")]},
    },
    "BenchAssets": {
        "repositoryOrError": {
            "assetNodes": [
                {"assetKey": {"path": [name]}, "isMaterializable": True, "isPartitioned": name == "a"} for name in "abc"
            ]
        }
    },
    "BenchPartitions": {"assetNodeOrError": {"partitionKeys": ["p0", "p1"]}},
    "BenchJobs": {
        "repository": {"name": "__repository__", "jobs": [{"name": "__ASSET_JOB"}, {"name": "nightly"}]},
    },
    "BenchChecks": {
        "repository": {
            "name": "__repository__",
            "assetNodes": [{"assetChecksOrError": {"checks": [{"name": "x"}]}}, {"assetChecksOrError": {}}],
        }
    },
    "BenchFailedTicks": {
        "repository": {
            "name": "__repository__",
            "schedules": [{"name": "nightly", "state": {"ticks": []}}],
            "sensors": [{"name": "files", "state": {"ticks": [_TICK]}}],
        }
    },
    "BenchLogs": {f"log{number}": LOG for number in range(25)},
}

EXPORTER_ANSWERS: Mapping[str, dict[str, Any]] = {
    **ANSWERS,
    "BenchRunCount": {"runs": {"__typename": "Runs", "count": 2}},
    "BenchLatestTicks": {
        "workspace": {
            "__typename": "Workspace",
            "locationEntries": [
                {
                    "name": "sales",
                    "locationOrLoadError": {
                        "repositories": [
                            {
                                "schedules": [
                                    {
                                        "name": "nightly",
                                        "state": {
                                            "status": "RUNNING",
                                            "ticks": [{"timestamp": BEGIN_S + 1, "status": "SUCCESS"}],
                                        },
                                    },
                                    {"name": "off", "state": {"status": "STOPPED", "ticks": []}},
                                ],
                                "sensors": [
                                    {
                                        "name": "files",
                                        "minIntervalSeconds": 30,
                                        "state": {
                                            "status": "RUNNING",
                                            "ticks": [{"timestamp": BEGIN_S + 2, "status": "FAILURE"}],
                                        },
                                    },
                                    {
                                        "name": "new",
                                        "minIntervalSeconds": 60,
                                        "state": {"status": "RUNNING", "ticks": []},
                                    },
                                ],
                            }
                        ]
                    },
                },
                {"name": "broken", "locationOrLoadError": {}},
                {"name": "loading", "locationOrLoadError": None},
            ],
        }
    },
}
"""The same, and to what only the exporter asks."""


@dataclass
class Clock:
    """A clock that only queries move."""

    now_s: float = 0.0

    def __call__(self) -> float:
        return self.now_s


class AnsweringWebserver(Webserver):
    """A webserver that answers each query by its name, and takes time for it."""

    def __init__(self, answers: Mapping[str, Any], clock: Clock, takes_s: float = 0.0) -> None:
        super().__init__("http://127.0.0.1:9")
        self.answers = answers
        self.asked: list[tuple[str, Mapping[str, Any]]] = []
        self._clock = clock
        self._takes_s = takes_s

    def query(self, document: str, variables: Mapping[str, Any] | None = None) -> dict[str, Any]:
        (name,) = re.findall(r"query (Bench\w+)", document)
        self.asked.append((name, variables or {}))
        self.traffic.requests += 1
        self._clock.now_s += self._takes_s
        answer = self.answers[name]
        if isinstance(answer, Exception):
            raise answer
        found: dict[str, Any] = answer(variables or {}, document) if callable(answer) else answer
        return found
