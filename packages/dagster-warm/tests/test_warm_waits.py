"""What waits in steps in Dagster, and stays as it is, is as ARCHITECTURE.md states it."""

import pytest
from dagster._core.definitions.sensor_definition import DEFAULT_SENSOR_DAEMON_INTERVAL
from dagster._core.execution.plan.instance_concurrency_context import _calculate_timeout_interval
from dagster._daemon.asset_daemon import MIN_INTERVAL_LOOP_SECONDS
from dagster._daemon.auto_run_reexecution.event_log_consumer import _INTERVAL_SECONDS
from dagster._daemon.controller import DEFAULT_DAEMON_INTERVAL_SECONDS
from dagster._daemon.sensor import MIN_INTERVAL_LOOP_TIME


def test_daemons_look_at_these_intervals() -> None:
    assert (DEFAULT_DAEMON_INTERVAL_SECONDS, DEFAULT_SENSOR_DAEMON_INTERVAL) == (30, 30)
    assert (MIN_INTERVAL_LOOP_TIME, MIN_INTERVAL_LOOP_SECONDS) == (5, 5)
    assert _INTERVAL_SECONDS == 5


def test_a_step_asks_for_a_slot_after_a_pause_that_grows_by_a_tenth_of_its_wait() -> None:
    waited_s = 0.0
    for tries in range(40):
        pause_s = _calculate_timeout_interval(None, tries)
        assert pause_s == pytest.approx(min(15, 1 + waited_s / 10))
        waited_s += pause_s
