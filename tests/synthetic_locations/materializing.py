"""Helpers for tests of synthetic locations: build them by name and materialize their assets."""

from typing import Any

import dagster as dg

from synthetic_locations.build import build_definitions
from synthetic_locations.shape import parse_shape


def definitions_of(name: str, location_name: str | None = None) -> dg.Definitions:
    return build_definitions(parse_shape(name), location_name)


def specs_of(definitions: dg.Definitions) -> list[dg.AssetSpec]:
    return sorted(definitions.resolve_all_asset_specs(), key=lambda spec: spec.key)


def upstream_of(definitions: dg.Definitions) -> dict[str, list[str]]:
    """Return the upstream keys of each asset that has any, as Dagster displays keys."""
    specs = {
        spec.key.to_user_string(): [dep.asset_key.to_user_string() for dep in spec.deps]
        for spec in specs_of(definitions)
    }
    return {key: deps for key, deps in specs.items() if deps}


def materialize_all(
    definitions: dg.Definitions,
    instance: dg.DagsterInstance,
    partition_key: str | None = None,
    partition_range: tuple[str, str] | None = None,
) -> dg.ExecuteInProcessResult:
    first, last = partition_range or ("", "")
    range_tags = {"dagster/asset_partition_range_start": first, "dagster/asset_partition_range_end": last}
    return definitions.resolve_implicit_global_asset_job_def().execute_in_process(
        instance=instance, partition_key=partition_key, tags=range_tags if partition_range else None
    )


def reports_of(result: dg.ExecuteInProcessResult) -> list[dict[str, Any]]:
    """Return the reports of the materializations in order, without the prefix, plus `asset` and `partition`."""
    return [
        {
            "asset": event.materialization.asset_key.path[-1],
            "partition": event.partition,
            **{name.removeprefix("bench/"): value.value for name, value in event.materialization.metadata.items()},
        }
        for event in result.get_asset_materialization_events()
    ]
