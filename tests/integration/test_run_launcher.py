"""The run launcher beside one that starts a pod for each run, with run monitoring; here, pods are processes."""

import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import dagster as dg
import psutil
import pytest
import yaml

from bench_orchestrator.deployment import STOCK_SERVER, WARM_SERVER
from integration.serving import LOCATION, Server, behaviours, beside_pods, gone, serve
from integration.sweeping import wait_for

Status = dg.DagsterRunStatus

COLD_LOCATION = "cold"
POLL_S = 1
PATIENCE_S = 20.0
"""How long the daemon may take to notice; far more than a poll, because the machine is shared."""


@pytest.fixture(scope="module")
def servers(tmp_path_factory: pytest.TempPathFactory) -> Iterator[dict[str, Server]]:
    """Yield a warm and a cold location, in a deployment whose daemon gives up no run by itself."""
    queue = {
        "module": "dagster.core.run_coordinator",
        "class": "QueuedRunCoordinator",
        "config": {"dequeue_interval_seconds": 1, "max_user_code_failure_retries": 0},
    }
    with serve(
        tmp_path_factory.mktemp("home"),
        behaviours(WARM_SERVER),
        behaviours(STOCK_SERVER, COLD_LOCATION),
        run_launcher=beside_pods(tmp_path_factory.mktemp("pods"), locations=[LOCATION]),
        run_coordinator=queue,
    ) as servers:
        yield servers


@pytest.fixture
def warm(servers: dict[str, Server]) -> Server:
    return servers[LOCATION]


@pytest.fixture
def pod_of(servers: dict[str, Server]) -> Callable[[str], psutil.Process]:
    """Return the pod of a run."""
    launcher: Any = servers[LOCATION].instance.run_launcher

    def find(run_id: str) -> psutil.Process:
        pod: psutil.Process | None = launcher.pod_of(run_id)
        assert pod is not None
        return pod

    return find


def test_a_run_whose_server_is_killed_is_failed_by_the_next_poll(warm: Server, tmp_path: Path) -> None:
    path = tmp_path / "here"
    run_id = warm.launch("lasting", wait_for_file=path)
    worker = warm.process_in(path)
    time.sleep(3 * POLL_S)
    assert warm.run(run_id).status is Status.STARTED, warm.story(run_id)
    warm.process.kill()
    wait_for("its end", lambda: warm.run(run_id).status is Status.FAILURE, PATIENCE_S)
    assert any("The code server at" in line and "which had the run" in line for line in warm.story(run_id))
    path.unlink()
    wait_for("the end of its process", lambda: gone(worker))
    warm.deployment.wait_until_loaded(timeout_s=60)
    warm.finish("success_in_process")


def test_runs_that_are_dequeued_while_the_server_is_away_wait_for_it(warm: Server) -> None:
    with warm.daemon_held():
        run_ids = [warm.launch("success_in_process") for _ in range(5)]
        warm.process.kill()
    for run_id in run_ids:
        assert warm.wait_for_end(run_id) is Status.SUCCESS, warm.story(run_id)
        assert len(warm.events(run_id, dg.DagsterEventType.RUN_START)) == 1
    assert any("Waits in the queue" in line for run_id in run_ids for line in warm.story(run_id))


@pytest.mark.parametrize("location", [LOCATION, pytest.param(COLD_LOCATION, marks=pytest.mark.thorough)])
def test_a_run_is_ended_after_its_maximum_runtime(servers: dict[str, Server], tmp_path: Path, location: str) -> None:
    server, path = servers[location], tmp_path / "here"
    run_id = server.launch("endless_in_process", {"dagster/max_runtime": "1"}, wait=path)
    worker = server.process_in(path)
    # The run worker and the daemon both report its end; either may be the last to do so.
    assert server.wait_for_end(run_id) in (Status.FAILURE, Status.CANCELED)
    assert "Canceling due to exceeding maximum runtime of 1 seconds." in server.story(run_id)
    wait_for("the end of its process", lambda: gone(worker))


def test_a_run_that_asks_for_a_container_gets_a_pod_and_is_failed_with_it(
    warm: Server, pod_of: Callable[[str], psutil.Process], tmp_path: Path
) -> None:
    path = tmp_path / "here"
    run_id = warm.launch("endless_in_process", {"dagster-k8s/config": "{}"}, wait=path)
    assert warm.process_in(path) == pod_of(run_id)
    pod_of(run_id).kill()
    wait_for("its end", lambda: warm.run(run_id).status is Status.FAILURE, PATIENCE_S)
    story = warm.story(run_id)
    assert "Launched cold, by PodLauncher: its tag dagster-k8s/config asks for a container of its own." in story
    assert any("its pod is gone" in line and f"the pod of {run_id}" in line for line in story)


def test_a_cold_run_is_cancelled_after_its_location_was_switched(
    servers: dict[str, Server], pod_of: Callable[[str], psutil.Process], tmp_path: Path
) -> None:
    server, path = servers[COLD_LOCATION], tmp_path / "here"
    run_id = server.launch("endless_in_process", wait=path)
    pod = server.process_in(path)
    assert pod == pod_of(run_id)
    settings = yaml.safe_load((server.deployment.home / "dagster.yaml").read_text())
    del settings["run_launcher"]["config"]["locations"]
    storage = {"sqlite": {"base_dir": str(server.deployment.home)}}
    (tmp_path / "dagster.yaml").write_text(yaml.safe_dump({**settings, "storage": storage}))
    with dg.DagsterInstance.from_config(str(tmp_path)) as switched:
        launcher: Any = switched.run_launcher
        assert launcher.is_warm(COLD_LOCATION)
        assert launcher.check_run_worker_health(server.run(run_id)).status.value == "RUNNING"
        assert switched.run_coordinator.cancel_run(run_id)
    assert server.wait_for_end(run_id) is Status.CANCELED, server.story(run_id)
    wait_for("the end of its pod", lambda: gone(pod))
