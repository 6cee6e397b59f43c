"""The objects that the chart installs: permissions, connections, pods and their configuration."""

import inspect
import re
from collections.abc import Mapping
from typing import Any

import dagster_k8s.executor
import dagster_k8s.launcher
import pytest
import yaml
from dagster_k8s.client import DagsterKubernetesClient
from helms import NAMESPACE, RELEASE, Objects, Values, files_of_helm4, render
from launched import launched_job
from variants import COLD, VARIANTS, container, environment, pods, rendered

from bench_orchestrator.model.plan import Variant
from bench_orchestrator.scenarios.registry import EXPERIMENTS
from bench_orchestrator.sources import kubernetes as pod_access
from bench_orchestrator.sweeps.deployments import served_name

Rights = dict[str, set[str]]
"""Verbs, by resource."""

CALLS: Mapping[str, tuple[str, str]] = {
    "create_namespaced_job": ("create", "jobs"),
    "delete_namespaced_job": ("delete", "jobs"),
    "list_namespaced_job": ("list", "jobs"),
    "read_namespaced_job": ("get", "jobs"),
    "read_namespaced_job_status": ("get", "jobs/status"),
    "list_namespaced_pod": ("list", "pods"),
    "read_namespaced_pod": ("get", "pods"),
    "delete_namespaced_pod": ("delete", "pods"),
    "read_namespaced_pod_log": ("get", "pods/log"),
    "list_namespaced_event": ("list", "events"),
    "patch_namespaced_deployment_scale": ("patch", "deployments/scale"),
}
"""The permission needed for each method of the Kubernetes client that dagster_k8s calls."""


def rights(objects: Objects, account: str) -> Rights:
    """Return the rights of a service account, from its only role."""
    binding = objects["RoleBinding", f"{RELEASE}-{account}"]
    assert binding["roleRef"]["kind"] == "Role"
    assert binding["subjects"] == [{"kind": "ServiceAccount", "name": f"{RELEASE}-{account}", "namespace": NAMESPACE}]
    allowed: Rights = {}
    for rule in objects["Role", binding["roleRef"]["name"]]["rules"]:
        for resource in rule["resources"]:
            assert rule["apiGroups"] == [{"jobs": "batch", "deployments": "apps"}.get(resource.partition("/")[0], "")]
            allowed.setdefault(resource, set()).update(rule["verbs"])
    return allowed


def needed(module: Any) -> Rights:
    """Return the rights that a module of dagster_k8s needs, according to its source."""
    pending = re.findall(r"self\._api_client\.(\w+)", inspect.getsource(module))
    seen, used = set[str](), Rights()
    while pending:
        method = pending.pop()
        if method in seen:
            continue
        seen.add(method)
        source = inspect.getsource(getattr(DagsterKubernetesClient, method))
        pending += [name for name in re.findall(r"self\.(\w+)\(", source) if hasattr(DagsterKubernetesClient, name)]
        for call in re.findall(r"self\.(?:batch|core)_api\.(\w+)", source):
            verb, resource = CALLS[call]
            used.setdefault(resource, set()).add(verb)
    return used


class TestRights:
    def test_the_launcher_may_do_exactly_what_it_does(self) -> None:
        assert rights(rendered("default"), "launcher") == needed(dagster_k8s.launcher)

    def test_runs_with_a_pod_per_step_may_do_exactly_what_their_executor_does(self) -> None:
        assert rights(rendered("pod per step"), "steps") == needed(dagster_k8s.executor)
        assert ("ServiceAccount", f"{RELEASE}-steps") not in rendered("default")

    def test_the_meta_location_may_look_at_pods_and_their_events(self) -> None:
        allowed = rights(rendered("default"), "meta")
        assert allowed == {"pods": {"get", "list"}, "events": {"get", "list"}, "jobs": {"get"}}
        used = Rights()
        for call in re.findall(r"\b(?:core|batch|apps)\.(\w+)\(", inspect.getsource(pod_access)):
            verb, resource = CALLS[call]
            used.setdefault(resource, set()).add(verb)
        scaling = {"deployments/scale": used.pop("deployments/scale")}
        assert all(verbs <= allowed[resource] for resource, verbs in used.items())
        assert rights(rendered("experiments"), "meta") == allowed | scaling

    def test_cold_start_lets_it_scale_the_synthetic_locations_alone(self) -> None:
        objects = rendered("experiments")
        (rule,) = [rule for rule in objects["Role", f"{RELEASE}-meta"]["rules"] if rule["apiGroups"] == ["apps"]]
        synthetic = {
            name for name, pod in pods(objects) if container(pod)["name"] == "code-server" and name != f"{RELEASE}-meta"
        }
        assert set(rule["resourceNames"]) == synthetic
        # The host where the webserver finds a location is also the name of the Deployment to scale.
        workspace = yaml.safe_load(objects["ConfigMap", f"{RELEASE}-workspace"]["data"]["workspace.yaml"])
        hosts = {entry["grpc_server"]["host"] for entry in workspace["load_from"]}
        assert hosts - {f"{RELEASE}-meta"} == synthetic

    @pytest.mark.parametrize("variant", VARIANTS)
    def test_nothing_reaches_beyond_the_namespace_and_the_unprivileged_have_no_rights(self, variant: str) -> None:
        kinds = [kind for kind, _ in rendered(variant)]
        assert not [kind for kind in kinds if kind.startswith("Cluster")]
        bound = [
            subject["name"]
            for (kind, _), found in rendered(variant).items()
            if kind == "RoleBinding"
            for subject in found["subjects"]
        ]
        accounts = {name for kind, name in rendered(variant) if kind == "ServiceAccount"}
        assert accounts - set(bound) == {f"{RELEASE}-unprivileged"}

    @pytest.mark.parametrize("variant", VARIANTS)
    def test_only_pods_with_rights_have_a_token(self, variant: str) -> None:
        objects = rendered(variant)
        assert all(
            found["automountServiceAccountToken"] is False
            for (kind, _), found in objects.items()
            if kind == "ServiceAccount"
        )
        accounts = {
            name: pod["spec"]["serviceAccountName"]
            for name, pod in pods(objects)
            if pod["spec"]["automountServiceAccountToken"]
        }
        expected = {f"{RELEASE}-{host}": f"{RELEASE}-launcher" for host in ("webserver", "daemon")}
        if variant not in COLD:  # the meta location's runs are in this pod
            expected[f"{RELEASE}-meta"] = f"{RELEASE}-meta"
        if VARIANTS[variant].get("migration"):
            expected[f"{RELEASE}-migration"] = f"{RELEASE}-launcher"
        assert accounts == expected
        assert all(
            pod["spec"]["serviceAccountName"] == f"{RELEASE}-unprivileged"
            for _, pod in pods(objects)
            if not pod["spec"]["automountServiceAccountToken"]
        )


IDS = {"ids of the platform": None, "production": (10001, 2000)}
"""The user and the volumes' group of pods; in other variants, both are 1000."""


def ids_of(variant: str, name: str) -> tuple[int, int] | None:
    """Return the user and the volumes' group of a workload's pods and their runs; None: the platform sets them."""
    own = {
        f"{RELEASE}-postgresql": (999, 999),
        f"{RELEASE}-sales": (1001, 1001) if variant == "own code" else (1000, 1000),
    }
    ids = IDS.get(variant, (1000, 1000))
    return own.get(name, ids) if ids else None


def assert_hardened(pod: Mapping[str, Any], ids: tuple[int, int] | None = (1000, 1000)) -> None:
    """Check that a restricted namespace would accept the pod, and that only mounts are writable."""
    user, group = ids or (None, None)
    assert pod["spec"]["securityContext"] == {
        "runAsNonRoot": True,
        "seccompProfile": {"type": "RuntimeDefault"},
        **({"runAsUser": user, "runAsGroup": user} if user else {}),
        **({"fsGroup": group, "fsGroupChangePolicy": "OnRootMismatch"} if group else {}),
    }
    for one in [*pod["spec"]["containers"], *pod["spec"].get("initContainers", [])]:
        assert one["securityContext"] == {
            "allowPrivilegeEscalation": False,
            "readOnlyRootFilesystem": True,
            "capabilities": {"drop": ["ALL"]},
        }
    assert pod["spec"]["enableServiceLinks"] is False


class TestPods:
    @pytest.mark.parametrize("variant", VARIANTS)
    def test_they_are_hardened(self, variant: str) -> None:
        for name, pod in pods(rendered(variant)):
            assert_hardened(pod, ids_of(variant, name))

    @pytest.mark.parametrize("variant", VARIANTS)
    def test_what_they_mount_is_there(self, variant: str) -> None:
        objects = rendered(variant)
        for _, pod in pods(objects):
            volumes = {volume["name"]: volume for volume in pod["spec"]["volumes"]}
            claimed = {"data"} if "postgresql" in container(pod)["name"] else set()
            assert {mount["name"] for mount in container(pod)["volumeMounts"]} == volumes.keys() | claimed
            for volume in volumes.values():
                if "configMap" in volume:
                    assert ("ConfigMap", volume["configMap"]["name"]) in objects

    @pytest.mark.parametrize("variant", VARIANTS)
    def test_each_asks_for_cpu_and_memory_and_can_use_no_more_memory_than_its_limit(self, variant: str) -> None:
        for name, pod in pods(rendered(variant)):
            if name == f"{RELEASE}-a250-slow":  # limits are what it asks for
                continue
            for one in (container(pod), *pod["spec"].get("initContainers", [])):
                assert one["resources"]["requests"].keys() == {"cpu", "memory"}
                assert "memory" in one["resources"]["limits"]

    def test_those_that_serve_are_given_time_to_start_and_are_watched(self) -> None:
        served = {name: container(pod) for name, pod in pods(render({"locations": ["a10k"], "startupSeconds": 1200}))}
        for name in ("webserver", "meta", "a10k", "postgresql"):
            one = served[f"{RELEASE}-{name}"]
            assert one["startupProbe"]["periodSeconds"] * one["startupProbe"]["failureThreshold"] == 1200
            assert {"livenessProbe", "readinessProbe"} <= one.keys()
        # Each probe takes seconds of CPU: use at most a hundredth of the time, and be patient on slow machines.
        daemon = served[f"{RELEASE}-daemon"]["livenessProbe"]
        assert daemon["periodSeconds"] >= 300
        assert daemon["timeoutSeconds"] >= 60

    def test_the_settings_for_all_pods_are_in_all_of_them_unless_a_part_has_its_own(self) -> None:
        found = dict(pods(rendered("placement")))
        for name, pod in found.items():
            assert pod["metadata"]["labels"]["team"] == "data"
            assert pod["metadata"]["annotations"]["example.com/scrape"] == "true"
            assert pod["spec"]["priorityClassName"] == "low"
            assert pod["spec"]["tolerations"] == VARIANTS["placement"]["pod"]["tolerations"]
            assert pod["spec"]["affinity"] == VARIANTS["placement"]["pod"]["affinity"]
            own = {f"{RELEASE}-webserver": {"pool": "servers"}, f"{RELEASE}-a250": {"pool": "bench", "disk": "fast"}}
            assert pod["spec"]["nodeSelector"] == own.get(name, {"pool": "bench"})

    def test_pull_secrets_are_in_all_of_them(self) -> None:
        for _, pod in pods(rendered("pull secrets")):
            assert pod["spec"]["imagePullSecrets"] == [{"name": "registry"}]

    def test_labels_cannot_take_a_pod_out_of_its_deployment(self) -> None:
        objects = render({"locations": ["a10"], "pod": {"labels": {"app.kubernetes.io/component": "mine"}}})
        for (kind, _), found in objects.items():
            if kind == "Deployment":
                wanted, labels = (
                    found["spec"]["selector"]["matchLabels"],
                    found["spec"]["template"]["metadata"]["labels"],
                )
                assert wanted.items() <= labels.items()

    @pytest.mark.parametrize(
        ("values", "restarted"),
        [
            ({"queue": {"maxConcurrentRuns": 5}}, {"webserver", "daemon", "meta"}),
            ({"locations": ["a10", "a250"]}, {"webserver", "daemon", "a250"}),
            ({"locations": [{"name": "a10", "runResources": {"limits": {"cpu": 1}}}]}, {"a10"}),
            ({"results": {"size": "3Gi"}}, set()),
        ],
    )
    def test_a_change_restarts_those_that_read_it(self, values: Values, restarted: set[str]) -> None:
        before, after = (dict(pods(render({"locations": ["a10"], **more}))) for more in ({}, values))
        changed = {name.removeprefix(f"{RELEASE}-") for name in after if after[name] != before.get(name)}
        assert changed - {"test-quick-sweep"} == restarted


class TestCodeServers:
    def test_there_is_one_for_the_meta_location_and_each_shape(self) -> None:
        deployments = {name: found for (kind, name), found in rendered("default").items() if kind == "Deployment"}
        names = ["meta", "a10", "a250", "a500", "a2k", "a5k", "a10k", "a1p2k", "a10p10k"]
        assert deployments.keys() == {f"{RELEASE}-{name}" for name in [*names, "webserver", "daemon"]}
        template = deployments[f"{RELEASE}-a1p2k"]["spec"]["template"]
        assert container(template)["command"] == [
            *("dagster", "api", "grpc", "--host=0.0.0.0", "--port=4000"),
            *("--module-name=synthetic_locations.from_environment", "--location-name=a1p2k"),
        ]
        image = container(template)["image"]
        expected = {"BENCH_SHAPE": "a1p2k", "BENCH_LOCATION_NAME": "a1p2k", "DAGSTER_CURRENT_IMAGE": image}
        assert expected.items() <= environment(template).items()

    def test_a_location_can_have_its_own_name_limits_and_variables(self) -> None:
        objects = rendered("CPU limits")
        template = objects["Deployment", f"{RELEASE}-a250-slow"]["spec"]["template"]
        assert "--location-name=a250_slow" in container(template)["command"]
        expected = {"BENCH_SHAPE": "a250", "BENCH_LOCATION_NAME": "a250_slow", "MALLOC_ARENA_MAX": "2"}
        assert expected.items() <= environment(template).items()
        assert container(template)["resources"] == {"limits": {"cpu": "500m"}}
        assert objects["Deployment", f"{RELEASE}-spare"]["spec"]["replicas"] == 0

    def test_the_locations_in_comments_serve_three_experiments_at_both_sizes(self) -> None:
        objects = rendered("experiments")
        served = {
            name: container(pod)
            | {"launched": container(launched_job(objects, name.removeprefix(f"{RELEASE}-"))["spec"]["template"])}
            for name, pod in pods(objects)
            if container(pod)["name"] == "code-server"
        }

        def assert_served(location: str, side: Variant) -> None:
            server = served[f"{RELEASE}-{served_name(location, side)}".replace("_", "-")]
            assert {"name": "BENCH_SHAPE", "value": location} in server["env"]
            assert ("dagster_warm" in server["command"]) is bool(side.warm)
            for one in (server, server["launched"]):
                cpu = f"{round(side.cpus * 1000)}m" if side.cpus else None
                assert one["resources"]["limits"].get("cpu") == cpu
                assert one["resources"]["requests"].keys() == {"cpu", "memory"}

        for name in ("cpu-limit", "definitions-cache", "cold-start"):
            scenario = EXPERIMENTS[name].scenario
            for side in (*scenario.variants, *scenario.quick_variants):
                for location in side.locations:
                    assert_served(location, side)

    def test_warm_ones_are_served_by_the_warm_server(self) -> None:
        commands = {
            name: container(rendered("warm")["Deployment", f"{RELEASE}-{name}"]["spec"]["template"])["command"]
            for name in ("meta", "a10", "a250")
        }
        warm = ["python", "-m", "dagster_warm", "dagster", "api", "grpc"]
        assert commands["meta"][:6] == commands["a10"][:6] == warm
        assert commands["a250"][:3] == ["dagster", "api", "grpc"]

    def test_the_meta_location_is_a_warm_one_and_what_is_measured_is_not(self) -> None:
        warm = {name for name, pod in pods(rendered("default")) if "dagster_warm" in container(pod).get("command", [])}
        assert warm == {f"{RELEASE}-meta"}

    @pytest.mark.parametrize("variant", VARIANTS)
    def test_results_are_for_the_meta_location_alone(self, variant: str) -> None:
        objects = rendered(variant)
        claim = "kept" if variant == "existing claim" else f"{RELEASE}-results"
        assert (("PersistentVolumeClaim", claim) in objects) is (variant != "existing claim")
        users = {
            name: volume["persistentVolumeClaim"]["claimName"]
            for name, pod in pods(objects)
            for volume in pod["spec"]["volumes"]
            if "persistentVolumeClaim" in volume
        }
        assert users == {f"{RELEASE}-meta": claim}
        meta = objects["Deployment", f"{RELEASE}-meta"]["spec"]["template"]
        (mount,) = [mount for mount in container(meta)["volumeMounts"] if mount["name"] == "results"]
        assert environment(meta)["BENCH_RESULTS_DIR"] == mount["mountPath"]

    def test_the_meta_location_launches_through_the_webserver(self) -> None:
        for variant, url in (("default", "http://bench-webserver"), ("service", "http://bench-webserver:8080")):
            meta = rendered(variant)["Deployment", f"{RELEASE}-meta"]["spec"]["template"]
            assert environment(meta)["BENCH_WEBSERVER_URL"] == url


class TestServices:
    @pytest.mark.parametrize("variant", VARIANTS)
    def test_each_selects_the_pods_of_one_workload_and_a_port_of_theirs(self, variant: str) -> None:
        objects = rendered(variant)
        for (kind, name), service in objects.items():
            if kind != "Service":
                continue
            selector = service["spec"]["selector"].items()
            selected = {
                pod_name: pod for pod_name, pod in pods(objects) if selector <= pod["metadata"]["labels"].items()
            }
            assert selected.keys() == {name}
            (port,) = service["spec"]["ports"]
            assert port["targetPort"] in [one["name"] for one in container(selected[name])["ports"]]


class TestPostgreSQL:
    def test_it_has_a_volume_and_a_password_that_outlive_the_release(self) -> None:
        objects = rendered("default")
        secret = objects["Secret", f"{RELEASE}-postgresql"]
        assert secret["metadata"]["annotations"] == {"helm.sh/resource-policy": "keep"}
        assert secret["data"].keys() == {"postgresql-password"}
        (claim,) = objects["StatefulSet", f"{RELEASE}-postgresql"]["spec"]["volumeClaimTemplates"]
        assert claim["spec"]["resources"] == {"requests": {"storage": "4Gi"}}

    @pytest.mark.parametrize("variant", VARIANTS)
    def test_its_password_comes_from_one_secret(self, variant: str) -> None:
        objects = rendered(variant)
        existing = VARIANTS[variant].get("postgresql", {}).get("existingSecret")
        secret = existing or f"{RELEASE}-postgresql"
        assert (("Secret", secret) in objects) is (existing is None)
        expected = {"secretKeyRef": {"name": secret, "key": "postgresql-password"}}
        found = [
            variables[name]
            for _, pod in pods(objects)
            for variables in [environment(pod)]
            for name in ("DAGSTER_PG_PASSWORD", "POSTGRES_PASSWORD")
            if name in variables
        ]
        assert found
        assert all(reference == expected for reference in found)

    def test_an_external_one_needs_nothing_here(self) -> None:
        objects = rendered("external PostgreSQL")
        assert not [key for key in objects if "postgresql" in key[1]]
        assert all("initContainers" not in pod["spec"] for _, pod in pods(objects))


class TestWhatPeopleSee:
    def test_the_notes_say_what_to_type_next(self) -> None:
        notes = files_of_helm4({"queue": {"maxConcurrentRuns": 1}})["dagster-bench/templates/NOTES.txt"]
        for command in (
            "kubectl --namespace dagster port-forward service/bench-webserver 3000:80",
            "kubectl --namespace dagster exec -it deploy/bench-meta -- bench run quick --url http://bench-webserver",
            "helm --namespace dagster test bench",
            "helm --namespace dagster uninstall bench",
            "kubectl --namespace dagster delete job,pod,pvc,secret --selector app.kubernetes.io/instance=bench",
        ):
            assert command in notes
        assert "API server" in notes
        assert "WARNING: a sweep and its trial need two runs" in notes

    def test_what_is_kept_is_removed_by_the_command_in_the_notes(self) -> None:
        kept = [
            found
            for found in rendered("default").values()
            if "helm.sh/resource-policy" in found["metadata"].get("annotations", {})
        ]
        assert {found["kind"] for found in kept} == {"PersistentVolumeClaim", "Secret"}
        (claim,) = rendered("default")["StatefulSet", f"{RELEASE}-postgresql"]["spec"]["volumeClaimTemplates"]
        for found in [*kept, claim]:
            assert found["metadata"]["labels"]["app.kubernetes.io/instance"] == RELEASE

    @pytest.mark.parametrize(
        ("variant", "locations"), [("default", "a10,a250,a500"), ("CPU limits", "a250,a250_slow"), ("warm", "a10,a250")]
    )
    def test_helm_test_launches_a_quick_sweep_in_the_first_locations_that_are_served(
        self, variant: str, locations: str
    ) -> None:
        pod = rendered(variant)["Pod", f"{RELEASE}-test-quick-sweep"]
        assert pod["metadata"]["annotations"]["helm.sh/hook"] == "test"
        assert container(pod)["command"] == [
            *("bench", "run", "quick", "--url=http://bench-webserver", f"--locations={locations}")
        ]
