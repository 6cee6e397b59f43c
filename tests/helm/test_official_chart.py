"""The values for Dagster's own chart: as that chart documents them, and as it would combine them.

The chart itself is not available here. Its inputs and outputs are restated from its published schema and templates
(dagster-io/dagster, helm/dagster/charts/dagster-user-deployments, 1.13; Apache License 2.0).
"""

import json
import subprocess
from collections.abc import Mapping
from pathlib import Path
from typing import Any
from unittest import mock

import jsonschema
import kubernetes_validate
import pytest
import yaml
from dagster_k8s import K8sRunLauncher
from helms import CHART, helm3
from launched import construct_job
from test_chart_objects import assert_hardened
from variants import container, environment, rendered

from bench_orchestrator.model.tags import META_LOCATION

_PROBE = {"type": "object", "required": ["enabled"], "properties": {"enabled": {"type": "boolean"}}}
_LIST = {"type": "array", "items": {"type": "object"}}
DEPLOYMENT: Mapping[str, Any] = {
    "type": "object",
    "required": ["name", "image", "port"],
    # This would accept other values and ignore them.
    "additionalProperties": False,
    "properties": {
        "name": {"type": "string"},
        "image": {
            "type": "object",
            "required": ["repository", "pullPolicy"],
            "properties": {
                "repository": {"type": "string"},
                "tag": {"type": ["string", "integer", "null"]},
                "pullPolicy": {"enum": ["Always", "IfNotPresent", "Never"]},
            },
        },
        "dagsterApiGrpcArgs": {"type": "array", "items": {"type": "string"}},
        "port": {"type": "integer"},
        "env": _LIST,
        "volumes": _LIST,
        "volumeMounts": _LIST,
        "podSecurityContext": {"type": "object"},
        "securityContext": {"type": "object"},
        "resources": {"type": "object"},
        "startupProbe": _PROBE,
        "readinessProbe": _PROBE,
    },
}
"""The fields of an entry of `deployments` that are used here."""


@pytest.fixture(scope="module")
def values(tmp_path_factory: pytest.TempPathFactory) -> dict[str, Any]:
    """Return the values as Helm reads them, with anchors and merge keys resolved."""
    chart = tmp_path_factory.mktemp("echo")
    (chart / "templates").mkdir()
    (chart / "Chart.yaml").write_text(yaml.safe_dump({"apiVersion": "v2", "name": "echo", "version": "1.0.0"}))
    (chart / "templates" / "values.yaml").write_text("values: {{ toJson .Values }}\n")
    command = [str(helm3()), "template", str(chart), f"--values={CHART / 'values-official-chart.yaml'}"]
    echoed = subprocess.run(command, capture_output=True, text=True, check=True).stdout
    read: dict[str, Any] = yaml.safe_load(echoed)["values"]
    return read


def deployments(values: Mapping[str, Any]) -> dict[str, dict[str, Any]]:
    """Return the code servers, by name."""
    return {entry["name"]: entry for entry in values["dagster-user-deployments"]["deployments"]}


def test_they_are_what_the_chart_documents(values: Mapping[str, Any]) -> None:
    assert values.keys() == {"dagster-user-deployments", "dagsterWebserver", "extraManifests"}
    assert values["dagster-user-deployments"].keys() == {"enabled", "enableSubchart", "deployments"}
    for entry in deployments(values).values():
        jsonschema.validate(entry, DEPLOYMENT)
    for server in values["dagsterWebserver"]["workspace"]["servers"]:
        assert server.keys() == {"host", "port", "name"}


def test_the_locations_are_those_of_this_project_s_chart_under_the_same_names(values: Mapping[str, Any]) -> None:
    workspace = yaml.safe_load(rendered("default")["ConfigMap", "bench-workspace"]["data"]["workspace.yaml"])
    names = [entry["grpc_server"]["location_name"] for entry in workspace["load_from"]]
    servers = values["dagsterWebserver"]["workspace"]["servers"]
    assert [server["name"] for server in servers] == names
    assert names[0] == META_LOCATION
    found = deployments(values)
    assert {server["host"]: server["port"] for server in servers} == {
        name: entry["port"] for name, entry in found.items()
    }
    for server in servers[1:]:
        assert found[server["host"]]["env"] == [{"name": "BENCH_SHAPE", "value": server["name"]}]


def server_pod(entry: Mapping[str, Any]) -> dict[str, Any]:
    """Return a code server's pod, as far as the chart derives it from the entry."""
    own = {key: entry[key] for key in ("env", "volumeMounts", "resources", "securityContext")}
    probes = {
        name: {key: value for key, value in entry[name].items() if key != "enabled"}
        | {"exec": {"command": ["dagster", "api", "grpc-health-check", "-p", str(entry["port"])]}}
        for name in ("startupProbe", "readinessProbe")
    }
    image = f"{entry['image']['repository']}:{entry['image']['tag']}"
    return {
        "apiVersion": "v1",
        "kind": "Pod",
        "metadata": {"name": entry["name"]},
        "spec": {
            "containers": [{"name": "server", "image": image, **own, **probes}],
            "securityContext": entry["podSecurityContext"],
            "volumes": entry["volumes"],
        },
    }


def container_context(entry: Mapping[str, Any]) -> dict[str, Any]:
    """Return the container context that the chart passes to a code server."""
    return {
        "k8s": {
            "image_pull_policy": entry["image"]["pullPolicy"],
            "env_config_maps": [f"dagster-dagster-user-deployments-{entry['name']}-user-env"],
            "volume_mounts": entry["volumeMounts"],
            "volumes": entry["volumes"],
            "resources": entry["resources"],
            "namespace": "dagster",
            "service_account_name": "dagster-dagster-user-deployments-user-deployments",
            "env": entry["env"],
        }
    }


def run_pod(entry: Mapping[str, Any]) -> dict[str, Any]:
    """Return the pod of a run, with the launcher's default configuration in the chart."""
    with mock.patch("kubernetes.config.load_incluster_config"):
        launcher = K8sRunLauncher(
            service_account_name="dagster",
            instance_config_map="dagster-instance",
            postgres_password_secret="dagster-postgresql-secret",
            dagster_home="/opt/dagster/dagster_home",
            job_namespace="dagster",
            env_config_maps=["dagster-pipeline-env"],
        )
    job = construct_job(launcher, container_context(entry), server_pod(entry)["spec"]["containers"][0]["image"], "run")
    kubernetes_validate.validate(job, "1.37", strict=True)
    pod: dict[str, Any] = job["spec"]["template"]
    return pod


def test_kubernetes_takes_the_code_servers_and_they_are_hardened(values: Mapping[str, Any]) -> None:
    for entry in deployments(values).values():
        pod = server_pod(entry)
        for version in ("1.25", "1.31", "1.37"):
            kubernetes_validate.validate(pod, version, strict=True)
        pod["spec"]["enableServiceLinks"] = False  # what this project's chart adds to it
        pod["spec"]["securityContext"]["fsGroupChangePolicy"] = "OnRootMismatch"
        assert_hardened(pod)
        writable = {mount["mountPath"] for mount in container(pod)["volumeMounts"]}
        assert {"/tmp", "/opt/dagster/dagster_home"} <= writable


def test_runs_of_the_meta_location_have_the_results_and_those_of_others_do_not(values: Mapping[str, Any]) -> None:
    found = deployments(values)
    (claim, *_) = values["extraManifests"]
    volume = {"name": "results", "persistentVolumeClaim": {"claimName": claim["metadata"]["name"]}}
    meta, a250 = run_pod(found["bench-orchestrator"]), run_pod(found["a250"])
    assert volume in meta["spec"]["volumes"]
    assert volume not in a250["spec"]["volumes"]
    expected = {"BENCH_WEBSERVER_URL": "http://dagster-dagster-webserver", "BENCH_RESULTS_DIR": "/opt/dagster/results"}
    assert expected.items() <= environment(meta).items()
    assert {"name": "results", "mountPath": "/opt/dagster/results"} in container(meta)["volumeMounts"]
    assert environment(a250)["BENCH_SHAPE"] == "a250"


def test_runs_of_the_meta_location_may_look_at_pods(values: Mapping[str, Any]) -> None:
    manifests = json.dumps(values["extraManifests"])
    for name, value in (("Name", "dagster"), ("Namespace", "dagster")):
        manifests = manifests.replace(f"{{{{ .Release.{name} }}}}", value)
    claim, role, binding = json.loads(manifests)
    for manifest in (claim, role, binding):
        kubernetes_validate.validate(manifest, "1.37", strict=True)
    assert role["rules"] == rendered("default")["Role", "bench-meta"]["rules"]
    assert binding["roleRef"]["name"] == role["metadata"]["name"]
    account = run_pod(deployments(values)["bench-orchestrator"])["spec"]["serviceAccountName"]
    assert binding["subjects"] == [{"kind": "ServiceAccount", "name": account, "namespace": "dagster"}]


def test_the_readme_names_what_is_there() -> None:
    readme = (CHART / "README.md").read_text()
    for name in ("bench-launcher", "bench-meta", "bench-unprivileged"):
        assert f"`{name}`" in readme
        assert ("ServiceAccount", name) in rendered("default")
    for link in ("values.yaml", "values-official-chart.yaml", "templates/rbac.yaml"):
        assert f"]({link})" in readme
        assert Path(CHART / link).exists()
