"""Runs see what modules did at import, and leave what they leave at their ends, as behind Dagster's own server."""

from pathlib import Path
from typing import Any

import pytest
from lone_server import serve

FOLDER = Path(__file__).with_name("modules")
NAMES = sorted(path.stem for path in FOLDER.glob("*.py") if path.stem not in ("__init__", "served"))

Told = list[dict[str, Any]]
"""What the modules tell in each of two runs, by module."""


@pytest.fixture(scope="module")
def told(tmp_path_factory: pytest.TempPathFactory) -> dict[str, Told]:
    """Return what two runs tell behind each of the servers, whose temporary folder has a long path."""
    where = ["--working-directory", str(FOLDER.parent), "--module-name", "modules.served"]
    told: dict[str, Told] = {}
    for name, words in (("stock", ["dagster", "api", "grpc"]), ("warm", ["dagster_warm", "--no-reload"])):
        home = tmp_path_factory.mktemp(name)
        temporary = home / ("a-long-name-" * 10)
        temporary.mkdir()
        with pytest.MonkeyPatch.context() as patch:
            patch.setenv("TMPDIR", str(temporary))
            with serve(home, [*words[1:], *where], module=words[0]) as server:
                told[name] = [server.run("look") for _ in range(2)]
    return told


def test_the_comparison_is_of_both_servers(told: dict[str, Told]) -> None:
    assert [bool(run["warmth"]) for run in told["stock"] + told["warm"]] == [False, False, True, True]


@pytest.mark.parametrize("name", NAMES)
def test_a_run_sees_what_it_would_see_behind_dagsters_server(told: dict[str, Told], name: str) -> None:
    stock, warm = ([run[name] for run in told[server]] for server in ("stock", "warm"))
    assert [run["facts"] for run in warm] == [run["facts"] for run in stock]
    assert stock[0]["facts"] or stock[1]["facts"]
    for runs in (stock, warm):
        for value in runs[0]["own"]:
            assert runs[0]["own"][value] != runs[1]["own"][value]
