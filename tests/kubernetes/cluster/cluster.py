#!/usr/bin/env python3
"""A real Kubernetes cluster of one node for tests, on a bare Debian 12 with root and without a container registry.

The node is a set of namespaces (mounts, network, processes) on this machine. Killing its first process removes all
that it started, mounted and configured, except a folder and a cgroup, which are known.

    cluster.py build                 builds the programs, once: six minutes
    cluster.py up | down [--purge]   prints how to use kubectl | --purge also removes the programs and the base image
    cluster.py load IMAGE…           copies images from podman to the cluster
    cluster.py stop|start PROGRAM…   stops or starts one of node.py's programs, such as kube-apiserver
    cluster.py why-not               says what is missing here, if anything

Beyond Kubernetes 1.20 it has a default storage class whose volumes are folders, and names for services.
It does not enforce network policies, and its pods reach nothing outside it.
"""

import contextlib
import functools
import json
import os
import re
import secrets
import shutil
import signal
import subprocess
import sys
import time
from collections.abc import Callable, Iterator, Mapping
from pathlib import Path
from typing import Self

from node import ADDRESS, API, CGROUP, HIDDEN, HOME, HOST_ADDRESS, KEYS, NAME, STATE, start_ticks

HERE = Path(__file__).parent
LINK = Path("/sys/class/net/dagster-bench")
RECORD = STATE / "processes.json"
BASE_IMAGE = "localhost/debian-python:bookworm"
BUILD_GIBIBYTES = 8

# API users with their own tokens, and the groups that grant their rights.
USERS = {
    "admin": ("admin", "system:masters"),
    "kube-controller-manager": ("system:kube-controller-manager", ""),
    "kube-scheduler": ("system:kube-scheduler", ""),
    "kubelet": (f"system:node:{NAME}", "system:nodes"),
    "kube-proxy": ("system:kube-proxy", ""),
}


class ClusterError(Exception):
    """The cluster, or a command given to it, failed."""


def why_not() -> str:
    """Return what this machine lacks for a cluster; empty if nothing is known to be missing."""
    if os.geteuid() != 0:
        return "a cluster needs root"
    release = Path("/etc/os-release")
    if not release.exists() or "VERSION_CODENAME=bookworm" not in release.read_text():
        return "a cluster is built from packages of Debian 12, which this is not"
    for path in (HOME, HERE, Path(sys.executable)):
        if any(path.is_relative_to(folder) for folder in HIDDEN):
            return f"a cluster's node has separate folders instead of {', '.join(HIDDEN)}, and needs {path}"
    unshare = subprocess.run([*_NEW_NAMESPACES, "true"], capture_output=True, text=True, check=False)
    if unshare.returncode:
        return f"a cluster needs separate namespaces: {unshare.stderr.strip()}"
    existing = next(parent for parent in (HOME, *HOME.parents) if parent.exists())
    if not built() and shutil.disk_usage(existing).free < BUILD_GIBIBYTES * 2**30:
        return f"a cluster needs {BUILD_GIBIBYTES} GiB of room in {existing}"
    return ""


def built() -> bool:
    """Return whether the cluster's programs are built."""
    return (HOME / "built").exists()


def build() -> None:
    """Install and build the cluster's programs, unless they exist; progress goes to stderr."""
    subprocess.run([HERE / "build.sh", HOME], check=True)


def base_image() -> str:
    """Return the name of an image with Python 3.11; build it unless podman has it."""
    return _output([str(HERE / "base-image.sh")]).strip()


class ExistingCluster:
    """The cluster that KUBECONFIG names. BENCH_IMAGE is the image to test, which the cluster must be able to pull."""

    def __init__(self, kubeconfig: Path, **environment: str) -> None:
        self.kubeconfig = kubeconfig
        variables = {"KUBECONFIG": str(kubeconfig)} | environment
        self._environment = ["env", *(f"{name}={value}" for name, value in variables.items())]
        self.kubectl_command = [*self._environment, "kubectl"]

    @property
    def image(self) -> str:
        """The name of the image to test."""
        name = os.environ.get("BENCH_IMAGE")
        if not name:
            raise ClusterError("With KUBECONFIG set, BENCH_IMAGE has to name an image that the cluster can pull")
        return name

    def kubectl(self, *arguments: str, input: str | None = None, timeout: float = 120) -> str:
        """Return kubectl's output; if it fails, raise a ClusterError with its message."""
        return _output([*self.kubectl_command, *arguments], input, timeout)

    def run(self, *command: str, input: str | None = None, timeout: float = 120) -> str:
        """Return the output of a client of the cluster, such as helm."""
        return _output([*self._environment, *command], input, timeout)

    def apply(self, *objects: Mapping[str, object]) -> None:
        """Create or change objects."""
        self.kubectl("apply", "-f", "-", input=json.dumps({"apiVersion": "v1", "kind": "List", "items": objects}))

    @contextlib.contextmanager
    def port_forward(self, target: str, port: int, namespace: str = "default") -> Iterator[int]:
        """Yield a local port that forwards to a pod or service, such as `service/webserver`."""
        command = [*self.kubectl_command, f"--namespace={namespace}", "port-forward", target, f":{port}"]
        with subprocess.Popen(command, stdout=subprocess.PIPE, text=True) as process:
            try:
                assert process.stdout
                line = process.stdout.readline()
                found = re.search(r"127\.0\.0\.1:(\d+)", line)
                if not found:
                    raise ClusterError(f"kubectl port-forward {target} {port} failed")
                yield int(found[1])
            finally:
                process.terminate()


class Cluster(ExistingCluster):
    """A cluster on this machine, started on entry and removed on exit. A running one is reused and kept."""

    def __init__(self) -> None:
        # A cache elsewhere would outlive the cluster. Helm reads this variable, this kubectl does not.
        cache = STATE / "cache"
        super().__init__(KEYS / "admin.kubeconfig", NO_PROXY=ADDRESS, KUBECACHEDIR=str(cache))
        self.kubectl_command = [*self._environment, str(HOME / "bin/kubectl"), f"--cache-dir={cache}"]
        self._was_up = False
        self._first: subprocess.Popen[bytes] | None = None

    def __enter__(self) -> Self:
        self._was_up = self.is_up()
        if not self._was_up:
            try:
                self.up()
            except BaseException as error:
                error.add_note(_ends_of_logs())
                self.down()
                raise
        return self

    def __exit__(self, *_: object) -> None:
        if not self._was_up:
            self.down()

    def is_up(self) -> bool:
        """Return whether the node exists, in whatever state."""
        return len(_recorded()) == 2

    def up(self) -> None:
        """Start the cluster, and return once it can run pods."""
        build()
        self.down()
        _until(f"no other cluster uses {LINK.name}, a network interface", lambda: not LINK.exists(), seconds=5)
        _say("starting")
        self._make_keys()
        for folder in _cgroups():
            folder.mkdir(exist_ok=True)
        self._make_node()
        self.start("etcd", "containerd", "kube-apiserver")
        self._wait("the API server", lambda: self.kubectl("get", "--raw=/readyz"))
        self.kubectl("create", "--validate=false", "-f", str(HERE / "objects.yaml"))
        self._wait("containerd", lambda: self._inside(str(HOME / "bin/ctr"), "version"))
        with (HOME / "pause.tar").open("rb") as archive:
            self._import(archive.fileno())
        self.start("kube-controller-manager", "kube-scheduler", "kubelet", "kube-proxy", "dnsmasq", "addons")
        self._wait("the node", lambda: self.kubectl("wait", "--for=condition=Ready", f"node/{NAME}"))
        # Pods cannot be created before their namespace has its service account.
        self._wait("service accounts", lambda: self.kubectl("get", "serviceaccount", "default"))
        _say("up")

    def down(self) -> None:
        """Remove the cluster with all traces, in whatever state it is; keep the built programs."""
        if not STATE.exists():
            return
        recorded = _recorded()
        for pid in recorded:
            with contextlib.suppress(ProcessLookupError):
                os.kill(pid, signal.SIGKILL)
        if self._first:
            self._first.kill()
            self._first.wait()
            self._first = None
        # A namespace's first process disappears only after all the others.
        _until("the node's processes are gone", lambda: not any(start_ticks(pid) == t for pid, t in recorded.items()))
        if recorded:
            _until("its network is gone", lambda: not LINK.exists())
        _until("its cgroups are empty", _remove_cgroups)
        shutil.rmtree(STATE)

    def load_image(self, name: str) -> None:
        """Copy an image from podman to the cluster."""
        _say(f"loading {name}")
        with subprocess.Popen(
            ["podman", "save", "--quiet", "--format=docker-archive", name], stdout=subprocess.PIPE
        ) as podman:
            assert podman.stdout
            self._import(podman.stdout.fileno())
        if podman.returncode:
            raise ClusterError(f"podman cannot save {name}")

    def start(self, *programs: str) -> None:
        """Start programs of the node with their usual arguments."""
        self._inside(sys.executable, str(HERE / "node.py"), "start", *programs)

    def stop(self, *programs: str) -> None:
        """Stop programs of the node."""
        self._inside(sys.executable, str(HERE / "node.py"), "stop", *programs)

    @contextlib.contextmanager
    def paused_apiserver(self) -> Iterator[None]:
        """Stop the API server within this context; afterwards it is back with its state."""
        self.stop("kube-apiserver")
        try:
            yield
        finally:
            self.start("kube-apiserver")
            self._wait("the API server", lambda: self.kubectl("get", "--raw=/readyz"))

    def _make_keys(self) -> None:
        KEYS.mkdir(parents=True, mode=0o700)
        _output(["openssl", "genrsa", "-out", str(KEYS / "service-accounts.key"), "2048"])
        lines = []
        for program, (user, group) in USERS.items():
            token = secrets.token_hex(16)
            lines.append(f'{token},{user},{user},"{group}"\n')
            config = {
                "apiVersion": "v1",
                "kind": "Config",
                "clusters": [
                    {"name": "bench", "cluster": {"server": API, "certificate-authority": str(KEYS / "apiserver.crt")}}
                ],
                "users": [{"name": program, "user": {"token": token}}],
                "contexts": [{"name": "bench", "context": {"cluster": "bench", "user": program}}],
                "current-context": "bench",
            }
            kubeconfig = KEYS / f"{program}.kubeconfig"
            kubeconfig.touch(mode=0o600)  # helm warns of others that could read it
            kubeconfig.write_text(json.dumps(config))
            if program == "admin":
                (KEYS / "admin.token").write_text(token)
        (KEYS / "tokens.csv").write_text("".join(lines))

    def _make_node(self) -> None:
        """Create the namespaces, held by a process that waits indefinitely; its link to the machine; its contents."""
        self._first = subprocess.Popen(
            [*_NEW_NAMESPACES, "catatonit", "-P"],
            stdin=subprocess.DEVNULL,
            stdout=subprocess.DEVNULL,
            stderr=subprocess.DEVNULL,  # a pipe of the caller's would stay open
            start_new_session=True,
            cwd="/",
        )
        outer = self._first.pid
        _record(outer)
        children = Path(f"/proc/{outer}/task/{outer}/children")
        _until("the node's first process is there", lambda: bool(children.read_text().strip()))
        inner = int(children.read_text())
        _record(outer, inner)
        name = Path(f"/proc/{inner}/comm")
        _until("the node has its own /proc", lambda: name.read_text().strip() == "catatonit")
        _output(["ip", "link", "add", LINK.name, "type", "veth", "peer", "name", "eth0", "netns", str(inner)])
        _output(["ip", "address", "add", f"{HOST_ADDRESS}/30", "dev", LINK.name])
        _output(["ip", "link", "set", LINK.name, "up"])
        self._inside(sys.executable, str(HERE / "node.py"), "prepare")

    def _inside(self, *command: str, stdin: int = subprocess.DEVNULL) -> str:
        """Return the output of a command on the node."""
        recorded = list(_recorded())
        if len(recorded) != 2:
            raise ClusterError("The cluster is not up")
        enter = ["nsenter", f"--target={recorded[1]}", "--mount", "--net", "--pid"]
        return _output([*enter, *command], stdin=stdin)

    def _import(self, archive: int) -> None:
        self._inside(str(HOME / "bin/ctr"), "--namespace=k8s.io", "images", "import", "-", stdin=archive)

    def _wait(self, what: str, attempt: Callable[[], object]) -> None:
        """Retry the attempt until it succeeds."""
        deadline = time.monotonic() + 120
        while True:
            try:
                attempt()
                return
            except ClusterError as error:
                if time.monotonic() > deadline:
                    raise ClusterError(f"{what} did not come up; logs are in {STATE / 'log'}") from error
            time.sleep(0.2)


def purge() -> None:
    """Remove the programs and the base image."""
    with contextlib.suppress(FileNotFoundError):
        subprocess.run(["podman", "rmi", "--force", BASE_IMAGE], check=False, capture_output=True)
    for folder in ("bin", "build"):
        shutil.rmtree(HOME / folder, ignore_errors=True)
    for file in ("built", "pause.tar"):
        (HOME / file).unlink(missing_ok=True)
    with contextlib.suppress(OSError):
        HOME.rmdir()


_NEW_NAMESPACES = ["unshare", "--mount", "--net", "--pid", "--fork", "--mount-proc", "--kill-child=SIGKILL"]


def _record(*pids: int) -> None:
    """Record the processes to kill: the one that holds the namespaces, and their first."""
    RECORD.write_text(json.dumps({"boot": _boot(), "processes": {pid: start_ticks(pid) for pid in pids}}))


def _recorded() -> dict[int, int]:
    """Return the recorded processes that are alive, excluding reused ids."""
    if not RECORD.exists():
        return {}
    record = json.loads(RECORD.read_text())
    if record["boot"] != _boot():
        return {}
    return {int(pid): ticks for pid, ticks in record["processes"].items() if start_ticks(int(pid)) == ticks}


@functools.cache
def _boot() -> str:
    return Path("/proc/sys/kernel/random/boot_id").read_text().strip()


def _cgroups() -> list[Path]:
    """Return the node's cgroup in each of the machine's hierarchies."""
    mounts = [line.split() for line in Path("/proc/mounts").read_text().splitlines()]
    return [Path(mount[1], CGROUP) for mount in mounts if mount[2] in ("cgroup", "cgroup2")]


def _remove_cgroups() -> bool:
    """Remove the node's empty cgroups; return whether none is left."""
    for root in _cgroups():
        for folder, _, _ in os.walk(root, topdown=False):
            with contextlib.suppress(OSError):
                Path(folder).rmdir()
    return not any(folder.exists() for folder in _cgroups())


def _ends_of_logs() -> str:
    logs = sorted((STATE / "log").glob("*.log"))
    return "\n".join(f"{log.name}: {line}" for log in logs for line in log.read_text().splitlines()[-5:])


def _until(what: str, holds: Callable[[], bool], seconds: float = 30) -> None:
    deadline = time.monotonic() + seconds
    while not holds():
        if time.monotonic() > deadline:
            raise ClusterError(f"Waited {seconds} s in vain until {what}")
        time.sleep(0.2)


def _output(
    command: list[str], input: str | None = None, timeout: float | None = None, stdin: int = subprocess.DEVNULL
) -> str:
    source = stdin if input is None else None
    try:
        done = subprocess.run(
            command, stdin=source, input=input, capture_output=True, text=True, timeout=timeout, check=False
        )
    except subprocess.TimeoutExpired as error:
        raise ClusterError(str(error)) from None
    if done.returncode:
        raise ClusterError(f"{' '.join(command)}: {done.stderr.strip()}")
    return done.stdout


def _say(what: str) -> None:
    print(f"cluster: {what}", file=sys.stderr, flush=True)


def main() -> None:
    """Run the command line."""
    try:
        _obey()
    except ClusterError as error:
        sys.exit(f"cluster: {error}")


def _obey() -> None:
    cluster = Cluster()
    match sys.argv[1:]:
        case ["build"]:
            build()
        case ["up"]:
            cluster.up()
            print(f"export KUBECONFIG={cluster.kubeconfig} PATH={HOME / 'bin'}:$PATH")
        case ["down"]:
            cluster.down()
        case ["down", "--purge"]:
            cluster.down()
            purge()
        case ["load", *images] if images:
            for image in images:
                cluster.load_image(image)
        case ["start", *programs] if programs:
            cluster.start(*programs)
        case ["stop", *programs] if programs:
            cluster.stop(*programs)
        case ["why-not"]:
            print(why_not())
        case _:
            sys.exit(__doc__)


if __name__ == "__main__":
    main()
