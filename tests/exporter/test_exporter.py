"""The exporter counts each run once, adds up to the stages of the launches, and answers while the webserver is away."""

from collections.abc import Iterator
from typing import Any

import pytest
from ending_runs import EndingRuns
from scraping import Scraped, by_the_clock_of

from bench_orchestrator.model.stages import LAG_STAGES, Stage
from bench_orchestrator.webserver import AccessDeniedError, WebserverError

COLLECTORS = ("locations", "daemons", "queue", "ticks", "runs")


@pytest.fixture
def deployment() -> Iterator[EndingRuns]:
    runs = EndingRuns()
    with by_the_clock_of(runs):
        yield runs


class TestTheRuns:
    def test_the_sums_are_those_of_the_stages(self, deployment: EndingRuns) -> None:
        scraped = Scraped(deployment)
        deployment.now_s = 100.0
        deployment.add("a", wait=4.0, boot=0.5, load=1.5, start=0.25, step_boot=0.5, step_load=2.0, init=0.125)
        deployment.add("b", wait=1.0, boot=0.5, load=1.5, start=0.25, step_boot=0.5, step_load=2.0, init=0.125)
        scraped.exporter.read()
        of = {"location": "sales", "job": "nightly"}
        assert scraped.value("dagster_run_queue_seconds_sum", **of) == pytest.approx(4 + 1 + 2 * 2.0)
        assert scraped.value("dagster_run_init_seconds_sum", **of) == pytest.approx(2 * 2.875)
        assert scraped.value("dagster_run_launch_lag_seconds_sum", **of) == pytest.approx(9 + 2 * 2.875)
        assert scraped.value("dagster_run_launch_lag_seconds_count", **of) == 2
        assert scraped.value("dagster_run_stage_seconds_sum", stage="queue_wait", **of) == pytest.approx(5)
        lag_s = sum(scraped.value("dagster_run_stage_seconds_sum", stage=stage, **of) or 0 for stage in LAG_STAGES)
        assert lag_s == pytest.approx(9 + 2 * 2.875)
        # From the creation: 0.1 s of planned events come before the queue.
        assert scraped.value("dagster_run_wait_to_start_seconds_sum", **of) == pytest.approx(9.2)
        assert scraped.value("dagster_run_queue_seconds_bucket", le="3.0", **of) == 1
        assert scraped.value("dagster_run_stage_seconds_count", stage=Stage.STEP_BOOT, **of) == 2

    def test_each_is_counted_once_by_how_it_ended(self, deployment: EndingRuns) -> None:
        deployment.add("before", ended_s=-1.0)
        scraped = Scraped(deployment)
        for number, status in enumerate(("SUCCESS", "FAILURE", "SUCCESS", "CANCELED")):
            deployment.now_s += 10.0
            deployment.add(f"r{number}", status, location="hr" if number == 2 else "sales")
            scraped.exporter.read()
        scraped.exporter.read()
        counts = {
            (location, status): scraped.value(
                "dagster_runs_ended_total", location=location, job="nightly", status=status
            )
            for location in ("sales", "hr")
            for status in ("success", "failure", "canceled")
        }
        assert list(counts.values()) == [1, 1, 1, 1, 0, 0]
        assert scraped.total("dagster_run_launch_lag_seconds_count") == 4

    def test_a_job_is_at_zero_while_its_first_run_is_in_progress(self, deployment: EndingRuns) -> None:
        scraped = Scraped(deployment)
        deployment.add("a", "STARTED", job="report")
        scraped.exporter.read()
        of = {"location": "sales", "job": "report"}
        assert scraped.value("dagster_runs_ended_total", status="failure", **of) == 0
        assert scraped.value("dagster_run_launch_lag_seconds_count", **of) == 0

    def test_those_before_the_start_count_if_asked_for(self, deployment: EndingRuns) -> None:
        deployment.add("old", ended_s=-100.0)
        deployment.add("recent", ended_s=-1.0)
        scraped = Scraped(deployment, since_us=deployment.now_us() - 10_000_000)
        scraped.exporter.read()
        assert scraped.total("dagster_runs_ended_total") == 1

    def test_logs_wait_for_the_next_reading_where_the_time_is_over(self, deployment: EndingRuns) -> None:
        scraped = Scraped(deployment, every_s=4.0)
        deployment.now_s = 1.0
        for number in range(60):
            deployment.add(f"r{number:02}")
        deployment.webserver._takes_s = 1.0
        seen = []
        for _ in range(4):
            scraped.exporter.read()
            seen.append(
                (scraped.total("dagster_run_launch_lag_seconds_count"), scraped.value("dagster_exporter_pending_runs"))
            )
        assert seen == [(25, 35), (50, 10), (60, 0), (60, 0)]
        assert scraped.total("dagster_runs_ended_total") == 60

    def test_a_log_that_cannot_be_read_holds_no_other_up(self, deployment: EndingRuns) -> None:
        scraped = Scraped(deployment)
        deployment.now_s = 1.0
        deployment.add("a")
        deployment.add("b")
        deployment.unreadable = {"a"}
        scraped.exporter.read()
        assert scraped.total("dagster_runs_ended_total") == 2
        assert scraped.total("dagster_run_launch_lag_seconds_count") == 1
        assert scraped.value("dagster_exporter_unread_runs_total") == 1
        assert scraped.value("dagster_exporter_pending_runs") == 0


class TestTheSeries:
    def test_do_not_grow_beyond_the_jobs_that_are_allowed(self, deployment: EndingRuns) -> None:
        scraped = Scraped(deployment, most_jobs=3)
        deployment.now_s = 1.0
        for number in range(40):
            deployment.add(f"r{number}", location=f"l{number % 8}", job=f"j{number % 5}")
        scraped.exporter.read()
        pairs = {
            (sample.labels["location"], sample.labels["job"])
            for family in scraped.registry.collect()
            for sample in family.samples
            if sample.name == "dagster_runs_ended_total"
        }
        assert {pair for pair in pairs if pair[1] != "other"} == {("l0", "j0"), ("l1", "j1"), ("l2", "j2")}
        assert {location for location, job in pairs if job == "other"} == {"l0", "l1", "l2", "other"}
        assert scraped.total("dagster_runs_ended_total") == 40

    def test_hostile_names_are_only_text(self, deployment: EndingRuns) -> None:
        scraped = Scraped(deployment)
        deployment.now_s = 1.0
        deployment.add("a", location='x"}\ndagster_up 1', job="\u202e\x1b")
        deployment.add("b", location="")
        scraped.exporter.read()
        page = scraped.page()
        assert "\ndagster_up" not in page
        assert 'job="\\\\u202e\\\\x1b"' in page
        assert 'location="unknown"' in page


class TestTheGauges:
    def test_tell_of_queue_daemons_ticks_and_locations(self, deployment: EndingRuns) -> None:
        scraped = Scraped(deployment)
        deployment.add("old", "QUEUED")
        deployment.now_s = 40.0
        deployment.add("new", "QUEUED")
        deployment.add("runs", "STARTED", job="report")
        deployment.now_s = 100.0
        scraped.exporter.read()
        begin_s = deployment.now_us() / 1_000_000 - 100
        expected: list[tuple[str, dict[str, str], float | None]] = [
            ("dagster_runs_queued", {}, 2),
            ("dagster_oldest_queued_run_age_seconds", {}, 100),
            ("dagster_runs_in_progress", {"location": "sales", "job": "report"}, 1),
            ("dagster_max_concurrent_runs", {}, 7),
            ("dagster_daemon_last_heartbeat_timestamp_seconds", {"daemon": "SENSOR"}, begin_s),
            ("dagster_daemon_last_heartbeat_timestamp_seconds", {"daemon": "BACKFILL"}, 0),
            ("dagster_schedule_last_tick_timestamp_seconds", {"location": "sales", "schedule": "nightly"}, begin_s + 1),
            ("dagster_schedule_last_tick_failed", {"location": "sales", "schedule": "nightly"}, 0),
            ("dagster_schedule_last_tick_failed", {"location": "sales", "schedule": "off"}, None),
            ("dagster_sensor_last_tick_failed", {"location": "sales", "sensor": "files"}, 1),
            ("dagster_sensor_last_tick_timestamp_seconds", {"location": "sales", "sensor": "new"}, None),
            ("dagster_sensor_minimum_interval_seconds", {"location": "sales", "sensor": "new"}, 60),
            ("dagster_code_location_loaded", {"location": "sales"}, 1),
            ("dagster_code_location_loaded", {"location": "broken"}, 0),
        ]
        assert [scraped.value(name, **labels) for name, labels, _ in expected] == [value for *_, value in expected]

    def test_an_empty_queue_is_zero_and_a_job_that_ran_stays(self, deployment: EndingRuns) -> None:
        scraped = Scraped(deployment)
        deployment.add("runs", "STARTED")
        scraped.exporter.read()
        deployment.remove("runs")
        scraped.exporter.read()
        assert scraped.value("dagster_oldest_queued_run_age_seconds") == 0
        assert scraped.value("dagster_runs_in_progress", location="sales", job="nightly") == 0


class TestFailures:
    def test_a_webserver_that_is_away_costs_the_gauges_and_no_run(self, deployment: EndingRuns) -> None:
        scraped = Scraped(deployment)
        scraped.exporter.read()
        deployment.away, deployment.now_s = True, 50.0
        deployment.add("meanwhile")
        requests = deployment.webserver.traffic.requests
        scraped.exporter.read()
        scraped.exporter.read()
        assert deployment.webserver.traffic.requests == requests + 2
        for collector in COLLECTORS:
            assert scraped.value("dagster_exporter_collector_success", collector=collector) == 0
            assert scraped.value("dagster_exporter_collector_errors_total", collector=collector) == 2
        assert scraped.value("dagster_runs_queued") is None
        assert "dagster_runs_ended_total" in scraped.page()
        deployment.away, deployment.now_s = False, 4_000.0
        scraped.exporter.read()
        assert scraped.total("dagster_runs_ended_total") == 1
        assert scraped.value("dagster_runs_queued") == 0
        assert scraped.value("dagster_exporter_collector_success", collector="runs") == 1
        all_of_them = ", ".join(COLLECTORS)
        assert scraped.said == [f"{all_of_them}: no answer", f"{all_of_them}: read again"]

    @pytest.mark.parametrize(
        ("error", "failing"), [(WebserverError("no field"), {"ticks"}), (AccessDeniedError(), {"ticks", "runs"})]
    )
    def test_a_collector_that_fails_fails_alone_unless_the_credentials_do(
        self, deployment: EndingRuns, error: Exception, failing: set[str]
    ) -> None:
        scraped = Scraped(deployment)
        answers: Any = deployment.webserver.answers
        answers["BenchLatestTicks"] = error
        scraped.exporter.read()
        failed = {
            collector
            for collector in COLLECTORS
            if scraped.value("dagster_exporter_collector_success", collector=collector) == 0
        }
        assert failed == failing


class TestTheLoad:
    def test_each_request_is_counted_for_its_collector(self, deployment: EndingRuns) -> None:
        scraped = Scraped(deployment)
        scraped.exporter.read()
        counts = {
            collector: scraped.value("dagster_exporter_collector_requests_total", collector=collector)
            for collector in COLLECTORS
        }
        assert counts == {"locations": 1, "daemons": 1, "queue": 3, "ticks": 1, "runs": 1}
        assert sum(value or 0 for value in counts.values()) == deployment.webserver.traffic.requests

    @pytest.mark.parametrize(("takes_s", "pause_s"), [(0.5, 6.5), (2.0, 14.0)])
    def test_a_slow_webserver_is_left_alone_half_of_the_time(
        self, deployment: EndingRuns, takes_s: float, pause_s: float
    ) -> None:
        pauses: list[float] = []

        def sleep(seconds: float) -> None:
            pauses.append(seconds)
            raise KeyboardInterrupt

        deployment.webserver._takes_s = takes_s
        with pytest.raises(KeyboardInterrupt):
            Scraped(deployment, every_s=10.0, sleep=sleep).exporter.run()
        assert pauses == [pause_s]


def test_the_page_is_in_prometheus_conventions(deployment: EndingRuns) -> None:
    scraped = Scraped(deployment)
    deployment.add("a", ended_s=1.0)
    scraped.exporter.read()
    for family in scraped.registry.collect():
        assert family.name.startswith("dagster_")
        assert family.documentation.endswith(".")
        assert not family.name.endswith(("_ms", "_minutes", "_hours"))
        if family.type == "histogram":
            assert family.name.endswith("_seconds")
        allowed = {"location", "job", "status", "stage", "le", "daemon", "schedule", "sensor", "collector"}
        assert {label for sample in family.samples for label in sample.labels} <= allowed
