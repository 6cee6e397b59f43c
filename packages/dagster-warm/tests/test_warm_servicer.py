"""A server whose template fails launches its runs and steps the stock way, once, and says so."""

import os
import signal
import threading
import time
from collections.abc import Iterator
from pathlib import Path

import dagster as dg
import pytest
from lone_server import PATIENCE_S, LoneServer, serve

MODULE = """
import os, time
from pathlib import Path

import dagster as dg

@dg.op
def wait(context):
    Path(context.run_id).touch()
    while Path(context.run_id).exists():
        time.sleep(0.02)

@dg.op
def note(context, waited):
    with open("notes", "a") as notes:
        notes.write(f"{context.run_id}\\n")

@dg.op
def nothing(): ...

@dg.job
def waiting():
    note(wait())

@dg.job
def quick():
    note(nothing())

defs = dg.Definitions(jobs=[waiting, quick])
"""

SUCCESS = dg.DagsterRunStatus.SUCCESS


@pytest.fixture(scope="module")
def server(tmp_path_factory: pytest.TempPathFactory) -> Iterator[LoneServer]:
    home = tmp_path_factory.mktemp("home")
    (home / "served.py").write_text(MODULE)
    with serve(home, ["--no-reload", "--python-file", "served.py"]) as server:
        yield server


def finish(server: LoneServer, run_id: str) -> list[str]:
    """Wait for the success of a run that ran once; return its story."""
    assert server.wait_for(run_id) is SUCCESS, server.story(run_id)
    assert (server.home / "notes").read_text().split().count(run_id) == 1
    return server.story(run_id)


def template_of(story: list[str]) -> int:
    """Return the process id of the template that a run was forked from; 0 if it was not forked."""
    (told,) = [line for line in story if line.startswith("Launched warm")] or ["(pid 0)"]
    return int(told.partition("(pid ")[2].partition(")")[0])


def begin(server: LoneServer) -> str:
    """Launch a run and wait until its first step waits."""
    run_id = server.launch("waiting")
    deadline = time.monotonic() + PATIENCE_S
    while not (server.home / run_id).exists():
        assert time.monotonic() < deadline, server.story(run_id)
        time.sleep(0.02)
    return run_id


def launch_until_warm(server: LoneServer) -> int:
    """Launch runs until one is forked again; return the process id of the template."""
    deadline = time.monotonic() + PATIENCE_S
    while not (template := template_of(finish(server, server.launch("quick")))):
        assert time.monotonic() < deadline
    return template


def told(story: list[str], beginning: str) -> list[str]:
    return [line for line in story if line.startswith(beginning)]


def test_a_template_that_does_not_answer_holds_up_one_launch_which_then_is_stock(server: LoneServer) -> None:
    first = launch_until_warm(server)
    in_flight, to_cancel = begin(server), begin(server)
    os.kill(first, signal.SIGSTOP)
    launched = threading.Thread(target=lambda: launches.append(server.launch("quick")))
    launches: list[str] = []
    launched.start()
    time.sleep(1)
    began_s = time.monotonic()
    assert server.instance.run_launcher.terminate(to_cancel)
    assert time.monotonic() - began_s < 30  # the limit is 10 s
    launched.join(PATIENCE_S)
    (late,) = launches
    story = finish(server, late)
    assert template_of(story) == 0
    assert told(story, "Launched cold: ") == ["Launched cold: The template did not answer within 10 s."]
    assert server.wait_for(to_cancel) is dg.DagsterRunStatus.CANCELED, server.story(to_cancel)
    (server.home / in_flight).unlink()
    assert told(finish(server, in_flight), "Steps are launched the stock way. The run's template has died.")
    assert launch_until_warm(server) != first
    assert not Path(f"/proc/{first}").exists()


def test_a_template_that_dies_is_replaced_before_the_next_launch_asks_for_it(server: LoneServer) -> None:
    first = launch_until_warm(server)
    in_flight = begin(server)
    os.kill(first, signal.SIGKILL)
    story = finish(server, server.launch("quick"))
    assert template_of(story) or told(story, "Launched cold: The template")
    assert launch_until_warm(server) != first
    (server.home / in_flight).unlink()
    assert told(finish(server, in_flight), "Steps are launched the stock way.")


def test_a_run_whose_template_stops_spawns_its_steps(server: LoneServer) -> None:
    template = launch_until_warm(server)
    in_flight = begin(server)
    os.kill(template, signal.SIGSTOP)
    (server.home / in_flight).unlink()
    assert told(finish(server, in_flight), "Steps are launched the stock way. The template did not answer within 10 s.")
    os.kill(template, signal.SIGCONT)
    assert launch_until_warm(server) == template
    assert (server.home / "notes").read_text().split().count(in_flight) == 1
