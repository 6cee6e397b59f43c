"""What watches for regressions: a launch in each location every 15 minutes, and some after each deploy."""

import json
from collections.abc import Mapping, Sequence
from typing import Any

import dagster as dg

from bench_orchestrator import settings
from bench_orchestrator.defs.resources import WebserverResource
from bench_orchestrator.defs.sweeps import monitor_job
from bench_orchestrator.model.tags import DEPLOY_SENSOR
from bench_orchestrator.scenarios.registry import MONITOR, SCENARIOS, sweep_op_name
from bench_orchestrator.sweeps.config import scenario_config
from bench_orchestrator.webserver import LocationEntry, WebserverError

_LAUNCHES_AFTER_DEPLOY = 5


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
    return dg.RunRequest(run_config=_configured(settings.monitor_locations()))


@dg.sensor(
    name=DEPLOY_SENSOR,
    job_name=monitor_job.name,  # with the job itself, Dagster 1.13 rebuilds the sensor and emits a BetaWarning
    minimum_interval_seconds=60,
    default_status=dg.DefaultSensorStatus.STOPPED,
    description=f"Launches {_LAUNCHES_AFTER_DEPLOY} trials, after a warm-up, in each location of the monitor that has "
    "a new code server: it was deployed, reloaded or restarted. The check `no_slower_after_deploy` compares them with "
    "the launches before.",
)
def deploy_sensor(context: dg.SensorEvaluationContext, webserver: WebserverResource) -> dg.SensorResult | dg.SkipReason:
    """Request one sweep for all locations that were deployed since the last tick; the cursor has their code servers.

    A location that is away, or that cannot be loaded, keeps the server that it had. The first tick only looks.
    """
    try:
        entries = webserver.connect().list_locations()
    except WebserverError as error:
        return dg.SkipReason(str(error))
    watched = settings.monitor_locations() or SCENARIOS[MONITOR].locations
    known = _read_cursor(context.cursor)
    present = {name: entries[name].server_id for name in watched if name in entries and _is_served(entries[name])}
    deployed = [name for name, server_id in present.items() if name in known and known[name] != server_id]
    cursor = json.dumps({**known, **present})
    if not deployed:
        return dg.SensorResult(skip_reason="No location was deployed since the last look.", cursor=cursor)
    request = dg.RunRequest(
        run_key=", ".join(f"{name} {present[name]}" for name in deployed),
        run_config=_configured(deployed, repeats=_LAUNCHES_AFTER_DEPLOY, warmups=1),
    )
    return dg.SensorResult(run_requests=[request], cursor=cursor)


def _configured(locations: Sequence[str], **changes: Any) -> dg.RunConfig:
    """Return the configuration of a sweep in these locations, or in those of the scenario if there are none."""
    # It measures launches under the present load: no waiting until the servers are idle.
    changes |= {"settle_s": 0} | ({"locations": list(locations)} if locations else {})
    return dg.RunConfig(ops={sweep_op_name(MONITOR): scenario_config(SCENARIOS[MONITOR])(**changes)})


def _is_served(entry: LocationEntry) -> bool:
    return entry.state == "loaded" and bool(entry.server_id)


def _read_cursor(cursor: str | None) -> Mapping[str, str]:
    """Return the code server of each location at the last tick; empty for the first."""
    known: Mapping[str, str] = json.loads(cursor) if cursor else {}
    return known
