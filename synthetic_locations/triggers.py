"""A schedule and a sensor that launch what somebody asks for, one run at a time.

Each looks into a mailbox of its own: a value that Dagster's instance keeps, written by whoever wants a run
and cleared by the same. A request stays until it is cleared or replaced, and is launched once: Dagster sees to
that for a sensor's run key, but a schedule launches the same key again at its next tick, so both look for a run
with that key first. Run keys are therefore unique in an instance, and not only in a location.
"""

import json
from collections.abc import Mapping
from dataclasses import asdict, dataclass, field
from enum import StrEnum

import dagster as dg


class Trigger(StrEnum):
    """What launches; the value is the name of its definition in the location."""

    SCHEDULE = "launch_on_schedule"
    SENSOR = "launch_on_sensor"


_RUN_KEY_TAG = "dagster/run_key"


@dataclass(frozen=True)
class LaunchRequest:
    """One run that is asked for."""

    run_key: str
    asset_keys: tuple[str, ...]
    """As Dagster prints them to users: parts joined with `/`."""
    tags: Mapping[str, str] = field(default_factory=dict)
    partition_key: str | None = None


def mailbox_key(location: str, trigger: Trigger) -> str:
    """Under which the instance keeps the request to a location's trigger."""
    return f"bench/{trigger}/{location}"


def write_request(instance: dg.DagsterInstance, location: str, trigger: Trigger, request: LaunchRequest) -> None:
    """Ask for a run, in place of what was asked for before.

    Args:
        instance: the one that the location's deployment uses.
        location: what the keys of its assets begin with.
        trigger: which of the location's two is to launch it.
        request: its run key is one that no run in the instance has.
    """
    _set(instance, location, trigger, json.dumps(asdict(request)))


def clear_request(instance: dg.DagsterInstance, location: str, trigger: Trigger) -> None:
    """Ask for nothing any more."""
    _set(instance, location, trigger, "")


def read_request(instance: dg.DagsterInstance, location: str, trigger: Trigger) -> LaunchRequest | None:
    """What is asked for, launched already or not."""
    key = mailbox_key(location, trigger)
    value = instance.daemon_cursor_storage.get_cursor_values({key}).get(key)
    if not value:
        return None
    read = json.loads(value)
    return LaunchRequest(read["run_key"], tuple(read["asset_keys"]), read["tags"], read["partition_key"])


def launch_on_schedule(location: str) -> dg.ScheduleDefinition:
    """A schedule that launches what is asked for at the full minute."""

    @dg.schedule(
        name=Trigger.SCHEDULE.value,
        cron_schedule="* * * * *",
        default_status=dg.DefaultScheduleStatus.RUNNING,
        target=dg.AssetSelection.all(),
        description="Launches the run that is asked for, if any, at the full minute.",
    )
    def schedule(context: dg.ScheduleEvaluationContext) -> dg.RunRequest | dg.SkipReason:
        return _answer(context.instance, location, Trigger.SCHEDULE)

    return schedule


def launch_on_sensor(location: str) -> dg.SensorDefinition:
    """A sensor that launches what is asked for within seconds."""

    @dg.sensor(
        name=Trigger.SENSOR.value,
        minimum_interval_seconds=5,
        default_status=dg.DefaultSensorStatus.RUNNING,
        target=dg.AssetSelection.all(),
        description="Launches the run that is asked for, if any.",
    )
    def sensor(context: dg.SensorEvaluationContext) -> dg.RunRequest | dg.SkipReason:
        return _answer(context.instance, location, Trigger.SENSOR)

    return sensor


def _answer(instance: dg.DagsterInstance, location: str, trigger: Trigger) -> dg.RunRequest | dg.SkipReason:
    request = read_request(instance, location, trigger)
    if request is None:
        return dg.SkipReason("The mailbox is empty: no run is asked for.")
    if instance.get_runs(dg.RunsFilter(tags={_RUN_KEY_TAG: request.run_key}), limit=1):
        return dg.SkipReason(f"The run that is asked for, {request.run_key}, has been launched.")
    return dg.RunRequest(
        run_key=request.run_key,
        asset_selection=[dg.AssetKey.from_user_string(key) for key in request.asset_keys],
        tags=dict(request.tags),
        partition_key=request.partition_key,
    )


def _set(instance: dg.DagsterInstance, location: str, trigger: Trigger, value: str) -> None:
    instance.daemon_cursor_storage.set_cursor_values({mailbox_key(location, trigger): value})
