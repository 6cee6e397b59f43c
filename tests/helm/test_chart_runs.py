"""What Dagster creates from the chart: its instance, workspace, code servers, and the pods that it launches."""

import os
import socket
import subprocess
import sys
import time
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import Any
from unittest import mock

import click
import dagster as dg
import grpc
import pytest
import yaml
from dagster._config import resolve_to_config_type, validate_config
from dagster._core.instance.config import PoolGranularity
from dagster._core.workspace.load import location_origins_from_yaml_paths
from dagster._daemon.cli import run_command
from dagster._grpc.client import DagsterGrpcClient
from dagster._grpc.types import ListRepositoriesResponse
from dagster_k8s import K8sRunLauncher
from dagster_postgres import DagsterPostgresStorage
from dagster_webserver.cli import dagster_webserver
from grpc_health.v1.health_pb2 import HealthCheckRequest, HealthCheckResponse
from grpc_health.v1.health_pb2_grpc import HealthStub
from helms import RELEASE, Objects, render, validate
from launched import container_context, launched_job, run_launcher
from test_chart_objects import assert_hardened, ids_of
from variants import COLD, VARIANTS, container, environment, pods, rendered

from bench_orchestrator.deployment.ports import HeldPort
from bench_orchestrator.model.tags import META_LOCATION
from dagster_warm.launcher import WarmRunLauncher
from dagster_warm.queue import PromptRunCoordinator


def dagster_yaml(objects: Objects) -> dict[str, Any]:
    """Return the instance's settings."""
    settings: dict[str, Any] = yaml.safe_load(objects["ConfigMap", f"{RELEASE}-instance"]["data"]["dagster.yaml"])
    return settings


@contextmanager
def instance(objects: Objects, home: Path) -> Iterator[dg.DagsterInstance]:
    """Yield the instance of the rendered dagster.yaml, on SQLite in place of PostgreSQL."""
    settings = {key: value for key, value in dagster_yaml(objects).items() if key != "storage"}
    (home / "dagster.yaml").write_text(yaml.safe_dump(settings))
    with dg.DagsterInstance.from_config(str(home)) as made:
        yield made


class TestTheInstance:
    @pytest.mark.parametrize("variant", VARIANTS)
    def test_its_storage_is_postgresql_with_the_password_from_the_environment(self, variant: str) -> None:
        storage = dagster_yaml(rendered(variant))["storage"]["postgres"]
        assert validate_config(resolve_to_config_type(DagsterPostgresStorage.config_type()), storage).success
        database = storage["postgres_db"]
        assert database["password"] == {"env": "DAGSTER_PG_PASSWORD"}
        if not VARIANTS[variant].get("postgresql", {}).get("enabled", True):
            assert (database["hostname"], database["port"]) == ("db.example.com", 6432)
            assert database.get("params") == VARIANTS[variant]["postgresql"].get("params")
        else:
            (port,) = rendered(variant)["Service", database["hostname"]]["spec"]["ports"]
            assert port["port"] == database["port"]

    def test_it_queues_runs_and_guards_the_cluster(self, tmp_path: Path) -> None:
        with instance(rendered("default"), tmp_path) as made:
            limits = made.get_concurrency_config()
            assert limits.run_queue_config is not None
            assert limits.run_queue_config.max_concurrent_runs == 10
            assert limits.pool_config.pool_granularity is PoolGranularity.RUN
            assert limits.pool_config.default_pool_limit == 1
            assert made.run_monitoring_enabled
            assert made.run_monitoring_start_timeout_seconds == 300
            assert not made.telemetry_enabled

    def test_it_can_be_opened_where_there_is_no_token(self, tmp_path: Path) -> None:
        """As in a run's pod, or in a code server that evaluates a sensor."""
        with (
            mock.patch("kubernetes.config.load_incluster_config", side_effect=AssertionError("a token is asked for")),
            instance(rendered("default"), tmp_path) as made,
        ):
            result = dg.materialize([dg.asset(name="one")(lambda: None)], instance=made)
        assert result.success

    @pytest.mark.parametrize("at_once", [False, True])
    def test_what_can_be_set_about_the_queue_is_taken(self, tmp_path: Path, at_once: bool) -> None:
        limit = {"key": "team", "value": "data", "limit": 2}
        queue = {
            "maxConcurrentRuns": -1,
            "tagConcurrencyLimits": [limit],
            "atOnce": at_once,
            "dequeueIntervalSeconds": 1,
            "dequeueUseThreads": True,
            "dequeueNumWorkers": 4,
        }
        objects = render({"locations": ["a10"], "queue": queue, "runMonitoring": {"enabled": False}})
        with instance(objects, tmp_path) as made:
            config = made.get_concurrency_config().run_queue_config
            assert config is not None
            assert (config.max_concurrent_runs, list(config.tag_concurrency_limits)) == (-1, [limit])
            coordinator: Any = made.run_coordinator
            assert isinstance(coordinator, PromptRunCoordinator) is at_once
            assert coordinator.dequeue_interval_seconds == 1
            assert (coordinator.dequeue_use_threads, coordinator.dequeue_num_workers) == (True, 4)
            assert not made.run_monitoring_enabled

    def test_the_projects_own_instance_limits_the_same(self) -> None:
        own = yaml.safe_load((Path(__file__).parents[2] / "dagster.yaml").read_text())
        assert dagster_yaml(rendered("default"))["concurrency"] == own["concurrency"]

    @pytest.mark.parametrize("variant", VARIANTS)
    def test_its_launcher_is_made_from_it(self, variant: str) -> None:
        with run_launcher(rendered(variant)) as launcher:
            if variant not in COLD:
                assert isinstance(launcher, WarmRunLauncher)
                warm = {
                    "warm": ["a10"],
                    "experiments": ["a10_warm", "a2k_warm"],
                }.get(variant, [])
                assert all(map(launcher.is_warm, [META_LOCATION, *warm]))
                assert not any(map(launcher.is_warm, ("a250", "a2k")))
                launcher = launcher.cold
            assert isinstance(launcher, K8sRunLauncher)
            assert launcher.job_namespace == "dagster"


class TestTheWorkspace:
    @pytest.mark.parametrize("variant", VARIANTS)
    def test_each_location_is_where_its_service_is(self, variant: str, tmp_path: Path) -> None:
        objects = rendered(variant)
        workspace = tmp_path / "workspace.yaml"
        workspace.write_text(objects["ConfigMap", f"{RELEASE}-workspace"]["data"]["workspace.yaml"])
        found: Any = location_origins_from_yaml_paths([str(workspace)])
        origins = {origin.location_name: origin for origin in found}
        assert META_LOCATION in origins
        for name, origin in origins.items():
            service = objects["Service", origin.host]
            assert service["spec"]["selector"]["dagster/code-location"] == name
            assert [port["port"] for port in service["spec"]["ports"]] == [origin.port]
        servers = [name for name, pod in pods(objects) if container(pod)["name"] == "code-server"]
        assert {origin.host for origin in origins.values()} == set(servers)

    def test_names_that_yaml_would_take_for_something_else_stay_names(self) -> None:
        objects = render({"locations": [{"name": name, "shape": "a10"} for name in ("null", "no", "true")]})
        workspace = yaml.safe_load(objects["ConfigMap", f"{RELEASE}-workspace"]["data"]["workspace.yaml"])
        names = [entry["grpc_server"]["location_name"] for entry in workspace["load_from"]]
        assert names == [META_LOCATION, "null", "no", "true"]


class TestRuns:
    @pytest.mark.parametrize("variant", VARIANTS)
    @pytest.mark.parametrize("component", ["run_worker", "step_worker"])
    def test_their_pods_are_hardened_and_taken_by_kubernetes(self, variant: str, component: str) -> None:
        objects = rendered(variant)
        for name, pod in pods(objects):
            if container(pod)["name"] == "code-server":
                job = launched_job(objects, name.removeprefix(f"{RELEASE}-"), component)
                validate(job, "1.37")
                assert_hardened(job["spec"]["template"], ids_of(variant, name))
                assert container(job["spec"]["template"])["image"] == container(pod)["image"]

    def test_a_synthetic_location_s_have_its_shape_and_neither_rights_nor_results(self) -> None:
        job = launched_job(rendered("default"), "a250")
        pod = job["spec"]["template"]
        expected = {
            "BENCH_SHAPE": "a250",
            "BENCH_LOCATION_NAME": "a250",
            "DAGSTER_HOME": "/opt/dagster/home",
            "DAGSTER_PG_PASSWORD": {"secretKeyRef": {"name": "bench-postgresql", "key": "postgresql-password"}},
        }
        assert expected.items() <= environment(pod).items()
        assert pod["spec"]["serviceAccountName"] == "bench-unprivileged"
        assert pod["spec"]["automountServiceAccountToken"] is False
        assert pod["spec"]["volumes"] == [{"name": "home", "emptyDir": {}}, {"name": "tmp", "emptyDir": {}}]
        assert "affinity" not in pod["spec"]
        assert container(pod)["resources"] == {
            "requests": {"cpu": "250m", "memory": "384Mi"},
            "limits": {"memory": "2Gi"},
        }
        assert job["spec"]["backoffLimit"] == 0
        assert job["spec"]["ttlSecondsAfterFinished"] == 86400

    def test_the_meta_location_s_have_its_rights_and_results_and_share_the_node_of_the_volume(self) -> None:
        objects = rendered("default")
        pod = launched_job(objects, "meta")["spec"]["template"]
        expected = {"BENCH_WEBSERVER_URL": "http://bench-webserver", "BENCH_RESULTS_DIR": "/opt/dagster/results"}
        assert expected.items() <= environment(pod).items()
        assert pod["spec"]["serviceAccountName"] == "bench-meta"
        assert pod["spec"]["automountServiceAccountToken"] is True
        volumes, mounts = pod["spec"]["volumes"], container(pod)["volumeMounts"]
        assert {"name": "results", "persistentVolumeClaim": {"claimName": "bench-results"}} in volumes
        assert {"name": "results", "mountPath": "/opt/dagster/results"} in mounts
        assert {mount["name"] for mount in mounts} == {volume["name"] for volume in volumes}
        (term,) = pod["spec"]["affinity"]["podAffinity"]["requiredDuringSchedulingIgnoredDuringExecution"]
        assert term["topologyKey"] == "kubernetes.io/hostname"
        wanted = term["labelSelector"]["matchLabels"].items()
        assert [name for name, it in pods(objects) if wanted <= it["metadata"]["labels"].items()] == ["bench-meta"]
        assert not wanted <= pod["metadata"]["labels"].items()

    def test_a_volume_for_many_nodes_needs_no_affinity(self) -> None:
        pod = launched_job(rendered("ReadWriteMany"), "meta")["spec"]["template"]
        assert "affinity" not in pod["spec"]
        assert {"name": "results", "persistentVolumeClaim": {"claimName": "bench-results"}} in pod["spec"]["volumes"]

    def test_locations_of_one_shape_can_have_other_limits(self) -> None:
        objects = rendered("CPU limits")
        plain, slow = (launched_job(objects, name)["spec"]["template"] for name in ("a250", "a250-slow"))
        assert "cpu" not in container(plain)["resources"]["limits"]
        assert container(slow)["resources"] == {"limits": {"cpu": "0.5", "memory": "1Gi"}}
        expected = {"BENCH_SHAPE": "a250", "BENCH_LOCATION_NAME": "a250_slow", "MALLOC_ARENA_MAX": "2"}
        assert expected.items() <= environment(slow).items()

    def test_runs_and_steps_of_a_location_with_a_pod_per_step_may_start_pods(self) -> None:
        objects = rendered("pod per step")
        for component in ("run_worker", "step_worker"):
            pod = launched_job(objects, "a10-pods", component)["spec"]["template"]
            assert pod["spec"]["serviceAccountName"] == "bench-steps"
            assert pod["spec"]["automountServiceAccountToken"] is True
            assert environment(pod)["BENCH_SHAPE"] == "a10_pods"
        assert launched_job(objects, "a10")["spec"]["template"]["spec"]["serviceAccountName"] == "bench-unprivileged"

    def test_they_are_placed_as_all_pods_are_or_as_runs_alone(self) -> None:
        objects = rendered("placement")
        for server in ("a10", "meta"):
            pod = launched_job(objects, server)["spec"]["template"]
            assert pod["metadata"]["labels"]["team"] == "data"
            assert pod["metadata"]["annotations"] == {"example.com/scrape": "false"}
            assert pod["spec"]["nodeSelector"] == {"pool": "bench"}
            assert "tolerations" not in pod["spec"]
            assert pod["spec"]["priorityClassName"] == "low"
            assert "nodeAffinity" in pod["spec"]["affinity"]
            assert ("podAffinity" in pod["spec"]["affinity"]) is (server == "meta")

    def test_their_images_are_pulled_with_the_same_secrets(self) -> None:
        pod = launched_job(rendered("pull secrets"), "a10")["spec"]["template"]
        assert pod["spec"]["imagePullSecrets"] == [{"name": "registry"}]
        assert container(pod)["imagePullPolicy"] == "IfNotPresent"

    def test_a_network_policy_for_the_release_is_theirs_too(self) -> None:
        objects = rendered("network policy")
        labels = launched_job(objects, "a10")["spec"]["template"]["metadata"]["labels"].items()
        policies = {name: found["spec"] for (kind, name), found in objects.items() if kind == "NetworkPolicy"}
        assert [name for name, spec in policies.items() if spec["podSelector"]["matchLabels"].items() <= labels] == [
            "bench-default"
        ]


def test_webserver_and_daemon_know_the_options_that_they_are_started_with(tmp_path: Path) -> None:
    (tmp_path / "workspace.yaml").touch()
    commands: dict[str, tuple[click.Command, list[str]]] = {
        "webserver": (dagster_webserver, ["dagster-webserver"]),
        "daemon": (run_command, ["dagster-daemon", "run"]),
    }
    for name, (command, words) in commands.items():
        template = rendered("default")["Deployment", f"{RELEASE}-{name}"]["spec"]["template"]
        given = container(template)["command"]
        assert given[: len(words)] == words
        (folder,) = [
            mount["mountPath"] for mount in container(template)["volumeMounts"] if mount["name"] == "workspace"
        ]
        here = [word.replace(f"={folder}/", f"={tmp_path}/") for word in given[len(words) :]]
        options = command.make_context(name, here).params
        assert list(options["workspace"]) == [str(tmp_path / "workspace.yaml")]
        if name == "webserver":
            (port,) = container(template)["ports"]
            assert (options["host"], options["port"]) == ("0.0.0.0", port["containerPort"])


@pytest.mark.parametrize(
    ("variant", "server"),
    [
        ("default", "a10"),
        ("default", "meta"),
        pytest.param("warm", "a10", marks=pytest.mark.thorough),
        pytest.param("own code", "sales", marks=pytest.mark.thorough),
    ],
)
def test_a_code_server_starts_as_rendered_and_informs_the_launcher_about_its_runs(
    variant: str, server: str, tmp_path: Path
) -> None:
    objects = rendered(variant)
    template = objects["Deployment", f"{RELEASE}-{server}"]["spec"]["template"]
    probe = container(template)["readinessProbe"]["grpc"]
    held = HeldPort()
    port = held.number
    here = {"--host=0.0.0.0": "--host=127.0.0.1", "--port=4000": f"--port={port}"}
    command = [here.get(word, word) for word in container(template)["command"]]
    # Find the command in this environment's folder, as in the image's.
    own = {"PATH": f"{Path(sys.executable).parent}{os.pathsep}{os.environ['PATH']}", "DAGSTER_HOME": str(tmp_path)}
    variables = {name: value for name, value in environment(template).items() if isinstance(value, str)}
    project = str(Path(__file__).parents[2])
    process = subprocess.Popen(
        ["env", *command], cwd=tmp_path, env={**os.environ, **variables, **own, "PYTHONPATH": project}
    )
    try:
        _wait_for_port(port, process)
        # A connection-only probe relies on this: the port opens once everything is loaded.
        with grpc.insecure_channel(f"127.0.0.1:{port}") as channel:
            health = HealthStub(channel).Check(HealthCheckRequest(service=probe["service"]))
        listed = dg.deserialize_value(DagsterGrpcClient(port=port).list_repositories(), ListRepositoriesResponse)
    finally:
        process.terminate()
        process.wait(timeout=60)
        held.close()
    assert health.status == HealthCheckResponse.SERVING
    assert listed.container_image == container(template)["image"]
    assert listed.container_context == container_context(objects, server)


def _wait_for_port(port: int, process: subprocess.Popen[bytes]) -> None:
    deadline = time.monotonic() + 120
    while True:
        with suppress(OSError), socket.create_connection(("127.0.0.1", port), timeout=1):
            return
        assert process.poll() is None
        assert time.monotonic() < deadline
        time.sleep(0.1)
