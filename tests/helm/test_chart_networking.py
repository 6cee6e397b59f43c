"""Who can connect to what: network policies, the ingress, and the path below which the UI is served."""

import socket
import time
from collections.abc import Iterator
from threading import Thread
from typing import Any, Literal

import pytest
import requests
import uvicorn
from dagster._core.test_utils import instance_for_test
from dagster._core.workspace.context import WorkspaceProcessContext
from dagster_webserver.app import create_app_from_workspace_process_context
from helms import RELEASE, Objects, files_of_helm4, render
from launched import launched_job
from variants import VARIANTS, container, environment, pods, rendered

from bench_orchestrator.webserver import Webserver

DNS = [{"port": 53, "protocol": "UDP"}, {"port": 53, "protocol": "TCP"}]
API = {"to": VARIANTS["egress"]["networkPolicy"]["apiServerTo"], "ports": [{"port": 6443}]}


def selects(policy: dict[str, Any], labels: dict[str, str]) -> bool:
    """Return whether a policy is about a pod with these labels."""
    selector = policy["spec"]["podSelector"]
    return selector["matchLabels"].items() <= labels.items() and all(
        labels.get(one["key"]) in one["values"] for one in selector.get("matchExpressions", [])
    )


def allowed(objects: Objects, pod: dict[str, Any], direction: Literal["ingress", "egress"]) -> Iterator[dict[str, Any]]:
    """Yield the rules for a pod's connections; several policies add up."""
    policies = [
        found
        for (kind, _), found in objects.items()
        if kind == "NetworkPolicy" and selects(found, pod["metadata"]["labels"])
    ]
    assert any(direction.title() in policy["spec"]["policyTypes"] for policy in policies)
    for policy in policies:
        yield from policy["spec"].get(direction, [])


def reached_from(objects: Objects, name: str) -> list[Any]:
    """Return who may reach the pods of a workload."""
    pod = dict(pods(objects))[f"{RELEASE}-{name}"]
    return [peer for rule in allowed(objects, pod, "ingress") for peer in rule["from"]]


class TestNetworkPolicy:
    def test_there_is_none_by_default(self) -> None:
        assert not [kind for kind, _ in rendered("default") if kind == "NetworkPolicy"]

    def test_each_is_reached_by_those_who_need_it(self) -> None:
        objects = rendered("network policy")
        release = {"app.kubernetes.io/name": "dagster-bench", "app.kubernetes.io/instance": RELEASE}
        everybody = {"podSelector": {"matchLabels": release}}
        hosts = [
            {"podSelector": {"matchLabels": {**release, "app.kubernetes.io/component": host}}}
            for host in ("webserver", "daemon")
        ]
        ingress = VARIANTS["network policy"]["networkPolicy"]["webserverFrom"]
        assert reached_from(objects, "daemon") == []
        assert reached_from(objects, "a10") == reached_from(objects, "meta") == hosts
        assert reached_from(objects, "postgresql") == [everybody]
        assert reached_from(objects, "webserver") == [everybody, *ingress]

    def test_every_pod_reaches_the_release_and_the_cluster_s_names_and_nothing_else(self) -> None:
        objects = rendered("network policy")
        release = {"app.kubernetes.io/name": "dagster-bench", "app.kubernetes.io/instance": RELEASE}
        everywhere = [{"ports": DNS}, {"to": [{"podSelector": {"matchLabels": release}}]}]
        of_runs = launched_job(objects, "a10")["spec"]["template"]
        for pod in (of_runs, *(pod for name, pod in pods(objects) if name.endswith(("-a10", "-postgresql")))):
            assert list(allowed(objects, pod, "egress")) == everywhere

    def test_an_external_database_is_reached_at_its_port(self) -> None:
        objects = rendered("egress")
        for _, pod in pods(objects):
            assert {"ports": [{"port": 6432}]} in allowed(objects, pod, "egress")

    def test_only_pods_with_rights_reach_the_kubernetes_api(self) -> None:
        objects = rendered("egress")
        started = dict(pods(objects))
        reaching = {name for name, pod in started.items() if API in allowed(objects, pod, "egress")}
        assert reaching == {name for name, pod in started.items() if pod["spec"]["automountServiceAccountToken"]}
        for server, component, rights in (
            ("meta", "run_worker", True),
            ("a10-pods", "run_worker", True),
            ("a10-pods", "step_worker", True),
            ("a10", "run_worker", False),
        ):
            pod = launched_job(objects, server, component)["spec"]["template"]
            assert pod["spec"]["automountServiceAccountToken"] is rights
            assert (API in allowed(objects, pod, "egress")) is rights

    def test_by_default_the_api_is_at_any_address(self) -> None:
        objects = rendered("network policy")
        daemon = dict(pods(objects))[f"{RELEASE}-daemon"]
        assert {"ports": [{"port": 443}, {"port": 6443}]} in allowed(objects, daemon, "egress")

    def test_code_reaches_what_else_it_needs_in_servers_runs_and_steps(self) -> None:
        objects = rendered("egress")
        (rule,) = VARIANTS["egress"]["networkPolicy"]["egress"]
        started = dict(pods(objects))
        reaching = {name for name, pod in started.items() if rule in allowed(objects, pod, "egress")}
        assert reaching == {name for name, pod in started.items() if container(pod)["name"] == "code-server"}
        for component in ("run_worker", "step_worker"):
            pod = launched_job(objects, "a10", component)["spec"]["template"]
            assert rule in allowed(objects, pod, "egress")


class TestIngress:
    def test_there_is_none_by_default(self) -> None:
        assert not [kind for kind, _ in rendered("default") if kind == "Ingress"]

    def test_it_leads_to_the_webserver_with_tls_below_its_path(self) -> None:
        objects = rendered("production")
        ingress = objects["Ingress", "bench-webserver"]
        assert ingress["metadata"]["annotations"] == {"example.com/auth": "on"}
        assert ingress["spec"]["ingressClassName"] == "nginx"
        assert ingress["spec"]["tls"] == [{"secretName": "dagster-tls", "hosts": ["dagster.example.com"]}]
        (rule,) = ingress["spec"]["rules"]
        assert rule["host"] == "dagster.example.com"
        (path,) = rule["http"]["paths"]
        assert (path["path"], path["pathType"]) == ("/data/dagster", "Prefix")
        service = objects["Service", path["backend"]["service"]["name"]]
        assert path["backend"]["service"]["port"]["name"] in [port["name"] for port in service["spec"]["ports"]]

    def test_without_a_host_it_takes_all(self) -> None:
        objects = render({"locations": ["a10"], "webserver": {"ingress": {"enabled": True}}})
        assert objects["Ingress", "bench-webserver"]["spec"] == {
            "rules": [
                {
                    "http": {
                        "paths": [
                            {
                                "path": "/",
                                "pathType": "Prefix",
                                "backend": {"service": {"name": "bench-webserver", "port": {"name": "http"}}},
                            }
                        ]
                    }
                }
            ]
        }


@pytest.fixture(scope="module")
def url() -> Iterator[str]:
    """Yield the root of a webserver of Dagster's, with the path prefix that the chart's command gives it."""
    command = container(rendered("production")["Deployment", f"{RELEASE}-webserver"]["spec"]["template"])["command"]
    (prefix,) = [word.partition("=")[2] for word in command if word.startswith("--path-prefix=")]
    with (
        instance_for_test() as instance,
        WorkspaceProcessContext(instance, None) as context,
        socket.create_server(("127.0.0.1", 0)) as listening,
    ):
        app = create_app_from_workspace_process_context(context, path_prefix=prefix)
        server = uvicorn.Server(uvicorn.Config(app, log_level="error"))
        thread = Thread(target=server.run, kwargs={"sockets": [listening]})
        thread.start()
        try:
            while not server.started:
                assert thread.is_alive()
                time.sleep(0.05)
            yield f"http://127.0.0.1:{listening.getsockname()[1]}"
        finally:
            server.should_exit = True
            thread.join()


class TestThePathPrefix:
    def test_probes_find_the_webserver_below_it(self, url: str) -> None:
        served = container(rendered("production")["Deployment", f"{RELEASE}-webserver"]["spec"]["template"])
        for probe in ("startupProbe", "readinessProbe", "livenessProbe"):
            path = served[probe]["httpGet"]["path"]
            assert requests.get(f"{url}{path}", timeout=30).json()["dagster_webserver_version"]
        assert requests.get(f"{url}/server_info", timeout=30).status_code == 404

    def test_the_meta_location_launches_below_it(self, url: str) -> None:
        meta = rendered("production")["Deployment", f"{RELEASE}-meta"]["spec"]["template"]
        configured = environment(meta)["BENCH_WEBSERVER_URL"]
        assert configured.startswith("http://bench-webserver/")
        assert Webserver(configured.replace("http://bench-webserver", url)).list_locations() == {}

    def test_notes_and_the_helm_test_know_it(self) -> None:
        notes = files_of_helm4(VARIANTS["production"])["dagster-bench/templates/NOTES.txt"]
        assert "http://127.0.0.1:3000/data/dagster\n" in notes
        pod = rendered("production")["Pod", f"{RELEASE}-test-quick-sweep"]
        assert "--url=http://bench-webserver/data/dagster" in container(pod)["command"]
