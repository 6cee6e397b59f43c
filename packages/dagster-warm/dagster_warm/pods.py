"""The Kubernetes pods of code servers: which one a process is in, and how one has ended."""

import os
import re
import socket
from collections.abc import Iterator
from contextlib import suppress
from pathlib import Path
from typing import Any

_GIVEN_NAME = re.compile("[a-z0-9.-]{1,53}-[bcdfghjklmnpqrstvwxz2-9]{5}")
"""A name that a Deployment gives a pod. Kubernetes cuts longer ones to make a host name of 63 characters at most."""
_ANSWER_LIMIT_S = 5
_OUT_OF_MEMORY = "OOMKilled"


def own_pod(resolver: Path = Path("/etc/resolv.conf")) -> str:
    """Return the pod of this process as `namespace/name`; empty outside of Kubernetes, and where that is not sure.

    The namespace is in the pod's search domains, unless its `dnsPolicy` was changed. Few have a token that tells it.
    """
    name = socket.gethostname()
    if "KUBERNETES_SERVICE_HOST" in os.environ and _GIVEN_NAME.fullmatch(name):
        with suppress(OSError):
            found = re.search(r"^search\s+(\S+)\.svc\.", resolver.read_text(), re.MULTILINE)
            if found:
                return f"{found[1]}/{name}"
    return ""


def end_of(pod: str, since_s: float) -> str:
    """Return a sentence on how a pod or a container in it has ended since a time; empty if it has not.

    Also empty if Kubernetes does not tell: the cold launcher has not set up its client, it is away, or refuses.

    Args:
        pod: as from `own_pod`.
        since_s: POSIX timestamp by the clock of the pod's node.
    """
    namespace, _, name = pod.partition("/")
    try:
        from kubernetes.client import CoreV1Api  # deferred: only the daemon needs it, and it may not be installed

        asked = {"field_selector": f"metadata.name={name}", "_request_timeout": _ANSWER_LIMIT_S}
        found = CoreV1Api().list_namespaced_pod(namespace, **asked).items  # to list pods is what the launcher may do
    except Exception:
        return ""
    if not found:
        return f"Its pod {name} was deleted."
    return next(_ends(found[0], name, since_s), "")


def _ends(pod: Any, name: str, since_s: float) -> Iterator[str]:
    if pod.status.phase == "Failed" and pod.status.reason:
        yield f"Its pod {name} failed: {pod.status.reason}: {pod.status.message}"
    for container in pod.status.container_statuses or ():
        for state in (container.state, container.last_state):
            ended = state.terminated if state else None
            # Kubernetes tells whole seconds.
            if ended and ended.finished_at and ended.finished_at.timestamp() >= int(since_s):
                if ended.reason == _OUT_OF_MEMORY:
                    yield f"The container {container.name} of its pod {name} ran out of memory ({_OUT_OF_MEMORY})."
                else:
                    reason = f"{ended.reason}, exit code {ended.exit_code}"
                    yield f"The container {container.name} of its pod {name} ended: {reason}."
