"""What executes the steps of a location's runs, as a user configures it in the definitions.

A forkserver is a process that the run worker starts before the first step. It imports the modules that it is
told to, and every step is a fork of it. Python's forkserver says nothing of a module that it cannot import.
"""

import dagster as dg

from synthetic_locations.kinds import Executor
from synthetic_locations.shape import Shape


def executor_of(shape: Shape, location: str) -> dg.ExecutorDefinition | None:
    """The executor of a location, or None for Dagster's default."""
    match shape.executor:
        case Executor.MULTIPROCESS:
            return None
        case Executor.IN_PROCESS:
            return dg.in_process_executor
        case Executor.FORKSERVER | Executor.PRELOADED:
            modules = [preload_module(shape, location)]
            return dg.multiprocess_executor.configured({"start_method": {"forkserver": {"preload_modules": modules}}})
        case Executor.PODS:
            from dagster_k8s import k8s_job_executor  # deferred: it costs others a second of their launches

            return k8s_job_executor


def preload_module(shape: Shape, location: str) -> str:
    """The module that stands for a location's own one in a forkserver (`synthetic_locations.preload`)."""
    name = shape.name if location == shape.name else f"{shape.name}-{location}"
    return f"synthetic_locations.preload.{name}"
