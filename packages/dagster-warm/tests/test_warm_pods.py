"""Which pod a code server is in, and what Kubernetes tells about its end."""

import datetime
import socket
from pathlib import Path
from typing import Any

import pytest

pytest.importorskip("kubernetes")

from kubernetes import client

from dagster_warm.pods import end_of, own_pod

FORKED_S = 1_700_000_000.5


def at(time_s: float) -> datetime.datetime:
    """Return the time as Kubernetes tells it, in whole seconds."""
    return datetime.datetime.fromtimestamp(int(time_s), datetime.UTC)


def ended(reason: str, exit_code: int, at_s: float) -> client.V1ContainerState:
    terminated = client.V1ContainerStateTerminated(exit_code=exit_code, reason=reason, finished_at=at(at_s))
    return client.V1ContainerState(terminated=terminated)


RUNNING = client.V1ContainerState(running=client.V1ContainerStateRunning())


def pod(state: client.V1ContainerState = RUNNING, before: client.V1ContainerState | None = None) -> client.V1Pod:
    container = client.V1ContainerStatus(
        name="server", image="", image_id="", ready=True, restart_count=0, state=state, last_state=before
    )
    return client.V1Pod(status=client.V1PodStatus(phase="Running", container_statuses=[container]))


def end(monkeypatch: pytest.MonkeyPatch, *found: client.V1Pod) -> str:
    """Return what is told about the end of a pod, if that is what Kubernetes has found."""

    def list_pods(_: Any, namespace: str, field_selector: str, **__: Any) -> client.V1PodList:
        assert (namespace, field_selector) == ("dagster", "metadata.name=sales-7")
        return client.V1PodList(items=list(found))

    monkeypatch.setattr(client.CoreV1Api, "list_namespaced_pod", list_pods)
    return end_of("dagster/sales-7", FORKED_S)


@pytest.mark.parametrize(
    ("found", "sentence"),
    [
        ((), "Its pod sales-7 was deleted."),
        ((pod(),), ""),
        ((pod(before=ended("OOMKilled", 137, FORKED_S - 60)),), ""),
        (
            (pod(before=ended("OOMKilled", 137, FORKED_S)),),
            "The container server of its pod sales-7 ran out of memory (OOMKilled).",
        ),
        (
            (pod(ended("Error", 143, FORKED_S + 60)),),
            "The container server of its pod sales-7 ended: Error, exit code 143.",
        ),
        (
            (client.V1Pod(status=client.V1PodStatus(phase="Failed", reason="Evicted", message="The node was low.")),),
            "Its pod sales-7 failed: Evicted: The node was low.",
        ),
    ],
)
def test_how_a_pod_has_ended(monkeypatch: pytest.MonkeyPatch, found: tuple[client.V1Pod, ...], sentence: str) -> None:
    assert end(monkeypatch, *found) == sentence


def test_a_cluster_that_refuses_tells_nothing(monkeypatch: pytest.MonkeyPatch) -> None:
    def refuse(*_: Any, **__: Any) -> None:
        raise client.ApiException(403)

    monkeypatch.setattr(client.CoreV1Api, "list_namespaced_pod", refuse)
    assert end_of("dagster/sales-7", FORKED_S) == ""


@pytest.mark.parametrize(
    ("host", "domains", "expected"),
    [
        ("sales-5454649786-r8n6r", "data.svc.cluster.local svc.cluster.local", "data/sales-5454649786-r8n6r"),
        ("sales-5454649786-r8n6r", "example.com", ""),
        ("ip-10-0-1-23", "data.svc.cluster.local", ""),  # a node's, with hostNetwork
        (f"{'sales-' * 8}5454649786-r8n6r", "data.svc.cluster.local", ""),  # perhaps the beginning of a longer name
    ],
)
def test_the_pod_of_a_process_is_its_host_in_the_namespace_of_its_search_domains(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, host: str, domains: str, expected: str
) -> None:
    monkeypatch.setattr(socket, "gethostname", lambda: host)
    resolver = tmp_path / "resolv.conf"
    resolver.write_text(f"nameserver 10.0.0.1\nsearch {domains}\n")
    monkeypatch.delenv("KUBERNETES_SERVICE_HOST", raising=False)
    assert own_pod(resolver) == ""
    monkeypatch.setenv("KUBERNETES_SERVICE_HOST", "10.0.0.1")
    assert own_pod(resolver) == expected
    assert own_pod(tmp_path / "none") == ""
