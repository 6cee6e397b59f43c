"""The monitor schedule requests a sweep that its job accepts, in the configured locations."""

from typing import Any

import dagster as dg
import pytest

from bench_orchestrator.defs.monitor import monitor
from bench_orchestrator.defs.sweeps import monitor_job
from bench_orchestrator.scenarios.registry import MONITOR, SCENARIOS


def config_of_a_tick() -> dict[str, Any]:
    """Return the configuration of the sweep that a tick requests, as its job reads it."""
    (request,) = monitor.evaluate_tick(dg.build_schedule_context()).run_requests or ()
    config: dict[str, Any] = dg.validate_run_config(monitor_job, request.run_config)["ops"]["launch_monitor"]["config"]
    return config


def test_a_tick_launches_once_in_each_location_of_the_scenario(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv("BENCH_MONITOR_LOCATIONS", raising=False)
    config = config_of_a_tick()
    assert config["locations"] == list(SCENARIOS[MONITOR].locations)
    assert (config["repeats"], config["warmups"], config["settle_s"]) == (1, 0, 0)


def test_a_tick_launches_where_the_environment_says(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("BENCH_MONITOR_LOCATIONS", "a10, a750")
    assert config_of_a_tick()["locations"] == ["a10", "a750"]


def test_it_is_off_by_default() -> None:
    assert monitor.default_status is dg.DefaultScheduleStatus.STOPPED
    assert monitor.job_name == monitor_job.name
