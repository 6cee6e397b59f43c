"""A release of the chart on a cluster, installed by Helm, and sweeps in it."""

import json
import time
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from cluster import Cluster, ExistingCluster
from helms import CHART, RELEASE, helm3
from image import build_image, build_postgresql_image
from in_pod import SWEEP, SWEPT, Swept
from integration.sweeping import HURRIED, assert_recorded_once

from bench_orchestrator.model.launch import Sweep

IN_POD = Path(__file__).with_name("in_pod.py")
TRIAL_RUNS = "app.kubernetes.io/component=run_worker,dagster/code-location"
"""A label of run pods, to be completed with the location's name."""


@contextmanager
def released(
    cluster: ExistingCluster, values: Mapping[str, Any], before: Sequence[Mapping[str, Any]] = ()
) -> Iterator["Release"]:
    """Yield a release with these values, in a new namespace that first gets these objects; remove it afterwards."""
    if isinstance(cluster, Cluster):
        for image in (build_image(), build_postgresql_image()):
            cluster.load_image(image)
    release = Release(cluster, f"bench-test-{time.time_ns()}")
    cluster.kubectl("create", "namespace", release.namespace)
    try:
        for described in before:
            release.apply(described)
        release.install(values)
        yield release
    finally:
        cluster.kubectl("delete", "namespace", release.namespace, timeout=300)


class Release:
    """The chart, installed in a separate namespace."""

    def __init__(self, cluster: ExistingCluster, namespace: str) -> None:
        self.cluster = cluster
        self.namespace = namespace

    def install(self, values: Mapping[str, Any]) -> None:
        """Install the release or change its values, and wait until everything is up."""
        given = json.dumps({**_images(self.cluster), **values})
        self.helm("upgrade", "--install", RELEASE, str(CHART), "--values=-", "--wait", "--timeout=20m", input=given)

    def helm(self, *arguments: str, input: str | None = None) -> str:
        """Return Helm's output."""
        return self.cluster.run(str(helm3()), f"--namespace={self.namespace}", *arguments, input=input, timeout=1500)

    def kubectl(self, *arguments: str, input: str | None = None, timeout: float = 300) -> str:
        """Return kubectl's output."""
        return self.cluster.kubectl(f"--namespace={self.namespace}", *arguments, input=input, timeout=timeout)

    def read(self, *what: str) -> Any:
        """Return the object that kubectl finds, or the list of objects."""
        return json.loads(self.kubectl("get", *what, "--output=json"))

    def apply(self, described: Mapping[str, Any]) -> None:
        """Create an object."""
        self.kubectl("apply", "-f", "-", input=json.dumps(described))

    def restart(self, component: str) -> None:
        """Replace the pod of a component."""
        # A grace period of one second: PostgreSQL, for one, would wait for its clients.
        self.kubectl("delete", "pod", "--grace-period=1", f"--selector=app.kubernetes.io/component={component}")

    def start(self, *locations: str, **config: object) -> str:
        """Launch a sweep, by default without pauses but with patience; return its run id."""
        hurried = {**HURRIED, "timeout_s": 300, "locations": locations}
        return self._in_pod("start", "quick", json.dumps({**hurried, **config}))

    def end(self, run_id: str) -> Swept:
        """Wait until a sweep is finished and harvested; return it, checked against all rules."""
        swept = SWEPT.validate_json(self._in_pod("tell", run_id))
        assert swept.stored == swept.again
        assert_alike(swept.fetched, swept.stored)
        assert_recorded_once(swept.stored, swept.runs)
        return swept

    def sweep(self, *locations: str, **config: object) -> Swept:
        """Carry out a sweep."""
        return self.end(self.start(*locations, **config))

    def experiment(self, name: str) -> Swept:
        """Carry out an experiment at its quick size."""
        config = {**HURRIED, "timeout_s": 300, "quick": True}
        return self.end(self._in_pod("start", name, json.dumps(config)))

    def refusal(self, experiment: str) -> str:
        """Return why an experiment at its quick size is refused."""
        run_id = self._in_pod("start", experiment, json.dumps({**HURRIED, "quick": True}))
        return self._in_pod("refusal", run_id)

    def stored(self, sweep_id: str) -> Sweep:
        """Return the stored sweep."""
        return SWEEP.validate_json(self._in_pod("stored", sweep_id))

    def reload(self, location: str) -> None:
        """Make the webserver reload a location."""
        assert self._in_pod("reload", location) == "loaded"

    def run_pods(self, location: str) -> Sequence[Any]:
        """Return the pods of a location's runs."""
        found: Sequence[Any] = self.read("pods", f"--selector={TRIAL_RUNS}={location}")["items"]
        return found

    def _in_pod(self, *arguments: str) -> str:
        command = ("exec", "-i", f"deploy/{RELEASE}-meta", "--", "python", "-", *arguments)
        return self.kubectl(*command, input=IN_POD.read_text(), timeout=1800).strip()


def _images(cluster: ExistingCluster) -> Mapping[str, Any]:
    """Return the values that select the images."""
    if not isinstance(cluster, Cluster):
        return {"image": _parts(cluster.image)}
    return {"image": _parts(build_image()), "postgresql": {"image": _parts(build_postgresql_image())}}


def _parts(image: str) -> Mapping[str, str]:
    repository, _, tag = image.rpartition(":")
    return {"repository": repository, "tag": tag}


def assert_alike(fetched: Sweep, stored: Sweep) -> None:
    """Over GraphQL a sweep is the same, except that events have times in milliseconds."""
    assert (fetched.plan, fetched.status) == (stored.plan, stored.status)
    for over_graphql, exact in zip(fetched.trials, stored.trials, strict=True):
        assert (over_graphql.outcome, over_graphql.reason) == (exact.outcome, exact.reason)
        one, other = over_graphql.launch, exact.launch
        assert one.run_id == other.run_id
        for us, exact_us in ((one.lag_us, other.lag_us), (one.work_us, other.work_us)):
            assert (us is None) == (exact_us is None)
            assert abs((us or 0) - (exact_us or 0)) < 2_000
