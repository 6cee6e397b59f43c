"""Sweeps on PostgreSQL: a successful one, and failures: a restart, cut connections, a full disk.

`make test-thorough` also runs everything in `test_sweeps` and `test_bad_days` on PostgreSQL.
"""

import os
import re
import subprocess
import tempfile
import time
from collections.abc import Callable, Iterator
from contextlib import suppress
from pathlib import Path

import pytest
from postgresql import PostgresServer, execute, running_server

from bench_orchestrator.model.launch import Outcome
from bench_orchestrator.model.runs import RunStatus
from integration.leftovers import assert_nothing_left
from integration.sweeping import (
    FAST,
    PARTITIONED,
    PATIENCE_S,
    Bench,
    bench_command,
    bench_in,
    ended,
    project_locations,
    sweep_well,
    wait_for,
)

Status = RunStatus

CUT = "SELECT pg_terminate_backend(pid) FROM pg_stat_activity WHERE pid <> pg_backend_pid() AND datname IS NOT NULL"


@pytest.fixture(scope="module")
def small_disk() -> Iterator[Path | None]:
    """Yield a file system with room for little more than a database, where one can be created."""
    if os.geteuid() != 0:
        yield None
        return
    disk = Path(tempfile.mkdtemp(prefix="bench-disk-"))  # accessible to other users
    disk.chmod(0o755)
    subprocess.run(["mount", "-t", "tmpfs", "-o", "size=160m,mode=755", "tmpfs", disk], check=True)
    yield disk
    subprocess.run(["umount", "--lazy", disk], check=True)
    disk.rmdir()


@pytest.fixture(scope="module")
def server(small_disk: Path | None) -> Iterator[PostgresServer]:
    """Yield a server that the tests stop, restart, and fill up."""
    with running_server(small_disk) as running:
        yield running


@pytest.fixture(scope="module")
def deployed(new_home: Callable[..., Path], server: PostgresServer) -> Iterator[Bench]:
    """Yield a deployment on that server."""
    with bench_in(new_home(), project_locations(FAST, PARTITIONED, drawn=True), server.url) as bench:
        yield bench


@pytest.fixture
def bench(deployed: Bench) -> Bench:
    """Return the deployment, recovered from earlier tests."""
    deployed.wait_until_usable()
    return deployed


def test_a_good_sweep(bench: Bench) -> None:
    sweep_well(bench)


def test_a_restart_in_the_middle_of_a_sweep_loses_no_launch(bench: Bench, server: PostgresServer) -> None:
    run_id = bench.start([FAST], repeats=4, timeout_s=30)
    bench.wait_for_notes(run_id, 1)
    bench.wait_for_trial(run_id, 2, Status.SUCCESS)
    server.stop()
    server.start()  # at once: Dagster itself waits six seconds to write an event
    assert bench.wait_for_end(run_id) is Status.SUCCESS
    sweep = bench.harvest_now(run_id)
    assert sweep.status == "complete"
    assert bench.outcomes(sweep)[:2] == ["ok", "ok"]
    # The webserver pools connections: the first request after the restart may create a run but fail to enqueue it.
    for trial in sweep.trials[2:]:
        assert re.search("^$|still NOT_STARTED|has trouble with its database", trial.reason)


@pytest.mark.thorough
def test_connections_that_are_cut_lose_no_launch(bench: Bench, server: PostgresServer) -> None:
    run_id = bench.start([FAST], repeats=5, timeout_s=30)
    bench.wait_for_notes(run_id, 1)
    for _ in range(10):
        execute(server.url, CUT)
        time.sleep(1)
    wait_for("the end of the sweep", lambda: bench.run(run_id).finished)
    sweep = bench.harvest_now(run_id)
    assert len(sweep.trials) == 5
    assert sweep.trials[0].outcome is Outcome.OK


def test_a_full_disk_is_named_and_every_launch_is_recorded_once(
    bench: Bench, server: PostgresServer, small_disk: Path | None
) -> None:
    if small_disk is None:
        pytest.skip("only root can make a file system of a certain size")
    # Fill it during the pause between two trials: a run in progress could not report anything.
    run_id = bench.start([FAST], repeats=4, timeout_s=30, pause_s=5)
    bench.wait_for_notes(run_id, 2)
    filler = small_disk / "filler"
    fill(filler)
    wait_for("the sweep to say so", lambda: "No space left on device" in _output(bench, run_id))
    filler.unlink()
    bench.wait_until_usable()
    wait_for("the end of the sweep", lambda: bench.run(run_id).finished)
    sweep = bench.harvest_now(run_id)
    assert bench.outcomes(sweep)[:2] == ["ok", "ok"]
    assert f"The PostgreSQL database postgresql://***@127.0.0.1:{server.port}/" in _output(bench, run_id)
    for trial in sweep.trials[2:]:
        assert re.search("^$|No space left on device", trial.reason)


def fill(path: Path) -> None:
    """Use up all free space."""
    with path.open("wb", buffering=0) as file, suppress(OSError):
        while True:
            file.write(b"\0" * 4_096)


def _output(bench: Bench, run_id: str) -> str:
    """Return the output of a run's process, which is stored in files, independent of the database."""
    files = (bench.deployment.instance_home / "storage" / run_id / "compute_logs").glob("*.err")
    return "".join(file.read_text() for file in files)


def test_the_command_names_a_database_that_is_not_there(new_home: Callable[..., Path], server: PostgresServer) -> None:
    home, url = new_home(), server.url.replace("dagster@", "dagster:a-secret@").replace("/postgres", "/nowhere")
    with ended(bench_command(home, "run", "quick", "--locations", FAST, postgres_url=url)) as process:
        output, errors = process.communicate(timeout=PATIENCE_S)
    assert process.returncode == 3, output + errors
    assert f"postgresql://***@127.0.0.1:{server.port}/nowhere" in errors
    assert 'database "nowhere" does not exist' in errors
    assert "a-secret" not in output + errors
    assert_nothing_left(home)
