"""`--max-age` renews the template: later runs get what the code works out now, runs in flight keep theirs."""

from collections.abc import Iterator
from pathlib import Path

import dagster as dg
import pytest
from lone_server import LoneServer, serve, wait_until

MODULE = """
import atexit
import os
import time
import uuid
from pathlib import Path

import dagster as dg

TOKEN = uuid.uuid4().hex
atexit.register(Path(f"ended-{os.getpid()}").touch)
if Path("broken").exists():
    raise RuntimeError("a typo")

@dg.op
def tell(context: dg.OpExecutionContext) -> None:
    context.add_output_metadata({"token": TOKEN})

@dg.op
def wait(context: dg.OpExecutionContext) -> None:
    Path("waiting").touch()
    while Path("waiting").exists():
        time.sleep(0.05)
    context.add_output_metadata({"token": TOKEN})

@dg.op(ins={"waited": dg.In(dg.Nothing)})
def tell_after(context: dg.OpExecutionContext) -> None:
    context.add_output_metadata({"token": TOKEN})

@dg.job(executor_def=dg.in_process_executor)
def telling() -> None:
    tell()

@dg.job
def waiting() -> None:
    tell_after(wait())

defs = dg.Definitions(jobs=[telling, waiting])
"""


@pytest.fixture(scope="module")
def server(tmp_path_factory: pytest.TempPathFactory) -> Iterator[LoneServer]:
    """Yield a server whose templates are renewed every few seconds."""
    home = tmp_path_factory.mktemp("home")
    (home / "served.py").write_text(MODULE)
    with serve(home, ["--no-reload", "--max-age", "3s", "--python-file", "served.py"]) as server:
        yield server


def generation(server: LoneServer) -> int:
    """Return the generation of the template that serves now, as the server's log tells it."""
    told = [line.split("Template ")[1].split() for line in server.log.splitlines() if " replaces an older one" in line]
    return max((int(words[0]) for words in told), default=1)


def test_later_runs_get_new_values_and_runs_in_flight_keep_theirs(server: LoneServer) -> None:
    first = server.finish(server.launch("telling"))
    in_flight = server.launch("waiting")
    wait_until((server.home / "waiting").exists)
    before = generation(server)
    wait_until(lambda: generation(server) > before)
    later = server.finish(server.launch("telling"))
    assert later["warmth"]["template_generation"] > first["warmth"]["template_generation"]
    assert later["tell"]["token"] != first["tell"]["token"]
    assert later["warmth"]["template_age_s"] < first["warmth"]["template_age_s"] + 60

    (server.home / "waiting").unlink()
    kept = server.finish(in_flight)
    assert kept["wait"]["token"] == kept["tell_after"]["token"] != later["tell"]["token"]
    old = Path(f"/proc/{kept['warmth']['template_pid']}")
    wait_until(lambda: not old.exists())


def test_a_template_that_imported_the_code_itself_runs_its_exit_handlers(server: LoneServer) -> None:
    wait_until(lambda: generation(server) > 1)
    pid = server.finish(server.launch("telling"))["warmth"]["template_pid"]
    wait_until((server.home / f"ended-{pid}").exists)
    assert not (server.home / f"ended-{server.process.pid}").exists()


def test_a_renewal_that_fails_leaves_the_old_template_in_place(server: LoneServer) -> None:
    (server.home / "broken").touch()
    wait_until(lambda: "could not be renewed" in server.log)
    serving = generation(server)
    line = next(line for line in server.log.splitlines() if "could not be renewed" in line)
    assert "The template could not be renewed, and serves on. The code cannot be loaded any more." in line
    told = server.finish(server.launch("telling"))
    assert told["warmth"]["template_generation"] == serving
    (server.home / "broken").unlink()
    wait_until(lambda: generation(server) > serving)
    assert server.wait_for(server.launch("telling")) is dg.DagsterRunStatus.SUCCESS
