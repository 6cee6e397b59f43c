"""A run launcher for deployments that start a container for each run.

Every process that opens the instance imports this module, so it imports nothing from the server.
"""

from collections.abc import Collection, Mapping
from functools import cached_property
from typing import TYPE_CHECKING, Any, Self

import yaml
from dagster import DagsterRun, DagsterRunStatus, DefaultRunLauncher, Field
from dagster._core.errors import DagsterCodeLocationLoadError, DagsterInvalidConfigError
from dagster._core.launcher import (
    CheckRunHealthResult,
    LaunchRunContext,
    ResumeRunContext,
    RunLauncher,
    WorkerStatus,
)
from dagster._core.storage.tags import GRPC_INFO_TAG, HIDDEN_TAG_PREFIX
from dagster._serdes import ConfigurableClass
from dagster._serdes.config_class import ConfigurableClassData

from dagster_warm.absence import ABSENCE_ERRORS, Absences, is_absence

if TYPE_CHECKING:
    from dagster_warm.health import RunHealth

COLD_TAG = "bench/cold"
"""Run tag that requests a stock launch (`true`), or a warm one in spite of tags about containers (`false`)."""
CONTAINER_TAGS = ("dagster-k8s/", "ecs/")
"""Prefixes of run tags that configure a separate container for the run."""

LAUNCH_TAG = f"{HIDDEN_TAG_PREFIX}warm_launch"
"""Hidden run tag that says which launcher has the run: `cold`, or `warm` where the tag would otherwise be wrong."""
_COLD, _WARM = "cold", "warm"
LEAVING_TAG = f"{HIDDEN_TAG_PREFIX}warm_leaving"
"""Hidden tag of a run whose server is leaving its address: until when the run may go on, as a POSIX timestamp."""
WARM_MESSAGE = "Launched warm"
"""The beginning of a forked run's engine event."""

_LOST_AFTER_S = 20


class WarmRunLauncher(RunLauncher, ConfigurableClass):
    """Launches runs in their code server, where dagster-warm forks them, or through another launcher, the cold one.

    Cold are runs tagged `bench/cold: true`, runs that ask for a container by a tag such as `dagster-k8s/config`, and,
    if `locations` is set, those of all other locations. What is decided at a run's launch holds until its end.

    Configure it in dagster.yaml, with the previous launcher as `cold`:

        run_launcher:
          module: dagster_warm.launcher
          class: WarmRunLauncher
          config:
            cold: {module: dagster_k8s, class: K8sRunLauncher, config: {...}}
            locations: [a10_warm]  # all of them, if left out
            cold_after_s: 60  # if a code server is away for longer; by default its runs wait in the queue
            lost_after_s: 20  # how long a run's code server may not answer, or not know the run

    Without `cold`, cold runs also go through Dagster's default launcher, and their code server spawns them.

    To code that looks for the cold launcher, this is the cold launcher: it is an instance of that class, too, and
    has all its attributes. The executor for a pod per step reads the settings of its pods there.
    """

    cold: RunLauncher
    """Launches all other runs."""

    def __init__(
        self,
        cold: RunLauncher | None,
        locations: Collection[str] | None = None,
        cold_after_s: float | None = None,
        lost_after_s: float = _LOST_AFTER_S,
        inst_data: ConfigurableClassData | None = None,
    ) -> None:
        self._warm = DefaultRunLauncher()
        self.cold = cold or self._warm
        self._locations = locations
        self._cold_after_s = cold_after_s
        self._lost_after_s = lost_after_s
        self._inst_data = inst_data
        self._absences = Absences()
        super().__init__()  # type: ignore[no-untyped-call]

    @property  # type: ignore[misc]
    def __class__(self) -> type:
        """Return the cold launcher's class, for isinstance()."""
        return type(self.cold)

    def __getattr__(self, name: str) -> Any:
        """Return an attribute of the cold launcher."""
        if "cold" not in vars(self):
            raise AttributeError(name)
        return getattr(self.cold, name)

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
            "cold_after_s": Field(int, is_required=False),
            "lost_after_s": Field(int, is_required=False, default_value=_LOST_AFTER_S),
        }

    @classmethod
    def from_config_value(cls, inst_data: ConfigurableClassData | None, config_value: Mapping[str, Any]) -> Self:
        """Create the launcher from its dagster.yaml configuration.

        Raises:
            DagsterInvalidConfigError: `cold_after_s` is set, and `cold` is not.
        """
        options = {**config_value, "inst_data": inst_data}
        cold = options.pop("cold", None)
        if cold is None:
            if "cold_after_s" in options:
                message = "cold_after_s needs a launcher, as `cold`."
                raise DagsterInvalidConfigError(message, [], config_value)  # type: ignore[no-untyped-call]
            return cls(None, **options)
        data = ConfigurableClassData(cold["module"], cold["class"], yaml.safe_dump(cold.get("config", {})))
        return cls(data.rehydrate(RunLauncher), **options)  # type: ignore[type-abstract]

    def is_warm(self, location: str) -> bool:
        """Return whether untagged runs of this location launch in their code server."""
        return self._locations is None or location in self._locations

    def register_instance(self, instance: Any) -> None:
        """Set the instance that this launcher serves."""
        super().register_instance(instance)
        for launcher in {self._warm, self.cold}:
            launcher.register_instance(instance)

    def launch_run(self, context: LaunchRunContext) -> None:
        """Launch the run warm, unless its location or its tag makes it cold, or its code server is away for too long.

        While the code server is away, the run goes back into the queue.

        Raises:
            DagsterUserCodeUnreachableError, DagsterCodeLocationLoadError: the code server is away, and there is no
                queue, or Dagster's `max_user_code_failure_retries` has the run wait in it.
        """
        reason = self._why_cold(context.dagster_run)
        if reason is None or self.cold is self._warm:
            reason = self._launch_warm(context)
        if reason is not None:
            self._launch_cold(context, reason)

    def terminate(self, run_id: str) -> bool:
        """Terminate the run through the launcher that launched it."""
        run = self._instance.get_run_by_id(run_id)
        return run is not None and self._launcher_of(run).terminate(run_id)

    @property
    def supports_check_run_worker_health(self) -> bool:
        """Return that it does: the code server is asked for its runs."""
        return True

    def check_run_worker_health(self, run: DagsterRun) -> CheckRunHealthResult:
        """Check the run's process or container; without means to do so, it is taken to run."""
        launcher = self._launcher_of(run)
        if launcher is self._warm:
            client = self._warm._get_grpc_client_for_termination(run.run_id)  # type: ignore[no-untyped-call]
            return self._health.check(self._instance, run, client)
        if launcher.supports_check_run_worker_health:
            return launcher.check_run_worker_health(run)
        return CheckRunHealthResult(WorkerStatus.RUNNING)

    def get_run_worker_debug_info(self, run: DagsterRun, include_container_logs: bool | None = True) -> str | None:
        """Return what the run's launcher knows about its process or container."""
        return self._launcher_of(run).get_run_worker_debug_info(run, include_container_logs)

    @property
    def supports_resume_run(self) -> bool:
        """Return whether the cold launcher supports it."""
        return self.cold.supports_resume_run

    def resume_run(self, context: ResumeRunContext) -> None:
        """Resume the run through the cold launcher, also if it was warm."""
        if self._launcher_of(context.dagster_run) is not self.cold:
            self._make_cold(context.dagster_run, "Resumed", "the code server that had it has lost it")
        self.cold.resume_run(context)

    def join(self, timeout: int = 30) -> None:
        """Wait for all launched runs, up to `timeout` seconds for each of the two launchers."""
        for launcher in {self._warm, self.cold}:
            launcher.join(timeout)

    def dispose(self) -> None:
        """Dispose of both launchers along with the instance."""
        for launcher in {self._warm, self.cold}:
            launcher.dispose()

    def _why_cold(self, run: DagsterRun) -> str | None:
        """Return why a run is to be launched cold; None if it is not."""
        origin = run.remote_job_origin
        if origin is not None and not self.is_warm(origin.location_name):
            return f"its code location {origin.location_name} is not among the warm ones"
        asked = run.tags.get(COLD_TAG)
        if asked == "true":
            return f"its tag {COLD_TAG} says so"
        tag = next((tag for tag in run.tags if tag.startswith(CONTAINER_TAGS)), None)
        if tag is not None and asked != "false" and self.cold is not self._warm:
            return f"its tag {tag} asks for a container of its own"
        return None

    def _launcher_of(self, run: DagsterRun) -> RunLauncher:
        """Return the launcher that has the run; before its launch, the one that is to get it."""
        launched = run.tags.get(LAUNCH_TAG) or (_WARM if GRPC_INFO_TAG in run.tags else None)
        is_cold = launched == _COLD if launched else self._why_cold(run) is not None
        return self.cold if is_cold else self._warm

    def _launch_cold(self, context: LaunchRunContext, reason: str) -> None:
        self._make_cold(context.dagster_run, "Launched", reason)
        self.cold.launch_run(context)

    def _make_cold(self, run: DagsterRun, what: str, reason: str) -> None:
        self._instance.add_run_tags(run.run_id, {LAUNCH_TAG: _COLD})
        self._instance.report_engine_event(f"{what} cold, by {type(self.cold).__name__}: {reason}.", run)

    def _launch_warm(self, context: LaunchRunContext) -> str | None:
        """Launch the run in its code server, or put it back into the queue; return why it is to be cold, if it is."""
        run = context.dagster_run
        if run.tags.get(LAUNCH_TAG, _WARM) != _WARM:  # copied from the run that this one repeats
            self._instance.add_run_tags(run.run_id, {LAUNCH_TAG: _WARM})
        origin = run.remote_job_origin
        location = origin.location_name if origin else ""
        try:
            self._absences.attempt(location, lambda is_away: self._start(context, location, is_away))
        except ABSENCE_ERRORS as error:
            if not is_absence(error):
                raise
            now = self._instance.get_run_by_id(run.run_id)
            if now is None or now.status is not DagsterRunStatus.STARTING:
                return None  # the server launched it, but its answer was lost; or the run was canceled
            away_s = self._absences.duration_s(location)
            if self._cold_after_s is not None and away_s >= self._cold_after_s:
                return f"the code server of {location} has been away for {away_s:.0f} s"
            self._absences.requeue(self._instance, now, location, error)
        return None

    def _start(self, context: LaunchRunContext, location: str, is_away: bool) -> None:
        """Ask the code server to launch the run.

        Args:
            is_away: whether the server was away before; it is looked for first, and asked whether it has the run.
        """
        workspace = context.workspace
        assert workspace is not None
        try:
            found: Any = workspace.get_code_location(location)
        except DagsterCodeLocationLoadError:
            from dagster._core.workspace.context import WorkspaceProcessContext  # deferred: run workers never need it

            process = workspace.process_context
            if not isinstance(process, WorkspaceProcessContext):
                raise
            # The daemon retries an unreachable code server once a minute, even if a reload has already replaced it.
            process.refresh_code_location(location)
            workspace = process.create_request_context()
            found = workspace.get_code_location(location)
        if is_away:
            from dagster_warm.health import has_run

            if has_run(found.client, context.dagster_run.run_id):
                return
        from dagster_warm.starting import start_run  # deferred: it needs gRPC

        start_run(self._instance, context.dagster_run, found.client)
        self._warm._run_ids.add(context.dagster_run.run_id)

    @cached_property
    def _health(self) -> "RunHealth":
        from dagster_warm.health import RunHealth  # deferred: only the daemon needs it

        return RunHealth(self._lost_after_s)
