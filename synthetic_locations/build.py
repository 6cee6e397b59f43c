"""From a shape to plain Dagster definitions.

The definitions are what a user would write by hand, one `@dg.asset` each with a description, a group, a kind
and a tag, and cost the same to load (`benchmarks/build_locations.py` holds that to at most 1.1 times):
anything faster, such as one multi-asset for all, would measure a location that nobody has.
"""

import math
import time
from datetime import datetime, timedelta
from typing import Any

import dagster as dg

from synthetic_locations.process import Elapsed, measure_process
from synthetic_locations.shape import Dependencies, Executor, Partitioning, Shape

LAST_PARTITION_END = datetime(2025, 1, 1)
"""UTC. Time partitions end here and not today, so that a location has the same number of them every day."""

ASSETS_PER_GROUP = 100
LAYERS = 5
FAN_IN = 3
"""How many assets of the layer before it an asset of a layered location depends on, if it has as many."""

KEYS_PER_TICK = 1_000
"""How many dynamic partition keys the sensor adds at a time: the daemon looks up each one on its own."""


def build_definitions(shape: Shape, location_name: str | None = None) -> dg.Definitions:
    """The definitions of a synthetic code location.

    Asset keys are `<location name>/asset_0000` onwards, so that they are unique in a deployment. Each asset
    sleeps as long as the shape says and reports what its own process saw as metadata: everything that
    `measure_process` finds, and `bench/build_s`, the seconds that this function took there. Dagster's own
    share of loading, the repository and its asset job, comes after that and is not in it.

    Dynamic partitions have no keys until somebody adds them: such a location has a sensor, on by default,
    that adds the missing ones, `KEYS_PER_TICK` at a time.

    Args:
        shape: what the location contains.
        location_name: letters, digits, underscores and hyphens; the shape's name if left out.

    Raises:
        dagster.DagsterInvalidDefinitionError: Dagster does not take the location name as part of a name.
    """
    started_s = time.perf_counter()
    location = location_name or shape.name
    keys = [dg.AssetKey([location, name]) for name in _numbered("asset", shape.assets, least_width=4)]
    # The UI joins groups of the same name across locations, and takes no hyphen in one.
    group = location.replace("-", "_")
    checks = [f"check_{number}" for number in range(shape.checks)]
    # The instance keeps the keys of dynamic partitions by name, for all locations together.
    dynamic_name = f"{location}_partitions"
    partitions = _partitions(shape, dynamic_name)

    def compute() -> dg.MaterializeResult:  # type: ignore[type-arg]
        measured = {**measure_process(), "build_s": built.here_s}
        time.sleep(shape.compute_ms / 1000)
        return dg.MaterializeResult(
            metadata={f"bench/{name}": value for name, value in measured.items()},
            check_results=[dg.AssetCheckResult(passed=True, check_name=check) for check in checks],
        )

    assets = [
        dg.asset(
            key=key,
            description=f"Synthetic asset {number} of {shape.assets} in {location}.",
            group_name=f"{group}_{number // ASSETS_PER_GROUP:03}",
            kinds={"python"},
            tags={"bench/shape": shape.name},
            deps=[keys[upstream] for upstream in upstream_numbers(shape, number)],
            partitions_def=partitions,
            check_specs=[dg.AssetCheckSpec(check, asset=key) for check in checks],
        )(compute)
        for number, key in enumerate(keys)
    ]
    is_dynamic = shape.partitioning is Partitioning.DYNAMIC
    definitions = dg.Definitions(
        assets=assets,
        sensors=[_key_sensor(dynamic_name, shape.partitions)] if is_dynamic else [],
        executor=dg.in_process_executor if shape.executor is Executor.IN_PROCESS else None,
    )
    built = Elapsed(time.perf_counter() - started_s)
    return definitions


def upstream_numbers(shape: Shape, number: int) -> list[int]:
    """The numbers of the assets that asset `number` depends on, ascending and smaller. Numbers start at 0."""
    match shape.dependencies:
        case Dependencies.NONE:
            return []
        case Dependencies.CHAIN:
            return [number - 1] if number else []
        case Dependencies.LAYERED:
            layer_width = math.ceil(shape.assets / LAYERS)
            layer, place = divmod(number, layer_width)
            if layer == 0:
                return []
            return sorted({(layer - 1) * layer_width + (place + step) % layer_width for step in range(FAN_IN)})


def _partitions(shape: Shape, dynamic_name: str) -> dg.PartitionsDefinition[Any] | None:
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
            # As square as the number allows: 10,000 is 100 by 100, and a prime is 1 by itself.
            rows = next(side for side in range(math.isqrt(count), 0, -1) if count % side == 0)
            return dg.MultiPartitionsDefinition(
                {
                    "row": dg.StaticPartitionsDefinition(_numbered("row", rows)),
                    "column": dg.StaticPartitionsDefinition(_numbered("column", count // rows)),
                }
            )
        case Partitioning.DYNAMIC:
            return dg.DynamicPartitionsDefinition(name=dynamic_name)


def _numbered(word: str, count: int, least_width: int = 1) -> list[str]:
    width = max(least_width, len(str(count - 1)))
    return [f"{word}_{number:0{width}}" for number in range(count)]


def _key_sensor(dynamic_name: str, count: int) -> dg.SensorDefinition:
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
