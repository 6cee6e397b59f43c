"""The resource usage of a real run in a real deployment, read from outside, with a CPU limit where possible.

`test_mechanisms` tests in `make test` that every launch of a sweep has its usage.
"""

import time
from collections.abc import Callable
from dataclasses import replace

import psutil
import pytest
from dagster import DagsterRunStatus
from dagster_graphql import DagsterGraphQLClient

from bench_orchestrator.deployment import CodeLocation, Deployment, why_no_cpu_limits
from bench_orchestrator.sources.processes import MEASURES, UsageMeter, server_memory

TinyLocation = Callable[[str], CodeLocation]
StartDeployment = Callable[..., Deployment]

DONE = (DagsterRunStatus.SUCCESS, DagsterRunStatus.FAILURE)


@pytest.mark.thorough
def test_usage_of_a_run(start_deployment: StartDeployment, tiny_location: TinyLocation) -> None:
    limited = not why_no_cpu_limits()
    deployment = start_deployment([replace(tiny_location("tiny"), cpus=0.5 if limited else None)])
    deployment.wait_until_loaded(timeout_s=180)
    client = DagsterGraphQLClient("127.0.0.1", port_number=deployment.port)
    meter = UsageMeter(deployment.home)

    for _ in range(2):  # the code server's first run differs: it starts multiprocessing's resource tracker
        began = time.monotonic()
        meter.begin("tiny")
        run_id = client.submit_job_execution(
            "__ASSET_JOB",
            repository_location_name="tiny",
            repository_name="__repository__",
            asset_selection=[["tiny", "hello"]],
        )
        while client.get_run_status(run_id) not in DONE:
            meter.look()
            time.sleep(0.5)
            assert time.monotonic() - began < 120
        measured = meter.end(patience_s=10)
        elapsed = time.monotonic() - began

        assert measured.keys() - {"throttled_s"} == MEASURES.keys() - {"throttled_s"}
        assert 0.5 < measured["run_cpu_s"] < elapsed * (0.6 if limited else psutil.cpu_count() or 1)
        assert 50e6 < measured["run_peak_rss_bytes"] < 1e9
        assert 30e6 < measured["code_server_bytes"] < 1e9
        assert 0 < measured["webserver_cpu_s"] < elapsed
        assert 0 < measured["daemon_cpu_s"] < elapsed
        assert 0 <= measured["code_server_cpu_s"] < elapsed
        assert measured["wall_s"] <= elapsed
        if limited:
            assert measured["throttled_s"] > 0  # how much depends on what else the machine has to do
        print(measured, elapsed)
    assert server_memory(deployment.home).keys() == {"tiny"}
