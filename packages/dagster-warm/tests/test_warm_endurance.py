"""Many reloads and launches in one server leave nothing behind: no memory, descriptor, process or file."""

from collections.abc import Iterator
from contextlib import suppress
from pathlib import Path

import dagster as dg
import pytest
from lone_server import PATIENCE_S, LoneServer, serve, wait_until

MODULE = """
import dagster as dg

@dg.op
def nothing(): ...

@dg.job(executor_def=dg.in_process_executor)
def quick():
    nothing()

defs = dg.Definitions(jobs=[quick])
"""

MOST_GROWTH = 1.05


def processes_of(server: LoneServer) -> list[int]:
    """Return the proxy, then the other processes of the server's folder, oldest first."""
    found = []
    for path in Path("/proc").glob("[0-9]*/environ"):
        with suppress(OSError):
            if f"DAGSTER_HOME={server.home}".encode() in path.read_bytes().split(b"\0"):
                found.append(int(path.parent.name))
    return sorted(found, key=lambda pid: (pid != server.process.pid, pid))


def memory_kib(pids: list[int]) -> int:
    """Return the memory of processes, with what they share counted once, without what they map from files.

    Their part of that also depends on the other processes of the machine that map these files.
    """
    rollups = [Path(f"/proc/{pid}/smaps_rollup").read_text().splitlines() for pid in pids]
    return sum(int(line.split()[1]) for rollup in rollups for line in rollup if line.startswith("Pss_Anon:"))


def descriptors(pids: list[int]) -> int:
    return sum(len(list(Path(f"/proc/{pid}/fd").iterdir())) for pid in pids)


def launch(server: LoneServer, count: int) -> None:
    """Launch runs, ten at once, and wait for their success."""
    for _ in range(count // 10):
        runs = [server.launch("quick") for _ in range(10)]
        assert {server.wait_for(run) for run in runs} == {dg.DagsterRunStatus.SUCCESS}


def reload_code(server: LoneServer) -> None:
    with server.workspace() as workspace:
        workspace.get_code_location("it").client.reload_code(timeout=int(PATIENCE_S))


@pytest.fixture(scope="module")
def temporary(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Return the folder for the server's temporary files."""
    return tmp_path_factory.mktemp("tmp")


@pytest.fixture(scope="module")
def server(tmp_path_factory: pytest.TempPathFactory, temporary: Path) -> Iterator[LoneServer]:
    """Yield a server that has reloaded once and run once; it leaves no process and no file."""
    home = tmp_path_factory.mktemp("home")
    (home / "served.py").write_text(MODULE)
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("TMPDIR", str(temporary))
        with serve(home, ["--python-file", "served.py"]) as server:
            reload_and_run(server)
            yield server
    wait_until(lambda: not processes_of(server))
    assert list(temporary.rglob("*")) == []


@pytest.mark.timeout(3_600)
@pytest.mark.parametrize("reloads", [2, pytest.param(50, marks=pytest.mark.thorough)])
def test_reloads_leave_nothing_behind(server: LoneServer, temporary: Path, reloads: int) -> None:
    wait_until(lambda: len(processes_of(server)) == 3)  # the proxy, the server and the template
    proxy, files = processes_of(server)[:1], len(list(temporary.rglob("*")))
    before_kib, held = memory_kib(proxy), descriptors(proxy)
    for _ in range(reloads):
        reload_and_run(server)
    wait_until(lambda: len(processes_of(server)) == 3)
    after_kib = memory_kib(proxy)
    print(f"the proxy before and after {reloads} reloads: {before_kib}, {after_kib} KiB")
    assert after_kib <= MOST_GROWTH * before_kib
    wait_until(lambda: descriptors(proxy) <= held)
    assert len(list(temporary.rglob("*"))) == files


@pytest.mark.timeout(3_600)
@pytest.mark.parametrize(("early", "launches"), [(10, 20), pytest.param(100, 2_000, marks=pytest.mark.thorough)])
def test_launches_leave_nothing_behind(server: LoneServer, temporary: Path, early: int, launches: int) -> None:
    launch(server, early)
    wait_until(lambda: len(processes_of(server)) == 3)
    pids, files = processes_of(server), len(list(temporary.rglob("*")))
    early_kib, held = [memory_kib([pid]) for pid in pids], descriptors(pids)
    launch(server, launches - early)
    wait_until(lambda: processes_of(server) == pids)
    late_kib = [memory_kib([pid]) for pid in pids]
    print(f"proxy, server, template at launch {early}: {early_kib}, at {launches}: {late_kib} KiB")
    assert all(late <= MOST_GROWTH * early for early, late in zip(early_kib, late_kib, strict=True))
    wait_until(lambda: descriptors(pids) <= held)
    assert len(list(temporary.rglob("*"))) == files


def reload_and_run(server: LoneServer) -> None:
    reload_code(server)
    run_id = server.launch("quick")
    assert server.wait_for(run_id) is dg.DagsterRunStatus.SUCCESS, server.story(run_id)
    assert any(line.startswith("Launched warm") for line in server.story(run_id))
