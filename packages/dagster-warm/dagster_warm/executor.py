"""An executor that forks its steps, for individual jobs of a location."""

import dagster as dg

from dagster_warm import internals
from dagster_warm.processes import METHOD


def _create(init_context: dg.InitExecutorContext) -> dg.Executor:
    create = dg.multiprocess_executor.executor_creation_fn
    assert create is not None
    executor = create(init_context)
    internals.start_steps_by(executor, METHOD)
    return executor


warm_multiprocess_executor = dg.ExecutorDefinition(
    name="warm_multiprocess",
    description="The multiprocess executor, with steps forked from a warm server's template, or spawned where "
    "there is none.",
    config_schema=dg.multiprocess_executor.config_schema,  # type: ignore[arg-type]
    requirements=dg.multiple_process_executor_requirements(),
    executor_creation_fn=_create,
)
