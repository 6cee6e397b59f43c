"""Code of dagster-k8s that looks for a K8sRunLauncher finds it in the warm launcher."""

import os
import subprocess
import sys
from collections.abc import Iterator, Mapping
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import dagster as dg
import pytest
import yaml

pytest.importorskip("dagster_k8s")

from dagster_k8s import K8sRunLauncher, k8s_job_executor
from dagster_k8s.client import DagsterKubernetesClient
from dagster_k8s.container_context import K8sContainerContext

from dagster_warm.launcher import WarmRunLauncher

K8S: Mapping[str, Any] = {
    "module": "dagster_k8s",
    "class": "K8sRunLauncher",
    "config": {
        "job_namespace": "bench",
        "service_account_name": "launcher",
        "instance_config_map": "instance",
        "env_vars": ["FROM=the launcher"],
        "run_k8s_config": {"pod_spec_config": {"priorityClassName": "high"}},
    },
}


@dg.op
def where(context: dg.OpExecutionContext) -> None:
    context.add_output_metadata({"from": os.environ["FROM"]})


@dg.job(executor_def=k8s_job_executor)
def in_pods() -> None:
    where()


class Cluster:
    """Runs the container of each job as a process of this machine."""

    def __init__(self) -> None:
        self.jobs: list[Any] = []

    def create_namespaced_job_with_retries(self, body: Any, namespace: str) -> None:
        self.jobs.append((namespace, body.spec.template.spec))
        (container,) = body.spec.template.spec.containers
        image = {**os.environ, "PYTHONPATH": os.pathsep.join([str(Path(__file__).parent), *sys.path])}
        given = {one.name: one.value for one in container.env if one.name != "DAGSTER_HOME"}
        subprocess.run([sys.executable, "-m", *container.args], env={**image, **given}, check=True)

    def get_job_status(self, **_: Any) -> Any:
        return SimpleNamespace(failed=0)


@pytest.fixture(autouse=True)
def cluster(monkeypatch: pytest.MonkeyPatch) -> Cluster:
    cluster = Cluster()
    monkeypatch.setattr("kubernetes.config.load_incluster_config", lambda: None)
    monkeypatch.setattr(DagsterKubernetesClient, "production_client", lambda **_: cluster)
    return cluster


@pytest.fixture
def instance(tmp_path: Path) -> Iterator[dg.DagsterInstance]:
    launcher = {"module": "dagster_warm.launcher", "class": "WarmRunLauncher", "config": {"cold": dict(K8S)}}
    settings = {"telemetry": {"enabled": False}, "run_launcher": launcher}
    (tmp_path / "dagster.yaml").write_text(yaml.safe_dump(settings))
    with dg.DagsterInstance.from_config(str(tmp_path)) as instance:
        yield instance


def test_a_step_has_a_pod_with_the_launchers_settings(instance: dg.DagsterInstance, cluster: Cluster) -> None:
    configured = {"execution": {"config": {"job_image": "any"}}}
    with dg.execute_job(dg.reconstructable(in_pods), instance, run_config=configured) as result:
        assert result.success
        (output,) = result.filter_events(lambda event: event.event_type is dg.DagsterEventType.STEP_OUTPUT)
        assert output.step_output_data.metadata["from"].value == "the launcher"
    ((namespace, pod),) = cluster.jobs
    assert (namespace, pod.service_account_name, pod.priority_class_name) == ("bench", "launcher", "high")


def test_it_is_a_launcher_of_pods_with_all_its_settings(instance: dg.DagsterInstance) -> None:
    assert isinstance(instance.run_launcher, WarmRunLauncher)
    cold: Any = instance.run_launcher.cold
    launcher: Any = instance.run_launcher
    assert isinstance(launcher, K8sRunLauncher)  # what execute_k8s_job and the executor ask
    run = dg.DagsterRun("job", tags={})
    of_warm, of_cold = (
        K8sContainerContext.create_for_run(run, one, include_run_tags=False) for one in (launcher, cold)
    )
    assert of_warm == of_cold
    assert of_warm.namespace == "bench"
    assert of_warm.get_k8s_job_config("image", launcher) == of_cold.get_k8s_job_config("image", cold)
