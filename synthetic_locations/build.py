"""Builds plain Dagster definitions from a shape: assets, checks, sensors and schedules.

The definitions are what a user would write by hand: one `@dg.asset` each, unless the shape says otherwise. Anything
faster, such as a single multi-asset for all, would measure an unrealistic location.
"""

import math
import time
from collections.abc import Sequence
from dataclasses import replace
from datetime import datetime, timedelta
from typing import Any

import dagster as dg

from synthetic_locations.executors import executor_of
from synthetic_locations.imports import import_heavy
from synthetic_locations.kinds import Dependencies, Imports, Part, Partitioning
from synthetic_locations.pools import pool_names
from synthetic_locations.process import Elapsed
from synthetic_locations.shape import Shape
from synthetic_locations.structures import Design, build_assets
from synthetic_locations.triggers import launch_in_single_flight, launch_on_schedule, launch_on_sensor
from synthetic_locations.work import Work

LAST_PARTITION_END = datetime(2025, 1, 1)
"""UTC. Time partitions end here rather than today, so that their number does not change from day to day."""

LAYERS = 5
FAN_IN = 3
"""How many assets of the previous layer each asset of a layered location depends on, if there are enough."""

KEYS_PER_TICK = 1_000
"""How many dynamic partition keys the sensor adds per tick: the daemon looks up each key individually."""


def build_definitions(shape: Shape, location_name: str | None = None) -> dg.Definitions:
    """Return the definitions of a synthetic code location.

    Asset keys are `<location name>/asset_0000` onwards, unique in a deployment. Each asset does its work and reports
    measurements of its process as metadata (`Work.perform`). Dagster then loads the repository and its asset job;
    `bench/build_s` does not include that.

    Dynamic partitions start without keys. A sensor in the location, on by default, adds the missing ones,
    `KEYS_PER_TICK` at a time.

    Args:
        shape: what the location contains.
        location_name: letters, digits, underscores and hyphens; defaults to the shape's name.

    Raises:
        dagster.DagsterInvalidDefinitionError: Dagster does not allow the location name as part of a name.
        ValueError: the shape is a part and is renamed, so that the next part would not find it.
    """
    location = location_name or shape.name
    if shape.part and location != shape.name:
        raise ValueError(
            f"{shape.name} is one part of a split location and cannot be called {location!r}: "
            "the next part refers to its assets by the shape's name"
        )
    if shape.imports is Imports.TOP:
        import_heavy()
    started_s = time.perf_counter()
    keys = [dg.AssetKey([location, name]) for name in _numbered("asset", shape.assets, least_width=4)]
    beyond = _spine_end_before(shape, keys)

    def upstream_keys(number: int) -> list[dg.AssetKey]:
        own = [keys[upstream] for upstream in upstream_numbers(shape, number)]
        return own if beyond is None or number else [beyond.key]

    work = Work(shape)
    partitions, pools = _partitions(shape, location), pool_names(shape, location)
    assets = build_assets(Design(shape, location, keys, upstream_keys, partitions, pools, work))
    definitions = dg.Definitions(
        assets=[*assets, *([beyond] if beyond else [])],
        schedules=[
            *([launch_on_schedule(location)] if shape.triggers else []),
            *([launch_in_single_flight(location, assets[0])] if shape.singleflight else []),
        ],
        sensors=[
            *([_key_sensor(location, shape.partitions)] if shape.partitioning is Partitioning.DYNAMIC else []),
            *([launch_on_sensor(location)] if shape.triggers else []),
        ],
        executor=executor_of(shape, location),
    )
    work.built = Elapsed(time.perf_counter() - started_s)
    return definitions


def upstream_numbers(shape: Shape, number: int) -> list[int]:
    """Return the numbers of the assets that asset `number` depends on, ascending. Numbers start at 0.

    Covers this location only: the first asset of a later part also depends on one in the previous part.
    """
    match shape.dependencies:
        case Dependencies.NONE:
            return []
        case Dependencies.CHAIN:
            return [number - 1] if number else []
        case Dependencies.CHAINS:
            return [number - 1] if number % shape.span else []
        case Dependencies.LAYERED:
            layer_width = math.ceil(shape.assets / LAYERS)
            layer, place = divmod(number, layer_width)
            if layer == 0:
                return []
            return sorted({(layer - 1) * layer_width + (place + step) % layer_width for step in range(FAN_IN)})
        case Dependencies.SPINE:
            return [number - shape.span] if number and number % shape.span == 0 else []


def _spine_end_before(shape: Shape, keys: Sequence[dg.AssetKey]) -> dg.AssetSpec | None:
    """Return the last spine asset of the previous part, as an external asset of this location."""
    if shape.part is None or shape.part.number == 1:
        return None
    before = replace(shape, part=Part(shape.part.number - 1, shape.part.of))
    # Parts are alike, so the asset has the same number there as it would have here.
    name = keys[(shape.assets - 1) // shape.span * shape.span].path[-1]
    return dg.AssetSpec(
        dg.AssetKey([before.name, name]),
        description=f"Made in {before.name}; {shape.name} depends on it.",
        partitions_def=_partitions(before, before.name),
    )


def _partitions(shape: Shape, location: str) -> dg.PartitionsDefinition[Any] | None:
    count = shape.partitions
    if not count:
        return None
    match shape.partitioning:
        case Partitioning.STATIC:
            return dg.StaticPartitionsDefinition(_numbered("partition", count))
        case Partitioning.DAILY:
            return dg.DailyPartitionsDefinition(
                start_date=LAST_PARTITION_END - timedelta(days=count), end_date=LAST_PARTITION_END
            )
        case Partitioning.HOURLY:
            return dg.HourlyPartitionsDefinition(
                start_date=LAST_PARTITION_END - timedelta(hours=count), end_date=LAST_PARTITION_END
            )
        case Partitioning.MULTI:
            # As square as possible: 10,000 is 100 by 100, and a prime is 1 by itself.
            rows = next(side for side in range(math.isqrt(count), 0, -1) if count % side == 0)
            return dg.MultiPartitionsDefinition(
                {
                    "row": dg.StaticPartitionsDefinition(_numbered("row", rows)),
                    "column": dg.StaticPartitionsDefinition(_numbered("column", count // rows)),
                }
            )
        case Partitioning.DYNAMIC:
            return dg.DynamicPartitionsDefinition(name=_dynamic_name(location))


def _dynamic_name(location: str) -> str:
    # The instance stores dynamic partition keys by name, shared by all locations.
    return f"{location}_partitions"


def _numbered(word: str, count: int, least_width: int = 1) -> list[str]:
    width = max(least_width, len(str(count - 1)))
    return [f"{word}_{number:0{width}}" for number in range(count)]


def _key_sensor(location: str, count: int) -> dg.SensorDefinition:
    dynamic_name = _dynamic_name(location)
    wanted = _numbered("partition", count)

    @dg.sensor(
        name="add_partition_keys",
        description=f"Adds the partition keys of {dynamic_name} until all {count} exist.",
        minimum_interval_seconds=5,
        default_status=dg.DefaultSensorStatus.RUNNING,
    )
    def add_partition_keys(context: dg.SensorEvaluationContext) -> dg.SensorResult | dg.SkipReason:
        existing = set(context.instance.get_dynamic_partitions(dynamic_name))
        missing = [key for key in wanted if key not in existing]
        if not missing:
            return dg.SkipReason(f"All {count} partition keys exist.")
        return dg.SensorResult(
            dynamic_partitions_requests=[dg.AddDynamicPartitionsRequest(dynamic_name, missing[:KEYS_PER_TICK])]
        )

    return add_partition_keys
