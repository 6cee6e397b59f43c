"""Experiments on many runs at once: limits, pools and priorities. Each has its own file and an entry here."""

from bench_orchestrator.scenarios.experiment import Experiment
from bench_orchestrator.scenarios.queueing import (
    deep_queue,
    max_concurrent_runs,
    pools,
    priority_ops,
    priority_runs,
    single_flight,
    tag_limits,
)

EXPERIMENTS: tuple[Experiment, ...] = tuple(
    module.EXPERIMENT
    for module in (
        max_concurrent_runs,
        pools,
        tag_limits,
        single_flight,
        priority_runs,
        priority_ops,
        deep_queue,
    )
)
"""Most relevant first."""
