"""Watching from then on: one launch in each location, every quarter of an hour."""

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
    description="Launches one trial in each configured location, to see launches get slower when they do. The "
    f"locations are those of the scenario, or {settings.MONITOR_LOCATIONS} (names with commas between).",
)
def monitor(_context: dg.ScheduleEvaluationContext) -> dg.RunRequest:
    """One sweep of the monitor scenario per tick."""
    # It measures launches as they are now, and does not wait until the servers have nothing else to do.
    changes: dict[str, Any] = {"settle_s": 0}
    locations = settings.monitor_locations()
    if locations:
        changes["locations"] = list(locations)
    config = scenario_config(SCENARIOS[MONITOR])(**changes)
    return dg.RunRequest(run_config=dg.RunConfig(ops={sweep_op_name(MONITOR): config}))
