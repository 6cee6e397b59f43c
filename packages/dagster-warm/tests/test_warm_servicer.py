"""A server whose template fails launches its runs and steps the stock way, once, and says so."""

import os
import re
import signal
import threading
import time
from collections.abc import Iterator
from pathlib import Path

import dagster as dg
import pytest
from lone_server import PATIENCE_S, LoneServer, serve

MODULE = """
import logging, os, sys, time, warnings
from pathlib import Path

import dagster as dg
import structlog


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

@dg.job(executor_def=dg.in_process_executor)
def quick():
    note(nothing())

@dg.op
def log(context):
    context.log.info("THE CONTEXT'S LINE")
    dg.get_dagster_logger().info("DAGSTER'S LINE")
    dg.get_dagster_logger("mine").warning("MY LINE")
    logging.getLogger("mine").warning("ANOTHER LINE")
    logging.getLogger("dagster").warning("A LINE BELOW DAGSTER")
    structlog.get_logger().info("A STRUCTURED LINE")
    warnings.warn("A WARNING")
    print("A PRINTED LINE")

@dg.job
def logging_steps():
    log()

@dg.job(executor_def=dg.in_process_executor)
def logging_in_process():
    log()

defs = dg.Definitions(jobs=[waiting, quick, logging_steps, logging_in_process])
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
    assert told(story, "Launched cold:") == ["Launched cold: The template did not answer within 10 s."]
    assert server.wait_for(to_cancel) is dg.DagsterRunStatus.CANCELED, server.story(to_cancel)
    (server.home / in_flight).unlink()
    assert told(finish(server, in_flight), "Steps are launched cold: The run's template has died.")
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
    assert told(finish(server, in_flight), "Steps are launched cold:")


def test_a_run_whose_template_stops_spawns_its_steps(server: LoneServer) -> None:
    template = launch_until_warm(server)
    in_flight = begin(server)
    os.kill(template, signal.SIGSTOP)
    (server.home / in_flight).unlink()
    assert told(finish(server, in_flight), "Steps are launched cold: The template did not answer within 10 s.")
    os.kill(template, signal.SIGCONT)
    assert launch_until_warm(server) == template
    assert (server.home / "notes").read_text().split().count(in_flight) == 1


@pytest.mark.parametrize("job", ["logging_steps", "logging_in_process"])
def test_lines_are_logged_where_and_as_often_as_by_a_run_that_is_not_forked(server: LoneServer, job: str) -> None:
    launch_until_warm(server)
    (warm, cold) = (logged(server, job, cold) for cold in ("false", "true"))
    assert warm == cold
    assert warm["stdout"].count("A PRINTED LINE") == 1
    assert sum(text.count("DAGSTER'S LINE") for text in warm.values()) == 1


def logged(server: LoneServer, job: str, cold: str) -> dict[str, str]:
    """Return what a run has written to its outputs, without what differs between runs."""
    run_id = server.launch(job, **{"bench/cold": cold})
    assert server.wait_for(run_id) is SUCCESS, server.story(run_id)
    assert bool(told(server.story(run_id), "Launched warm")) is (cold == "false")
    (capture,) = server.instance.all_logs(run_id, of_type=dg.DagsterEventType.LOGS_CAPTURED)
    assert capture.dagster_event is not None
    key = [run_id, "compute_logs", capture.dagster_event.logs_captured_data.file_key]
    data = server.instance.compute_log_manager.get_log_data(key)
    texts = {"stdout": data.stdout, "stderr": data.stderr}
    return {
        name: "\n".join(
            re.sub(r"[0-9a-f-]{36}|[0-9]+|\x1b\[[0-9;]*m", "#", line)
            for line in (text or b"").decode().splitlines()
            if "LINE" in line or "A WARNING" in line
        )
        for name, text in texts.items()
    }
