"""A user's own code location with a probe in it, an asset that does nothing: `bench try` launches that alone.

The code is loaded by Dagster's own rules, as often as without the probe. Nothing else of it is executed: its sensors
and schedules stay stopped, and the probe needs none of its resources, I/O managers or loggers.
"""

import os
from collections.abc import Iterable
from typing import Any

import dagster as dg

from synthetic_locations.probed import PROBE, read_options

REPLACED_EXECUTOR = "bench/replaced_executor"
"""The metadata label of the probe for an executor that launches steps elsewhere, which is not used for it."""

_IO_MANAGER = f"{PROBE}_io_manager"
"""Its own, so that the code's is not started."""

_OWN_EXECUTORS = ("dagster", "dagster_warm")
"""The packages whose executors start steps on this machine."""

_with_probe: dict[int, tuple[object, object]] = {}
"""What was loaded, which must live as long as its id is used, and the same with the probe."""

_replaced: str | None = None
"""The executor that is not used in this process."""


def probe_asset(key: str = PROBE, group: str = "dagster_bench") -> dg.AssetsDefinition:
    """Return the probe with its own I/O manager: an asset that does nothing."""

    @dg.asset(key=key.split("/"), group_name=group, io_manager_key=_IO_MANAGER, description="Does nothing.")
    def probe() -> dg.MaterializeResult:  # type: ignore[type-arg]
        """Do nothing but tell which executor was replaced, if one was."""
        return dg.MaterializeResult(metadata={REPLACED_EXECUTOR: _replaced} if _replaced else {})

    (bound,) = dg.with_resources([probe], {_IO_MANAGER: dg.FilesystemIOManager()})
    assert isinstance(bound, dg.AssetsDefinition)
    return bound


def definitions() -> object:
    """Return the code that this process's environment names, with the probe.

    Dagster calls it whenever it would load that code.

    Raises:
        DagsterError: the code cannot be loaded, or takes no probe.
    """
    from dagster._grpc.utils import get_loadable_targets  # private: not where a project has the component alone

    _keep_stopped()
    options: dict[str, Any] = read_options(os.environ)
    targets = get_loadable_targets(**options, resolve_lazy_defs=False)
    if len(targets) > 1:
        names = ", ".join(target.attribute for target in targets)
        raise dg.DagsterInvariantViolationError(f"There are several repositories: {names}. Name one of them.")
    return with_probe(targets[0].target_definition)


def with_probe(target: object) -> object:
    """Return anything that Dagster loads as a code location, with the probe in it.

    What is one object stays one object, so that Dagster resolves it once. A repository alone is made a second time,
    with Dagster's default executor.

    Raises:
        DagsterInvariantViolationError: it is a repository that is not a list.
    """
    found, made = _with_probe.get(id(target), (None, None))
    if found is not target:
        made = _add(target)
        _with_probe[id(target)] = target, made
    return made


def _add(target: object) -> object:
    match target:
        case dg.Definitions():
            return _merge(target)
        case list():
            return _added(target)
        case dg.JobDefinition() | dg.GraphDefinition():
            return dg.repository(name=f"{target.name}_with_a_probe")(lambda: [target, probe_asset()])
        case dg.RepositoryDefinition():
            content = target.__wrapped__() if hasattr(target, "__wrapped__") else None
            if not isinstance(content, list):
                raise dg.DagsterInvariantViolationError(
                    f"The repository {target.name} is not a list: it takes no probe."
                )
            return dg.repository(name=target.name)(lambda: _added(content))
    load: Any = target  # a function decorated with @dg.definitions

    @dg.definitions
    def loaded_with_probe() -> dg.Definitions:
        made = with_probe(load())
        assert isinstance(made, dg.Definitions)
        return made

    return loaded_with_probe


def _added(content: list[Any]) -> list[Any]:
    """Return what a repository holds, with the probe, unless it has one."""
    return content if _has_probe(content) else [*content, probe_asset()]


def _has_probe(content: Iterable[object]) -> bool:
    return any(dg.AssetKey(PROBE) in one.keys for one in content if isinstance(one, dg.AssetsDefinition))


def _merge(code: dg.Definitions) -> dg.Definitions:
    global _replaced
    probed = _has_probe(code.assets or ())
    merged = code if probed else dg.Definitions.merge(code, dg.Definitions(assets=[probe_asset()]))
    if _is_own(merged.executor):
        return merged
    _replaced = getattr(merged.executor, "name", type(merged.executor).__name__)
    return dg.Definitions(
        assets=merged.assets,
        asset_checks=merged.asset_checks,
        schedules=merged.schedules,
        sensors=merged.sensors,
        jobs=merged.jobs,
        resources=merged.resources,
        loggers=merged.loggers,
        metadata=merged.metadata,
        component_tree=merged.component_tree,
    )


def _is_own(executor: dg.ExecutorDefinition | dg.Executor | None) -> bool:
    """Return whether an executor starts steps on this machine, and is not the user's own code."""
    maker = executor.executor_creation_fn if isinstance(executor, dg.ExecutorDefinition) else type(executor)
    return executor is None or (maker is not None and maker.__module__.partition(".")[0] in _OWN_EXECUTORS)


def _keep_stopped() -> None:
    """Make the code's sensors and schedules begin as stopped: a running one would execute it."""
    dg.SensorDefinition.default_status = property(lambda _: dg.DefaultSensorStatus.STOPPED)  # type: ignore[assignment, method-assign]
    dg.ScheduleDefinition.default_status = property(lambda _: dg.DefaultScheduleStatus.STOPPED)  # type: ignore[assignment, method-assign]
