"""Features of the warm code server only: its template, and runs when that dies, reloads or is not safe to fork.

`test_code_servers` covers what it has in common with Dagster's own, and the distribution's tests what can be seen
without a webserver and a daemon: cold steps and launches, and code that cannot be forked.
"""

import json
import time
from collections.abc import Iterator
from pathlib import Path

import dagster as dg
import psutil
import pytest

from bench_orchestrator.deployment import WARM_SERVER, CodeLocation
from integration.serving import Server, gone, serve
from integration.sweeping import wait_for

RELOADING_SERVER = ("dagster_warm",)
THREAD = "threading.Thread(target=time.sleep, args=(3600,), name='metrics', daemon=True).start()"
FOLDER = "import tempfile\nFOLDER = tempfile.TemporaryDirectory()\nFOUND = lambda: os.path.isdir(FOLDER.name)"

THREADED = f"{THREAD}\n{FOLDER}"

MODULES = {
    "reloading": (RELOADING_SERVER, ""),
    "accepted": ((*WARM_SERVER, "--accept", "thread metrics *", "--after-fork", "accepted:hook"), THREADED),
}
"""Code locations with the module below, by name: each server's options, and the additional lines of its code."""

MODULE = """
import os
import threading
import time
from pathlib import Path

import dagster as dg

VERSION = "{version}"
HOOKED = []
FOUND = bool

def hook():
    HOOKED.append(os.getpid())

{more}

@dg.op
def tell(context: dg.OpExecutionContext):
    context.add_output_metadata({{"version": VERSION, "hooked": HOOKED == [os.getpid()], "found": FOUND()}})

@dg.op
def wait():
    Path("waiting").touch()
    while Path("waiting").exists():
        time.sleep(0.05)

@dg.op
def tell_after(context: dg.OpExecutionContext, waited):
    context.add_output_metadata({{"version": VERSION}})

@dg.asset
def orders(): ...

@dg.job
def telling():
    tell()

@dg.job(executor_def=dg.in_process_executor)
def telling_in_process():
    tell()

@dg.job
def waiting():
    tell_after(wait())

defs = dg.Definitions([orders], jobs=[telling, telling_in_process, waiting])
"""


@pytest.fixture(scope="module")
def code(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Return the folder with a subfolder for each module, where its server runs."""
    return tmp_path_factory.mktemp("code")


@pytest.fixture(scope="module")
def servers(tmp_path_factory: pytest.TempPathFactory, code: Path) -> Iterator[dict[str, Server]]:
    """Yield a server for each module."""
    locations = []
    for name, (server, more) in MODULES.items():
        (code / name).mkdir()
        write(code, name, more=more)
        locations.append(CodeLocation(name, name, working_directory=code / name, server=server))
    with serve(tmp_path_factory.mktemp("home"), *locations) as servers:
        yield servers


@pytest.fixture
def server(servers: dict[str, Server]) -> Server:
    """Return the server that reloads."""
    return servers["reloading"]


def write(code: Path, name: str, version: str = "first", more: str = "") -> None:
    (code / name / f"{name}.py").write_text(MODULE.format(version=version, more=more))


def warmth(server: Server, run_id: str) -> dict[str, str]:
    """Return the run's launch event metadata about its template; empty if it was launched the stock way."""
    for event in server.events(run_id, dg.DagsterEventType.ENGINE_EVENT):
        if (event.message or "").startswith("Launched warm"):
            metadata = event.engine_event_data.metadata
            return {name.removeprefix("bench/"): str(value.value) for name, value in metadata.items()}
    return {}


def template_of(server: Server, run_id: str) -> psutil.Process:
    return psutil.Process(int(warmth(server, run_id)["template_pid"]))


def launch(server: Server, job: str) -> str:
    return server.launch(job, repository="__repository__")


def finish(server: Server, job: str) -> str:
    return server.finish(job, repository="__repository__")


class TestARun:
    def test_says_that_it_was_launched_warm_and_from_what(self, server: Server) -> None:
        for job in ("telling", "telling_in_process"):
            run_id = finish(server, job)
            told = warmth(server, run_id)
            assert told["template_generation"] == "1"
            assert told["template_assets"] == "1"
            assert 0 <= float(told["fork_ms"]) < 60_000
            assert 0 < float(told["template_age_s"]) < 3_600
            template = template_of(server, run_id)
            assert "dagster_warm" in template.cmdline()
            assert template.num_threads() == 1

    @pytest.mark.parametrize("count", [10, pytest.param(500, marks=pytest.mark.thorough)])
    def test_and_many_more_leave_nothing_behind(self, server: Server, count: int) -> None:
        template = template_of(server, finish(server, "telling"))
        code_server = psutil.Process(template.ppid())
        wait_for("the end of the last run", lambda: not template.children())
        before = (template.num_fds(), code_server.num_fds(), code_server.num_threads())
        files = set(server.temporary.rglob("*"))
        run_ids = [launch(server, "telling") for _ in range(count)]
        assert {server.wait_for_end(run_id) for run_id in run_ids} == {dg.DagsterRunStatus.SUCCESS}
        wait_for("the end of the last run", lambda: not template.children())
        assert all(warmth(server, run_id)["template_pid"] == str(template.pid) for run_id in run_ids)
        wait_for("descriptors to be closed", lambda: template.num_fds() <= before[0])
        wait_for("descriptors to be closed", lambda: code_server.num_fds() <= before[1] + 2)
        assert code_server.num_threads() <= before[2] + 10  # gRPC's pool, which grows to its limit
        assert set(server.temporary.rglob("*")) == files


class TestATemplateThatDies:
    def test_is_replaced_and_the_run_that_hits_it_is_launched_once(self, server: Server) -> None:
        first = template_of(server, finish(server, "telling_in_process"))
        first.kill()
        run_id = finish(server, "telling_in_process")
        assert len(server.events(run_id, dg.DagsterEventType.RUN_START)) == 1
        assert f"The template (pid {first.pid}) has died" in server.log
        told = self.finish_warm(server)
        generation = int(told["template_generation"])
        assert generation > 1

        second = psutil.Process(int(told["template_pid"]))
        second.suspend()
        run_id = launch(server, "telling_in_process")
        wait_for("the request", lambda: server.run(run_id).status is dg.DagsterRunStatus.STARTING)
        time.sleep(1)  # the template will never read it
        second.kill()
        assert server.wait_for_end(run_id) is dg.DagsterRunStatus.SUCCESS, server.story(run_id)
        assert len(server.events(run_id, dg.DagsterEventType.RUN_START)) == 1
        assert int(self.finish_warm(server)["template_generation"]) == generation + 1

    def test_leaves_its_runs_alone(self, server: Server, code: Path) -> None:
        run_id = launch(server, "waiting")
        held = code / server.location / "waiting"
        wait_for("its first step", held.exists)
        template_of(server, run_id).kill()
        held.unlink()
        assert server.wait_for_end(run_id) is dg.DagsterRunStatus.SUCCESS, server.story(run_id)
        assert server.saw(run_id, "tell_after")["version"] == "first"

    def finish_warm(self, server: Server) -> dict[str, str]:
        """Finish runs until one is forked; the others are launched cold while the template is being replaced."""
        return wait_for("a forked run", lambda: warmth(server, finish(server, "telling_in_process")))


class TestAReload:
    def test_is_for_later_runs_and_those_in_flight_finish_with_the_code_they_began_with(
        self, server: Server, code: Path
    ) -> None:
        write(code, server.location)
        self.reload(server)
        assert server.saw(finish(server, "telling"), "tell")["version"] == "first"
        in_flight = launch(server, "waiting")
        held = code / server.location / "waiting"
        wait_for("its first step", held.exists)
        old = template_of(server, in_flight)
        with server.daemon_held():
            queued = launch(server, "telling")
            write(code, server.location, version="second")
            self.reload(server)
        for after in (queued, launch(server, "telling")):
            assert server.wait_for_end(after) is dg.DagsterRunStatus.SUCCESS, server.story(after)
            assert server.saw(after, "tell")["version"] == "second"
            assert warmth(server, after)["template_pid"] != str(old.pid)
        held.unlink()
        assert server.wait_for_end(in_flight) is dg.DagsterRunStatus.SUCCESS, server.story(in_flight)
        assert server.saw(in_flight, "tell_after")["version"] == "first"
        wait_for("the end of the old template", lambda: gone(old))

    def test_of_broken_code_says_so_and_can_be_repaired(self, server: Server, code: Path) -> None:
        write(code, server.location, more="raise RuntimeError('a typo')")
        assert "a typo" in json.dumps(self.reload(server))
        write(code, server.location, version="third")
        self.reload(server)
        assert server.saw(finish(server, "telling"), "tell")["version"] == "third"

    def reload(self, server: Server) -> object:
        return server.query(
            """mutation($name: String!) { reloadRepositoryLocation(repositoryLocationName: $name) {
                ... on WorkspaceLocationEntry {
                    locationOrLoadError { ... on PythonError { message causes { message } } }
                }
            } }""",
            name=server.location,
        )


class TestCodeThatCannotBeForked:
    @pytest.mark.thorough
    def test_is_refused_on_request(self, tmp_path: Path) -> None:
        (tmp_path / "refused").mkdir()
        write(tmp_path, "refused", more=THREAD)
        command = (*WARM_SERVER, "--on-hazard", "refuse")
        location = CodeLocation("refused", "refused", working_directory=tmp_path / "refused", server=command)
        home = tmp_path / "home"
        home.mkdir()
        with serve(home, location) as servers:
            (status,) = servers["refused"].deployment.status().locations
        assert "thread metrics (time:sleep) (start it when it is needed, not at import)" in status.message

    def test_is_forked_if_the_user_accepts_it(self, servers: dict[str, Server]) -> None:
        assert warmth(servers["accepted"], finish(servers["accepted"], "telling"))


def test_a_hook_runs_in_every_process_and_what_was_made_by_an_import_is_there_for_all_runs(
    servers: dict[str, Server],
) -> None:
    server = servers["accepted"]
    for _ in range(2):
        told = server.saw(finish(server, "telling"), "tell")
        assert told["hooked"] is True
        assert told["found"] is True
