"""Local TCP ports that stay free for a server of a deployment, also while it is being restarted."""

import socket
import sys

from bench_orchestrator.deployment.home import HOST, DeploymentError


class HeldPort:
    """A port that no other process is given, and that a server which sets SO_REUSEADDR can bind, as Dagster's does.

    A bound socket that does not listen refuses connections. On Linux it takes the port out of the kernel's choice of
    ephemeral ports, and lets others bind it by SO_REUSEADDR; other systems refuse that, so there nothing is held.
    """

    number: int

    def __init__(self, number: int | None = None) -> None:
        """Take this port, by default any that is free. Raises DeploymentError if a process listens on it."""
        self._socket = socket.socket()
        # As the webserver does: a port whose last connections are in TIME_WAIT is free.
        self._socket.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        try:
            self._socket.bind((HOST, number or 0))
        except OSError as error:
            self.close()
            raise DeploymentError(
                f"Port {number} is in use. Choose another, or stop the process that listens on it."
            ) from error
        self.number = self._socket.getsockname()[1]
        if sys.platform != "linux":
            self.close()

    def close(self) -> None:
        """Leave the port to everyone. Idempotent."""
        self._socket.close()
