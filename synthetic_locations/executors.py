"""The executor of a location's runs, as a user configures it in the definitions.

A fork server is a process that the run worker starts before the first step. It imports the given modules, and every
step is forked from it. Python's fork server silently ignores modules that it cannot import.
"""

import dagster as dg

from synthetic_locations.kinds import Executor
from synthetic_locations.shape import Shape


def executor_of(shape: Shape, location: str) -> dg.ExecutorDefinition | None:
    """Return the executor of a location, or None for Dagster's default."""
    limit = {"max_concurrent": shape.at} if shape.at else {}
    match shape.executor:
        case Executor.MULTIPROCESS:
            return dg.multiprocess_executor.configured(limit) if limit else None
        case Executor.IN_PROCESS:
            return dg.in_process_executor
        case Executor.FORKSERVER | Executor.PRELOADED:
            modules = [preload_module(shape, location)]
            method = {"forkserver": {"preload_modules": modules}}
            return dg.multiprocess_executor.configured({"start_method": method, **limit})
        case Executor.PODS:
            from dagster_k8s import k8s_job_executor  # deferred: it would add a second to all other launches

            return k8s_job_executor.configured(limit) if limit else k8s_job_executor


def preload_module(shape: Shape, location: str) -> str:
    """Return the module that a fork server imports for this location (`synthetic_locations.preload`)."""
    name = shape.name if location == shape.name else f"{shape.name}-{location}"
    return f"synthetic_locations.preload.{name}"
