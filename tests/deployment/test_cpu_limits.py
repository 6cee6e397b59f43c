"""CPU limits: real cgroups where they are permitted, and fake ones for version 2 and for errors."""

import errno
import json
import os
import shutil
import signal
import socket
import subprocess
import sys
import time
import uuid
from collections.abc import Callable, Iterator
from pathlib import Path

import psutil
import pytest
from integration.leftovers import assert_nothing_left

from bench_orchestrator.deployment import Deployment, DeploymentError, shape_location, why_no_cpu_limits
from bench_orchestrator.deployment.cpu_limits import (
    CgroupParent,
    create_recorded,
    entering,
    find_cgroup_parent,
    remove_recorded,
)
from bench_orchestrator.deployment.processes import MARKER
from synthetic_locations.process import read_throttling

SPIN = """
import json, os, sys, time
begin_s, end = time.process_time(), time.monotonic() + 1
while time.monotonic() < end: pass
print(json.dumps([os.getpid(), time.process_time() - begin_s, dict(os.environ)]), flush=True)
sys.stdin.read()
"""

SUPERVISOR = """
import sys, time
from pathlib import Path
from bench_orchestrator.deployment import Deployment, shape_location
deployment = Deployment(Path(sys.argv[1]), [shape_location("a1", cpus=0.25)])
deployment.start()
print(deployment.id, flush=True)
time.sleep(600)
"""


@pytest.fixture
def cgroup_parent() -> CgroupParent:
    if reason := why_no_cpu_limits():
        pytest.skip(reason)
    return find_cgroup_parent()


@pytest.fixture
def home(tmp_path: Path) -> Iterator[Path]:
    home = tmp_path / "home"
    home.mkdir()
    (home / "dagster.yaml").write_text("telemetry: {enabled: false}\n")
    yield home
    assert_nothing_left(home)


def wait_until(condition: Callable[[], object], timeout_s: float = 30) -> None:
    deadline = time.monotonic() + timeout_s
    while not condition():
        assert time.monotonic() < deadline, "it did not happen in time"
        time.sleep(0.05)


def cgroups(parent: CgroupParent, deployment_id: str) -> list[str]:
    return [folder.name for folder in parent.folder.glob(f"bench-{deployment_id}-*")]


def members(parent: CgroupParent, name: str) -> list[str]:
    return (parent.folder / name / "cgroup.procs").read_text().split()


class TestRealCgroups:
    def test_a_limited_process_gets_its_share_of_the_cpu(self, cgroup_parent: CgroupParent, tmp_path: Path) -> None:
        folder = create_recorded(cgroup_parent, f"bench-{uuid.uuid4().hex}-0", 0.25, tmp_path)
        environment = {**os.environ, MARKER: f"{uuid.uuid4().hex} {tmp_path}"}
        with subprocess.Popen(
            entering(folder, [sys.executable, "-c", SPIN]),
            env=environment,
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
        ) as process:
            assert process.stdout is not None
            pid, cpu_s, its_environment = json.loads(process.stdout.readline())
            throttling = read_throttling(membership=Path(f"/proc/{process.pid}/cgroup"))
        assert pid == process.pid
        assert environment.items() <= its_environment.items()
        assert 0.05 < cpu_s < 0.45
        assert throttling["cgroup_throttled_periods"] > 0
        assert throttling["throttled_s"] > 0
        remove_recorded(tmp_path)
        assert not folder.exists()

    def test_the_guard_removes_the_cgroups_with_their_processes(
        self, cgroup_parent: CgroupParent, tmp_path: Path
    ) -> None:
        deployment_id, directory = uuid.uuid4().hex, tmp_path / "directory"
        directory.mkdir()
        folders = [create_recorded(cgroup_parent, f"bench-{deployment_id}-{n}", 1, directory) for n in range(2)]
        environment = {**os.environ, MARKER: f"{deployment_id} {tmp_path}"}
        with subprocess.Popen(entering(folders[0], ["sleep", "60"]), env=environment) as process:
            # During the shell's exec, the process's environment cannot be read.
            wait_until(lambda: Path(f"/proc/{process.pid}/comm").read_text() == "sleep\n")
            assert members(cgroup_parent, folders[0].name)
            guard = [sys.executable, "-m", "bench_orchestrator.deployment.guard", deployment_id, str(directory)]
            subprocess.run(guard, stdin=subprocess.DEVNULL, check=True)
        assert process.returncode == -signal.SIGTERM
        assert not any(folder.exists() for folder in folders)
        assert not directory.exists()

    def test_a_deployment_has_a_cgroup_for_each_limit_until_it_stops(
        self, cgroup_parent: CgroupParent, home: Path
    ) -> None:
        locations = [shape_location("a1"), shape_location("a2", cpus=0.5), shape_location("a3", cpus=0.25)]
        deployment = Deployment(home, locations)
        with deployment:
            names = cgroups(cgroup_parent, deployment.id)
            assert sorted(names) == [f"bench-{deployment.id}-1", f"bench-{deployment.id}-2"]
            wait_until(lambda: members(cgroup_parent, f"bench-{deployment.id}-1"))
            [pid] = members(cgroup_parent, f"bench-{deployment.id}-1")
            wait_until(lambda: "a2" in psutil.Process(int(pid)).cmdline())
        assert cgroups(cgroup_parent, deployment.id) == []

    def test_a_start_that_fails_leaves_no_cgroup(self, cgroup_parent: CgroupParent, home: Path) -> None:
        deployment = Deployment(home, [shape_location("a1", cpus=0.5), shape_location("a2", cpus=0)])
        with pytest.raises(DeploymentError, match="A limit of 0 CPUs is not possible"):
            deployment.start()
        assert cgroups(cgroup_parent, deployment.id) == []

    @pytest.mark.parametrize("guard_too", [False, True], ids=["supervisor", "supervisor and guard"])
    def test_nothing_is_left_after_a_kill(self, cgroup_parent: CgroupParent, home: Path, guard_too: bool) -> None:
        command = [sys.executable, "-c", SUPERVISOR, str(home)]
        with subprocess.Popen(command, stdout=subprocess.PIPE, text=True) as supervisor:
            assert supervisor.stdout is not None
            deployment_id = supervisor.stdout.readline().strip()
            wait_until(lambda: members(cgroup_parent, f"bench-{deployment_id}-0"))
            if guard_too:
                for child in psutil.Process(supervisor.pid).children():
                    if "bench_orchestrator.deployment.guard" in child.cmdline():
                        child.kill()
            supervisor.kill()
        if guard_too:
            assert cgroups(cgroup_parent, deployment_id)
            with socket.create_server(("127.0.0.1", 0)) as taken, pytest.raises(DeploymentError, match="is in use"):
                Deployment(home, [], port=taken.getsockname()[1]).start()  # fails right after the clean-up
            assert not cgroups(cgroup_parent, deployment_id)
        wait_until(lambda: not cgroups(cgroup_parent, deployment_id))


class FakeCgroups:
    """A fake of `/sys/fs/cgroup` and `/proc/self/cgroup` made of plain files, which limits nothing."""

    def __init__(self, folder: Path) -> None:
        self.mount = folder / "cgroup-mount"
        self.membership = folder / "cgroup-membership"
        self.refusals: dict[Path, int] = {}
        """Files that cannot be written, with the error number."""

    def add(self, path: str, controllers: str = "", shared: str = "") -> Path:
        """Add a cgroup of version 2."""
        folder = self.mount / path
        folder.mkdir(parents=True, exist_ok=True)
        (folder / "cgroup.controllers").write_text(f"{controllers}\n")
        (folder / "cgroup.subtree_control").write_text(f"{shared}\n")
        (folder / "cgroup.procs").touch()
        return folder

    def find(self, membership: str) -> CgroupParent:
        self.membership.write_text(membership)
        return find_cgroup_parent(self.membership, self.mount)


@pytest.fixture
def fake(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> FakeCgroups:
    fake = FakeCgroups(tmp_path)
    write_text = Path.write_text

    def write(path: Path, text: str) -> int:
        if code := fake.refusals.get(path):
            raise OSError(code, os.strerror(code), str(path))
        return write_text(path, text)

    monkeypatch.setattr(Path, "write_text", write)
    monkeypatch.setattr(Path, "rmdir", shutil.rmtree)  # a real cgroup's files vanish with it
    return fake


class TestFakeCgroups:
    def test_version_2_shares_out_cpu_and_gives_a_quota(self, fake: FakeCgroups, tmp_path: Path) -> None:
        own = fake.add("user.slice/mine", "cpu memory", "memory")
        parent = fake.find("0::/user.slice/mine\n")
        assert parent == CgroupParent(own, 2)
        assert (own / "cgroup.subtree_control").read_text() == "+cpu"
        assert not list(own.glob("bench-*"))

        folder = create_recorded(parent, "bench-id-0", 0.5, tmp_path)
        assert folder == own / "bench-id-0"
        assert (folder / "cpu.max").read_text() == "50000 100000"
        remove_recorded(tmp_path)
        assert not folder.exists()

    def test_version_2_leaves_a_parent_that_shares_out_cpu_already_alone(self, fake: FakeCgroups) -> None:
        own = fake.add("", "cpuset cpu", "cpuset cpu")
        fake.refusals[own / "cgroup.subtree_control"] = errno.EBUSY
        assert fake.find("0::/\n") == CgroupParent(own, 2)

    def test_version_2_goes_up_from_a_cgroup_that_has_processes_itself(self, fake: FakeCgroups) -> None:
        slice_ = fake.add("app.slice", "cpu", "cpu")
        fake.refusals[fake.add("app.slice/my.scope", "cpu") / "cgroup.subtree_control"] = errno.EBUSY
        assert fake.find("0::/app.slice/my.scope\n") == CgroupParent(slice_, 2)

    def test_version_2_beside_version_1_is_found(self, fake: FakeCgroups) -> None:
        root = fake.add("unified", "cpu")
        assert fake.find("2:cpuset:/\n0::/\n") == CgroupParent(root, 2)

    @pytest.mark.parametrize("folder", ["cpu,cpuacct/pod", "cpu/pod", "cpu"], ids=["host", "alone", "container"])
    def test_version_1(self, fake: FakeCgroups, tmp_path: Path, folder: str) -> None:
        (fake.mount / folder).mkdir(parents=True)
        (fake.mount / folder / "cgroup.procs").touch()
        fake.add("unified", "memory")
        parent = fake.find("4:memory:/pod\n3:cpu,cpuacct:/pod\n0::/\n")
        assert parent == CgroupParent(fake.mount / folder, 1)
        cgroup = create_recorded(parent, "bench-id-0", 2, tmp_path)
        assert (cgroup / "cpu.cfs_period_us").read_text() == "100000"
        assert (cgroup / "cpu.cfs_quota_us").read_text() == "200000"

    def test_a_quota_that_the_kernel_refuses_is_recorded_for_removal(self, fake: FakeCgroups, tmp_path: Path) -> None:
        parent = CgroupParent(fake.add("", "cpu", "cpu"), 2)
        fake.refusals[parent.folder / "bench-id-0" / "cpu.max"] = errno.EINVAL
        with pytest.raises(DeploymentError) as caught:
            create_recorded(parent, "bench-id-0", 2, tmp_path)
        assert "A limit of 2 CPUs is not possible in" in str(caught.value)
        remove_recorded(tmp_path)
        assert not (parent.folder / "bench-id-0").exists()

    @pytest.mark.parametrize(
        ("code", "reason", "help_"),
        [
            (errno.EACCES, "Permission denied", "systemd-run --user --scope"),
            (errno.EBUSY, "Device or resource busy", "to one of its children"),
            (errno.EROFS, "Read-only file system", "--privileged"),
        ],
    )
    def test_a_refusal_comes_with_its_reason_and_what_helps(
        self, fake: FakeCgroups, code: int, reason: str, help_: str
    ) -> None:
        own = fake.add("mine", "cpu")
        fake.refusals[own / "cgroup.subtree_control"] = code
        with pytest.raises(DeploymentError) as caught:
            fake.find("0::/mine\n")
        assert f"in {own} ({reason})" in str(caught.value)
        assert help_ in str(caught.value)

    def test_without_a_cpu_controller_there_is_no_limit(self, fake: FakeCgroups) -> None:
        fake.add("mine", "memory pids")
        with pytest.raises(DeploymentError) as caught:
            fake.find("3:memory:/mine\n0::/mine\n")
        assert "has none: mount one" in str(caught.value)

    def test_without_cgroups_there_is_no_limit(self, tmp_path: Path) -> None:
        with pytest.raises(DeploymentError) as caught:
            find_cgroup_parent(membership=tmp_path / "missing")
        assert str(caught.value).startswith("CPU limits need Linux cgroups")


def test_a_deployment_without_the_means_for_its_limits_does_not_start(
    home: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def find() -> CgroupParent:
        raise DeploymentError("There is no way.")

    monkeypatch.setattr("bench_orchestrator.deployment.cpu_limits.find_cgroup_parent", find)
    monkeypatch.setattr("bench_orchestrator.deployment.local.find_cgroup_parent", find)
    assert why_no_cpu_limits() == "There is no way."
    with pytest.raises(DeploymentError, match="There is no way"):
        Deployment(home, [shape_location("a1", cpus=1)]).start()
    assert not (home / "history").exists()
    assert not (home / ".bench" / "deployment.json").exists()
