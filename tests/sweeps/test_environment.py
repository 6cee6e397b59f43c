"""The contract with Dagster's private API: what `environment` reads from an instance exists, with the expected meaning.
If a new Dagster release breaks a test in here, adapt `bench_orchestrator/sweeps/environment.py`.
"""

import itertools
import json
from collections.abc import Mapping
from importlib.metadata import version
from pathlib import Path
from typing import Any

import dagster as dg
import pytest
import yaml
from dagster._core.run_coordinator import DefaultRunCoordinator, QueuedRunCoordinator
from dagster._utils.tags import TagConcurrencyLimitsCounter

from bench_orchestrator.sweeps.environment import (
    blocking_limit,
    describe_environment,
    is_launched_warm,
    kubernetes_namespace,
)

SWEEP = {"bench/kind": "sweep", "bench/scenario": "quick", "team": "data"}
TRIAL = {"bench/kind": "trial", "bench/scenario": "quick"}


def instance_with(home: Path, settings: Mapping[str, Any]) -> dg.DagsterInstance:
    """Return the instance of a dagster.yaml with these settings."""
    (home / "dagster.yaml").write_text(yaml.safe_dump({"telemetry": {"enabled": False}, **settings}))
    return dg.DagsterInstance.get()


K8S: Mapping[str, Any] = {
    "module": "dagster_k8s",
    "class": "K8sRunLauncher",
    "config": {
        "job_namespace": "bench",
        "service_account_name": "launcher",
        "instance_config_map": "instance",
        "dagster_home": "/home",
    },
}


def warm(**config: Any) -> dict[str, Any]:
    return {"module": "dagster_warm.launcher", "class": "WarmRunLauncher", "config": config}


@pytest.mark.parametrize(
    ("launcher", "namespace", "is_warm"),
    [
        (None, None, (False, False)),
        (K8S, "bench", (False, False)),
        (warm(), None, (True, True)),
        (warm(cold=K8S), "bench", (True, True)),
        (warm(cold=K8S, locations=["a10_warm"]), "bench", (True, False)),
    ],
)
def test_the_launcher_says_whether_runs_are_jobs_or_forked(
    prepared_home: Path,
    monkeypatch: pytest.MonkeyPatch,
    launcher: Mapping[str, Any] | None,
    namespace: str | None,
    is_warm: tuple[bool, bool],
) -> None:
    monkeypatch.setattr("kubernetes.config.load_incluster_config", lambda: None)
    with instance_with(prepared_home, {"run_launcher": dict(launcher)} if launcher else {}) as instance:
        assert kubernetes_namespace(instance) == namespace
        assert tuple(is_launched_warm(instance, name) for name in ("a10_warm", "a10")) == is_warm


class TestTheEnvironment:
    def test_the_projects_own_instance_is_described_in_full(self, home_instance: dg.DagsterInstance) -> None:
        environment = describe_environment(home_instance)
        assert {key: environment[key] for key in environment if key not in ("python", "platform")} == {
            "bench": version("dagster-bench"),
            "dagster": dg.__version__,
            "cpu_count": environment["cpu_count"],
            "cpu_model": environment["cpu_model"],
            "launcher": "DefaultRunLauncher",
            "coordinator": "QueuedRunCoordinator",
            "storage": "SqliteEventLogStorage",
            "max_concurrent_runs": 10,
            "tag_concurrency_limits": [],
            "dequeue_interval_s": 5,
            "run_monitoring": False,
        }
        assert environment["cpu_count"] >= 1
        assert all(environment[key] for key in ("python", "platform", "cpu_model"))

    def test_it_is_plain_data(self, home_instance: dg.DagsterInstance) -> None:
        environment = describe_environment(home_instance)
        assert json.loads(json.dumps(environment)) == environment

    def test_the_settings_of_dagster_yaml_are_in_it(self, prepared_home: Path) -> None:
        limits = [{"key": "team", "limit": 3}]
        settings = {
            "concurrency": {"runs": {"max_concurrent_runs": 7, "tag_concurrency_limits": limits}},
            "run_monitoring": {"enabled": True},
        }
        with instance_with(prepared_home, settings) as instance:
            environment = describe_environment(instance)
        assert environment["max_concurrent_runs"] == 7
        assert environment["tag_concurrency_limits"] == limits
        assert environment["run_monitoring"] is True

    @pytest.mark.parametrize(
        ("module", "name", "interval_s"),
        [
            ("dagster.core.run_coordinator", "QueuedRunCoordinator", 1),
            ("dagster_warm.queue", "PromptRunCoordinator", 0),
        ],
    )
    def test_the_dequeue_interval_is_in_it(
        self, prepared_home: Path, module: str, name: str, interval_s: float
    ) -> None:
        config = {"dequeue_interval_seconds": 1, "max_concurrent_runs": 4}
        coordinator = {"module": module, "class": name, "config": config}
        with instance_with(prepared_home, {"run_coordinator": coordinator}) as instance:
            environment = describe_environment(instance)
        assert (environment["dequeue_interval_s"], environment["max_concurrent_runs"]) == (interval_s, 4)

    def test_without_a_queue_its_settings_are_none(self, prepared_home: Path) -> None:
        coordinator = {"module": "dagster.core.run_coordinator", "class": "DefaultRunCoordinator"}
        with instance_with(prepared_home, {"run_coordinator": coordinator}) as instance:
            environment = describe_environment(instance)
        assert environment["coordinator"] == DefaultRunCoordinator.__name__
        assert environment["max_concurrent_runs"] is None
        assert environment["dequeue_interval_s"] is None
        assert environment["tag_concurrency_limits"] == []


class TestTheRunLimits:
    @pytest.mark.parametrize(("allowed", "blocks"), [(0, True), (1, True), (2, False), (-1, False)])
    def test_a_sweep_and_its_trial_need_two_runs(self, prepared_home: Path, allowed: int, blocks: bool) -> None:
        with instance_with(prepared_home, {"concurrency": {"runs": {"max_concurrent_runs": allowed}}}) as instance:
            reason = blocking_limit(instance, SWEEP, TRIAL)
        assert bool(reason) is blocks
        if blocks:
            assert f"max_concurrent_runs is {allowed}" in reason
            assert "2 or more" in reason

    def test_without_a_queue_nothing_blocks(self, instance: dg.DagsterInstance) -> None:
        assert blocking_limit(instance, SWEEP, TRIAL) == ""

    @pytest.mark.parametrize(
        ("limit", "blocks"),
        [
            ({"key": "bench/kind", "limit": 1}, True),
            ({"key": "bench/kind", "limit": 2}, False),
            ({"key": "bench/kind", "value": "trial", "limit": 1}, False),
            ({"key": "bench/kind", "value": "trial", "limit": 0}, True),
            ({"key": "bench/scenario", "value": "quick", "limit": 1}, True),
            ({"key": "bench/scenario", "value": "other", "limit": 0}, False),
            ({"key": "bench/kind", "value": {"applyLimitPerUniqueValue": True}, "limit": 1}, False),
            ({"key": "bench/kind", "value": {"applyLimitPerUniqueValue": False}, "limit": 1}, True),
            ({"key": "bench/scenario", "value": {"applyLimitPerUniqueValue": True}, "limit": 1}, True),
            ({"key": "team", "limit": 1}, False),
            ({"key": "dagster/backfill", "limit": 0}, False),
        ],
        ids=str,
    )
    def test_a_tag_limit_blocks_where_both_runs_fall_under_it(
        self, prepared_home: Path, limit: dict[str, Any], blocks: bool
    ) -> None:
        runs = {"max_concurrent_runs": 10, "tag_concurrency_limits": [limit]}
        with instance_with(prepared_home, {"concurrency": {"runs": runs}}) as instance:
            reason = blocking_limit(instance, SWEEP, TRIAL)
        assert bool(reason) is blocks
        if blocks:
            assert f"the tag limit on {limit['key']!r} lets {limit['limit']} run" in reason

    @pytest.mark.parametrize("key", ["bench/kind", "bench/scenario", "team", "absent"])
    def test_a_tag_limit_blocks_exactly_where_dagsters_own_queue_would(
        self, instance: dg.DagsterInstance, monkeypatch: pytest.MonkeyPatch, key: str
    ) -> None:
        values = [
            None,
            "sweep",
            "trial",
            "quick",
            "data",
            "",
            *({"applyLimitPerUniqueValue": b} for b in (True, False)),
        ]
        sweep, trial = dg.DagsterRun("sweep", tags=SWEEP), dg.DagsterRun("trial", tags=TRIAL)
        for allowed, value in itertools.product(range(4), values):
            limit = {"key": key, "limit": allowed} | ({"value": value} if value is not None else {})
            coordinator = QueuedRunCoordinator(tag_concurrency_limits=[limit])
            monkeypatch.setattr(instance, "_run_coordinator", coordinator)
            sweep_waits = TagConcurrencyLimitsCounter([limit], []).is_blocked(sweep)
            trial_waits = TagConcurrencyLimitsCounter([limit], [sweep]).is_blocked(trial)
            assert bool(blocking_limit(instance, SWEEP, TRIAL)) is (sweep_waits or trial_waits), limit
