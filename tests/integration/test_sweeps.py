"""Sweeps on a real deployment, started from the UI, the schedule and the command line; and refused ones."""

import json
import os
import re
import signal
import subprocess
import sys
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import closing, contextmanager
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path

import pytest
import yaml

from bench_orchestrator.deployment import CodeLocation
from bench_orchestrator.deployment.ports import HeldPort
from bench_orchestrator.deployment.processes import MARKER, processes_of
from bench_orchestrator.model.launch import Outcome
from bench_orchestrator.model.runs import RunStatus
from bench_orchestrator.model.tags import META_LOCATION, Tag
from bench_orchestrator.scenarios.registry import MONITOR, sweep_job_name
from bench_orchestrator.sources.instance import find_runs, find_trial_runs
from bench_orchestrator.webserver import Webserver, WebserverError
from integration.conftest import LIMITED_SCENARIO, NewDatabase
from integration.leftovers import assert_nothing_left
from integration.sweeping import (
    ENDLESS,
    FAST,
    PARTITIONED,
    PATIENCE_S,
    PROJECT,
    RAISING,
    Bench,
    bench_command,
    bench_in,
    ended,
    project_locations,
    raising_location,
    seed_for,
    sweep_well,
    wait_for,
)

Status = RunStatus

HURRIED = ("--repeats", "1", "--warmups", "0", "--pause", "0", "--jitter", "0", "--settle", "0")


@pytest.fixture(scope="module")
def bench(
    new_home: Callable[..., Path], new_database_url: NewDatabase, tmp_path_factory: pytest.TempPathFactory
) -> Iterator[Bench]:
    """Yield a deployment for all tests of this module, with a fast location and faulty ones."""
    folder = tmp_path_factory.mktemp("locations")
    (folder / "broken.py").write_text("raise RuntimeError('no such luck')")
    locations = [
        *project_locations(FAST, PARTITIONED, ENDLESS, BENCH_MONITOR_LOCATIONS=FAST),
        raising_location(folder),
        CodeLocation("broken", "broken", working_directory=folder),
    ]
    with bench_in(new_home(), locations, new_database_url()) as bench:
        yield bench


def test_a_sweep_gives_rows_charts_and_a_check(bench: Bench) -> None:
    sweep_well(bench)


def test_a_canceled_sweep_cancels_its_trial_and_makes_room_for_the_one_in_the_queue(bench: Bench) -> None:
    seed = seed_for([FAST, ENDLESS], [FAST, ENDLESS])
    canceled = bench.start([FAST, ENDLESS], repeats=2, seed=seed)
    queued = bench.start([FAST])
    endless = bench.wait_for_trial(canceled, 2, Status.STARTED)
    assert bench.run(queued).status is Status.QUEUED
    bench.webserver.terminate(canceled)
    assert bench.wait_for_end(canceled) is Status.CANCELED
    assert bench.wait_for_end(endless.run_id) is Status.CANCELED
    assert bench.wait_for_end(queued) is Status.SUCCESS

    sweep = bench.harvest(canceled)
    assert sweep.status == "canceled"
    (first, *_) = bench.harvests(canceled)
    (trial,) = find_trial_runs(bench.instance, bench.planned(queued).sweep_id)
    assert first.updated_us < trial.created_us, "harvested before the next sweep launches"
    assert bench.outcomes(sweep) == ["ok", "canceled", "canceled", "canceled"]
    assert sweep.trials[3].reason == "the sweep was canceled before this trial was launched"
    assert f"Sweep {sweep.plan.sweep_id} was canceled: 1 of 4 trials done (1 ok)" in bench.log(canceled)
    assert bench.outcomes(bench.harvest_now(queued)) == ["ok"]


def test_one_click_launches_the_scenario_as_it_is_and_it_says_which_locations_are_missing(bench: Bench) -> None:
    run_id = bench.submit(sweep_job_name("quick"))
    assert bench.wait_for_end(run_id) is Status.FAILURE
    last = bench.log(run_id)[-1]
    assert last.startswith("Nothing was launched. There is no code location 'a10'. Add it to workspace.yaml")
    assert "'a250'" in last
    assert "'a2k'" in last
    (run,) = find_runs(bench.instance, {Tag.KIND: "sweep", Tag.SCENARIO: "quick"}, statuses=[Status.FAILURE])
    assert run.run_id == run_id


@pytest.mark.thorough
def test_a_tick_of_the_monitor_schedule_is_a_sweep_of_the_configured_locations(bench: Bench) -> None:
    answer = bench.webserver.query(
        """mutation Tick($selector: ScheduleSelector!) {
            scheduleDryRun(selectorData: $selector, timestamp: 1767225600) {
                ... on DryRunInstigationTick { evaluationResult { runRequests { runConfigYaml } } }
            }
        }""",
        {
            "selector": {
                "repositoryLocationName": META_LOCATION,
                "repositoryName": "__repository__",
                "scheduleName": "monitor",
            }
        },
    )
    (request,) = answer["scheduleDryRun"]["evaluationResult"]["runRequests"]
    run_id = bench.submit(sweep_job_name(MONITOR), run_config=yaml.safe_load(request["runConfigYaml"]))
    assert bench.wait_for_end(run_id) is Status.SUCCESS
    sweep = bench.harvest_now(run_id)
    assert sweep.plan.scenario == MONITOR
    assert [(trial.location, trial.outcome, trial.warmup) for trial in sweep.trials] == [(FAST, Outcome.OK, False)]


def test_bench_run_reports_a_failing_location_as_json_and_by_its_exit_code(bench: Bench) -> None:
    arguments = ("run", "quick", "--locations", f"{RAISING},{FAST}", *HURRIED, "--json")
    with ended(bench_command(bench.deployment.home, *arguments)) as process:
        output, errors = process.communicate(timeout=PATIENCE_S)
    assert process.returncode == 1, errors
    result = json.loads(output)
    assert Path(result["html"]).is_file()
    run_id = _sweep_run(errors)
    assert f"Using the deployment at {bench.deployment.url}" in errors
    assert re.search(rf"trial \d/2 {RAISING} \(block 1\): failed", errors)
    sweep = bench.recorded(run_id)
    assert {trial.location: (trial.outcome, trial.reason) for trial in sweep.trials} == {
        FAST: (Outcome.OK, ""),
        RAISING: (Outcome.FAILED, "ValueError: the warehouse is closed"),
    }


@pytest.mark.thorough
def test_the_gate_launches_its_trials_and_lets_what_is_under_the_limit_pass(bench: Bench) -> None:
    arguments = ("gate", "--max-lag", "4min", "--locations", FAST, "--trials", "6", "--json")
    with ended(bench_command(bench.deployment.home, *arguments)) as process:
        output, errors = process.communicate(timeout=PATIENCE_S)
    assert process.returncode == 0, errors
    result = json.loads(output)
    assert result["ruling"] == "under"
    sweep = bench.recorded(_sweep_run(errors))
    assert result["sweep"] == sweep.plan.sweep_id
    measured = sorted(
        trial.launch.lag_us / 1e6 for trial in sweep.trials if trial.measured and trial.launch.lag_us is not None
    )
    (place,) = result["locations"]
    assert (place["location"], place["trials"]) == (FAST, len(measured))
    assert (place["lag_s"]["low"], place["lag_s"]["high"]) == (measured[0], measured[-1])


def test_ctrl_c_keeps_what_was_measured(bench: Bench) -> None:
    seed = seed_for([FAST, ENDLESS], [FAST, ENDLESS])
    arguments = ("run", "quick", "--locations", f"{FAST},{ENDLESS}", *HURRIED, "--seed", str(seed))
    with ended(bench_command(bench.deployment.home, *arguments)) as process:
        assert process.stdout is not None
        lines = []
        for line in process.stdout:
            lines.append(line)
            if line.startswith("trial 1/2"):
                time.sleep(1)  # rich would repeat output that an interrupt finds in its buffer
                process.send_signal(signal.SIGINT)
        process.wait(PATIENCE_S)
    output = "".join(lines)
    assert process.returncode == 1, output
    assert "Canceling the sweep; what was measured is kept" in output
    assert output.count("trial 1/2") == 1
    assert bench.outcomes(bench.recorded(_sweep_run(output))) == ["ok", "canceled"]


@pytest.mark.thorough
def test_bench_run_refuses_locations_that_are_missing_or_broken(bench: Bench) -> None:
    arguments = ("run", "quick", "--locations", f"nowhere,broken,{FAST}", *HURRIED)
    with ended(bench_command(bench.deployment.home, *arguments)) as process:
        output, errors = process.communicate(timeout=PATIENCE_S)
    assert process.returncode == 3
    assert "Traceback" not in errors
    assert "There is no code location 'nowhere'. Add it to workspace.yaml" in errors
    assert "The code location 'broken' is not loaded (error: RuntimeError: no such luck). Fix it" in errors
    run_id = _sweep_run(output)
    assert bench.run(run_id).status is Status.FAILURE
    assert bench.harvests(run_id) == []


@pytest.mark.thorough
def test_a_sweep_refuses_limits_that_cannot_let_it_and_a_trial_run_together(bench: Bench) -> None:
    arguments = ("run", LIMITED_SCENARIO, "--locations", FAST, *HURRIED)
    with ended(bench_command(bench.deployment.home, *arguments)) as process:
        output, errors = process.communicate(timeout=PATIENCE_S)
    assert process.returncode == 3, output + errors
    assert "the tag limit on 'bench/scenario' lets 1 run" in errors
    (run,) = find_runs(bench.instance, {Tag.SCENARIO: LIMITED_SCENARIO})
    assert run.run_id == _sweep_run(output)


@pytest.mark.thorough
def test_bench_run_brings_its_own_deployment_and_takes_it_away(
    new_home: Callable[..., Path], new_database_url: NewDatabase
) -> None:
    home, url = new_home(), new_database_url()
    arguments = ("run", "quick", "--locations", FAST, *HURRIED)
    with ended(bench_command(home, *arguments, postgres_url=url)) as process:
        output, errors = process.communicate(timeout=2 * PATIENCE_S)
    assert process.returncode == 0, output + errors
    assert "Starting a deployment" in output
    assert re.search(rf"{FAST} .*1", output.partition("Report:")[0])
    report = Path(re.findall(r"Report: (.*)", output)[0])
    assert {file.suffix for file in report.parent.rglob("*")} >= {".md", ".html", ".png", ".svg", ".csv", ".parquet"}
    assert_nothing_left(home)


class _Refusal(BaseHTTPRequestHandler):
    """A webserver behind a proxy that requires credentials."""

    def do_POST(self) -> None:
        self.rfile.read(int(self.headers["Content-Length"]))
        self.send_response(401)
        self.end_headers()

    def log_message(self, format: str, *args: object) -> None:
        """Keep the tests' output clean."""


def test_bench_run_says_that_its_credentials_are_refused(new_home: Callable[..., Path]) -> None:
    with ThreadingHTTPServer(("127.0.0.1", 0), _Refusal) as server:
        threading.Thread(target=server.serve_forever).start()
        url = f"http://127.0.0.1:{server.server_port}"
        with ended(bench_command(new_home(), "run", "quick", "--url", url)) as process:
            _, errors = process.communicate(timeout=PATIENCE_S)
        server.shutdown()
    assert process.returncode == 3
    assert f"The webserver at {url} refuses the credentials (HTTP 401). Set BENCH_WEBSERVER_AUTHORIZATION" in errors
    assert "Traceback" not in errors


@pytest.mark.thorough
@pytest.mark.parametrize("command", ["dagster", "dg"])
def test_dagsters_own_commands_serve_the_repositorys_workspace(
    tmp_path: Path, new_home: Callable[..., Path], command: str
) -> None:
    workspace = yaml.safe_load((PROJECT / "workspace.yaml").read_text())
    workspace["load_from"] = workspace["load_from"][:2]
    (tmp_path / "workspace.yaml").write_text(yaml.safe_dump(workspace))
    with dev(command, new_home(), tmp_path / "workspace.yaml") as webserver:
        wait_for(f"{command} dev", lambda: _states(webserver) == {META_LOCATION: "loaded", "a10": "loaded"})


@contextmanager
def dev(command: str, home: Path, workspace_file: Path) -> Iterator[Webserver]:
    """Run `dagster dev` or `dg dev` in the project's folder, with its dagster.yaml; stop it afterwards."""
    (home / "dagster.yaml").write_text((PROJECT / "dagster.yaml").read_text())
    with closing(HeldPort()) as port:
        process = subprocess.Popen(
            [Path(sys.executable).parent / command, "dev", "-w", workspace_file, "-p", str(port.number)],
            cwd=PROJECT,
            env={**os.environ, "DAGSTER_HOME": str(home), MARKER: f"{command}-dev {home}"},
            stdout=subprocess.DEVNULL,
            stderr=subprocess.DEVNULL,
        )
        try:
            yield Webserver(f"http://127.0.0.1:{port.number}")
            process.send_signal(signal.SIGINT)
            process.wait(PATIENCE_S)
            # Its code servers notice by themselves that their client is gone.
            wait_for(f"the end of {command} dev", lambda: not processes_of(home=home))
        finally:
            process.kill()
            process.wait()
            assert_nothing_left(home)


def _states(webserver: Webserver) -> dict[str, str]:
    try:
        return {name: location.state for name, location in webserver.list_locations().items()}
    except WebserverError:
        return {}


def _sweep_run(output: str) -> str:
    """Return the run id that `bench run` printed."""
    (run_id,) = set(re.findall(r"/runs/([0-9a-f-]{36})", output))
    return str(run_id)
