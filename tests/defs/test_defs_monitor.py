"""The monitor's schedule and sensor request sweeps that its job accepts, in the configured locations."""

from typing import Any

import dagster as dg
import pytest

from bench_orchestrator.defs.monitor import deploy_sensor, monitor
from bench_orchestrator.defs.resources import WebserverResource
from bench_orchestrator.defs.sweeps import monitor_job
from bench_orchestrator.scenarios.registry import MONITOR, SCENARIOS
from bench_orchestrator.webserver import LocationEntry, Webserver, WebserverUnreachableError


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


class TestDeploySensor:
    @pytest.fixture
    def entries(self, monkeypatch: pytest.MonkeyPatch) -> dict[str, LocationEntry]:
        """Return what the webserver lists, for the test to change."""
        entries = {name: loaded(name, "one") for name in ("a10", "a750", "another")}
        monkeypatch.setattr(Webserver, "list_locations", lambda _self: dict(entries))
        monkeypatch.setenv("BENCH_MONITOR_LOCATIONS", "a10,a750,missing")
        return entries

    @pytest.mark.usefixtures("entries")
    def test_the_first_look_launches_nothing(self) -> None:
        requests, cursor = look(None)
        assert requests == []
        assert look(cursor) == ([], cursor)

    def test_a_new_code_server_is_measured_once(self, entries: dict[str, LocationEntry]) -> None:
        _, cursor = look(None)
        entries |= {"a750": loaded("a750", "two"), "another": loaded("another", "two")}
        (request,), cursor = look(cursor)
        config = dg.validate_run_config(monitor_job, request.run_config)["ops"]["launch_monitor"]["config"]
        assert (config["locations"], config["repeats"], config["warmups"]) == (["a750"], 5, 1)
        assert request.run_key == "a750 two"
        assert look(cursor)[0] == []

    def test_one_that_is_away_or_broken_is_measured_when_it_is_back(self, entries: dict[str, LocationEntry]) -> None:
        _, cursor = look(None)
        for entry in (LocationEntry("a10", "loading"), LocationEntry("a10", "error", error="no"), loaded("a10", "one")):
            entries["a10"] = entry
            requests, cursor = look(cursor)
            assert requests == []
        del entries["a10"]
        _, cursor = look(cursor)
        entries["a10"] = loaded("a10", "two")
        (request,), _ = look(cursor)
        assert request.run_key == "a10 two"

    @pytest.mark.usefixtures("entries")
    def test_a_webserver_that_is_away_is_said_and_keeps_the_cursor(self, monkeypatch: pytest.MonkeyPatch) -> None:
        _, cursor = look(None)

        def unreachable(_self: Webserver) -> dict[str, LocationEntry]:
            raise WebserverUnreachableError("The webserver does not answer.")

        monkeypatch.setattr(Webserver, "list_locations", unreachable)
        answer = deploy_sensor(dg.build_sensor_context(cursor=cursor), webserver=WebserverResource())
        assert isinstance(answer, dg.SkipReason)
        assert answer.skip_message == "The webserver does not answer."

    def test_it_is_off_by_default(self) -> None:
        assert deploy_sensor.default_status is dg.DefaultSensorStatus.STOPPED
        assert deploy_sensor.job_name == monitor_job.name


def loaded(name: str, server_id: str) -> LocationEntry:
    return LocationEntry(name, "loaded", (f"{name}_repository",), server_id=server_id)


def look(cursor: str | None) -> tuple[list[dg.RunRequest], str | None]:
    """Evaluate the sensor once; return its requests and its cursor."""
    answer = deploy_sensor(dg.build_sensor_context(cursor=cursor), webserver=WebserverResource())
    assert isinstance(answer, dg.SensorResult)
    return list(answer.run_requests or ()), answer.cursor
