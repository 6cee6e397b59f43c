"""Runs that are forked in their code server's pod, beside runs with a pod of their own, on a real cluster.

Run monitoring is on. The pods run out of memory, are deployed anew and are deleted: no run is lost in silence.
"""

import json
import re
import time
from collections.abc import Iterator, Mapping, Sequence
from contextlib import suppress
from dataclasses import dataclass
from datetime import datetime
from pathlib import Path
from typing import Any

import pytest
from cluster import Cluster, ExistingCluster
from helms import RELEASE
from integration.sweeping import wait_for
from release import Release, released

from bench_orchestrator.webserver import LocationAwayError, Webserver

pytestmark = pytest.mark.kubernetes

COLD, WARM, ROLLING = "cold", "warm", "rolling"
POLL_S = 5
GRACE_S = 25
LONG_S = 900
NOTICED_S = POLL_S + 20
"""A poll, with what a busy machine takes to stop containers and to answer."""

MEMORY = re.compile("for lack of memory by the kernel|ran out of memory")
"""The reason from the server, if it survives the kill, or else from Kubernetes."""

CODE = Path(__file__).with_name("warm_jobs.py")
CONFIG_MAP = {
    "apiVersion": "v1",
    "kind": "ConfigMap",
    "metadata": {"name": "code"},
    "data": {CODE.name: CODE.read_text()},
}
LOCATION: Mapping[str, Any] = {
    "code": [f"--python-file=/code/{CODE.name}"],
    "volumes": [{"name": "code", "configMap": {"name": "code"}}],
    "volumeMounts": [{"name": "code", "mountPath": "/code"}],
    "podPerStep": True,
}
WARM_LOCATION: Mapping[str, Any] = {
    **LOCATION,
    "warm": True,
    "resources": {"requests": {"cpu": "50m", "memory": "320Mi"}, "limits": {"memory": "640Mi"}},
}
VALUES: Mapping[str, Any] = {
    "locationDefaults": {"terminationGracePeriodSeconds": GRACE_S + 15},
    "meta": {"terminationGracePeriodSeconds": GRACE_S + 15},
    "locations": [
        {"name": COLD, **LOCATION},
        {"name": WARM, **WARM_LOCATION},
        {"name": ROLLING, **WARM_LOCATION, "strategy": "RollingUpdate"},
    ],
    "queue": {"maxConcurrentRuns": 3, "dequeueIntervalSeconds": 1},
    "runMonitoring": {"pollIntervalSeconds": POLL_S},
}
LOG = """
query($id: ID!) {
  runOrError(runId: $id) {
    ... on Run {
      status endTime
      eventConnection { events { __typename ... on MessageEvent { message timestamp } } }
    }
  }
}
"""


@dataclass(frozen=True)
class Log:
    """What is known about a run."""

    status: str
    ended_s: float
    """When it ended, as a POSIX timestamp; 0 while it is in progress."""
    messages: Sequence[str]
    failure: str
    """Why it failed; empty if it did not."""

    @property
    def is_forked(self) -> bool:
        return any(message.startswith("Launched warm") for message in self.messages)

    @property
    def has_pod(self) -> bool:
        return any("Creating Kubernetes run worker job" in message for message in self.messages)


@dataclass(frozen=True)
class Warm:
    """The release, and the webserver as a way to its runs."""

    release: Release
    webserver: Webserver

    def launch(self, location: str, job: str = "wait", *, tags: Mapping[str, str] | None = None, **config: Any) -> str:
        """Launch a run, once its code server is there; return its id.

        Args:
            config: of the job's only op.
        """
        ops = {"ops": {{"wait": "pause", "hoard": "take_all"}[job]: {"config": config}}} if config else {}

        def submit() -> str:
            with suppress(LocationAwayError):
                return self.webserver.submit(
                    location=location, repository="__repository__", job=job, tags=tags or {}, run_config=ops
                )
            return ""

        return wait_for(f"a code server of {location}", submit, 120)

    def log(self, run_id: str) -> Log:
        """Return what is known about a run now."""
        run = self.webserver.query(LOG, {"id": run_id})["runOrError"]
        events = run["eventConnection"]["events"]
        failures = [event["message"] for event in events if event["__typename"] == "RunFailureEvent"]
        messages = [event.get("message", "") for event in events]
        return Log(run["status"], run["endTime"] or 0, messages, "".join(failures))

    def started(self, *runs: str) -> None:
        """Wait until runs are in progress."""
        wait_for(f"the start of {runs}", lambda: all(self.log(run).status == "STARTED" for run in runs), 120)

    def ended(self, run_id: str, timeout_s: float = 180) -> Log:
        """Wait for a run's end; return its log."""

        wait_for(f"the end of {run_id}", lambda: self.log(run_id).ended_s, timeout_s, every_s=0.5)
        return self.log(run_id)

    def succeeds(self, location: str) -> None:
        """Launch a run, which succeeds."""
        log = self.ended(self.launch(location))
        assert (log.status, log.is_forked) == ("SUCCESS", True), log

    def pod(self, location: str) -> str:
        """Return the name of the pod of a location's server."""
        selector = f"app.kubernetes.io/component=code-server,dagster/code-location={location}"
        (pod,) = self.release.read("pods", f"--selector={selector}")["items"]
        return str(pod["metadata"]["name"])

    def monitoring(self) -> str:
        """Return what the daemon has logged about run monitoring."""
        log = self.release.kubectl("logs", f"deploy/{RELEASE}-daemon", "--container=daemon", "--tail=-1")
        return "\n".join(line for line in log.splitlines() if "MonitoringDaemon" in line)


@pytest.fixture(scope="module")
def release(cluster: ExistingCluster) -> Iterator[Release]:
    with released(cluster, VALUES, [CONFIG_MAP]) as release:
        yield release


@pytest.fixture(scope="module")
def warm(release: Release) -> Iterator[Warm]:
    with release.cluster.port_forward(f"service/{RELEASE}-webserver", 80, release.namespace) as port:
        yield Warm(release, Webserver(f"http://127.0.0.1:{port}"))


@pytest.fixture
def own(cluster: ExistingCluster) -> None:
    """Skip a test of what this kernel and this kubelet do: others kill a whole container for one process."""
    if not isinstance(cluster, Cluster):
        pytest.skip("KUBECONFIG names a cluster, whose kernel may decide otherwise")


class TestSideBySide:
    def test_a_warm_locations_runs_are_forked_in_its_pod_and_a_cold_ones_have_theirs(self, warm: Warm) -> None:
        runs = {location: warm.launch(location, seconds=3 * POLL_S) for location in (WARM, COLD)}
        logs = {location: warm.ended(run) for location, run in runs.items()}
        for location, log in logs.items():
            assert (log.status, log.is_forked, log.has_pod) == ("SUCCESS", location == WARM, location == COLD), log
            pods = warm.release.read("pods", f"--selector=dagster/run-id={runs[location]}")["items"]
            assert len(pods) == (location == COLD)
            assert f"Checking run {runs[location]}" in warm.monitoring()

    def test_a_run_of_a_warm_location_that_asks_for_a_container_gets_one_and_says_so(self, warm: Warm) -> None:
        asked = {"container_config": {"resources": {"limits": {"memory": "1Gi"}}}}
        run = warm.launch(WARM, tags={"dagster-k8s/config": json.dumps(asked)})
        log = warm.ended(run)
        assert (log.status, log.is_forked, log.has_pod) == ("SUCCESS", False, True), log
        reason = "Launched cold, by K8sRunLauncher: its tag dagster-k8s/config asks for a container of its own."
        assert reason in log.messages
        (pod,) = warm.release.read("pods", f"--selector=dagster/run-id={run}")["items"]
        assert pod["spec"]["containers"][0]["resources"]["limits"]["memory"] == "1Gi"

    @pytest.mark.parametrize("location", [WARM, COLD])
    def test_each_step_has_a_pod_with_the_executor_for_it(self, warm: Warm, location: str) -> None:
        run = warm.launch(location, "pods")
        log = warm.ended(run, timeout_s=300)
        assert (log.status, log.is_forked, log.has_pod) == ("SUCCESS", location == WARM, location == COLD), log
        steps = warm.release.read("pods", f"--selector=dagster/run-id={run},dagster/op")["items"]
        assert {pod["metadata"]["labels"]["dagster/op"] for pod in steps} == {"first", "second"}


class TestDeploys:
    @pytest.mark.parametrize("location", [WARM, ROLLING])
    def test_all_runs_end_well_or_with_a_reason_that_names_the_deploy(self, warm: Warm, location: str) -> None:
        short = warm.launch(location, seconds=GRACE_S - 5)
        long = [warm.launch(location, seconds=LONG_S) for _ in range(2)]
        queued = [warm.launch(location, seconds=1) for _ in range(5)]
        warm.started(short, *long)
        assert {warm.log(run).status for run in queued} == {"QUEUED"}
        warm.release.kubectl("rollout", "restart", f"deploy/{RELEASE}-{location}")
        for run in (short, *queued):
            log = warm.ended(run, timeout_s=300)
            assert (log.status, log.is_forked) == ("SUCCESS", True), log
        for run in long:
            log = warm.ended(run)
            assert log.status == "FAILURE"
            assert "The code server was told to stop, as a deploy does" in log.failure, log
        warm.release.kubectl("rollout", "status", f"deploy/{RELEASE}-{location}", "--timeout=5m")


class TestBadDays:
    """Whatever happens to a pod: its runs end within a poll with the reason, and later ones succeed."""

    @pytest.mark.usefixtures("own")
    def test_a_run_that_takes_all_memory(self, warm: Warm) -> None:
        other = warm.launch(WARM, seconds=LONG_S)
        warm.started(other)
        log = warm.ended(warm.launch(WARM, "hoard"), timeout_s=60)
        assert log.status == "FAILURE"
        assert any(MEMORY.search(message) for message in log.messages), log
        assert warm.log(other).status == "STARTED"
        warm.succeeds(WARM)
        warm.webserver.terminate(other)
        assert warm.ended(other).status == "CANCELED"

    def test_a_pod_that_runs_out_of_memory_with_all_its_runs(self, warm: Warm) -> None:
        other = warm.launch(WARM, seconds=LONG_S)
        warm.started(other)
        hoard = warm.launch(WARM, "hoard", spared=True)
        killed_s = wait_for("the container's end", lambda: out_of_memory_at_s(warm, WARM), 120)
        for run in (hoard, other):
            log = warm.ended(run)
            assert log.status == "FAILURE"
            assert any(MEMORY.search(message) for message in log.messages), log
            assert log.ended_s - killed_s < NOTICED_S
        warm.succeeds(WARM)

    def test_a_pod_that_is_gone_at_once(self, warm: Warm) -> None:
        run = warm.launch(WARM, seconds=LONG_S)
        warm.started(run)
        pod = warm.pod(WARM)
        deleted_s = time.time()
        warm.release.kubectl("delete", "pod", pod, "--grace-period=0", "--force")
        log = warm.ended(run)
        assert log.status == "FAILURE"
        assert f"{pod} was deleted" in log.failure, log
        assert log.ended_s - deleted_s < NOTICED_S
        warm.succeeds(WARM)


def test_monitoring_has_raised_no_error(warm: Warm) -> None:
    assert "ERROR" not in warm.monitoring()


def out_of_memory_at_s(warm: Warm, location: str) -> float:
    """Return when the server's container was last killed for lack of memory, as a POSIX timestamp; 0 if it was not."""
    pod = warm.release.read("pod", warm.pod(location))
    (container,) = pod["status"]["containerStatuses"]
    for state in (container["state"], container["lastState"]):
        ended = state.get("terminated")
        if ended and ended["reason"] == "OOMKilled":
            return datetime.fromisoformat(ended["finishedAt"]).timestamp()
    return 0
