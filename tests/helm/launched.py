"""The pods that Dagster would launch with a rendered chart, created by dagster_k8s as on a cluster."""

import json
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any, cast
from unittest import mock

import kubernetes.client
import yaml
from dagster._core.instance.ref import InstanceRef
from dagster._core.launcher import RunLauncher
from dagster_k8s import K8sRunLauncher
from dagster_k8s.container_context import K8sContainerContext
from dagster_k8s.job import construct_dagster_k8s_job
from helms import RELEASE, Objects
from variants import environment


@contextmanager
def run_launcher(objects: Objects) -> Iterator[RunLauncher]:
    """Yield the launcher of the rendered dagster.yaml, as in the cluster's webserver and daemon."""
    with TemporaryDirectory() as home, mock.patch("kubernetes.config.load_incluster_config"):
        settings = yaml.safe_load(objects["ConfigMap", f"{RELEASE}-instance"]["data"]["dagster.yaml"])
        (Path(home) / "dagster.yaml").write_text(yaml.safe_dump(settings))
        launcher = InstanceRef.from_dir(home).run_launcher
        assert launcher is not None
        yield launcher


def container_context(objects: Objects, server: str) -> dict[str, Any]:
    """Return the container context in the code server's pod, for its runs' pods."""
    template = objects["Deployment", f"{RELEASE}-{server}"]["spec"]["template"]
    return cast("dict[str, Any]", json.loads(environment(template)["DAGSTER_CLI_API_GRPC_CONTAINER_CONTEXT"]))


def launched_job(objects: Objects, server: str, component: str = "run_worker") -> dict[str, Any]:
    """Return the job of a run in that code server's location, or of one of its steps, as Kubernetes would get it."""
    template = objects["Deployment", f"{RELEASE}-{server}"]["spec"]["template"]
    with run_launcher(objects) as launcher:
        cold = launcher if isinstance(launcher, K8sRunLauncher) else launcher.cold  # type: ignore[attr-defined]
        return construct_job(
            cold, container_context(objects, server), environment(template)["DAGSTER_CURRENT_IMAGE"], component
        )


def construct_job(launcher: K8sRunLauncher, context: dict[str, Any], image: str, component: str) -> dict[str, Any]:
    """Return the job that this launcher creates for a run of a location with this container context."""
    run = mock.Mock(tags={})
    run.job_code_origin.repository_origin.container_context = context
    # Steps do not get run tags, and these runs have none.
    merged = K8sContainerContext.create_for_run(run, launcher, include_run_tags=component == "run_worker")
    job = construct_dagster_k8s_job(
        merged.get_k8s_job_config(image, launcher),
        ["dagster", "api", "execute_run"],
        "dagster-run-1",
        user_defined_k8s_config=merged.run_k8s_config,
        component=component,
    )
    return cast("dict[str, Any]", kubernetes.client.ApiClient().sanitize_for_serialization(job))
