"""A run launcher for deployments that start a container for each run.

Every process that opens the instance imports this module, so it imports nothing from the server.
"""

from collections.abc import Collection, Mapping
from typing import Any, Self

import yaml
from dagster import DagsterRun, DefaultRunLauncher, Field
from dagster._core.errors import DagsterCodeLocationLoadError
from dagster._core.launcher import CheckRunHealthResult, LaunchRunContext, RunLauncher
from dagster._serdes import ConfigurableClass
from dagster._serdes.config_class import ConfigurableClassData

COLD_TAG = "bench/cold"
"""Run tag that requests a stock launch."""


class WarmRunLauncher(RunLauncher, ConfigurableClass):
    """Launches runs in their code server, where dagster-warm forks them, or through another launcher, the cold one.

    Runs tagged `bench/cold: true` are cold. If `locations` is set, runs of all other locations are cold too.

    Configure it in dagster.yaml, with the previous launcher as `cold`:

        run_launcher:
          module: dagster_warm.launcher
          class: WarmRunLauncher
          config:
            cold: {module: dagster_k8s, class: K8sRunLauncher, config: {...}}
            locations: [a10_warm]  # all of them, if left out

    Without `cold`, cold runs also go through Dagster's default launcher, and their code server spawns them.
    """

    cold: RunLauncher
    """Launches all other runs."""

    def __init__(
        self,
        cold: RunLauncher | None,
        locations: Collection[str] | None = None,
        inst_data: ConfigurableClassData | None = None,
    ) -> None:
        self._warm = DefaultRunLauncher()
        self.cold = cold or self._warm
        self._locations = locations
        self._inst_data = inst_data
        super().__init__()  # type: ignore[no-untyped-call]

    @property
    def inst_data(self) -> ConfigurableClassData | None:
        """Return the configuration data of this launcher."""
        return self._inst_data

    @classmethod
    def config_type(cls) -> Mapping[str, Any]:
        """Return the configuration schema."""
        return {
            "cold": Field({"module": str, "class": str, "config": Field(dict, is_required=False)}, is_required=False),
            "locations": Field([str], is_required=False),
        }

    @classmethod
    def from_config_value(cls, inst_data: ConfigurableClassData | None, config_value: Mapping[str, Any]) -> Self:
        """Create the launcher from its dagster.yaml configuration."""
        locations = config_value.get("locations")
        cold = config_value.get("cold")
        if cold is None:
            return cls(None, locations, inst_data)
        data = ConfigurableClassData(cold["module"], cold["class"], yaml.safe_dump(cold.get("config", {})))
        return cls(data.rehydrate(RunLauncher), locations, inst_data)  # type: ignore[type-abstract]

    def is_warm(self, location: str) -> bool:
        """Return whether untagged runs of this location launch in their code server."""
        return self._locations is None or location in self._locations

    def register_instance(self, instance: Any) -> None:
        """Set the instance that this launcher serves."""
        super().register_instance(instance)
        for launcher in {self._warm, self.cold}:
            launcher.register_instance(instance)

    def launch_run(self, context: LaunchRunContext) -> None:
        """Launch the run warm, unless its location or its tag makes it cold."""
        run = context.dagster_run
        launcher = self._launcher_of(run)
        try:
            launcher.launch_run(context)
        except DagsterCodeLocationLoadError:
            from dagster._core.workspace.context import WorkspaceProcessContext  # deferred: run workers never need it

            process = context.workspace.process_context if context.workspace else None
            origin = run.remote_job_origin
            if launcher is not self._warm or origin is None or not isinstance(process, WorkspaceProcessContext):
                raise
            # The daemon retries an unreachable code server once a minute, even if a reload has already replaced it.
            process.refresh_code_location(origin.location_name)
            launcher.launch_run(LaunchRunContext(run, process.create_request_context()))

    def terminate(self, run_id: str) -> bool:
        """Terminate the run through the launcher that launched it."""
        run = self._instance.get_run_by_id(run_id)
        return run is not None and self._launcher_of(run).terminate(run_id)

    @property
    def supports_check_run_worker_health(self) -> bool:
        """Return whether the cold launcher supports it."""
        return self.cold.supports_check_run_worker_health

    def check_run_worker_health(self, run: DagsterRun) -> CheckRunHealthResult:
        """Check the run's process or container."""
        return self._launcher_of(run).check_run_worker_health(run)

    def join(self, timeout: int = 30) -> None:
        """Wait for all launched runs, up to `timeout` seconds for each of the two launchers."""
        for launcher in {self._warm, self.cold}:
            launcher.join(timeout)

    def dispose(self) -> None:
        """Dispose of both launchers along with the instance."""
        for launcher in {self._warm, self.cold}:
            launcher.dispose()

    def _launcher_of(self, run: DagsterRun) -> RunLauncher:
        origin = run.remote_job_origin
        warm = run.tags.get(COLD_TAG) != "true" and (origin is None or self.is_warm(origin.location_name))
        return self._warm if warm else self.cold
