"""The experiments: comparisons of sides that differ in one respect. Each has its own file and an entry here.

An experiment's job, command, evaluation asset and remedies are derived from its entry.
"""

from bench_orchestrator.scenarios.experiments import (
    checks,
    cold_start,
    cpu_limit,
    definitions_cache,
    dependencies,
    dequeue_interval,
    executors,
    graph_asset,
    imports,
    launch_path,
    loading,
    partition_kinds,
    selection_size,
    split_definitions,
)
from bench_orchestrator.scenarios.experiments.experiment import (
    COMMON_MEASURES,
    LAG,
    STARTUP,
    WORK,
    Experiment,
    Measure,
    Remedy,
)

EXPERIMENTS: dict[str, Experiment] = {
    module.EXPERIMENT.name: module.EXPERIMENT
    for module in (
        split_definitions,
        definitions_cache,
        graph_asset,
        executors,
        imports,
        loading,
        selection_size,
        dequeue_interval,
        launch_path,
        cold_start,
        cpu_limit,
        partition_kinds,
        dependencies,
        checks,
    )
}
"""The experiments by name, most relevant first."""

__all__ = ["COMMON_MEASURES", "EXPERIMENTS", "LAG", "STARTUP", "WORK", "Experiment", "Measure", "Remedy"]
