"""Experiments whose sides need special servers, on a real cluster: in locations that the chart serves for them."""

from collections.abc import Iterator, Mapping
from typing import Any

import pytest
from cluster import ExistingCluster
from helms import RELEASE
from in_pod import Swept
from release import Release, released

from bench_orchestrator.model.launch import Outcome, Trial
from bench_orchestrator.model.stages import Stage

pytestmark = pytest.mark.kubernetes

VALUES: Mapping[str, Any] = {
    "locations": [
        "a10",
        "a20",
        {"name": "a10_warm", "shape": "a10", "warm": True},
        {"name": "a20_warm", "shape": "a20", "warm": True},
        {"name": "a10_2000m", "shape": "a10", "cpu": "2000m"},
        {"name": "a10_500m", "shape": "a10", "cpu": "500m"},
    ],
    "coldStart": {"enabled": True},
    "queue": {"dequeueIntervalSeconds": 1},
}


@pytest.fixture(scope="module")
def release(cluster: ExistingCluster) -> Iterator[Release]:
    with released(cluster, VALUES) as release:
        yield release


def by_side(swept: Swept) -> dict[str, Trial]:
    """Return the launch of each side, all of which succeeded."""
    trials = {trial.variant: trial for trial in swept.stored.trials}
    assert {name: (trial.outcome, trial.reason) for name, trial in trials.items()} == dict.fromkeys(
        trials, (Outcome.OK, "")
    )
    assert not any(trial.deployment for trial in trials.values())
    return trials


def test_warm_launches_are_forks_and_stock_ones_pods(release: Release) -> None:
    trials = by_side(release.experiment("definitions-cache"))
    for name, trial in trials.items():
        warm = name.startswith("warm")
        assert trial.location.endswith("_warm") is warm
        assert (trial.launch.template.get("fork_ms", 0) > 0) is warm
        assert (trial.launch.pod is None) is warm


def test_limited_locations_have_their_limit(release: Release) -> None:
    trials = by_side(release.experiment("cpu-limit"))
    assert {trial.location for trial in trials.values()} == {"a10_2000m", "a10_500m"}
    for location, limit in (("a10_2000m", "2"), ("a10_500m", "500m")):
        (run, *_) = release.run_pods(location)
        server = release.read("deploy", f"{RELEASE}-{location.replace('_', '-')}")["spec"]["template"]
        for pod in (run, server):
            limits = pod["spec"]["containers"][0]["resources"]["limits"]
            assert limits["cpu"] in (limit, f"{limit}000m")


def test_servers_are_replaced_and_come_up_from_zero(release: Release) -> None:
    trials = by_side(release.experiment("cold-start"))
    from_zero, as_usual = trials["stock, from zero"], trials["stock, as usual"]
    assert (from_zero.launch.stages_us[Stage.SUBMIT] or 0) > (as_usual.launch.stages_us[Stage.SUBMIT] or 0)
    assert (trials["warm, replaced"].launch.template.get("fork_ms", 0)) > 0
    deployments = release.read("deploy")["items"]
    assert {deployment["spec"]["replicas"] for deployment in deployments} == {1}


def test_what_is_not_served_is_named_and_refused(release: Release) -> None:
    refusal = release.refusal("executors")
    assert "Add" in refusal
    assert "a6_chains2" in refusal
