"""A kill for lack of memory takes a run rather than the server, and is recognised."""

import os
import time
from collections.abc import Callable, Iterator
from contextlib import suppress
from pathlib import Path

import dagster as dg
import pytest
from lone_server import PATIENCE_S, serve

from dagster_warm import memory
from dagster_warm.memory import Kills, be_killed_first

SIGKILLED = -9
LIMIT_BYTES = 600 * 2**20

MODULE = """
import time
from pathlib import Path

import dagster as dg

@dg.op
def eat():
    eaten = []
    while True:
        eaten.append(bytearray(20_000_000))
        time.sleep(0.02)

@dg.op
def wait():
    while not Path("stop").exists():
        time.sleep(0.05)

@dg.job
def eating():
    eat()

@dg.job(executor_def=dg.in_process_executor)
def eating_in_process():
    eat()

@dg.job
def waiting():
    wait()

defs = dg.Definitions(jobs=[eating, eating_in_process, waiting])
"""


@pytest.fixture
def group() -> Iterator[Path]:
    """Yield a control group with little memory, where this machine lets one be made."""
    for root, limit in (("/sys/fs/cgroup/memory", "memory.limit_in_bytes"), ("/sys/fs/cgroup", "memory.max")):
        group = Path(root) / f"dagster-warm-{os.getpid()}"
        with suppress(OSError):
            group.mkdir()
            (group / limit).write_text(str(LIMIT_BYTES))
            break
        with suppress(OSError):
            group.rmdir()
    else:
        pytest.skip("needs the right to make a control group with a memory limit")
    yield group
    deadline = time.monotonic() + PATIENCE_S
    while group.exists():
        assert time.monotonic() < deadline
        with suppress(OSError):  # its last process has not ended yet
            group.rmdir()
        time.sleep(0.05)


def in_a_fork(do: Callable[[], object]) -> str:
    """Return what a function returns in a process of its own."""
    reader, writer = os.pipe()
    if os.fork() == 0:
        os.write(writer, str(do()).encode())
        os._exit(0)
    os.close(writer)
    with os.fdopen(reader) as told:
        answer = told.read()
    os.wait()
    return answer


def test_a_process_offers_itself_to_the_kernel() -> None:
    score = Path("/proc/self/oom_score_adj")
    before = int(score.read_text())

    def offer() -> str:
        be_killed_first()
        return score.read_text().strip()

    assert int(in_a_fork(offer)) == min(1000, before + 500)
    assert int(score.read_text()) == before


@pytest.mark.parametrize(
    ("membership", "path", "text"),
    [
        ("0::/pod/container\n", "pod/container/memory.events", "oom 9\noom_kill {}\noom_group_kill 1\n"),
        ("0::/pod/container\n", "memory.events", "low 0\noom_kill {}\n"),
        ("5:cpu:/\n4:memory:/docker/abc\n0::/\n", "memory/docker/abc/memory.oom_control", "under_oom 0\noom_kill {}\n"),
        ("4:memory:/docker/abc\n", "memory/memory.oom_control", "oom_kill_disable 0\noom_kill {}\n"),
    ],
    ids=["version 2", "version 2 in a container", "version 1", "version 1 in a container"],
)
def test_kills_are_read_from_the_control_group(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, membership: str, path: str, text: str
) -> None:
    (tmp_path / "cgroup").write_text(membership)
    file = tmp_path / path
    file.parent.mkdir(parents=True, exist_ok=True)
    file.write_text(text.format(2))
    count = memory._count
    monkeypatch.setattr(memory, "_count", lambda: count(tmp_path, tmp_path / "cgroup"))
    kills = Kills()
    assert kills.explain(SIGKILLED) == ""
    file.write_text(text.format(5))
    assert "began: 3." in kills.explain(SIGKILLED)
    assert "began: 3." in kills.explain(255)
    assert kills.explain(1) == ""


def test_nothing_is_said_where_nothing_is_known(tmp_path: Path) -> None:
    assert memory._count(tmp_path, tmp_path / "missing") == 0
    (tmp_path / "cgroup").write_text("0::/\n")
    assert memory._count(tmp_path, tmp_path / "cgroup") == 0


@pytest.mark.thorough
def test_a_run_that_eats_all_memory_ends_alone_and_says_so(tmp_path: Path, group: Path) -> None:
    (tmp_path / "served.py").write_text(MODULE)
    with serve(tmp_path, ["--no-reload", "--python-file", "served.py"]) as server:
        children = Path(f"/proc/{server.process.pid}/task/{server.process.pid}/children").read_text()
        for pid in (server.process.pid, *map(int, children.split())):
            (group / "cgroup.procs").write_text(str(pid))
        beside = server.launch("waiting")
        for count, job in enumerate(("eating", "eating_in_process"), start=1):
            run_id = server.launch(job)
            assert server.wait_for(run_id) is dg.DagsterRunStatus.FAILURE
            told = f"Kills for lack of memory by the kernel, in this container since its code server began: {count}."
            assert any("(SIGKILL)" in line and told in line for line in server.story(run_id)), server.story(run_id)
        (tmp_path / "stop").touch()
        assert server.wait_for(beside) is dg.DagsterRunStatus.SUCCESS, server.story(beside)
        assert server.process.poll() is None
