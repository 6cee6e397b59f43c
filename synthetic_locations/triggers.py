"""Schedules and a sensor that launch requested runs, one at a time.

Each reads its own mailbox: a value in Dagster's instance that the requester writes and clears. A request stays until it
is cleared or replaced.

One schedule and the sensor launch a request only once. Dagster ensures that for a sensor's run key; a schedule would
launch the same key at every tick, so both first look for a run with that key. Run keys must therefore be unique within
an instance, not only within a location.

The single-flight schedule launches a request again and again, unless the run before is in progress. It finds that run
as users are advised to: by the schedule's name, which Dagster writes into the tags of its runs, and by status.
"""

import json
from collections.abc import Mapping
from dataclasses import asdict, dataclass, field, replace
from enum import StrEnum

import dagster as dg


class Trigger(StrEnum):
    """What launches a run; the value is the name of its definition in the location."""

    SCHEDULE = "launch_on_schedule"
    SENSOR = "launch_on_sensor"
    SINGLE_FLIGHT = "single_flight"


_RUN_KEY_TAG = "dagster/run_key"
_SCHEDULE_NAME_TAG = "dagster/schedule_name"
_LOCATION_TAG = "bench/location"
"""The location whose single-flight schedule launched a run: all of these schedules have the same name."""

_EVERY_MINUTE = "* * * * *"
_NOTHING_REQUESTED = dg.SkipReason("The mailbox is empty: no run is requested.")

_IN_PROGRESS = (
    dg.DagsterRunStatus.QUEUED,
    dg.DagsterRunStatus.STARTING,
    dg.DagsterRunStatus.STARTED,
    dg.DagsterRunStatus.CANCELING,
)
"""Not NOT_STARTED: if the daemon dies before it submits a run, Dagster submits that run when it repeats the tick."""


@dataclass(frozen=True)
class LaunchRequest:
    """A request for one run, or for one after the other by the single-flight schedule."""

    run_key: str
    """The single-flight schedule appends the time of the tick."""
    asset_keys: tuple[str, ...]
    """As Dagster displays them: parts joined with `/`."""
    tags: Mapping[str, str] = field(default_factory=dict)
    partition_key: str | None = None


def mailbox_key(location: str, trigger: Trigger) -> str:
    """Return the key under which the instance stores requests to a location's trigger."""
    return f"bench/{trigger}/{location}"


def write_request(instance: dg.DagsterInstance, location: str, trigger: Trigger, request: LaunchRequest) -> None:
    """Request a run, replacing any earlier request.

    Args:
        instance: the instance of the location's deployment.
        location: the prefix of its asset keys.
        trigger: which of the location's triggers launches it.
        request: its run key must be new to the instance.
    """
    _set(instance, location, trigger, json.dumps(asdict(request)))


def clear_request(instance: dg.DagsterInstance, location: str, trigger: Trigger) -> None:
    """Clear the request."""
    _set(instance, location, trigger, "")


def read_request(instance: dg.DagsterInstance, location: str, trigger: Trigger) -> LaunchRequest | None:
    """Return the current request, launched already or not."""
    key = mailbox_key(location, trigger)
    value = instance.daemon_cursor_storage.get_cursor_values({key}).get(key)
    if not value:
        return None
    read = json.loads(value)
    return LaunchRequest(read["run_key"], tuple(read["asset_keys"]), read["tags"], read["partition_key"])


def launch_on_schedule(location: str) -> dg.ScheduleDefinition:
    """Return a schedule that launches the requested run at the full minute."""

    @dg.schedule(
        name=Trigger.SCHEDULE.value,
        cron_schedule=_EVERY_MINUTE,
        default_status=dg.DefaultScheduleStatus.RUNNING,
        target=dg.AssetSelection.all(),
        description="Launches the requested run, if any, at the full minute.",
    )
    def schedule(context: dg.ScheduleEvaluationContext) -> dg.RunRequest | dg.SkipReason:
        return _answer(context.instance, location, Trigger.SCHEDULE)

    return schedule


def launch_on_sensor(location: str) -> dg.SensorDefinition:
    """Return a sensor that launches the requested run within seconds."""

    @dg.sensor(
        name=Trigger.SENSOR.value,
        minimum_interval_seconds=5,
        default_status=dg.DefaultSensorStatus.RUNNING,
        target=dg.AssetSelection.all(),
        description="Launches the requested run, if any.",
    )
    def sensor(context: dg.SensorEvaluationContext) -> dg.RunRequest | dg.SkipReason:
        return _answer(context.instance, location, Trigger.SENSOR)

    return sensor


def launch_in_single_flight(location: str, assets: dg.AssetsDefinition) -> dg.ScheduleDefinition:
    """Return a schedule that launches the requested run at each full minute, unless the run before is in progress.

    Args:
        location: the prefix of its asset keys.
        assets: what the schedule targets; the request's assets are among these.
    """

    @dg.schedule(
        name=Trigger.SINGLE_FLIGHT.value,
        cron_schedule=_EVERY_MINUTE,
        default_status=dg.DefaultScheduleStatus.STOPPED,
        target=assets,
        description="Launches the requested run, if any, at each full minute, unless the run before is in progress.",
    )
    def schedule(context: dg.ScheduleEvaluationContext) -> dg.RunRequest | dg.SkipReason:
        request = read_request(context.instance, location, Trigger.SINGLE_FLIGHT)
        if request is None:
            return _NOTHING_REQUESTED
        own = {_SCHEDULE_NAME_TAG: Trigger.SINGLE_FLIGHT.value, _LOCATION_TAG: location}
        for run in context.instance.get_runs(dg.RunsFilter(tags=own, statuses=_IN_PROGRESS), limit=1):
            return dg.SkipReason(f"Run {run.run_id}, launched before, is in progress: {run.status.value}.")
        run_key = f"{request.run_key}/{context.scheduled_execution_time.isoformat()}"
        return _launch(replace(request, run_key=run_key, tags={**request.tags, _LOCATION_TAG: location}))

    return schedule


def _answer(instance: dg.DagsterInstance, location: str, trigger: Trigger) -> dg.RunRequest | dg.SkipReason:
    request = read_request(instance, location, trigger)
    if request is None:
        return _NOTHING_REQUESTED
    if instance.get_runs(dg.RunsFilter(tags={_RUN_KEY_TAG: request.run_key}), limit=1):
        return dg.SkipReason(f"The requested run, {request.run_key}, has already been launched.")
    return _launch(request)


def _launch(request: LaunchRequest) -> dg.RunRequest:
    return dg.RunRequest(
        run_key=request.run_key,
        asset_selection=[dg.AssetKey.from_user_string(key) for key in request.asset_keys],
        tags=dict(request.tags),
        partition_key=request.partition_key,
    )


def _set(instance: dg.DagsterInstance, location: str, trigger: Trigger, value: str) -> None:
    instance.daemon_cursor_storage.set_cursor_values({mailbox_key(location, trigger): value})
