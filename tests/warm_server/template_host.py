"""A template that is a process of its own, for tests: `python template_host.py DIRECTORY LIFELINE`."""

import sys
from pathlib import Path

from bench_orchestrator.warm_server.processes import Request
from bench_orchestrator.warm_server.template import Listener, be_template, listen


def enter_child(request: Request) -> None:
    """Nothing that a test looks at."""


if __name__ == "__main__":
    directory, lifeline = Path(sys.argv[1]), int(sys.argv[2])
    listener, _ = listen(directory, "template")
    print(listener.address, flush=True)
    be_template(Listener(listener.socket, listener.address, lifeline), lambda: None, enter_child)
