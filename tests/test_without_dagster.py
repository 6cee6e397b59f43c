"""What works over GraphQL alone imports neither Dagster nor SQLAlchemy, which a fresh interpreter shows."""

import subprocess
import sys

from recording import Served, make_plan, record_sweep

from bench_orchestrator.model.runs import RunStatus

FOLLOWING = """
import sys

import bench_orchestrator.cli.run
import bench_orchestrator.cli.sweeping
from bench_orchestrator.deployment.status import daemon_beats, workspace_entries
from bench_orchestrator.sources import graphql
from bench_orchestrator.sweeps import client
from bench_orchestrator.timeline.launches import launch_of
from bench_orchestrator.webserver import Webserver, WebserverError

url, run_id = sys.argv[1:]
webserver = Webserver(url)
assert webserver.list_locations() == workspace_entries(url) == {}
daemon_beats(url, since=0)
try:
    client.start_sweep(webserver, "quick", {})
except WebserverError as error:
    print(error)
*_, last = client.follow(webserver, run_id)
print(last.status, last.planned, last.done)
log = graphql.read_run_log(webserver, run_id)
run = graphql.get_run(webserver, run_id)
print(launch_of(run_id, log, outcome=None, requested_us=None, created_us=run.created_us).executor)
print(sorted({name.partition(".")[0] for name in sys.modules} & {"dagster", "dagster_graphql", "sqlalchemy"}))
"""


def test_a_sweep_is_followed_and_its_log_read_without_dagster(served: Served) -> None:
    plan = make_plan("without-dagster")
    run_id = record_sweep(served.instance, plan)
    command = [sys.executable, "-c", FOLLOWING, served.url, run_id]
    said = subprocess.run(command, check=False, capture_output=True, text=True, timeout=120)
    assert said.returncode == 0, said.stderr
    refusal, progress, executor, imported = said.stdout.splitlines()
    assert "no usable code location" in refusal
    assert progress == f"{RunStatus.SUCCESS} {len(plan.trials)} {len(plan.trials)}"
    assert (executor, imported) == ("in_process", "[]")
