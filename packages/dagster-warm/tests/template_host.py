"""A template that is a process of its own, for tests: `python template_host.py DIRECTORY LIFELINE [FATE]`.

Fates: `terminated`, it and what it forks, while it forks; `killed`, what it forks, as soon as it is there;
`mocked`, a fork that fails.
"""

import errno
import os
import signal
import sys
from pathlib import Path

from dagster_warm.processes import Request
from dagster_warm.template import Listener, be_template, listen


def enter_child(request: Request) -> None:
    """Nothing that a test looks at."""


def terminate() -> None:
    """Send this process a signal, as a service manager does to all of a service's processes at once."""
    os.kill(os.getpid(), signal.SIGTERM)


def kill() -> None:
    """End this process as the kernel does when memory is short."""
    os.kill(os.getpid(), signal.SIGKILL)


def fail() -> int:
    """In the place of `os.fork`, as where there are too many processes."""
    raise BlockingIOError(errno.EAGAIN, os.strerror(errno.EAGAIN))


if __name__ == "__main__":
    directory, lifeline = Path(sys.argv[1]), int(sys.argv[2])
    match sys.argv[3:]:
        case ["terminated"]:
            os.register_at_fork(after_in_parent=terminate, after_in_child=terminate)
        case ["killed"]:
            os.register_at_fork(after_in_child=kill)
        case ["mocked"]:
            os.fork = fail
    listener, _ = listen(directory, "template")
    print(listener.address, flush=True)
    be_template(Listener(listener.socket, listener.address, lifeline), lambda: None, enter_child)
