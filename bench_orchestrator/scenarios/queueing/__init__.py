"""Experiments on many runs at once: limits, pools and priorities. Each has its own file and an entry here."""

from bench_orchestrator.scenarios.experiment import Experiment
from bench_orchestrator.scenarios.queueing import deep_queue, max_concurrent_runs, priority_runs, single_flight

EXPERIMENTS: tuple[Experiment, ...] = tuple(
    module.EXPERIMENT for module in (max_concurrent_runs, priority_runs, deep_queue, single_flight)
)
"""Most relevant first."""
