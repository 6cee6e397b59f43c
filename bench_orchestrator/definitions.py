"""The meta code location, assembled."""

from functools import cache

import dagster as dg

from bench_orchestrator.defs.charts import chart_assets
from bench_orchestrator.defs.evaluations import evaluations
from bench_orchestrator.defs.harvest import harvest_job, launch_measurements
from bench_orchestrator.defs.harvest_sensor import harvest_sensor
from bench_orchestrator.defs.history import lag_history
from bench_orchestrator.defs.monitor import deploy_sensor, monitor
from bench_orchestrator.defs.observe import observe_job, observed_launches
from bench_orchestrator.defs.observe_sensor import observe_sensor
from bench_orchestrator.defs.remedies import conclusions
from bench_orchestrator.defs.resources import ResultsResource, WebserverResource
from bench_orchestrator.defs.sweeps import sweep_jobs, sweeps
from bench_orchestrator.defs.timelines import gantt_chart, launch_timeline


@dg.definitions
@cache
def defs() -> dg.Definitions:
    """Sweep jobs, the harvest, its charts, the schedule that watches, and the observation of all other runs."""
    return dg.Definitions(
        assets=[
            sweeps,
            launch_measurements,
            observed_launches,
            *chart_assets,
            lag_history,
            evaluations,
            launch_timeline,
            gantt_chart,
            conclusions,
        ],
        jobs=[*sweep_jobs.values(), harvest_job, observe_job],
        sensors=[harvest_sensor, deploy_sensor, observe_sensor],
        schedules=[monitor],
        resources={"webserver": WebserverResource.from_environment(), "results": ResultsResource()},
    )
