"""A template in its own process, for tests: `python template_host.py DIRECTORY LIFELINE [FATE]`.

Fates: `terminated`: SIGTERM to the template and its child during a fork; `killed`: SIGKILL to each child at once;
`mocked`: the fork fails; `hung`: a hook delays each fork in the template; `late`: in the child.
"""

import errno
import os
import signal
import sys
import time
from pathlib import Path

from dagster_warm.processes import Request
from dagster_warm.template import Listener, be_template, listen


def enter_child(request: Request) -> None:
    """Do nothing; no test depends on it."""


def terminate() -> None:
    """Terminate this process; a service manager likewise signals all processes of a service at once."""
    os.kill(os.getpid(), signal.SIGTERM)


def kill() -> None:
    """Kill this process, as the kernel does when memory runs out."""
    os.kill(os.getpid(), signal.SIGKILL)


def hang() -> None:
    """Delay, as a library's fork hook does that waits for a lock."""
    time.sleep(2)


def fail() -> int:
    """Replace `os.fork` by one that fails because of too many processes."""
    raise BlockingIOError(errno.EAGAIN, os.strerror(errno.EAGAIN))


if __name__ == "__main__":
    directory, lifeline = Path(sys.argv[1]), int(sys.argv[2])
    match sys.argv[3:]:
        case ["terminated"]:
            os.register_at_fork(after_in_parent=terminate, after_in_child=terminate)
        case ["killed"]:
            os.register_at_fork(after_in_child=kill)
        case ["hung"]:
            os.register_at_fork(before=hang)
        case ["late"]:
            os.register_at_fork(after_in_child=hang)
        case ["mocked"]:
            os.fork = fail
    listener, _ = listen(directory, "template")
    print(listener.address, flush=True)
    be_template(Listener(listener.socket, listener.address, lifeline), lambda: None, enter_child)
