"""Experiments on one launch at a time: sides that differ in one respect. Each has its own file and an entry here."""

from bench_orchestrator.scenarios.experiment import Experiment
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

EXPERIMENTS: tuple[Experiment, ...] = tuple(
    module.EXPERIMENT
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
)
"""Most relevant first."""
