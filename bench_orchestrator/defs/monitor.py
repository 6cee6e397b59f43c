"""The schedule that watches for regressions: one launch in each location every 15 minutes."""

from typing import Any

import dagster as dg

from bench_orchestrator import settings
from bench_orchestrator.defs.sweeps import monitor_job
from bench_orchestrator.scenarios.registry import MONITOR, SCENARIOS, sweep_op_name
from bench_orchestrator.sweeps.config import scenario_config


@dg.schedule(
    name="monitor",
    job=monitor_job,
    cron_schedule="*/15 * * * *",
    default_status=dg.DefaultScheduleStatus.STOPPED,
    description="Launches one trial in each location, to show when launches get slower. The locations are those of "
    f"the scenario, or those of {settings.MONITOR_LOCATIONS} (separated by commas).",
)
def monitor(_context: dg.ScheduleEvaluationContext) -> dg.RunRequest:
    """Request a sweep of the monitor scenario."""
    # It measures launches under the present load: no waiting until the servers are idle.
    changes: dict[str, Any] = {"settle_s": 0}
    locations = settings.monitor_locations()
    if locations:
        changes["locations"] = list(locations)
    config = scenario_config(SCENARIOS[MONITOR])(**changes)
    return dg.RunRequest(run_config=dg.RunConfig(ops={sweep_op_name(MONITOR): config}))
