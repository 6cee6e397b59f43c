"""A run coordinator whose queue is looked at the moment it changes.

Every process that opens the instance imports this module, so it imports nothing from the daemon.
"""

import sys
from typing import Any

from dagster._core.run_coordinator import QueuedRunCoordinator

_CONTROLLER = "dagster._daemon.controller"
"""The module that creates the daemons. A daemon's process has imported it before it opens the instance."""


class PromptRunCoordinator(QueuedRunCoordinator[Any]):
    """Queues runs as Dagster's QueuedRunCoordinator does, and has Dagster's daemon look at them without delay.

    Configure it in dagster.yaml in the place of Dagster's, with the same settings:

        run_coordinator:
          module: dagster_warm.queue
          class: PromptRunCoordinator
          config: {max_concurrent_runs: 15}

    `dequeue_interval_seconds` is how long a change may stay unnoticed that the storage does not tell.
    """

    def register_instance(self, instance: Any) -> None:
        """Set the instance that this coordinator serves; where daemons are created, have them look without delay."""
        super().register_instance(instance)
        if _CONTROLLER in sys.modules:
            from dagster_warm import dequeuing

            dequeuing.install()
