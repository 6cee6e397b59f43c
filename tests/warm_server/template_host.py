"""A template that is a process of its own, for tests: `python template_host.py DIRECTORY LIFELINE [terminated]`.

With the third argument, it and whatever it forks are terminated while it forks.
"""

import os
import signal
import sys
from pathlib import Path

from bench_orchestrator.warm_server.processes import Request
from bench_orchestrator.warm_server.template import Listener, be_template, listen


def enter_child(request: Request) -> None:
    """Nothing that a test looks at."""


def terminate() -> None:
    """Send this process a signal, as a service manager does to all of a service's processes at once."""
    os.kill(os.getpid(), signal.SIGTERM)


if __name__ == "__main__":
    directory, lifeline = Path(sys.argv[1]), int(sys.argv[2])
    if sys.argv[3:] == ["terminated"]:
        os.register_at_fork(after_in_parent=terminate, after_in_child=terminate)
    listener, _ = listen(directory, "template")
    print(listener.address, flush=True)
    be_template(Listener(listener.socket, listener.address, lifeline), lambda: None, enter_child)
