"""A kill for lack of memory takes a run rather than the server, and is recognised."""

import os
from collections.abc import Callable
from pathlib import Path

import pytest

from dagster_warm import memory
from dagster_warm.memory import Kills, be_killed_first

SIGKILLED = -9


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
    assert "killed 3 processes" in kills.explain(SIGKILLED)
    assert "killed 3 processes" in kills.explain(255)
    assert kills.explain(1) == ""


def test_nothing_is_said_where_nothing_is_known(tmp_path: Path) -> None:
    assert memory._count(tmp_path, tmp_path / "missing") == 0
    (tmp_path / "cgroup").write_text("0::/\n")
    assert memory._count(tmp_path, tmp_path / "cgroup") == 0
