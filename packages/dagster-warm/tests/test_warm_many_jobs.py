"""Hundreds of jobs in one location, with a schedule for each: what they ask for while runs are launched."""

from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor

import pytest
from lone_server import LoneServer, serve

COUNT = 300
TICKED, LAUNCHED = range(0, COUNT, 3), range(0, COUNT, 60)

MODULE = f"""
import dagster as dg

def make(number):
    @dg.op(name=f"op_{{number}}")
    def tell(context):
        context.add_output_metadata({{"number": number, "job": context.job_name}})

    @dg.job(name=f"job_{{number}}", executor_def=dg.in_process_executor)
    def job():
        tell()

    @dg.schedule(name=f"schedule_{{number}}", job=job, cron_schedule="0 0 * * *")
    def schedule():
        return dg.RunRequest(run_key=job.name)

    @dg.sensor(name=f"sensor_{{number}}", job=job)
    def sensor(context):
        return dg.SensorResult([dg.RunRequest(run_key=job.name)], cursor=str(int(context.cursor or 0) + 1))

    return job, schedule, sensor

jobs, schedules, sensors = zip(*map(make, range({COUNT})))
defs = dg.Definitions(jobs=jobs, schedules=schedules, sensors=sensors)
"""


@pytest.fixture(
    scope="module", params=[pytest.param(("dagster", "api", "grpc"), marks=pytest.mark.thorough), ("dagster_warm",)]
)
def server(request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory) -> Iterator[LoneServer]:
    home = tmp_path_factory.mktemp("home")
    (home / "served.py").write_text(MODULE)
    module, *options = request.param
    with serve(home, [*options, "--python-file", "served.py"], module=module) as server:
        yield server


@pytest.mark.thorough
def test_schedules_and_sensors_are_answered_while_runs_are_launched(server: LoneServer) -> None:
    with server.workspace() as workspace, ThreadPoolExecutor(4) as pool:
        location = workspace.get_code_location("it")
        handle = location.get_repository("__repository__").handle

        def tick(number: int) -> tuple[str, str]:
            scheduled = location.get_schedule_execution_data(server.instance, handle, f"schedule_{number}", None, None)
            options = (None, None, "7", None, None)
            sensed = location.get_sensor_execution_data(server.instance, handle, f"sensor_{number}", *options)
            assert sensed.cursor == "8"
            return scheduled.run_requests[0].run_key, sensed.run_requests[0].run_key

        ticks = pool.map(tick, TICKED)
        run_ids = {number: server.launch(f"job_{number}") for number in LAUNCHED}
        assert list(ticks) == [(f"job_{number}",) * 2 for number in TICKED]
    for number, run_id in run_ids.items():
        told = server.finish(run_id)
        assert told[f"op_{number}"] == {"number": number, "job": f"job_{number}"}
        assert bool(told["warmth"]) is ("dagster_warm" in server.process.args)  # type: ignore[operator]
