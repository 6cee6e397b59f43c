"""Runs behave the same on Dagster's own code server and on the warm one: one test, both servers.

Each server is in a real deployment, with a webserver, a daemon and run monitoring. Runs of the warm one wait in the
queue that is looked at when it changes, whose interval is longer than these tests' patience. It is there twice: with
Dagster's run launcher, and with the warm one beside a launcher that stands in for Kubernetes. `test_warm_server` and
`test_run_launcher` cover what only these have.

Dagster's own server is the reference. It changes only with Dagster's release, which requirements.lock pins, so only
`make test-thorough` tests it.
"""

import json
import time
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from itertools import pairwise
from pathlib import Path
from typing import Any

import dagster as dg
import psutil
import pytest

from bench_orchestrator.deployment import STOCK_SERVER, WARM_SERVER
from bench_orchestrator.webserver import LocationAwayError
from dagster_warm.launcher import WarmRunLauncher
from integration.serving import AT_ONCE, LOCATION, Server, behaviours, beside_pods, gone, serve
from integration.sweeping import wait_for


@pytest.fixture(
    scope="module",
    params=[
        pytest.param((STOCK_SERVER, False), marks=pytest.mark.thorough, id="stock"),
        pytest.param((WARM_SERVER, False), id="warm"),
        pytest.param((WARM_SERVER, True), marks=pytest.mark.thorough, id="warm beside pods"),
    ],
)
def server(request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Server]:
    command, is_beside_pods = request.param
    # A run that finds its server away is looked at again after the interval, and no change tells of the server.
    queue = {**AT_ONCE, "config": {**AT_ONCE["config"], "dequeue_interval_seconds": 20}}
    settings: dict[str, Any] = {"run_coordinator": queue} if command == WARM_SERVER else {}
    if is_beside_pods:
        settings["run_launcher"] = beside_pods(tmp_path_factory.mktemp("pods"))
    with serve(tmp_path_factory.mktemp("home"), behaviours(command), **settings) as servers:
        yield servers[LOCATION]


class TestARun:
    @pytest.mark.parametrize("job", ["success", "success_by_forkserver"])
    def test_has_its_own_processes_and_passes_values_on(self, server: Server, job: str) -> None:
        run_id = server.finish(job)
        look, add = server.saw(run_id, "look"), server.saw(run_id, "add")
        assert look["pid"] != add["pid"]
        assert server.steps(run_id) == ["add", "look"]
        other = server.saw(server.finish(job), "look")
        assert other["pid"] != look["pid"]
        assert other["random"] != look["random"]
        assert other["temporary"] != look["temporary"]

    def test_in_process_has_one_process(self, server: Server) -> None:
        run_id = server.finish("success_in_process")
        assert server.saw(run_id, "look")["pid"] == server.saw(run_id, "add")["pid"]
        wait_for("its end", lambda: not psutil.pid_exists(server.saw(run_id, "look")["pid"]))

    def test_runs_where_and_with_what_its_server_runs(self, server: Server) -> None:
        for job in ("success", "success_in_process"):
            run_id = server.finish(job, tags={"of": "the run"})
            look = server.saw(run_id, "look")
            environment = json.loads(look["environment"])
            assert look["directory"] == str(Path(__file__).parent)
            assert look["greeting"] == environment["GREETING"] == "hello"
            assert environment["SET_AT_IMPORT"] == "yes"
            assert environment["DAGSTER_HOME"] == str(server.deployment.home)
            assert look["main_thread"] is True
            assert json.loads(look["tags"])["of"] == "the run"

    def test_has_its_output_captured(self, server: Server) -> None:
        for job in ("success", "success_in_process"):
            run_id = server.finish(job)
            (capture,) = {
                event.logs_captured_data.file_key
                for event in server.events(run_id, dg.DagsterEventType.LOGS_CAPTURED)
                if job == "success_in_process" or "look" in (event.logs_captured_data.step_keys or [])
            }
            logs = server.instance.compute_log_manager.get_log_data([run_id, "compute_logs", capture])
            assert logs.stdout is not None
            assert b"a line to stdout" in logs.stdout
            assert logs.stderr is not None
            assert b"a line to stderr" in logs.stderr
            assert "a line to the log" in server.story(run_id)

    def test_may_start_threads_and_open_connections(self, server: Server) -> None:
        assert server.saw(server.finish("connecting"), "connect")["received"] == "abc"

    def test_comes_from_its_own_repository(self, server: Server) -> None:
        assert server.saw(server.finish("success", repository="other"), "collect")["sum"] == 6

    def test_has_as_many_steps_as_there_are_pieces(self, server: Server) -> None:
        run_id = server.finish("dynamic")
        assert server.saw(run_id, "collect")["sum"] == 6
        assert server.steps(run_id) == ["collect", *(f"double[piece_{number}]" for number in range(3)), "split"]

    def test_waits_for_room_in_its_pool(self, server: Server) -> None:
        runs = [server.launch("pooled") for _ in range(3)]
        assert {server.wait_for_end(run_id) for run_id in runs} == {dg.DagsterRunStatus.SUCCESS}
        stays = sorted((saw["entered"], saw["left"]) for saw in (server.saw(run_id, "squeeze") for run_id in runs))
        assert all(left <= entered for (_, left), (entered, _) in pairwise(stays))


class TestAFailure:
    def test_says_what_went_wrong(self, server: Server) -> None:
        run_id = server.launch("failure")
        assert server.wait_for_end(run_id) is dg.DagsterRunStatus.FAILURE
        (failure,) = server.events(run_id, dg.DagsterEventType.STEP_FAILURE)
        error = failure.step_failure_data.error
        assert error is not None
        assert error.cause is not None
        assert "the warehouse is closed" in error.cause.message
        assert "behaviours.py" in "".join(error.cause.stack)
        assert server.steps(run_id) == ["look"]

    def test_can_be_retried_from_where_it_happened(self, server: Server, tmp_path: Path) -> None:
        run_id = server.launch("recovery", refuse_once=tmp_path / "tried")
        assert server.wait_for_end(run_id) is dg.DagsterRunStatus.FAILURE
        answer = server.query(
            """mutation($run: String!) {
                launchRunReexecution(reexecutionParams: {parentRunId: $run, strategy: FROM_FAILURE}) {
                    ... on LaunchRunSuccess { run { runId } }
                    ... on PythonError { message }
                }
            }""",
            run=run_id,
        )
        again = answer["launchRunReexecution"]["run"]["runId"]
        assert server.wait_for_end(again) is dg.DagsterRunStatus.SUCCESS, server.story(again)
        assert server.steps(again) == ["refuse_once"]

    def test_is_retried_by_its_policy(self, server: Server) -> None:
        run_id = server.finish("retrying")
        assert server.steps(run_id, dg.DagsterEventType.STEP_UP_FOR_RETRY) == ["stumble"]
        assert server.steps(run_id, dg.DagsterEventType.STEP_RESTARTED) == ["stumble"]


class TestAKilledProcess:
    def test_of_a_step_fails_it(self, server: Server, tmp_path: Path) -> None:
        run_id = server.launch("dying_step", die=tmp_path / "died")
        assert server.wait_for_end(run_id) is dg.DagsterRunStatus.FAILURE
        (failure,) = server.events(run_id, dg.DagsterEventType.STEP_FAILURE)
        error = failure.step_failure_data.error
        assert error is not None
        assert error.cls_name == "ChildProcessCrashException"

    def test_of_a_run_fails_it(self, server: Server, tmp_path: Path) -> None:
        run_id = server.launch("dying_run", die=tmp_path / "died")
        assert server.wait_for_end(run_id) is dg.DagsterRunStatus.FAILURE
        assert any("terminated by signal 9 (SIGKILL)" in line for line in server.story(run_id))

    def test_of_a_run_is_retried_on_request(self, server: Server, tmp_path: Path) -> None:
        run_id = server.launch("dying_run", {"dagster/max_retries": "1"}, die=tmp_path / "died")
        assert server.wait_for_end(run_id) is dg.DagsterRunStatus.FAILURE
        retry = dg.RunsFilter(tags={"dagster/parent_run_id": run_id})
        (again,) = wait_for("the retry", lambda: server.instance.get_runs(retry))
        assert server.wait_for_end(again.run_id) is dg.DagsterRunStatus.SUCCESS, server.story(again.run_id)

    def test_of_the_server_leaves_its_runs_alone(self, server: Server, tmp_path: Path) -> None:
        if isinstance(server.instance.run_launcher, WarmRunLauncher):
            pytest.skip("run monitoring fails them: test_run_launcher")
        path = tmp_path / "here"
        run_id = server.launch("lasting", wait_for_file=path)
        worker = server.process_in(path)
        code_server = server.process
        code_server.kill()
        code_server.wait(60)
        time.sleep(1)
        assert worker.is_running()
        path.unlink()
        assert server.wait_for_end(run_id) is dg.DagsterRunStatus.SUCCESS, server.story(run_id)
        wait_for("its end", lambda: gone(worker))
        server.deployment.wait_until_loaded(timeout_s=60)
        server.finish("success")


class TestADeploy:
    def test_lets_a_run_in_flight_finish_and_later_runs_go_to_the_server_that_follows(
        self, server: Server, tmp_path: Path
    ) -> None:
        path = tmp_path / "here"
        run_id = server.launch("lasting", wait_for_file=path)
        server.process_in(path)
        code_server = server.process
        code_server.terminate()
        time.sleep(2)
        assert server.run(run_id).status is dg.DagsterRunStatus.STARTED, server.story(run_id)
        path.unlink()
        assert server.wait_for_end(run_id) is dg.DagsterRunStatus.SUCCESS, server.story(run_id)
        code_server.wait(60)
        later = wait_for("the server that follows", lambda: self.launch(server))
        assert server.wait_for_end(later) is dg.DagsterRunStatus.SUCCESS, server.story(later)

    def launch(self, server: Server) -> str:
        """Launch a run; return nothing if the webserver still looks for the server that has left."""
        with suppress(LocationAwayError):
            return server.launch("success_in_process")
        return ""


class TestATimeLimit:
    def test_ends_a_run_and_its_process(self, server: Server, tmp_path: Path) -> None:
        path = tmp_path / "here"
        run_id = server.launch("endless_in_process", {"dagster/max_runtime": "1"}, wait=path)
        process = server.process_in(path)
        # The run worker and the daemon both report its end; either may be the last to do so.
        assert server.wait_for_end(run_id) in (dg.DagsterRunStatus.FAILURE, dg.DagsterRunStatus.CANCELED)
        assert "Canceling due to exceeding maximum runtime of 1 seconds." in server.story(run_id)
        wait_for("its end", lambda: gone(process))


class TestACancelledRun:
    def test_in_the_queue_never_begins(self, server: Server) -> None:
        run_id = server.launch("success", {"held": "yes"})
        wait_for("the queue", lambda: server.run(run_id).status is dg.DagsterRunStatus.QUEUED)
        assert not server.cancel(run_id)
        assert server.wait_for_end(run_id) is dg.DagsterRunStatus.CANCELED
        assert not server.events(run_id, dg.DagsterEventType.RUN_START)

    @pytest.mark.parametrize("job", ["endless", "endless_in_process"])
    def test_in_a_step_ends_its_processes(self, server: Server, tmp_path: Path, job: str) -> None:
        path = tmp_path / "here"
        run_id = server.launch(job, wait=path)
        process = server.process_in(path)
        assert not server.cancel(run_id)
        assert server.wait_for_end(run_id) is dg.DagsterRunStatus.CANCELED
        wait_for("its end", lambda: gone(process))

    def test_as_soon_as_it_starts_is_canceled(self, server: Server, tmp_path: Path) -> None:
        run_id = server.launch("endless_in_process", wait=tmp_path / "here")
        started = (dg.DagsterRunStatus.STARTING, dg.DagsterRunStatus.STARTED)
        wait_for("its start", lambda: server.run(run_id).status in started)
        wait_for("its consent", lambda: not server.cancel(run_id))
        assert server.wait_for_end(run_id) is dg.DagsterRunStatus.CANCELED

    def test_at_once_is_canceled_at_once(self, server: Server, tmp_path: Path) -> None:
        path = tmp_path / "here"
        run_id = server.launch("endless_in_process", wait=path)
        process = server.process_in(path)
        assert not server.cancel(run_id, "MARK_AS_CANCELED_IMMEDIATELY")
        assert server.run(run_id).status is dg.DagsterRunStatus.CANCELED
        wait_for("its end", lambda: gone(process))


class TestAskedByTheDaemon:
    def test_a_backfill_has_a_run_for_each_partition(self, server: Server) -> None:
        partitions = ["north", "south", "west"]
        server.webserver.submit_backfill(asset_keys=["sales"], partitions=partitions, tags={"asked_by": "backfill"})
        assert [entry.tags["asked_by"] for entry in server.webserver.open_backfills({})] == ["backfill"]
        runs = self.wait_for_runs(server, "backfill", len(partitions))
        assert sorted(run.tags["dagster/partition"] for run in runs) == partitions
        run_id = server.webserver.submit(
            location=LOCATION, repository="main", job="__ASSET_JOB", tags={}, asset_keys=["report"]
        )
        assert server.wait_for_end(run_id) is dg.DagsterRunStatus.SUCCESS, server.story(run_id)
        assert server.steps(run_id) == ["report", "report_report_is_there"]

    def test_a_sensor_gets_its_run(self, server: Server) -> None:
        with self.switched_on(server, "Sensor", "watch"):
            self.wait_for_runs(server, "watch", 1)

    def test_a_schedule_gets_its_run(self, server: Server) -> None:
        with self.switched_on(server, "Schedule", "clock"):
            self.wait_for_runs(server, "clock", 1)

    @contextmanager
    def switched_on(self, server: Server, kind: str, name: str) -> Iterator[None]:
        """Switch a sensor or schedule on within this context."""
        stop = {"Sensor": "stopSensor", "Schedule": "stopRunningSchedule"}[kind]
        result = {
            "Sensor": "... on Sensor { sensorState { id } }",
            "Schedule": "... on ScheduleStateResult { scheduleState { id } }",
        }
        selector = {"repositoryLocationName": LOCATION, "repositoryName": "main", f"{kind.lower()}Name": name}
        answer = server.query(
            f"""mutation($selector: {kind}Selector!) {{
                start{kind}({kind.lower()}Selector: $selector) {{ {result[kind]} ... on PythonError {{ message }} }}
            }}""",
            selector=selector,
        )
        state = answer[f"start{kind}"][f"{kind.lower()}State"]
        try:
            yield
        finally:
            server.query(f"mutation($id: String!) {{ {stop}(id: $id) {{ __typename }} }}", id=state["id"])

    def wait_for_runs(self, server: Server, asked_by: str, count: int) -> list[dg.DagsterRun]:
        asked = dg.RunsFilter(tags={"asked_by": asked_by})
        done = dg.RunsFilter(tags={"asked_by": asked_by}, statuses=[dg.DagsterRunStatus.SUCCESS])
        wait_for(f"runs of {asked_by}", lambda: len(server.instance.get_runs(done)) >= count)
        return list(server.instance.get_runs(asked))
