"""CPU limits for code servers: a cgroup with a CPU quota for each, on version 1 or 2 of Linux's cgroups.

A server enters its cgroup before its program starts, so everything that it starts is in it: run workers and their
steps. Each cgroup is recorded in the deployment's directory before it is created, so that it can be cleaned up after a
killed supervisor.
"""

import errno
import logging
import platform
import subprocess
import uuid
from collections.abc import Iterator, Sequence
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path

from tenacity import RetryError, Retrying, retry_if_exception_type, stop_after_delay, wait_fixed

from bench_orchestrator.deployment.home import DeploymentError

_logger = logging.getLogger(__name__)

_PERIOD_US = 100_000
"""The quota's period. The default of the kernel and of Kubernetes."""
_LEAST_CPUS = 0.01
"""The kernel rejects quotas below one millisecond."""
_TRIAL_CPUS = 0.1
_REMOVAL_PATIENCE_S = 5.0
_RECORD = "cgroups"

_HELP = {
    errno.EROFS: "start the container with --privileged",
    errno.EBUSY: "move the processes in that cgroup to one of its children",
}
_HELP_WITH_PERMISSION = "become root, or run this inside `systemd-run --user --scope --property=Delegate=yes`"


@dataclass(frozen=True)
class CgroupParent:
    """A cgroup in which child cgroups with a CPU quota can be created."""

    folder: Path
    version: int
    """Of cgroups: 1 or 2."""

    def create(self, name: str, cpus: float) -> Path:
        """Create a cgroup whose processes share this much CPU. Raises OSError if the kernel refuses.

        With version 2 this enables the CPU controller in the parent, for good: other deployments may need it.
        """
        folder = self.folder / name
        quota_us = round(cpus * _PERIOD_US)
        if self.version == 1:
            folder.mkdir()
            (folder / "cpu.cfs_period_us").write_text(f"{_PERIOD_US}")
            (folder / "cpu.cfs_quota_us").write_text(f"{quota_us}")
        else:
            shared = self.folder / "cgroup.subtree_control"
            if "cpu" not in shared.read_text().split():
                shared.write_text("+cpu")
            folder.mkdir()
            (folder / "cpu.max").write_text(f"{quota_us} {_PERIOD_US}")
        return folder


def why_no_cpu_limits() -> str:
    """Return why code servers' CPU cannot be limited here, and what would help; empty if it can."""
    try:
        find_cgroup_parent()
    except DeploymentError as error:
        return str(error)
    return ""


def find_cgroup_parent(
    membership: Path = Path("/proc/self/cgroup"), mount: Path = Path("/sys/fs/cgroup")
) -> CgroupParent:
    """Find a cgroup that can have children with a CPU quota, by a trial: create one, move a process into it, remove it.

    Tries this process's own cgroup, then its ancestors: with version 2, a cgroup that contains processes cannot
    distribute CPU to children.

    Raises DeploymentError, with the reason and a remedy, if there is none.
    """
    if not membership.exists():
        raise DeploymentError(f"CPU limits need Linux cgroups, but this is {platform.system()}. Use a Linux container.")
    reason = (
        f"CPU limits need a cgroup hierarchy with a CPU controller, but {mount} has none: "
        "mount one or, in a container, start it with --privileged."
    )
    for parent in _candidates(membership, mount):
        try:
            _try_out(parent)
        except OSError as error:
            help_ = _HELP.get(error.errno or 0, _HELP_WITH_PERMISSION)
            reason = f"Cannot create a cgroup with a CPU limit in {parent.folder} ({error.strerror}): {help_}."
        else:
            return parent
    raise DeploymentError(reason)


def create_recorded(parent: CgroupParent, name: str, cpus: float, directory: Path) -> Path:
    """Create a cgroup that `remove_recorded` removes. Raises DeploymentError if the limit is not possible."""
    if cpus < _LEAST_CPUS:
        raise DeploymentError(f"A limit of {cpus:g} CPUs is not possible; the minimum is {_LEAST_CPUS:g}.")
    with (directory / _RECORD).open("a") as record:
        record.write(f"{parent.folder / name}\n")
    try:
        return parent.create(name, cpus)
    except OSError as error:
        raise DeploymentError(f"A limit of {cpus:g} CPUs is not possible in {parent.folder}: {error}") from error


def remove_recorded(directory: Path) -> None:
    """Remove the cgroups that are recorded in this directory; their processes must have been ended."""
    record = directory / _RECORD
    if record.exists():
        for line in record.read_text().splitlines():
            _remove(Path(line))


def entering(cgroup: Path, command: Sequence[str]) -> list[str]:
    """Wrap a command so that it enters a cgroup first. Its process keeps its id and environment."""
    return ["/bin/sh", "-c", 'echo $$ > "$0" && exec "$@"', str(cgroup / "cgroup.procs"), *command]


def _candidates(membership: Path, mount: Path) -> Iterator[CgroupParent]:
    """Yield this process's cgroup with a CPU controller and its ancestors, as far as they are visible."""
    for line in membership.read_text().splitlines():
        _, controllers, path = line.split(":", 2)
        if not controllers:
            version, roots = 2, [mount, mount / "unified"]
        elif "cpu" in controllers.split(","):
            version, roots = 1, [mount / controllers, mount / "cpu"]
        else:
            continue
        for root in roots:
            own = root / path.lstrip("/")
            for folder in (own, *own.parents):
                if folder.is_relative_to(root) and _can_have_cpu(folder, version):
                    yield CgroupParent(folder, version)


def _can_have_cpu(folder: Path, version: int) -> bool:
    if version == 1:
        return (folder / "cgroup.procs").exists()
    controllers = folder / "cgroup.controllers"
    return controllers.exists() and "cpu" in controllers.read_text().split()


def _try_out(parent: CgroupParent) -> None:
    """Create a cgroup with a quota, move a process into it and remove it. Raises OSError if that fails."""
    name = f"bench-trial-{uuid.uuid4().hex}"
    try:
        folder = parent.create(name, _TRIAL_CPUS)
        with subprocess.Popen(["/bin/sh"], stdin=subprocess.PIPE) as process:  # exits when its input closes
            (folder / "cgroup.procs").write_text(f"{process.pid}")
    finally:
        _remove(parent.folder / name)


def _remove(folder: Path) -> None:
    """Remove a cgroup, if it exists. Killed processes stay in it until the kernel has reaped them."""
    again = Retrying(
        retry=retry_if_exception_type(OSError), stop=stop_after_delay(_REMOVAL_PATIENCE_S), wait=wait_fixed(0.02)
    )
    try:
        again(_remove_at_once, folder)
    except RetryError as error:
        _logger.warning("The cgroup %s could not be removed: %s", folder, error.last_attempt.exception())


def _remove_at_once(folder: Path) -> None:
    with suppress(FileNotFoundError):
        folder.rmdir()
