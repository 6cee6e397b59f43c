"""A run coordinator whose limit is not kept, for the test that a gate can fail."""

from dagster import QueuedRunCoordinator
from dagster._core.run_coordinator.queued_run_coordinator import RunQueueConfig


class CarelessRunCoordinator(QueuedRunCoordinator):
    """Tells the daemon a higher limit than it was given."""

    def get_run_queue_config(self) -> RunQueueConfig:
        """Return its settings with another limit."""
        return super().get_run_queue_config()._replace(max_concurrent_runs=5)
