"""Failures: whatever is killed, locked or missing while a sweep runs, every planned trial is recorded once."""

import re
import threading
import urllib.request
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path

import dagster as dg
import duckdb
import pytest

from bench_orchestrator.defs import harvest_sensor
from bench_orchestrator.model.instants import MICROSECONDS, now_us
from bench_orchestrator.model.launch import Outcome
from bench_orchestrator.model.runs import Run, RunStatus
from bench_orchestrator.model.tags import META_LOCATION
from bench_orchestrator.scenarios.registry import sweep_job_name, sweep_op_name
from bench_orchestrator.sources.instance import find_trial_runs
from bench_orchestrator.webserver import ASSET_JOB, LaunchRejectedError, LocationAwayError
from integration.conftest import NewDatabase
from integration.sweeping import (
    ENDLESS,
    FAST,
    RAISING,
    Bench,
    bench_in,
    project_locations,
    raising_location,
    seed_for,
    wait_for,
)

Status = RunStatus

LOCK_WAIT_S = 10


@pytest.fixture(scope="module")
def bench(
    new_home: Callable[..., Path], new_database_url: NewDatabase, tmp_path_factory: pytest.TempPathFactory
) -> Iterator[Bench]:
    """Yield a deployment whose servers the tests kill; its supervisor restarts them."""
    locations = [
        *project_locations(FAST, ENDLESS, BENCH_LOCK_WAIT_S=str(LOCK_WAIT_S)),
        raising_location(tmp_path_factory.mktemp("locations")),
    ]
    with bench_in(new_home(), locations, new_database_url()) as bench:
        bench.stop_harvests()
        yield bench


def test_trials_that_fail_or_take_too_long_do_not_end_the_sweep(bench: Bench) -> None:
    order = [RAISING, ENDLESS, FAST]
    run_id = bench.start(order, seed=seed_for(order, order), timeout_s=25)
    assert bench.wait_for_end(run_id) is Status.SUCCESS
    sweep = bench.harvest_now(run_id)
    assert sweep.status == "complete"
    assert [(trial.outcome, trial.reason) for trial in sweep.trials] == [
        (Outcome.FAILED, "ValueError: the warehouse is closed"),
        (Outcome.TIMED_OUT, "not over 25 s after its request, still STARTED"),
        (Outcome.OK, ""),
    ]
    assert bench.run(str(sweep.trials[1].launch.run_id)).status is Status.CANCELED


def test_a_trial_whose_process_is_killed_says_so(bench: Bench) -> None:
    run_id = bench.start([ENDLESS])
    bench.worker(bench.wait_for_trial(run_id, 1, Status.STARTED).run_id).kill()
    assert bench.wait_for_end(run_id) is Status.SUCCESS
    (trial,) = bench.harvest_now(run_id).trials
    assert trial.outcome is Outcome.FAILED
    assert "was terminated by signal 9 (SIGKILL)" in trial.reason


def test_a_daemon_and_a_webserver_that_are_killed_cost_no_trial(bench: Bench) -> None:
    # During the pause between two trials: at any other time the kill could leave a run that is never continued, and a
    # trial that times out.
    run_id = bench.start([FAST], repeats=3, pause_s=5)
    bench.wait_for_notes(run_id, 1)
    bench.server("daemon").kill()
    bench.wait_for_notes(run_id, 2)
    bench.server("webserver").kill()
    assert bench.wait_for_end(run_id) is Status.SUCCESS
    assert bench.outcomes(bench.harvest_now(run_id)) == ["ok"] * 3


@pytest.mark.thorough
def test_a_code_server_that_is_killed_costs_trials_at_most(bench: Bench) -> None:
    run_id = bench.start([FAST], repeats=4)
    bench.wait_for_notes(run_id, 1)
    bench.wait_for_trial(run_id, 2)
    bench.server(FAST).kill()
    assert bench.wait_for_end(run_id) is Status.SUCCESS
    sweep = bench.harvest_now(run_id)
    assert sweep.status == "complete"
    assert sweep.trials[0].outcome is Outcome.OK
    assert {trial.outcome for trial in sweep.trials} <= {Outcome.OK, Outcome.FAILED, Outcome.REJECTED}
    for trial in sweep.trials:
        assert re.search(
            r"^$|Could not reach user code server|^The deployment refused|had no code server", trial.reason
        )


def test_a_sweep_whose_process_is_killed_keeps_what_it_measured_and_can_be_resumed_with_a_block_more(
    bench: Bench,
) -> None:
    run_id = bench.start([FAST], repeats=3)
    bench.wait_for_notes(run_id, 1)
    in_progress = bench.wait_for_trial(run_id, 2)
    bench.worker(run_id).kill()
    assert bench.wait_for_end(run_id) is Status.FAILURE
    assert "was terminated by signal 9 (SIGKILL)" in bench.log(run_id)[-1]
    bench.wait_for_end(in_progress.run_id)
    sweep = bench.harvest_now(run_id)
    assert sweep.status == "failed"
    assert [(trial.outcome, trial.reason) for trial in sweep.trials] == [
        (Outcome.OK, ""),
        (Outcome.OK, ""),
        (Outcome.LOST, "the sweep ended before this trial was launched"),
    ]
    resumed = bench.start([FAST], resume=sweep.plan.sweep_id, more=1)
    assert bench.wait_for_end(resumed) is Status.SUCCESS
    longer = bench.harvest_now(resumed)
    assert longer.plan.sweep_id == sweep.plan.sweep_id
    assert bench.outcomes(longer) == ["ok"] * 4
    assert [trial.launch.run_id for trial in longer.trials[:2]] == [trial.launch.run_id for trial in sweep.trials[:2]]


def test_a_sweep_outlives_its_code_server_and_one_that_dies_unseen_is_given_up(
    bench: Bench, monkeypatch: pytest.MonkeyPatch
) -> None:
    run_id = bench.start([FAST], repeats=5)
    bench.wait_for_notes(run_id, 1)
    worker = bench.worker(run_id)
    bench.server(META_LOCATION).kill()
    bench.wait_for_notes(run_id, 2)
    worker.kill()
    bench.wait_until_usable()
    assert bench.run(run_id).status is Status.STARTED, "nothing in Dagster notices"

    context = dg.build_sensor_context(instance=bench.instance)
    result = harvest_sensor.harvest_sensor(context)
    assert isinstance(result, dg.SkipReason)
    assert f"Sweep run {run_id} is in progress" in str(result.skip_message)
    monkeypatch.setattr(harvest_sensor, "now_us", lambda: now_us() + 3_600 * MICROSECONDS)
    harvest_sensor.harvest_sensor(dg.build_sensor_context(instance=bench.instance))
    assert bench.run(run_id).status is Status.FAILURE
    assert "its process counts as dead" in bench.log(run_id)[-1]

    launched = find_trial_runs(bench.instance, bench.planned(run_id).sweep_id)
    for trial in launched:
        bench.wait_for_end(trial.run_id)
    sweep = bench.harvest_now(run_id)
    assert sweep.status == "failed"
    assert bench.outcomes(sweep)[:2] == ["ok", "ok"]
    assert bench.outcomes(sweep)[3:] == ["lost", "lost"]


def test_a_database_in_use_and_a_killed_harvest_cost_time_only(bench: Bench) -> None:
    bench.results.mkdir(exist_ok=True)
    with bench.harvesting(), duckdb.connect(bench.store.path):
        run_id = bench.start([FAST])
        assert bench.wait_for_end(run_id) is Status.SUCCESS

        bench.worker(_attempt(bench, run_id, 1).run_id).kill()

        second = _attempt(bench, run_id, 2)
        assert bench.wait_for_end(second.run_id) is Status.FAILURE
        assert f"Another process has held {bench.store.path} for {LOCK_WAIT_S} s" in _errors(bench, second.run_id)

        third = _attempt(bench, run_id, 3)
    assert bench.wait_for_end(third.run_id) is Status.SUCCESS  # it waits for the file
    assert [run.status for run in bench.harvests(run_id)] == [Status.FAILURE, Status.FAILURE, Status.SUCCESS]
    assert bench.outcomes(bench.recorded(run_id)) == ["ok"]


def test_an_asset_that_is_no_longer_there_is_named(bench: Bench) -> None:
    (repository,) = bench.webserver.list_locations()[FAST].repositories
    with pytest.raises(LaunchRejectedError, match="no_such_asset") as refused:
        bench.webserver.submit(
            location=FAST, repository=repository, job=ASSET_JOB, tags={}, asset_keys=[f"{FAST}/no_such_asset"]
        )
    assert not isinstance(refused.value, LocationAwayError)


@pytest.mark.thorough
def test_a_webserver_that_stays_away_ends_the_sweep(bench: Bench) -> None:
    with forwarding(bench.deployment.url) as (url, go_away):
        config = {
            "locations": [FAST],
            "repeats": 4,
            "warmups": 0,
            "pause_s": 0,
            "jitter_s": 0,
            "settle_s": 0,
            "timeout_s": 20,
        }
        run_id = bench.submit(
            sweep_job_name("quick"),
            run_config={
                "ops": {sweep_op_name("quick"): {"config": config}},
                "resources": {"webserver": {"config": {"url": url}}},
            },
        )
        bench.wait_for_trial(run_id, 2)
        go_away()
        assert bench.wait_for_end(run_id) is Status.FAILURE
    last = bench.log(run_id)[-1]
    assert re.search(r"is over: 3 of 4 trials done \(2 ok, 1 rejected\)\. It ended early: ", last)
    assert f"The webserver at {url} does not answer" in last
    sweep = bench.harvest_now(run_id)
    assert bench.outcomes(sweep) == ["ok", "ok", "rejected", "lost"]
    assert f"The webserver at {url} does not answer" in sweep.trials[2].reason


@contextmanager
def forwarding(target: str) -> Iterator[tuple[str, Callable[[], None]]]:
    """Yield the URL of a proxy for a webserver, and a function that shuts the proxy down permanently."""

    class Forward(BaseHTTPRequestHandler):
        def do_POST(self) -> None:
            body = self.rfile.read(int(self.headers["Content-Length"]))
            headers = {"Content-Type": self.headers["Content-Type"]}
            request = urllib.request.Request(target + self.path, body, headers)
            with urllib.request.build_opener(urllib.request.ProxyHandler({})).open(request) as answer:
                content = answer.read()
            self.send_response(answer.status)
            self.send_header("Content-Type", answer.headers["Content-Type"])
            self.end_headers()
            self.wfile.write(content)

        def log_message(self, format: str, *args: object) -> None:
            """Keep the tests' output clean."""

    with ThreadingHTTPServer(("127.0.0.1", 0), Forward) as server:
        thread = threading.Thread(target=server.serve_forever)
        thread.start()

        def go_away() -> None:
            server.shutdown()
            server.server_close()
            thread.join()

        try:
            yield f"http://127.0.0.1:{server.server_port}", go_away
        finally:
            go_away()


def _errors(bench: Bench, run_id: str) -> str:
    """Return the errors that the UI shows for a failed step, with their causes."""
    failures = bench.instance.all_logs(run_id, of_type=dg.DagsterEventType.STEP_FAILURE)
    return "".join(str(entry.get_dagster_event().step_failure_data.error) for entry in failures)


def _attempt(bench: Bench, run_id: str, number: int) -> Run:
    """Wait for the start of a sweep's harvest with that number; return its run."""

    def look() -> Run | None:
        runs = bench.harvests(run_id)
        return runs[number - 1] if len(runs) >= number and runs[number - 1].status is Status.STARTED else None

    return wait_for(f"harvest {number}", look)
