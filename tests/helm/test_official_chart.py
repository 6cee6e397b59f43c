"""The values for code servers beside Dagster's own chart: as that chart documents them, and as it would combine them.

The chart itself is not available here. Its inputs and outputs are restated from its published schema and templates
(dagster-io/dagster, helm/dagster/charts/dagster-user-deployments, 1.13; Apache License 2.0).
"""

import json
import re
import subprocess
import textwrap
from collections.abc import Mapping
from pathlib import Path
from typing import Any
from unittest import mock

import jsonschema
import pytest
import yaml
from dagster._serdes.config_class import ConfigurableClassData
from dagster_k8s import K8sRunLauncher
from helms import CHART, helm3, validate
from launched import construct_job
from test_chart_objects import assert_hardened
from variants import container, environment, rendered

from bench_orchestrator.model.tags import META_LOCATION
from dagster_warm.launcher import WarmRunLauncher
from dagster_warm.queue import PromptRunCoordinator

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
        "includeConfigInLaunchedRuns": {"type": "object", "required": ["enabled"]},
        "deploymentStrategy": {"type": "object"},
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
    return {entry["name"]: entry for entry in values["deployments"]}


@pytest.fixture(scope="module")
def in_the_readme() -> list[dict[str, Any]]:
    """Return what the README tells people to add to the values of their own release."""
    readme = (CHART / "README.md").read_text()
    section = readme[readme.index("## Dagster's own chart") :]
    blocks = re.findall(r"```yaml\n(.*?)\n *```", section, re.DOTALL)
    return [yaml.safe_load(textwrap.dedent(block)) for block in blocks]


def test_they_are_what_the_chart_documents(values: Mapping[str, Any]) -> None:
    """They are all of the second release: `dagsterWebserver`, or other parts of the user's own, would replace those."""
    assert values.keys() == {
        *("dagsterHome", "postgresqlSecretName", "serviceAccount", "rbacEnabled", "deployments", "extraManifests")
    }
    for entry in deployments(values).values():
        jsonschema.validate(entry, DEPLOYMENT)


def test_the_locations_are_those_of_this_project_s_chart_under_the_same_names(
    values: Mapping[str, Any], in_the_readme: list[dict[str, Any]]
) -> None:
    workspace = yaml.safe_load(rendered("default")["ConfigMap", "bench-workspace"]["data"]["workspace.yaml"])
    names = [entry["grpc_server"]["location_name"] for entry in workspace["load_from"]]
    added = in_the_readme[0]["dagsterWebserver"]["workspace"]
    assert added["enabled"]
    servers = added["servers"]
    assert [server["name"] for server in servers] == names
    assert names[0] == META_LOCATION
    found = deployments(values)
    assert {server["host"]: server["port"] for server in servers} == {
        name: entry["port"] for name, entry in found.items()
    }
    for server in servers[1:]:
        code = ["--module-name", "synthetic_locations.catalog", "--attribute", server["name"]]
        assert found[server["host"]]["dagsterApiGrpcArgs"] == code


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
    """Return the container context of a code server; the chart adds none of its own."""
    assert entry["includeConfigInLaunchedRuns"] == {"enabled": False}
    (given,) = [one["value"] for one in entry["env"] if one["name"] == "DAGSTER_CLI_API_GRPC_CONTAINER_CONTEXT"]
    context: dict[str, Any] = json.loads(given)
    return context


def chart_s_launcher() -> dict[str, Any]:
    """Return the launcher's configuration in the chart, by default."""
    return {
        "load_incluster_config": True,
        "job_namespace": "dagster",
        "image_pull_policy": "Always",
        "service_account_name": "dagster",
        "dagster_home": "/opt/dagster/dagster_home",
        "instance_config_map": "dagster-instance",
        "postgres_password_secret": "dagster-postgresql-secret",
    }


def run_pod(entry: Mapping[str, Any], **configured: Any) -> dict[str, Any]:
    """Return the pod of a run, with the launcher's default configuration in the chart and more."""
    with mock.patch("kubernetes.config.load_incluster_config"):
        launcher = K8sRunLauncher(**chart_s_launcher(), **configured)
    job = construct_job(launcher, container_context(entry), server_pod(entry)["spec"]["containers"][0]["image"], "run")
    validate(job, "1.37")
    pod: dict[str, Any] = job["spec"]["template"]
    return pod


def test_kubernetes_takes_the_code_servers_and_they_are_hardened(values: Mapping[str, Any]) -> None:
    for entry in deployments(values).values():
        pod = server_pod(entry)
        for version in ("1.25", "1.31", "1.37"):
            validate(pod, version)
        pod["spec"]["enableServiceLinks"] = False  # what that chart cannot set
        assert_hardened(pod)
        writable = {mount["mountPath"] for mount in container(pod)["volumeMounts"]}
        assert {"/tmp", "/opt/dagster/dagster_home"} <= writable


def test_run_pods_are_hardened_and_have_resources_of_their_own(values: Mapping[str, Any]) -> None:
    for entry in deployments(values).values():
        pod = run_pod(entry)
        assert_hardened(pod)
        assert container(pod)["imagePullPolicy"] == entry["image"]["pullPolicy"]
        assert container(pod)["resources"]["requests"] != entry["resources"]["requests"]
        assert "memory" in container(pod)["resources"]["limits"]
        assert {"/tmp", values["dagsterHome"]} <= {mount["mountPath"] for mount in container(pod)["volumeMounts"]}


def test_the_release_s_own_settings_of_run_pods_hold_for_them_as_well(values: Mapping[str, Any]) -> None:
    own = {"pod_spec_config": {"node_selector": {"pool": "runs"}}}
    pod = run_pod(deployments(values)["a250"], run_k8s_config=own)
    assert pod["spec"]["nodeSelector"] == {"pool": "runs"}
    assert_hardened(pod)


def test_runs_of_the_meta_location_have_the_results_and_those_of_others_do_not(values: Mapping[str, Any]) -> None:
    found = deployments(values)
    (claim, *_) = values["extraManifests"]
    volume = {"name": "results", "persistentVolumeClaim": {"claimName": claim["metadata"]["name"]}}
    meta, a250 = run_pod(found["bench-orchestrator"]), run_pod(found["a250"])
    assert volume in meta["spec"]["volumes"]
    assert volume in found["bench-orchestrator"]["volumes"]
    assert volume not in a250["spec"]["volumes"]
    expected = {"BENCH_WEBSERVER_URL": "http://dagster-dagster-webserver", "BENCH_RESULTS_DIR": "/opt/dagster/results"}
    for pod in (meta, server_pod(found["bench-orchestrator"])):
        assert expected.items() <= environment(pod).items()
        assert {"name": "results", "mountPath": "/opt/dagster/results"} in container(pod)["volumeMounts"]


def test_they_share_the_node_of_the_volume_which_every_storage_class_has(values: Mapping[str, Any]) -> None:
    (claim, *_) = values["extraManifests"]
    assert claim["spec"]["accessModes"] == ["ReadWriteOnce"]
    assert "storageClassName" not in claim["spec"]
    meta = deployments(values)["bench-orchestrator"]
    assert meta["deploymentStrategy"] == {"type": "Recreate"}
    (term,) = run_pod(meta)["spec"]["affinity"]["podAffinity"]["requiredDuringSchedulingIgnoredDuringExecution"]
    assert term["topologyKey"] == "kubernetes.io/hostname"
    # The chart's labels of a code server's pod.
    assert term["labelSelector"]["matchLabels"] == {"component": "user-deployments", "deployment": meta["name"]}
    assert "affinity" not in run_pod(deployments(values)["a250"])["spec"]


def test_only_runs_of_the_meta_location_may_look_at_pods(values: Mapping[str, Any]) -> None:
    manifests = json.dumps(values["extraManifests"]).replace("{{ .Release.Namespace }}", "dagster")
    claim, role, binding = json.loads(manifests)
    for manifest in (claim, role, binding):
        validate(manifest, "1.37")
    assert role["rules"] == rendered("default")["Role", "bench-meta"]["rules"]
    assert not values["rbacEnabled"]
    assert binding["roleRef"]["name"] == role["metadata"]["name"]
    found = deployments(values)
    account = values["serviceAccount"]["name"]
    assert binding["subjects"] == [{"kind": "ServiceAccount", "name": account, "namespace": "dagster"}]
    for name, entry in found.items():
        pod = run_pod(entry)
        assert pod["spec"]["serviceAccountName"] == account
        assert pod["spec"]["automountServiceAccountToken"] is (name == "bench-orchestrator")


def test_the_warm_launcher_of_the_readme_has_the_chart_s_own_as_the_cold_one(
    in_the_readme: list[dict[str, Any]],
) -> None:
    configured = in_the_readme[1]["runLauncher"]
    assert configured["type"] == "CustomRunLauncher"
    custom = configured["config"]["customRunLauncher"]
    data = ConfigurableClassData(custom["module"], custom["class"], yaml.safe_dump(custom["config"]))
    with mock.patch("kubernetes.config.load_incluster_config"):
        launcher = data.rehydrate(WarmRunLauncher)
    assert launcher.is_warm("my_project")
    assert not launcher.is_warm("a10")
    assert isinstance(launcher.cold, K8sRunLauncher)
    assert custom["config"]["cold"]["config"] == chart_s_launcher()


def test_the_queue_of_the_readme_is_the_one_that_answers_at_once(in_the_readme: list[dict[str, Any]]) -> None:
    configured = in_the_readme[2]["dagsterDaemon"]["runCoordinator"]
    assert configured["type"] == "CustomRunCoordinator"
    custom = configured["config"]["customRunCoordinator"]
    data = ConfigurableClassData(custom["module"], custom["class"], yaml.safe_dump(custom["config"]))
    limits = data.rehydrate(PromptRunCoordinator).get_run_queue_config()
    assert limits is not None
    assert (limits.max_concurrent_runs, len(limits.tag_concurrency_limits)) == (10, 1)


def test_the_readme_names_what_is_there() -> None:
    readme = (CHART / "README.md").read_text()
    for name in ("bench-launcher", "bench-meta", "bench-unprivileged"):
        assert f"`{name}`" in readme
        assert ("ServiceAccount", name) in rendered("default")
    for link in ("values.yaml", "values-official-chart.yaml", "templates/rbac.yaml"):
        assert f"]({link})" in readme
        assert Path(CHART / link).exists()
