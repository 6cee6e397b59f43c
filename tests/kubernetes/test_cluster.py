"""Prerequisites of the tests on Kubernetes: the cluster behaves like a real one, and leaves nothing behind."""

import contextlib
import json
import os
import signal
import subprocess
import time
import urllib.request
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest
from cluster import RECORD, Cluster, ClusterError, ExistingCluster, base_image
from node import CGROUP, HOME, STATE, start_ticks

pytestmark = pytest.mark.kubernetes

USER = {"runAsUser": 1000, "runAsGroup": 1000, "runAsNonRoot": True}
SERVE = "mkdir -p /tmp/www && echo hello > /tmp/www/index.html && exec python3 -m http.server --directory /tmp/www 8000"
LIST_PODS = """
import ssl, sys, urllib.error, urllib.request
from pathlib import Path
account = Path("/var/run/secrets/kubernetes.io/serviceaccount")
request = urllib.request.Request(
    f"https://kubernetes.default.svc/api/v1/namespaces/{(account / 'namespace').read_text()}/pods",
    headers={"Authorization": f"Bearer {(account / 'token').read_text()}"},
)
try:
    print(urllib.request.urlopen(request, context=ssl.create_default_context(cafile=account / "ca.crt")).status)
except urllib.error.HTTPError as error:
    print(error.code)
"""


class Namespace:
    """A separate namespace for a test."""

    def __init__(self, cluster: ExistingCluster, image: str, name: str) -> None:
        self.cluster = cluster
        self.image = image
        self.name = name

    def kubectl(self, *arguments: str) -> str:
        return self.cluster.kubectl(f"--namespace={self.name}", *arguments)

    def apply(self, kind: str, name: str, version: str = "v1", **rest: object) -> None:
        metadata = {"name": name, "namespace": self.name, "labels": {"app": name}}
        self.cluster.apply({"apiVersion": version, "kind": kind, "metadata": metadata} | rest)

    def pod(self, name: str, command: str, *, container: dict[str, Any] | None = None, **spec: object) -> None:
        """Create a pod that runs the shell command."""
        main = {"name": "main", "image": self.image, "command": ["sh", "-c", command]} | (container or {})
        common = {"containers": [main], "restartPolicy": "Never", "terminationGracePeriodSeconds": 0}
        self.apply("Pod", name, spec=common | spec)

    def serve(self, name: str, **spec: object) -> None:
        """Create a pod that serves files, and a service for it."""
        ready = {"httpGet": {"path": "/", "port": 8000}, "periodSeconds": 1}
        self.pod(name, SERVE, container={"readinessProbe": ready}, securityContext=USER, **spec)
        self.apply("Service", name, spec={"selector": {"app": name}, "ports": [{"port": 80, "targetPort": 8000}]})

    def wait_ready(self, *names: str) -> None:
        self.kubectl("wait", "--for=condition=Ready", "--timeout=60s", *(f"pod/{name}" for name in names))

    def python(self, pod: str, code: str) -> str:
        """Return what the code prints in the pod."""
        return self.kubectl("exec", pod, "--", "python3", "-c", code).strip()

    def read(self, kind: str, name: str) -> Any:
        return json.loads(self.kubectl("get", kind, name, "--output=json"))


@pytest.fixture(scope="module")
def image(cluster: ExistingCluster) -> str:
    """Return an image with Python."""
    if not isinstance(cluster, Cluster):
        return cluster.image
    cluster.load_image(name := base_image())
    return name


@pytest.fixture
def namespace(cluster: ExistingCluster, image: str) -> Iterator[Namespace]:
    name = f"bench-test-{time.time_ns()}"
    cluster.kubectl("create", "namespace", name)
    namespace = Namespace(cluster, image, name)
    wait_until(lambda: "default" in namespace.kubectl("get", "serviceaccounts"))
    yield namespace
    cluster.kubectl("delete", "namespace", name)


@pytest.fixture
def own(cluster: ExistingCluster) -> Cluster:
    """Return the cluster, if the tests may break it."""
    if not isinstance(cluster, Cluster):
        pytest.skip("KUBECONFIG names a cluster, which is not the tests' to stop")
    return cluster


def wait_until(holds: Callable[[], bool], seconds: float = 60) -> None:
    deadline = time.monotonic() + seconds
    while not holds():
        assert time.monotonic() < deadline, "waited in vain"
        time.sleep(0.3)


def test_services_have_names(namespace: Namespace) -> None:
    namespace.serve("web", hostname="first", subdomain="pods")
    namespace.apply("Service", "pods", spec={"clusterIP": "None", "selector": {"app": "web"}})
    namespace.pod("client", "exec sleep 600")
    namespace.wait_ready("web", "client")

    def fetch(host: str, port: int = 80) -> str:
        return namespace.python(
            "client",
            "import urllib.request, urllib.error\n"
            f"try: print(urllib.request.urlopen('http://{host}:{port}', timeout=5).read().decode())\n"
            "except urllib.error.URLError as error: print(error.reason)",
        )

    full = f"web.{namespace.name}.svc.cluster.local"
    wait_until(lambda: fetch(full) == "hello")
    for host in ("web", f"web.{namespace.name}", f"web.{namespace.name}.svc"):
        assert fetch(host) == "hello"
    wait_until(lambda: fetch("pods", 8000) == "hello")
    assert fetch("first.pods", 8000) == "hello"
    assert "Name or service not known" in fetch("no-such-service")
    namespace.kubectl("delete", "service", "web")
    wait_until(lambda: "Name or service not known" in fetch("web"))


def test_claims_are_bound_to_volumes_that_a_user_can_write(namespace: Namespace) -> None:
    for name, mode in (("own", "ReadWriteOnce"), ("shared", "ReadWriteMany")):
        spec = {"accessModes": [mode], "resources": {"requests": {"storage": "1Gi"}}}
        namespace.apply("PersistentVolumeClaim", name, spec=spec)
    mounts = [{"name": name, "mountPath": f"/{name}"} for name in ("own", "shared")]
    volumes = [{"name": name, "persistentVolumeClaim": {"claimName": name}} for name in ("own", "shared")]
    container = {"volumeMounts": mounts}
    namespace.pod(
        "writer",
        "id -u > /own/file && id -g > /shared/file",
        container=container,
        securityContext=USER | {"fsGroup": 1000},
        volumes=volumes,
    )
    wait_until(lambda: namespace.read("pod", "writer")["status"]["phase"] == "Succeeded")
    namespace.pod("reader", "cat /own/file /shared/file", container=container, securityContext=USER, volumes=volumes)
    wait_until(lambda: namespace.read("pod", "reader")["status"]["phase"] == "Succeeded")
    assert namespace.kubectl("logs", "reader").split() == ["1000", "1000"]

    namespace.kubectl("delete", "pod,pvc", "--all")
    wait_until(lambda: namespace.name not in namespace.kubectl("get", "persistentvolumes"))


def test_an_account_has_the_rights_that_it_was_given_and_no_others(namespace: Namespace) -> None:
    namespace.pod("client", "exec sleep 600")
    namespace.wait_ready("client")
    assert namespace.python("client", LIST_PODS) == "403"
    namespace.kubectl("create", "role", "reader", "--verb=list", "--resource=pods")
    namespace.kubectl("create", "rolebinding", "reader", "--role=reader", f"--serviceaccount={namespace.name}:default")
    wait_until(lambda: namespace.python("client", LIST_PODS) == "200")


def test_a_pod_beyond_its_memory_is_killed_with_a_reason(namespace: Namespace) -> None:
    limits = {"resources": {"limits": {"memory": "64Mi"}}}
    namespace.pod("greedy", "python3 -c 'bytearray(10**9)'; exit $?", container=limits)
    wait_until(lambda: namespace.read("pod", "greedy")["status"]["phase"] == "Failed")
    ended = namespace.read("pod", "greedy")["status"]["containerStatuses"][0]["state"]["terminated"]
    assert ended["reason"] == "OOMKilled"
    assert ended["exitCode"] == 137


def test_quotas_and_limit_ranges_are_observed(namespace: Namespace) -> None:
    namespace.apply("LimitRange", "defaults", spec={"limits": [{"type": "Container", "default": {"memory": "100Mi"}}]})
    namespace.apply("ResourceQuota", "quota", spec={"hard": {"pods": "1"}})
    wait_until(lambda: "status" in namespace.read("resourcequota", "quota"))
    namespace.pod("first", "exec sleep 600")
    resources = namespace.read("pod", "first")["spec"]["containers"][0]["resources"]
    assert resources["limits"] == {"memory": "100Mi"}
    with pytest.raises(ClusterError, match="exceeded quota"):
        namespace.pod("second", "exec sleep 600")


def test_a_port_of_this_machine_leads_to_a_service(cluster: ExistingCluster, namespace: Namespace) -> None:
    namespace.serve("web")
    namespace.wait_ready("web")
    with (
        cluster.port_forward("service/web", 80, namespace.name) as port,
        urllib.request.urlopen(f"http://127.0.0.1:{port}", timeout=10) as answer,
    ):
        assert answer.read() == b"hello\n"


def test_the_api_server_goes_and_comes_back_with_its_state(own: Cluster, namespace: Namespace) -> None:
    namespace.serve("web")
    namespace.wait_ready("web")
    before = namespace.read("pod", "web")
    with own.paused_apiserver():
        with pytest.raises(ClusterError, match="refused"):
            own.kubectl("get", "nodes")
        time.sleep(30)
    after = namespace.read("pod", "web")
    assert after["metadata"]["uid"] == before["metadata"]["uid"]
    assert after["status"]["containerStatuses"][0]["restartCount"] == 0
    namespace.pod("later", "true")
    wait_until(lambda: namespace.read("pod", "later")["status"]["phase"] == "Succeeded")


def left_behind() -> list[str]:
    """Return the traces of a cluster: processes, mounts, interfaces, cgroups, firewall rules, files."""
    found = [f"process {path.parent.name}" for path in Path("/proc").glob("[0-9]*/cgroup") if mentions(path, CGROUP)]
    found += [f"process {path.parent.name}" for path in Path("/proc").glob("[0-9]*/cmdline") if mentions(path, STATE)]
    found += [f"mount {line}" for line in Path("/proc/self/mounts").read_text().splitlines() if str(HOME) in line]
    found += [f"interface {path.name}" for path in Path("/sys/class/net").glob("dagster-bench*")]
    found += [f"cgroup {path}" for path in Path("/sys/fs/cgroup").rglob(CGROUP)]
    for table in ("filter", "nat", "mangle"):
        rules = subprocess.run(["iptables", "-t", table, "-S"], capture_output=True, text=True, check=True).stdout
        found += [f"{table} {line}" for line in rules.splitlines() if "KUBE" in line]
    folders = (STATE, "/var/lib/kubelet", "/var/log/pods")
    found += [f"folder {folder}" for folder in folders if Path(folder).exists()]
    return found


def mentions(path: Path, what: object) -> bool:
    with contextlib.suppress(OSError):
        return str(what) in path.read_text()
    return False


def kernel_settings() -> dict[str, str]:
    """Return the machine-wide settings that Kubernetes tries to change."""
    names = ("kernel/panic", "kernel/panic_on_oops", "vm/overcommit_memory", "net/ipv4/ip_forward")
    return {name: Path("/proc/sys", name).read_text() for name in names}


def test_nothing_is_left_even_after_crashes(own: Cluster, image: str) -> None:
    settings = kernel_settings()
    own.kubectl("run", "survivor", f"--image={image}", "--", "sleep", "600")
    own.kubectl("wait", "--for=condition=Ready", "--timeout=60s", "pod/survivor")
    assert len(left_behind()) > 10
    for pid in programs("containerd", "kubelet"):
        os.kill(pid, signal.SIGKILL)
    try:
        own.down()
        assert left_behind() == []
        own.down()
        assert kernel_settings() == settings
    finally:
        own.up()


def programs(*names: str) -> list[int]:
    """Return the ids of the cluster's processes with these names."""
    first = max(json.loads(RECORD.read_text())["processes"], key=int)
    space = Path("/proc", first, "ns/pid").readlink()
    found = []
    for path in Path("/proc").glob("[0-9]*"):
        with contextlib.suppress(OSError):
            if (path / "ns/pid").readlink() == space and (path / "comm").read_text().strip() in names:
                found.append(int(path.name))
    return found


@pytest.mark.parametrize("change", [{"boot": "another"}, {"started later": 1}])
def test_a_process_that_has_the_recorded_id_by_chance_is_spared(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, change: dict[str, Any]
) -> None:
    boot = Path("/proc/sys/kernel/random/boot_id").read_text().strip()
    record = tmp_path / "processes.json"
    monkeypatch.setattr("cluster.RECORD", record)
    with subprocess.Popen(["sleep", "60"]) as bystander:
        ticks = start_ticks(bystander.pid)
        assert ticks is not None
        ticks -= change.get("started later", 0)
        record.write_text(json.dumps({"boot": change.get("boot", boot), "processes": {bystander.pid: ticks}}))
        assert not Cluster().is_up()
        assert bystander.poll() is None
        bystander.kill()
