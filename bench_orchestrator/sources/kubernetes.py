"""The Kubernetes API client: reads the pods of a run's and its steps' workers, and stops and starts code servers.

The sweep reads a run's pod when its trial ends and records it, because Kubernetes deletes events within the hour, and
pods with their job. `bench timeline` reads what is left. Missing permissions lose the answer, not the trial.
"""

from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from datetime import datetime
from functools import cache, partial
from typing import Any

from bench_orchestrator.model.errors import UnusableError, one_line
from bench_orchestrator.model.instants import MICROSECONDS
from bench_orchestrator.model.runs import Pod
from bench_orchestrator.waiting import poll

_TIMEOUT_S = 10
_one_line = partial(one_line, longest=400)
_POLL_S = 0.2
_READING = "get and list pods, jobs and events in namespace "
_ENDING_S = 90.0
"""Seconds that a pod may take to disappear: three times the default grace period."""
_DELETED = "its pod was deleted"
_GONE = "its pod is gone with its Kubernetes job, which is kept for a day after its end unless it is set otherwise"
_STARTING = ("ContainerCreating", "PodInitializing")
_WORKER = "dagster"
"""The name of the container of a run's or a step's worker; others in its pod are of the user."""
_CANNOT_BE_PULLED = ("ErrImagePull", "ImagePullBackOff", "InvalidImageName", "ErrImageNeverPull")


def read_pod(namespace: str, job: str) -> Pod:
    """Return what is known about a job's latest pod, or about the job if it has none. Never raises."""
    try:
        with _errors(_READING + namespace):
            core, batch, _ = _connect()
            pods = core.list_namespaced_pod(
                namespace, label_selector=f"job-name={job}", _request_timeout=_TIMEOUT_S
            ).items
            if not pods:
                return _without_pod(core, batch, namespace, job)
            pod = max(pods, key=lambda one: one.metadata.creation_timestamp)
            if _has_made_several(core, namespace, job):
                return Pod(trouble=_DELETED)
            events, unknown = _events(core, namespace, pod.metadata.name)
            return _describe(pod, events, unknown)
    except KubernetesError as error:
        return Pod(unknown=str(error))


class KubernetesError(UnusableError):
    """Kubernetes rejects a request or does not answer."""


@dataclass(frozen=True)
class KubernetesServers:
    """The code servers of a deployment on Kubernetes; each is a Deployment with the name of its service."""

    namespace: str
    service_of: Callable[[str], str]
    """Returns the host of a location's code server, given the location's name."""

    def stop_server(self, location: str) -> None:
        """Scale the location's code server to zero, and wait until its pod is gone.

        Raises:
            KubernetesError: it cannot be scaled, or its pod does not stop.
        """
        selector = self._scale(location, 0)
        with _errors(f"list pods in namespace {self.namespace}"):
            core, *_ = _connect()
            left = poll(
                lambda: (
                    core.list_namespaced_pod(self.namespace, label_selector=selector, _request_timeout=_TIMEOUT_S).items
                ),
                lambda pods: not pods,
                patience_s=_ENDING_S,
                every_s=_POLL_S,
            )
            if left:
                raise KubernetesError(f"the pod of the code server of {location} did not stop within {_ENDING_S:g} s")

    def start_server(self, location: str) -> None:
        """Scale the location's code server to one, without waiting for it.

        Raises:
            KubernetesError: it cannot be scaled.
        """
        self._scale(location, 1)

    def _scale(self, location: str, replicas: int) -> str:
        """Scale the Deployment; return the label selector of its pods."""
        name = self.service_of(location).partition(".")[0]
        if not name:
            raise KubernetesError(f"the webserver does not name the service of the code server of {location}")
        with _errors(f"scale the Deployment {name} in namespace {self.namespace}: set coldStart.enabled in the chart"):
            *_, apps = _connect()
            scale = apps.patch_namespaced_deployment_scale(
                name, self.namespace, {"spec": {"replicas": replicas}}, _request_timeout=_TIMEOUT_S
            )
            return str(scale.status.selector)


@contextmanager
def _errors(what: str) -> Iterator[None]:
    """Convert every failure into a KubernetesError; `what` describes the request."""
    try:
        import urllib3  # deferred like the Kubernetes client: most deployments need neither
        from kubernetes.client.exceptions import ApiException
        from kubernetes.config import ConfigException
    except ImportError as error:
        raise KubernetesError("the bench cannot ask Kubernetes: pip install 'dagster-bench[kubernetes]'") from error
    try:
        yield
    except ApiException as error:
        raise KubernetesError(_refusal(error, what)) from error
    except (ConfigException, urllib3.exceptions.HTTPError, OSError) as error:
        # Of urllib3's list of retries, only the last error.
        reason = _one_line(str(getattr(error, "reason", error)))
        raise KubernetesError(f"the Kubernetes API cannot be used: {reason}") from error


@cache
def _connect() -> tuple[Any, Any, Any]:
    """Return the core, batch and apps APIs, configured by the pod's service account or else by kubectl's config."""
    from kubernetes import client, config

    try:
        config.load_incluster_config()
    except config.ConfigException:
        config.load_kube_config()
    return client.CoreV1Api(), client.BatchV1Api(), client.AppsV1Api()


def _describe(pod: Any, events: Sequence[Any], unknown: str) -> Pod:
    scheduled = next((one for one in pod.status.conditions or () if one.type == "PodScheduled"), None)
    container = _worker(pod.status.container_statuses)
    pulled = [event for event in events if event.reason == "Pulled" and _concerns(event, container)]
    running = container and (container.state.running or container.state.terminated)
    return Pod(
        name=pod.metadata.name,
        node=pod.spec.node_name or "",
        created_us=_us(pod.metadata.creation_timestamp),
        scheduled_us=_us(scheduled.last_transition_time) if scheduled and scheduled.status == "True" else None,
        pulled_us=_us(_instant(pulled[-1])) if pulled else None,
        started_us=_us(running.started_at) if running and running.started_at else None,
        trouble=_trouble(pod, scheduled, container, events),
        unknown=unknown,
    )


def _worker(containers: Sequence[Any] | None) -> Any:
    """Return the worker's container, by its name or else as the first; None if there is none."""
    return next((one for one in containers or () if one.name == _WORKER), next(iter(containers or ()), None))


def _concerns(event: Any, container: Any) -> bool:
    """Return whether an event is about the container, or does not say which one it is about."""
    part = event.involved_object.field_path
    return part is None or container is None or part.endswith(f"{{{container.name}}}")


def _trouble(pod: Any, scheduled: Any, container: Any, events: Sequence[Any]) -> str:
    if pod.status.reason:  # for example, evicted
        return _one_line(f"its pod is {pod.status.reason}: {pod.status.message or ''}")
    if scheduled and scheduled.status == "False":
        return _one_line(f"its pod cannot be scheduled: {scheduled.message or scheduled.reason}")
    unscheduled = [event.message for event in events if event.reason == "FailedScheduling"]
    if unscheduled and not pod.spec.node_name:
        return _one_line(f"its pod cannot be scheduled: {unscheduled[-1]}")
    if container and container.state.waiting and container.state.waiting.reason not in _STARTING:
        waiting = container.state.waiting
        what = "its image cannot be pulled" if waiting.reason in _CANNOT_BE_PULLED else "its container does not start"
        detail = [event.message for event in events if event.type == "Warning" and container.image in event.message]
        return _one_line(f"{what}: {waiting.reason}: {detail[-1] if detail else waiting.message}")
    if container and container.state.terminated and container.state.terminated.exit_code:
        ended = container.state.terminated
        if ended.reason == "OOMKilled":
            limits = _worker(pod.spec.containers).resources.limits or {}
            return f"its pod ran out of memory (limit {limits.get('memory', 'unknown')}): OOMKilled"
        return _one_line(f"its container ended with exit code {ended.exit_code}: {ended.message or ended.reason}")
    if pod.metadata.deletion_timestamp:
        return _DELETED
    mounts = [event.message for event in events if event.type == "Warning" and event.reason.startswith("Failed")]
    return _one_line(f"its pod does not start: {mounts[-1]}") if mounts and not container else ""


def _has_made_several(core: Any, namespace: str, job: str) -> bool:
    """Return whether the job has created several pods, which it does only after one was deleted.

    It is unknown which of them ran the run: Dagster makes a pod that comes too late exit at once.
    """
    events, _ = _events(core, namespace, job)
    return len({event.message for event in events if event.reason == "SuccessfulCreate"}) > 1


def _without_pod(core: Any, batch: Any, namespace: str, job: str) -> Pod:
    from kubernetes.client.exceptions import ApiException

    try:
        batch.read_namespaced_job(job, namespace, _request_timeout=_TIMEOUT_S)
    except ApiException as error:
        if error.status != 404:
            raise
        return Pod(trouble=_GONE)
    events, unknown = _events(core, namespace, job)
    refused = [event.message for event in events if event.reason == "FailedCreate"]
    if refused:
        return Pod(trouble=_one_line(f"its pod cannot be created: {refused[-1]}"))
    if any(event.reason == "SuccessfulCreate" for event in events):
        return Pod(trouble=_DELETED)
    return Pod(unknown=unknown or "its job has no pod yet")


def _events(core: Any, namespace: str, name: str) -> tuple[Sequence[Any], str]:
    """Return the events of an object, oldest first, and why they cannot be read (empty if they can)."""
    from kubernetes.client.exceptions import ApiException

    try:
        found = core.list_namespaced_event(
            namespace, field_selector=f"involvedObject.name={name}", _request_timeout=_TIMEOUT_S
        ).items
    except ApiException as error:
        return (), _refusal(error, _READING + namespace)
    return sorted(found, key=lambda event: _us(_instant(event)) or 0), ""


def _instant(event: Any) -> datetime | None:
    instant: datetime | None = event.last_timestamp or event.event_time or event.metadata.creation_timestamp
    return instant


def _refusal(error: Any, what: str) -> str:
    if error.status == 403:
        return f"the bench may not {what}"
    return f"Kubernetes answers {error.status} {error.reason} when asked to {what}"


def _us(instant: datetime | None) -> int | None:
    return None if instant is None else int(instant.timestamp() * MICROSECONDS)
