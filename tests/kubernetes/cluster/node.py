"""The cluster's only node from inside: its mounts, its network, and its programs.

cluster.py runs this file in the node's mount, network and process namespaces, as `node.py prepare`,
`node.py start PROGRAM…` or `node.py stop PROGRAM…`. The programs see an ordinary machine: /var/lib, /var/log and /run
are the node's, and so are the kernel settings that Kubernetes changes.
"""

import json
import os
import signal
import subprocess
import sys
import time
from pathlib import Path

HOME_SETTING = "BENCH_KUBERNETES_HOME"
HOME = Path(os.environ.get(HOME_SETTING) or Path.home() / ".cache/dagster-bench/kubernetes").absolute()
STATE = HOME / "state"
KEYS = STATE / "keys"

NAME = "node"
CGROUP = "dagster-bench"
ADDRESS = "10.231.0.2"
HOST_ADDRESS = "10.231.0.1"
BRIDGE_ADDRESS = "10.232.0.1"
PODS = "10.232.0.0/24"
SERVICES = "10.233.0.0/24"
DOMAIN = "cluster.local"
API = f"https://{ADDRESS}:6443"

ETCD = "http://127.0.0.1:2379"
# Folders of the machine that are hidden from the node.
HIDDEN = ("/run", "/var/lib", "/var/log")
HOSTS = Path("/run/hosts")
VOLUMES = Path("/var/lib/volumes")
CONTAINERD_SOCKET = "/run/containerd/containerd.sock"

# Machine-wide settings that the kubelet changes. The node gets copies, so that the machine's stay unchanged.
KERNEL_SETTINGS = (
    "kernel/keys/root_maxbytes",
    "kernel/keys/root_maxkeys",
    "kernel/panic",
    "kernel/panic_on_oops",
    "vm/overcommit_memory",
    "vm/panic_on_oom",
)

NETWORK = {
    "cniVersion": "0.4.0",
    "name": "pods",
    "plugins": [
        {
            "type": "bridge",
            "bridge": "pods",
            "isGateway": True,
            "ipMasq": True,
            "hairpinMode": True,
            "ipam": {
                "type": "host-local",
                "ranges": [[{"subnet": PODS, "gateway": BRIDGE_ADDRESS}]],
                "routes": [{"dst": "0.0.0.0/0"}],
            },
        },
        {"type": "portmap", "capabilities": {"portMappings": True}},
    ],
}

# Lowering a process's oom_score_adj needs CAP_SYS_RESOURCE, which root lacks in some sandboxes.
CONTAINERD = f"""
version = 2
[grpc]
  address = "{CONTAINERD_SOCKET}"
[plugins."io.containerd.grpc.v1.cri"]
  sandbox_image = "localhost/pause:1"
  restrict_oom_score_adj = true
  disable_apparmor = true
[plugins."io.containerd.grpc.v1.cri".cni]
  bin_dir = "/usr/lib/cni"
  conf_dir = "/run/cni"
"""

# No authentication: only the API server, this machine and the tests' own pods can reach the kubelet.
KUBELET = {
    "apiVersion": "kubelet.config.k8s.io/v1beta1",
    "kind": "KubeletConfiguration",
    "address": ADDRESS,
    "authentication": {"anonymous": {"enabled": True}, "webhook": {"enabled": False}},
    "authorization": {"mode": "AlwaysAllow"},
    "cgroupDriver": "cgroupfs",
    "cgroupRoot": f"/{CGROUP}",
    "clusterDNS": [ADDRESS],
    "clusterDomain": DOMAIN,
    "failSwapOn": False,
    "healthzBindAddress": "127.0.0.1",
    "resolvConf": "",
    "volumePluginDir": "/var/lib/kubelet/plugins",
    # Images are only loaded from this machine: none may be removed to free space.
    "evictionHard": {"memory.available": "100Mi", "nodefs.available": "2%", "imagefs.available": "2%"},
    "imageGCHighThresholdPercent": 100,
}

CONTROLLER_ARGUMENTS = ["--leader-elect=false", "--bind-address=127.0.0.1", "--port=0"]

PROGRAMS = {
    "etcd": [
        "etcd",
        "--data-dir=/var/lib/etcd",
        f"--listen-client-urls={ETCD}",
        f"--advertise-client-urls={ETCD}",
        "--listen-peer-urls=http://127.0.0.1:2380",
        "--unsafe-no-fsync",
    ],
    "containerd": ["containerd", "--config=/run/containerd.toml"],
    # Without a certificate, it creates apiserver.crt, which is also the authority that signed it.
    "kube-apiserver": [
        "kube-apiserver",
        f"--etcd-servers={ETCD}",
        f"--bind-address={ADDRESS}",
        f"--cert-dir={KEYS}",
        f"--token-auth-file={KEYS / 'tokens.csv'}",
        "--authorization-mode=Node,RBAC",
        "--enable-admission-plugins=NodeRestriction,LimitRanger,ResourceQuota",
        "--allow-privileged=true",
        f"--service-cluster-ip-range={SERVICES}",
        f"--service-account-issuer=https://kubernetes.default.svc.{DOMAIN}",
        f"--service-account-key-file={KEYS / 'service-accounts.key'}",
        f"--service-account-signing-key-file={KEYS / 'service-accounts.key'}",
        "--kubelet-preferred-address-types=InternalIP",
        "--insecure-port=0",
    ],
    "kube-controller-manager": [
        "kube-controller-manager",
        f"--kubeconfig={KEYS / 'kube-controller-manager.kubeconfig'}",
        "--use-service-account-credentials=true",
        f"--service-account-private-key-file={KEYS / 'service-accounts.key'}",
        f"--root-ca-file={KEYS / 'apiserver.crt'}",
        *CONTROLLER_ARGUMENTS,
    ],
    "kube-scheduler": [
        "kube-scheduler",
        f"--kubeconfig={KEYS / 'kube-scheduler.kubeconfig'}",
        *CONTROLLER_ARGUMENTS,
    ],
    "kubelet": [
        "kubelet",
        "--config=/run/kubelet.json",
        f"--kubeconfig={KEYS / 'kubelet.kubeconfig'}",
        f"--hostname-override={NAME}",
        f"--node-ip={ADDRESS}",
        "--container-runtime=remote",
        f"--container-runtime-endpoint=unix://{CONTAINERD_SOCKET}",
    ],
    "kube-proxy": [
        "kube-proxy",
        f"--kubeconfig={KEYS / 'kube-proxy.kubeconfig'}",
        f"--hostname-override={NAME}",
        "--proxy-mode=iptables",
        f"--cluster-cidr={PODS}",
        # Zero keeps the machine's limits of connection tracking.
        "--conntrack-max-per-core=0",
        "--conntrack-tcp-timeout-established=0",
        "--conntrack-tcp-timeout-close-wait=0",
    ],
    "dnsmasq": [
        "dnsmasq",
        "--keep-in-foreground",
        "--conf-file=/dev/null",
        "--pid-file",
        "--log-facility=-",
        f"--listen-address={ADDRESS}",
        "--bind-interfaces",
        "--no-resolv",
        "--no-hosts",
        # Unknown names do not exist; without this it would refuse to answer.
        "--address=/#/",
        f"--hostsdir={HOSTS}",
    ],
    "addons": [sys.executable, str(Path(__file__).with_name("addons.py"))],
}


def start_ticks(pid: int) -> int | None:
    """Return when the process started, in kernel ticks: together with its id, this identifies it until a reboot."""
    try:
        stat = Path(f"/proc/{pid}/stat").read_text()
    except (FileNotFoundError, ProcessLookupError):
        return None
    state, *rest = stat.rpartition(")")[2].split()
    return None if state == "Z" else int(rest[18])


def prepare() -> None:
    """Give the node its own folders, kernel settings and network."""
    for folder in ("lib", "log"):
        (STATE / folder).mkdir()
        _run("mount", "--bind", STATE / folder, f"/var/{folder}")
    _run("mount", "-t", "tmpfs", "tmpfs", "/run")
    for setting in KERNEL_SETTINGS:
        copy = Path("/run/kernel", setting)
        copy.parent.mkdir(parents=True, exist_ok=True)
        copy.write_text(Path("/proc/sys", setting).read_text())
        _run("mount", "--bind", copy, f"/proc/sys/{setting}")
    for path in (HOSTS, VOLUMES, Path("/run/cni")):
        path.mkdir()
    Path("/run/cni/pods.conflist").write_text(json.dumps(NETWORK))
    Path("/run/containerd.toml").write_text(CONTAINERD)
    Path("/run/kubelet.json").write_text(json.dumps(KUBELET))
    for setting in ("net/ipv4/ip_forward", "net/bridge/bridge-nf-call-iptables"):
        Path("/proc/sys", setting).write_text("1")
    _run("ip", "address", "add", f"{ADDRESS}/30", "dev", "eth0")
    for interface in ("lo", "eth0"):
        _run("ip", "link", "set", interface, "up")
    _run("ip", "route", "add", "default", "via", HOST_ADDRESS)


def start(name: str) -> None:
    """Start a program of the node; its output goes to /var/log."""
    # Most importantly no proxy: the programs only talk to this machine.
    environment = {"PATH": f"{HOME / 'bin'}:{os.environ['PATH']}", HOME_SETTING: str(HOME)}
    with Path(f"/var/log/{name}.log").open("ab") as log:
        process = subprocess.Popen(
            PROGRAMS[name],
            stdin=subprocess.DEVNULL,
            stdout=log,
            stderr=log,
            env=environment,
            cwd="/",
            start_new_session=True,
        )
    Path(f"/run/{name}.pid").write_text(json.dumps([process.pid, start_ticks(process.pid)]))


def stop(name: str) -> None:
    """Stop a program of the node and wait until it is gone."""
    record = Path(f"/run/{name}.pid")
    pid, started = json.loads(record.read_text())
    deadline = time.monotonic() + 20
    while start_ticks(pid) == started:
        os.kill(pid, signal.SIGTERM if time.monotonic() < deadline else signal.SIGKILL)
        time.sleep(0.2)
    record.unlink()


def _run(*command: str | Path) -> None:
    subprocess.run(command, check=True)


def main() -> None:
    """Run the command line."""
    match sys.argv[1:]:
        case ["prepare"]:
            prepare()
        case ["start", *names]:
            for name in names:
                start(name)
        case ["stop", *names]:
            for name in names:
                stop(name)
        case _:
            sys.exit(__doc__)


if __name__ == "__main__":
    main()
