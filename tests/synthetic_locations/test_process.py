"""A process's measurements, on this machine and from files of other platforms."""

import os
import subprocess
import sys
from pathlib import Path

import pytest

from synthetic_locations import process

on_linux = pytest.mark.skipif(sys.platform != "linux", reason="only Linux has /proc")


def cgroup_file(folder: Path, text: str) -> None:
    folder.mkdir(parents=True)
    (folder / "cpu.stat").write_text(text)


V1 = "nr_periods 20\nnr_throttled 5\nthrottled_time 1500000000\n"
V2 = (
    "usage_usec 9\nuser_usec 6\nsystem_usec 3\nnr_periods 10\nnr_throttled 4\nthrottled_usec 2500000\n"
    "nr_bursts 0\nburst_usec 0\n"
)
V1_COUNTERS = {"cgroup_periods": 20, "cgroup_throttled_periods": 5, "throttled_s": 1.5}
V2_COUNTERS = {"cgroup_periods": 10, "cgroup_throttled_periods": 4, "throttled_s": 2.5}


@pytest.mark.parametrize(
    ("membership", "folder", "text", "counters"),
    [
        pytest.param("0::/\n", "", V2, V2_COUNTERS, id="v2-container"),
        pytest.param("0::/user.slice/a:b\n", "user.slice/a:b", V2, V2_COUNTERS, id="v2-host"),
        pytest.param(
            "4:memory:/kubepods/pod1\n3:cpu,cpuacct:/kubepods/pod1\n0::/\n",
            "cpu,cpuacct/kubepods/pod1",
            V1,
            V1_COUNTERS,
            id="v1-host",
        ),
        pytest.param("3:cpu,cpuacct:/kubepods/pod1\n", "cpu", V1, V1_COUNTERS, id="v1-container"),
        pytest.param("2:cpuset:/\n0::/\n", "unified", V2, V2_COUNTERS, id="hybrid"),
    ],
)
def test_throttling_is_read_from_both_versions_of_cgroups(
    tmp_path: Path, membership: str, folder: str, text: str, counters: dict[str, float]
) -> None:
    (tmp_path / "cgroup").write_text(membership)
    cgroup_file(tmp_path / "mount" / folder, text)
    assert process.read_throttling(tmp_path / "cgroup", tmp_path / "mount") == counters


def test_throttling_is_left_out_where_it_is_not_counted(tmp_path: Path) -> None:
    membership, mount = tmp_path / "cgroup", tmp_path / "mount"
    assert process.read_throttling(membership, mount) == {}
    membership.write_text("1:name=systemd:/\n0::/\n")
    assert process.read_throttling(membership, mount) == {}
    cgroup_file(mount, "usage_usec 9\nuser_usec 6\nsystem_usec 3\n")
    assert process.read_throttling(membership, mount) == {}


def test_memory_is_in_bytes_and_left_out_where_it_is_unknown(tmp_path: Path) -> None:
    status = tmp_path / "status"
    assert process.read_memory(status) == {}
    status.write_text("Name:\tpython\nVmHWM:\t  2048 kB\nVmRSS:\t  1024 kB\nThreads:\t1\n")
    assert process.read_memory(status) == {"rss_bytes": 1024 * 1024, "peak_rss_bytes": 2048 * 1024}


@on_linux
def test_a_process_reports_its_own_measurements() -> None:
    measured = process.measure_process()
    assert measured["pid"] == os.getpid()
    assert 0 < measured["rss_bytes"] <= measured["peak_rss_bytes"]
    assert 0 < measured["import_s"] <= measured["process_age_s"]
    assert measured["cpu_s"] > 0


def test_without_proc_the_rest_is_still_told(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(process, "process_age_s", lambda: None)
    monkeypatch.setattr(process, "IMPORTED", None)
    measured = process.measure_process()
    assert {"process_age_s", "import_s"}.isdisjoint(measured)
    assert {"pid", "cpu_s"} <= measured.keys()


@on_linux
def test_age_counts_from_the_start_of_the_process() -> None:
    code = "import time; time.sleep(0.3); import synthetic_locations.process as p; print(p.IMPORTED.here_s)"
    command = [sys.executable, "-c", code]
    assert float(subprocess.run(command, check=True, capture_output=True, text=True).stdout) > 0.28


def test_a_forked_child_did_not_do_the_work_of_its_parent() -> None:
    assert process.Elapsed(1.5).here_s == 1.5
    assert process.Elapsed(1.5, pid=os.getpid() + 1).here_s == 0
