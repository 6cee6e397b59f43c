"""Experiments on many runs at once: limits, pools and priorities. Each has its own file and an entry here."""

from bench_orchestrator.scenarios.experiment import Experiment
from bench_orchestrator.scenarios.queueing import max_concurrent_runs, pools, priority_ops, tag_limits

EXPERIMENTS: tuple[Experiment, ...] = tuple(
    module.EXPERIMENT for module in (max_concurrent_runs, pools, tag_limits, priority_ops)
)
"""Most relevant first."""
