"""An executor whose steps are forked, for those who want it for some jobs and not for a whole location."""

from typing import Any

import dagster as dg

from bench_orchestrator.warm_server import internals
from bench_orchestrator.warm_server.processes import METHOD, register


@dg.executor(
    name="warm_multiprocess",
    config_schema=dg.multiprocess_executor.config_schema,
    requirements=dg.multi_or_in_process_executor.requirements_fn,
)
def warm_multiprocess_executor(init_context: dg.InitExecutorContext) -> Any:
    """The multiprocess executor, with steps forked from the template of a warm server; spawned where there is none."""
    executor = dg.multiprocess_executor.executor_creation_fn(init_context)
    register()
    internals.start_steps_by(executor, METHOD)
    return executor
