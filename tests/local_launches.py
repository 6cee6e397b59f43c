"""A stand-in for a webserver that executes launches in the test's process, in real locations."""

from collections.abc import Mapping, Sequence
from typing import Any

import dagster as dg
from recording import end_run

from bench_orchestrator.webserver import LocationEntry, Webserver, WebserverUnreachableError
from synthetic_locations.build import build_definitions
from synthetic_locations.shape import parse_shape

LOCATIONS = {name: build_definitions(parse_shape(name)) for name in ("a2", "a1p3")}


class FakeWebserverOfThisProcess(Webserver):
    """Serves small locations and executes launches at once."""

    def __init__(self, instance: dg.DagsterInstance) -> None:
        self.instance = instance
        self.away = False

    def list_locations(self) -> dict[str, LocationEntry]:
        return {name: LocationEntry(name, "loaded", ("__repository__",)) for name in LOCATIONS}

    def list_assets(self, location: str, repository: str) -> dict[str, bool]:
        assert repository == "__repository__"
        specs = LOCATIONS[location].resolve_all_asset_specs()
        return {spec.key.to_user_string(): spec.partitions_def is not None for spec in specs}

    def list_partitions(self, asset_key: str) -> list[str]:
        specs = LOCATIONS[asset_key.split("/")[0]].resolve_all_asset_specs()
        (partitions,) = [spec.partitions_def for spec in specs if spec.key.to_user_string() == asset_key]
        return list(partitions.get_partition_keys()) if partitions else []

    def submit(
        self,
        *,
        location: str,
        repository: str,
        job: str,
        tags: Mapping[str, str],
        asset_keys: Sequence[str] = (),
        run_config: Mapping[str, Any] | None = None,
    ) -> str:
        if self.away:
            raise WebserverUnreachableError("The webserver does not answer.")
        assert (job, repository, run_config) == ("__ASSET_JOB", "__repository__", None)
        (asset_key,) = asset_keys
        result = (
            LOCATIONS[location]
            .resolve_implicit_global_asset_job_def()
            .execute_in_process(
                instance=self.instance,
                asset_selection=[dg.AssetKey(asset_key.split("/"))],
                tags=dict(tags),
                partition_key=tags.get("dagster/partition"),
            )
        )
        return result.run_id

    def terminate(self, run_id: str) -> None:
        end_run(self.instance, run_id)
