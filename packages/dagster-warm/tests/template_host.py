"""A template in its own process, for tests: `python template_host.py ASKING,REQUESTS,LIFELINE,PREPARED [FATE]`.

Fates: `terminated`: SIGTERM to the template and its child during a fork; `killed`: SIGKILL to each child at once;
`mocked`: the fork fails; `hung`: a hook delays each fork in the template; `late`: in the child.
"""

import errno
import os
import signal
import sys
import time

from dagster_warm.processes import Request, TemplateClient
from dagster_warm.template import Channel, be_template


def prepare(client: TemplateClient) -> None:
    """Do nothing; a child needs no more than its request."""


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
    *channel, prepared_w = map(int, sys.argv[1].split(","))
    match sys.argv[2:]:
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
    be_template(Channel.inherit(*channel), prepare, enter_child, prepared_w)
