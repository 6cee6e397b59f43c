"""The chart on a real cluster: its measurements, and its sweeps when the cluster fails.

All tests sweep in one release, which has a location for each possible fault of run pods.
"""

import re
import time
from collections.abc import Iterator, Mapping
from typing import Any

import pytest
from cluster import Cluster, ExistingCluster
from helms import RELEASE
from in_pod import Swept
from integration.sweeping import wait_for
from release import Release, released

from bench_orchestrator.model.launch import Outcome, Trial
from bench_orchestrator.model.stages import BootStage, Stage

pytestmark = pytest.mark.kubernetes

SOUND = ("a10", "a10_inprocess", "a10_pods")
SLOW = "slow"
NO_IMAGE = "registry.invalid/no-such-image:1"
START_TIMEOUT_S = 90

VALUES: Mapping[str, Any] = {
    "locations": [
        *SOUND,
        {"name": SLOW, "shape": "a1_sleep60000ms_inprocess"},
        {"name": "without_image", "shape": "a10"},
        {"name": "too_large", "shape": "a10", "runResources": {"requests": {"cpu": "100", "memory": "64Mi"}}},
        {"name": "too_small", "shape": "a10", "runResources": {"limits": {"memory": "64Mi"}}},
        {"name": "over_quota", "shape": "a10", "runResources": {"requests": {"memory": "200Gi"}}},
    ],
    "runLauncher": {"warm": False},  # sweeps have pods of their own, too
    "queue": {"dequeueIntervalSeconds": 1},
    "runMonitoring": {"startTimeoutSeconds": START_TIMEOUT_S, "pollIntervalSeconds": 5},
}
QUOTA = {
    "apiVersion": "v1",
    "kind": "ResourceQuota",
    "metadata": {"name": "quota"},
    "spec": {"hard": {"requests.memory": "100Gi"}},
}


@pytest.fixture(scope="module")
def release(cluster: ExistingCluster) -> Iterator[Release]:
    with released(cluster, VALUES, [QUOTA]) as release:
        # A location's runs use its server's image, here one that was replaced after the server had started.
        release.kubectl("set", "env", f"deploy/{RELEASE}-without-image", f"DAGSTER_CURRENT_IMAGE={NO_IMAGE}")
        release.kubectl("rollout", "status", f"deploy/{RELEASE}-without-image", "--timeout=5m")
        release.reload("without_image")
        yield release


@pytest.fixture(scope="module")
def own(cluster: ExistingCluster) -> Cluster:
    """Return the cluster, if the tests may break it."""
    if not isinstance(cluster, Cluster):
        pytest.skip("KUBECONFIG names a cluster, which is not the tests' to stop")
    return cluster


@pytest.fixture(scope="module")
def quick(release: Release) -> Swept:
    """Return a sweep without failures."""
    return release.sweep(*SOUND)


@pytest.fixture(scope="module")
def not_started(release: Release) -> Mapping[str, Trial]:
    """Return the launches of a sweep in locations whose run pods cannot run."""
    return by_location(release.sweep("without_image", "too_large", "too_small", "over_quota"))


def by_location(swept: Swept) -> dict[str, Trial]:
    return {trial.location: trial for trial in swept.stored.trials}


class TestAGoodDay:
    def test_every_trial_is_ok_and_has_its_pods_usage(self, release: Release, quick: Swept) -> None:
        nodes = {node["metadata"]["name"] for node in release.read("nodes")["items"]}
        assert by_location(quick).keys() == set(SOUND)
        for trial in quick.stored.trials:
            assert (trial.outcome, trial.reason, trial.launch.warnings) == (Outcome.OK, "", ())
            assert trial.launch.boot_us.keys() == set(BootStage)
            assert sum(trial.launch.boot_us.values()) == trial.launch.stages_us[Stage.WORKER_BOOT]
            assert trial.launch.pod is not None
            assert trial.launch.pod.node in nodes

    def test_the_row_says_how_steps_were_started(self, quick: Swept) -> None:
        assert {name: trial.launch.executor for name, trial in by_location(quick).items()} == {
            "a10": "multiprocess",
            "a10_inprocess": "in_process",
            "a10_pods": "pods",
        }

    def test_runs_have_the_rights_and_the_volume_that_they_need(self, release: Release, quick: Swept) -> None:
        def volumes_and_account(location: str) -> tuple[bool, str, bool]:
            pod = release.run_pods(location)[0]["spec"]
            mounted = {mount["name"] for mount in pod["containers"][0]["volumeMounts"]}
            token = any("serviceaccount" in mount["mountPath"] for mount in pod["containers"][0]["volumeMounts"])
            return "results" in mounted, pod["serviceAccountName"].removeprefix(f"{RELEASE}-"), token

        assert quick.runs
        assert volumes_and_account("a10") == (False, "unprivileged", False)
        assert volumes_and_account("a10_pods") == (False, "steps", True)
        assert volumes_and_account("bench_orchestrator") == (True, "meta", True)

    def test_helm_test_passes(self, release: Release) -> None:
        said = release.helm("test", RELEASE, "--timeout=20m", "--logs")
        assert re.search(r"All \d+ trials went well", said)


class TestRunsThatDoNotStart:
    """The reason of a trial says what keeps its pod from running."""

    @pytest.mark.parametrize(
        ("location", "reason"),
        [
            ("without_image", rf"its image cannot be pulled: \w+: .*{NO_IMAGE}"),
            ("too_large", r"its pod cannot be scheduled: 0/\d+ nodes are available: \d+ Insufficient cpu"),
            ("too_small", r"its pod ran out of memory \(limit 64Mi\): OOMKilled"),
            ("over_quota", r"its pod cannot be created: .*exceeded quota: quota, requested: requests.memory=200Gi"),
        ],
    )
    def test_they_fail_when_dagster_gives_them_up(
        self, not_started: Mapping[str, Trial], location: str, reason: str
    ) -> None:
        trial = not_started[location]
        assert trial.outcome is Outcome.FAILED
        assert re.match(reason, trial.reason), trial.reason
        assert f"longer than {START_TIMEOUT_S} seconds to start" in trial.reason

    def test_or_time_out_when_the_sweep_does(self, release: Release) -> None:
        (trial,) = release.sweep("too_large", timeout_s=20).stored.trials
        assert trial.outcome is Outcome.TIMED_OUT
        assert trial.reason.startswith("its pod cannot be scheduled: ")
        assert trial.reason.endswith("(not over 20 s after its request, still STARTING)")


class TestBadDays:
    """Whatever fails recovers: no launch is lost or duplicated, and each one that is not ok has a reason."""

    def test_a_pod_that_is_deleted(self, release: Release) -> None:
        run = release.start(SLOW)
        pod = wait_for("its pod to run", lambda: running(release, SLOW))
        time.sleep(10)
        release.kubectl("delete", "pod", pod)
        (trial,) = release.end(run).stored.trials
        assert trial.outcome is Outcome.FAILED
        assert trial.reason.startswith("its pod was deleted"), trial.reason

    def test_a_pod_that_is_gone_at_once(self, release: Release) -> None:
        run = release.start(SLOW)
        pod = wait_for("its pod to run", lambda: running(release, SLOW))
        time.sleep(10)
        release.kubectl("delete", "pod", pod, "--grace-period=0", "--force")
        (trial,) = release.end(run).stored.trials
        assert trial.outcome is Outcome.FAILED
        assert trial.reason.startswith("its pod was deleted"), trial.reason

    def test_an_api_server_that_is_away(self, release: Release, own: Cluster) -> None:
        earlier = names(release, "a10_inprocess")
        run = release.start("a10_inprocess", repeats=6)
        wait_for("its second trial", lambda: len(names(release, "a10_inprocess") - earlier) >= 2)
        with own.paused_apiserver():
            time.sleep(30)
        swept = release.end(run)
        # Dagster has marked it as failed meanwhile.
        assert swept.stored.status == "complete"
        first, *_, last = outcomes(swept)
        assert (first, last) == (Outcome.OK, Outcome.OK)
        for trial in swept.stored.trials:
            # Right after its return, the API server may refuse requests because it has not read its rules yet.
            assert trial.outcome is Outcome.OK or "Kubernetes answers 403: " in trial.reason, trial.reason

    @pytest.mark.parametrize(
        "component", ["webserver", "daemon", "code-server,dagster/code-location=a10_inprocess", "postgresql"]
    )
    def test_a_component_that_is_restarted(self, release: Release, component: str) -> None:
        earlier = names(release, "a10_inprocess")
        run = release.start("a10_inprocess", repeats=5)
        wait_for("its second trial", lambda: len(names(release, "a10_inprocess") - earlier) >= 2)
        release.restart(component)
        swept = release.end(run)
        first, *_, last = outcomes(swept)
        assert (first, last) == (Outcome.OK, Outcome.OK)
        # A run whose process starts without a database ends at once.
        allowed = {Outcome.OK, Outcome.FAILED} if component == "postgresql" else {Outcome.OK}
        assert set(outcomes(swept)) <= allowed, [trial.reason for trial in swept.stored.trials]

    def test_rights_that_are_missing(self, release: Release) -> None:
        role = release.read("role", f"{RELEASE}-meta")
        release.kubectl("delete", "role", f"{RELEASE}-meta")
        try:
            (trial,) = release.sweep("a10").stored.trials
        finally:
            release.apply(
                {key: role[key] for key in ("apiVersion", "kind", "rules")}
                | {"metadata": {key: role["metadata"][key] for key in ("name", "labels", "annotations")}}
            )
        assert trial.outcome is Outcome.OK
        assert trial.launch.boot_us == {}
        assert trial.launch.stages_us[Stage.WORKER_BOOT]
        assert trial.launch.warnings == (
            "worker boot is not split: the bench may not get and list pods, jobs and events in "
            f"namespace {release.namespace}",
        )


class TestItsLife:
    """Last: these tests remove the release."""

    def test_a_location_is_added_by_a_line(self, release: Release, quick: Swept) -> None:
        def password() -> Any:
            return release.read("secret", f"{RELEASE}-postgresql")["data"]

        before = password()
        release.install({**VALUES, "locations": [*VALUES["locations"], "a20_inprocess"]})
        (trial,) = release.sweep("a20_inprocess").stored.trials
        assert trial.outcome is Outcome.OK
        assert password() == before
        assert release.stored(quick.stored.plan.sweep_id) == quick.stored

    def test_uninstalling_and_the_notes_leave_nothing(self, release: Release) -> None:
        notes = release.helm("get", "notes", RELEASE)
        (removal,) = re.findall(r"kubectl (--namespace \S+ delete .*)", notes)
        release.helm("uninstall", RELEASE, "--wait")
        assert release.read("pvc")["items"]
        release.cluster.kubectl(*removal.split(), timeout=300)
        kinds = release.cluster.kubectl("api-resources", "--namespaced", "--verbs=list,delete", "--output=name").split()
        kinds = [kind for kind in kinds if not kind.startswith("events")]

        def left() -> list[str]:
            found = release.kubectl("get", ",".join(kinds), "--output=name").split()
            return [name for name in found if not re.search(r"default|kube-root-ca|resourcequota/quota", name)]

        wait_for(f"all of {left()} to be gone", lambda: not left())


def names(release: Release, location: str) -> set[str]:
    """Return the names of the pods of the location's runs."""
    return {pod["metadata"]["name"] for pod in release.run_pods(location)}


def running(release: Release, location: str) -> str:
    """Return the name of a running pod of the location's runs."""
    found = [pod["metadata"]["name"] for pod in release.run_pods(location) if pod["status"]["phase"] == "Running"]
    return found[0] if found else ""


def outcomes(swept: Swept) -> list[Outcome]:
    """Return the trials' outcomes, in order."""
    return [trial.outcome for trial in swept.stored.trials]
