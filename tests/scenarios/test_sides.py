"""Each side of each experiment does its work: this process materializes what its trials select."""

from collections.abc import Mapping
from unittest import mock

import dagster as dg
import pytest

from bench_orchestrator.model.plan import PlannedTrial, Variant
from bench_orchestrator.scenarios import experiments
from bench_orchestrator.scenarios.registry import EXPERIMENTS
from bench_orchestrator.sources.instance import read_run_log
from bench_orchestrator.sweeps.deployments import Site
from bench_orchestrator.sweeps.launching import trial_tags
from bench_orchestrator.sweeps.planning import plan_sweep
from bench_orchestrator.webserver import LocationEntry, Webserver
from synthetic_locations import catalog


class BuiltLocations(Webserver):
    """A stand-in for a webserver that answers from the definitions of the locations."""

    def __init__(self, names: set[str], instance: dg.DagsterInstance) -> None:
        self.definitions = {name: _definitions(name) for name in names}
        self._instance = instance

    def list_locations(self) -> dict[str, LocationEntry]:
        return {name: LocationEntry(name, "loaded", ("__repository__",)) for name in self.definitions}

    def list_assets(self, location: str, repository: str) -> dict[str, bool]:
        assert repository == "__repository__"
        graph = self.definitions[location].resolve_asset_graph()
        return {key.to_user_string(): graph.get(key).is_partitioned for key in graph.materializable_asset_keys}

    def list_partitions(self, asset_key: str) -> list[str]:
        location, _, _ = asset_key.partition("/")
        graph = self.definitions[location].resolve_asset_graph()
        partitions = graph.get(dg.AssetKey.from_user_string(asset_key)).partitions_def
        assert partitions is not None
        return list(partitions.get_partition_keys(dynamic_partitions_store=self._instance))

    def add_dynamic_partitions(self) -> None:
        """Evaluate the sensors that add them."""
        for definitions in self.definitions.values():
            repository = definitions.get_repository_def()
            for sensor in repository.sensor_defs:
                with dg.build_sensor_context(self._instance, repository_def=repository) as context:
                    for request in sensor.evaluate_tick(context).dynamic_partitions_requests or ():
                        assert isinstance(request, dg.AddDynamicPartitionsRequest)
                        self._instance.add_dynamic_partitions(request.partitions_def_name, request.partition_keys)

    def materialize(self, trial: PlannedTrial, tags: Mapping[str, str]) -> str:
        """Execute a trial's run in this process; return its id."""
        result = (
            self.definitions[trial.location]
            .resolve_implicit_global_asset_job_def()
            .execute_in_process(
                instance=self._instance,
                asset_selection=[dg.AssetKey.from_user_string(key) for key in trial.asset_keys],
                partition_key=None if trial.last_partition_key else trial.partition_key,
                tags={name: value for name, value in tags.items() if name != "dagster/partition"},
            )
        )
        assert result.success
        return result.run_id


def _definitions(name: str) -> dg.Definitions:
    """Return the location of that shape."""
    made = getattr(catalog, name)()
    assert isinstance(made, dg.Definitions)
    return made


@pytest.mark.parametrize("name", [experiment.name for experiment in experiments.EXPERIMENTS])
def test_every_side_does_its_work(instance: dg.DagsterInstance, name: str) -> None:
    scenario = EXPERIMENTS[name].scenario
    variants: tuple[Variant, ...] = scenario.quick_variants
    locations = BuiltLocations({location for variant in variants for location in variant.locations}, instance)
    locations.add_dynamic_partitions()
    site = Site("", locations, instance, mock.Mock(), {})
    sites = {variant.name: site for variant in variants}
    plan = plan_sweep("a sweep", scenario, variants, sites, repeats=1, warmups=0, seed=1, settings={})
    assert {trial.variant for trial in plan.trials} == set(sites)
    for trial in plan.trials:
        run_id = locations.materialize(trial, trial_tags(plan, trial, requested_us=0))
        assert read_run_log(instance, run_id).work == trial.work, trial.variant
