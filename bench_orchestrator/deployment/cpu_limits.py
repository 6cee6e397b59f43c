"""CPU limits of code servers: for each one a cgroup with a CPU quota, of version 1 or 2 of Linux's cgroups.

A server is in its cgroup before its program begins, and so is all that it starts: run workers and their steps. Each
cgroup is written down in the deployment's directory before it is made, so that it is found by whoever clears up after
a supervisor that was killed.
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
"""Over which a quota is spent. The default of the kernel and of Kubernetes."""
_LEAST_CPUS = 0.01
"""The kernel refuses a quota of less than a millisecond."""
_TRIAL_CPUS = 0.1
_REMOVAL_PATIENCE_S = 5.0
_RECORD = "cgroups"

_HELP = {
    errno.EROFS: "start the container with --privileged",
    errno.EBUSY: "move the processes that are in that cgroup itself to a child of it",
}
_HELP_WITH_PERMISSION = "become root, or run this inside `systemd-run --user --scope --property=Delegate=yes`"


@dataclass(frozen=True)
class CgroupParent:
    """A cgroup in which others with a CPU quota can be made."""

    folder: Path
    version: int
    """Of cgroups: 1 or 2."""

    def create(self, name: str, cpus: float) -> Path:
        """Make a cgroup whose processes get that much CPU together. Raises OSError if the kernel will not.

        With version 2 the parent shares out CPU from then on; that stays so, for other deployments may rely on it.
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
    """Why the CPU of code servers cannot be limited here and what would help; empty where it can be."""
    try:
        find_cgroup_parent()
    except DeploymentError as error:
        return str(error)
    return ""


def find_cgroup_parent(
    membership: Path = Path("/proc/self/cgroup"), mount: Path = Path("/sys/fs/cgroup")
) -> CgroupParent:
    """Where cgroups with a CPU quota can be made: found by making one, moving a process into it and removing it.

    That is this process's own cgroup or, where that will not do, the nearest one above it: with version 2, a cgroup
    with processes of its own cannot share out CPU.

    Raises DeploymentError, saying why and what would help, if there is none.
    """
    if not membership.exists():
        raise DeploymentError(
            f"CPU limits need Linux cgroups, and this is {platform.system()}. Run it in a Linux container."
        )
    reason = (
        f"CPU limits need a cgroup hierarchy with a CPU controller, and there is none in {mount}: "
        "mount one or, where this is a container, start it with --privileged."
    )
    for parent in _candidates(membership, mount):
        try:
            _try_out(parent)
        except OSError as error:
            help_ = _HELP.get(error.errno or 0, _HELP_WITH_PERMISSION)
            reason = f"A cgroup with a CPU limit cannot be made in {parent.folder} ({error.strerror}): {help_}."
        else:
            return parent
    raise DeploymentError(reason)


def create_recorded(parent: CgroupParent, name: str, cpus: float, directory: Path) -> Path:
    """Make a cgroup that `remove_recorded` removes. Raises DeploymentError if there cannot be such a limit."""
    if cpus < _LEAST_CPUS:
        raise DeploymentError(f"A limit of {cpus:g} CPUs is not possible; the minimum is {_LEAST_CPUS:g}.")
    with (directory / _RECORD).open("a") as record:
        record.write(f"{parent.folder / name}\n")
    try:
        return parent.create(name, cpus)
    except OSError as error:
        raise DeploymentError(f"A limit of {cpus:g} CPUs is not possible in {parent.folder}: {error}") from error


def remove_recorded(directory: Path) -> None:
    """Remove the cgroups that were recorded in this directory; their processes have been ended."""
    record = directory / _RECORD
    if record.exists():
        for line in record.read_text().splitlines():
            _remove(Path(line))


def entering(cgroup: Path, command: Sequence[str]) -> list[str]:
    """The command, made to enter a cgroup first. Its process is the same, with the same id and environment."""
    return ["/bin/sh", "-c", 'echo $$ > "$0" && exec "$@"', str(cgroup / "cgroup.procs"), *command]


def _candidates(membership: Path, mount: Path) -> Iterator[CgroupParent]:
    """This process's cgroup with a CPU controller and those above it, as far as they can be seen from here."""
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
    """Make a cgroup with a quota, move a process into it and remove it. Raises OSError if that fails."""
    name = f"bench-trial-{uuid.uuid4().hex}"
    try:
        folder = parent.create(name, _TRIAL_CPUS)
        with subprocess.Popen(["/bin/sh"], stdin=subprocess.PIPE) as process:  # ends when its input does
            (folder / "cgroup.procs").write_text(f"{process.pid}")
    finally:
        _remove(parent.folder / name)


def _remove(folder: Path) -> None:
    """Remove a cgroup, if it exists. A process that has been killed is in it until the kernel is done with it."""
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
