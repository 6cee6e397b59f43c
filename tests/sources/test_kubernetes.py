"""Interprets Kubernetes' answers, from a stand-in for its API; tests/kubernetes uses a real one."""

import socket
import sys
from datetime import UTC, datetime
from typing import Any

import pytest
from kubernetes import client
from kubernetes.client.exceptions import ApiException

from bench_orchestrator.model.runs import Pod
from bench_orchestrator.sources import kubernetes
from bench_orchestrator.sources.kubernetes import KubernetesError, KubernetesServers

NAMESPACE, JOB = "bench", "dagster-run-1"


def at(second: int) -> datetime:
    return datetime(2026, 11, 21, 12, 0, second, tzinfo=UTC)


def us(second: int) -> int:
    return int(at(second).timestamp() * 1_000_000)


def waiting(reason: str, message: str | None = None) -> client.V1ContainerState:
    return client.V1ContainerState(waiting=client.V1ContainerStateWaiting(reason=reason, message=message))


def terminated(reason: str, exit_code: int) -> client.V1ContainerState:
    return client.V1ContainerState(
        terminated=client.V1ContainerStateTerminated(reason=reason, exit_code=exit_code, started_at=at(4))
    )


RUNNING = client.V1ContainerState(running=client.V1ContainerStateRunning(started_at=at(4)))
COMPLETED = terminated("Completed", 0)


def pod(state: Any = RUNNING, *, scheduled: str = "True", message: str | None = None, **status: Any) -> Any:
    """Return a pod as the API describes it."""
    containers = [
        client.V1ContainerStatus(
            name="dagster", state=state, image="bench:1", image_id="", ready=False, restart_count=0
        )
    ]
    condition = client.V1PodCondition(
        type="PodScheduled", status=scheduled, last_transition_time=at(2), message=message
    )
    spec = client.V1Container(name="dagster", resources=client.V1ResourceRequirements(limits={"memory": "256Mi"}))
    return client.V1Pod(
        metadata=client.V1ObjectMeta(name=f"{JOB}-x", creation_timestamp=at(1)),
        spec=client.V1PodSpec(containers=[spec], node_name="node1"),
        status=client.V1PodStatus(conditions=[condition], container_statuses=containers if state else None, **status),
    )


def unscheduled(*, gated: bool = False) -> Any:
    """Return a pod that no node has taken, as its scheduling gates say, or as nothing but events say."""
    pending = pod(None, scheduled="False")
    pending.spec.node_name = None
    if gated:
        pending.status.conditions[0].reason = "SchedulingGated"
    else:
        pending.status.conditions = None
    return pending


def with_sidecar(worker: Any) -> Any:
    """Return a pod of two containers, of which the worker's is the second."""
    sidecar = pod(terminated("Error", 1)).status.container_statuses[0]
    sidecar.name = "proxy"
    worker.status.container_statuses.insert(0, sidecar)
    return worker


def event(reason: str, message: str, second: int = 3, kind: str = "Normal", part: str | None = None) -> Any:
    return client.CoreV1Event(
        reason=reason,
        message=message,
        type=kind,
        last_timestamp=at(second),
        metadata=client.V1ObjectMeta(name="event"),
        involved_object=client.V1ObjectReference(field_path=part),
    )


class StandIn:
    """Stands in for the core and the batch API."""

    def __init__(
        self, found: list[Any], events: list[Any], of_job: list[Any], refuse: str = "", status: int = 403
    ) -> None:
        self.found, self.events, self.of_job, self.refuse, self.status = found, events, of_job, refuse, status
        self.asked: list[str] = []
        self.leaving = 0
        """How many times pods are listed before they are gone; 0: they stay."""

    def _answer(self, what: str, items: list[Any]) -> Any:
        self.asked.append(what)
        if self.refuse in what.split():
            raise ApiException(status=self.status, reason="Forbidden")
        return client.V1PodList(items=items)

    def list_namespaced_pod(self, namespace: str, label_selector: str, _request_timeout: int) -> Any:
        found = self._answer(f"pods {namespace} {label_selector}", self.found)
        if self.leaving:
            self.leaving -= 1
            self.found = self.found if self.leaving else []
        return found

    def list_namespaced_event(self, namespace: str, field_selector: str, _request_timeout: int) -> Any:
        about_job = self.found and field_selector == f"involvedObject.name={JOB}"
        return self._answer(f"events {namespace} {field_selector}", self.of_job if about_job else self.events)

    def patch_namespaced_deployment_scale(self, name: str, namespace: str, body: Any, _request_timeout: int) -> Any:
        self._answer(f"scale {namespace} {name} {body['spec']['replicas']}", [])
        return client.V1Scale(status=client.V1ScaleStatus(replicas=1, selector="app=bench,server=a10"))

    def read_namespaced_job(self, name: str, namespace: str, _request_timeout: int) -> Any:
        return self._answer(f"job {namespace} {name}", [])


@pytest.fixture
def answer(monkeypatch: pytest.MonkeyPatch) -> Any:
    """Make the API give these answers, and read the pod."""

    def read(found: list[Any], events: list[Any] | None = None, of_job: list[Any] | None = None, **refusal: Any) -> Pod:
        api = StandIn(found, events or [], of_job or [], **refusal)
        monkeypatch.setattr(kubernetes, "_connect", lambda: (api, api, api))
        read_pod = kubernetes.read_pod(NAMESPACE, JOB)
        assert api.asked[0] == f"pods {NAMESPACE} job-name={JOB}"
        return read_pod

    return read


def test_a_pod_that_ran_has_its_instants(answer: Any) -> None:
    for state in (RUNNING, COMPLETED):
        assert answer([pod(state)], [event("Pulled", "Container image already present", 3)]) == Pod(
            f"{JOB}-x", "node1", us(1), us(2), us(3), us(4)
        )


def test_the_worker_is_the_container_of_that_name(answer: Any) -> None:
    pulled = [
        event("Pulled", "x", 3, part="spec.containers{dagster}"),
        event("Pulled", "y", 9, part="spec.containers{proxy}"),
    ]
    described = answer([with_sidecar(pod())], pulled)
    assert (described.trouble, described.pulled_us, described.started_us) == ("", us(3), us(4))


def test_the_latest_pod_of_the_job_counts(answer: Any) -> None:
    earlier = pod()
    earlier.metadata.name, earlier.metadata.creation_timestamp = "earlier", at(0)
    assert answer([pod(), earlier]).name == f"{JOB}-x"


@pytest.mark.parametrize(
    ("found", "events", "trouble"),
    [
        (
            pod(waiting("ImagePullBackOff", "Back-off pulling image")),
            [event("Failed", 'Failed to pull image "bench:1": not found', kind="Warning")],
            'its image cannot be pulled: ImagePullBackOff: Failed to pull image "bench:1": not found',
        ),
        (
            pod(waiting("CreateContainerConfigError", 'secret "s" not found')),
            [],
            'its container does not start: CreateContainerConfigError: secret "s" not found',
        ),
        (
            pod(None, scheduled="False", message="0/1 nodes are available: 1 Insufficient cpu."),
            [],
            "its pod cannot be scheduled: 0/1 nodes are available: 1 Insufficient cpu.",
        ),
        (unscheduled(gated=True), [], "its pod cannot be scheduled: SchedulingGated"),
        (
            unscheduled(),
            [event("FailedScheduling", "0/1 nodes are available: 1 Insufficient memory.", kind="Warning")],
            "its pod cannot be scheduled: 0/1 nodes are available: 1 Insufficient memory.",
        ),
        (pod(terminated("OOMKilled", 137)), [], "its pod ran out of memory (limit 256Mi): OOMKilled"),
        (pod(terminated("Error", 1)), [], "its container ended with exit code 1: Error"),
        (pod(reason="Evicted"), [], "its pod is Evicted:"),
        (
            pod(None),
            [event("FailedMount", 'configmap "c" not found', kind="Warning")],
            'its pod does not start: configmap "c" not found',
        ),
        (pod(waiting("ContainerCreating")), [], ""),
        (pod(waiting("PodInitializing")), [], ""),
        (pod(COMPLETED), [], ""),
    ],
)
def test_what_is_wrong_with_it_is_described(answer: Any, found: Any, events: list[Any], trouble: str) -> None:
    assert answer([found], events).trouble == trouble


def test_a_pod_that_is_being_deleted_says_so(answer: Any) -> None:
    deleted = pod()
    deleted.metadata.deletion_timestamp = at(9)
    assert answer([deleted]).trouble == "its pod was deleted"


def test_a_pod_is_not_taken_for_the_one_that_it_replaces(answer: Any) -> None:
    made = [event("SuccessfulCreate", "Created pod: x"), event("SuccessfulCreate", "Created pod: y")]
    for state in (RUNNING, COMPLETED, waiting("ContainerCreating")):
        assert answer([pod(state)], of_job=made) == Pod(trouble="its pod was deleted")
        assert answer([pod(state)], of_job=made[:1]).trouble == ""


def test_a_job_without_a_pod_says_why(answer: Any) -> None:
    refused = event("FailedCreate", 'pods "x" is forbidden: exceeded quota: runs', kind="Warning")
    assert answer([], [refused]).trouble == 'its pod cannot be created: pods "x" is forbidden: exceeded quota: runs'
    assert answer([], [event("SuccessfulCreate", "Created pod: x")]).trouble == "its pod was deleted"
    assert answer([]).unknown == "its job has no pod yet"
    assert answer([], refuse="job", status=404).trouble.startswith(
        "its pod is gone with its Kubernetes job, which is kept"
    )


def test_rights_that_are_missing_are_named_and_cost_no_more_than_the_answer(answer: Any) -> None:
    named = "the bench may not get and list pods, jobs and events in namespace bench"
    assert answer([pod()], refuse="pods") == Pod(unknown=named)
    without_events = answer([pod()], refuse="events")
    assert (without_events.unknown, without_events.started_us) == (named, us(4))
    assert answer([], refuse="job").unknown == named
    said = "Kubernetes answers 500 Forbidden when asked to get and list pods, jobs and events in namespace bench"
    assert answer([pod()], refuse="pods", status=500).unknown == said


def test_without_the_client_it_says_how_to_get_it(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "kubernetes.config", None)
    unknown = kubernetes.read_pod(NAMESPACE, JOB).unknown
    assert unknown == "the bench cannot ask Kubernetes: pip install 'dagster-bench[kubernetes]'"


def test_without_a_cluster_it_says_so(monkeypatch: pytest.MonkeyPatch, tmp_path: Any) -> None:
    monkeypatch.setenv("KUBECONFIG", str(tmp_path / "none"))
    monkeypatch.setattr("kubernetes.config.kube_config.KUBE_CONFIG_DEFAULT_LOCATION", str(tmp_path / "none"))
    kubernetes._connect.cache_clear()
    assert kubernetes.read_pod(NAMESPACE, JOB).unknown.startswith("the Kubernetes API cannot be used: ")


class TestCodeServers:
    @pytest.fixture
    def api(self, monkeypatch: pytest.MonkeyPatch) -> StandIn:
        """Return an API whose pods are gone after two listings."""
        api = StandIn([pod()], [], [])
        api.leaving = 2
        monkeypatch.setattr(kubernetes, "_connect", lambda: (api, api, api))
        monkeypatch.setattr(kubernetes, "_POLL_S", 0)
        return api

    def test_one_is_scaled_to_zero_and_waited_for_and_scaled_up_again(self, api: StandIn) -> None:
        servers = KubernetesServers(NAMESPACE, lambda location: f"release-{location}.bench.svc")
        servers.stop_server("a10")
        assert api.asked == ["scale bench release-a10 0", *["pods bench app=bench,server=a10"] * 3]
        servers.start_server("a10")
        assert api.asked[4:] == ["scale bench release-a10 1"]

    def test_a_pod_that_stays_is_an_error(self, api: StandIn, monkeypatch: pytest.MonkeyPatch) -> None:
        monkeypatch.setattr(kubernetes, "_ENDING_S", 0)
        with pytest.raises(KubernetesError, match="the pod of the code server of a10 did not stop within 0 s"):
            KubernetesServers(NAMESPACE, lambda _: "release-a10").stop_server("a10")
        assert api.asked[0] == "scale bench release-a10 0"

    @pytest.mark.parametrize(
        ("status", "said"),
        [
            (403, "may not scale the Deployment release-a10 in namespace bench: set coldStart.enabled in the chart"),
            (404, "Kubernetes answers 404 Forbidden when asked to scale the Deployment release-a10 in namespace bench"),
        ],
    )
    def test_what_cannot_be_scaled_is_named(self, api: StandIn, status: int, said: str) -> None:
        api.refuse, api.status = "scale", status
        with pytest.raises(KubernetesError, match=said):
            KubernetesServers(NAMESPACE, lambda _: "release-a10").stop_server("a10")

    def test_one_without_a_service_cannot_be_scaled(self) -> None:
        with pytest.raises(KubernetesError, match="does not name the service of the code server of a10"):
            KubernetesServers(NAMESPACE, lambda _: "").start_server("a10")


def test_an_unreachable_api_server_is_reported_briefly(monkeypatch: pytest.MonkeyPatch) -> None:
    with socket.create_server(("127.0.0.1", 0)) as listener:
        port = listener.getsockname()[1]
    api = client.ApiClient(client.Configuration(host=f"http://127.0.0.1:{port}"))
    monkeypatch.setattr(
        kubernetes, "_connect", lambda: (client.CoreV1Api(api), client.BatchV1Api(api), client.AppsV1Api(api))
    )
    unknown = kubernetes.read_pod(NAMESPACE, JOB).unknown
    assert unknown.startswith("the Kubernetes API cannot be used: ")
    assert unknown.endswith("Connection refused")
