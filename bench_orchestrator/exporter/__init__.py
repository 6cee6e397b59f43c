"""What a deployment's runs, queue, daemons, ticks and code locations come to as metrics for Prometheus."""

from bench_orchestrator.exporter.exporter import Exporter
from bench_orchestrator.exporter.run_metrics import MOST_JOBS

__all__ = ["MOST_JOBS", "Exporter"]
