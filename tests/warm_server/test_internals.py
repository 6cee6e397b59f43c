"""The contract with Dagster: everything in `internals` does what the warm server relies on, in this release of Dagster.

Needs Dagster and pytest alone, so that `make contracts` can run it against other releases. Each server is a real one,
whose runs `dagster job launch` asks for.
"""

import json
import os
import socket
import subprocess
import sys
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import AbstractContextManager, contextmanager, suppress
from dataclasses import dataclass
from itertools import combinations
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import dagster as dg
import grpc
import pytest
from alembic.config import Config
from alembic.script import ScriptDirectory
from dagster._core.definitions.assets.job import asset_job
from grpc_health.v1.health_pb2 import HealthCheckRequest, HealthCheckResponse
from grpc_health.v1.health_pb2_grpc import HealthStub

from bench_orchestrator.warm_server import internals

MODULE = """
import os

import dagster as dg

from bench_orchestrator.warm_server.executor import warm_multiprocess_executor

with open("imports", "a") as imports:
    imports.write(f"{os.getpid()}\\n")

@dg.op
def first(context: dg.OpExecutionContext) -> int:
    context.add_output_metadata({"pid": os.getpid(), "parent": os.getppid()})
    return 1

@dg.op
def second(context: dg.OpExecutionContext, one: int) -> None:
    context.add_output_metadata({"pid": os.getpid(), "parent": os.getppid()})

@dg.job
def by_default() -> None:
    second(first())

@dg.job(executor_def=warm_multiprocess_executor)
def by_executor() -> None:
    second(first())

@dg.asset
def orders() -> None: ...

@dg.asset(deps=[orders])
def lines() -> None: ...

defs = dg.Definitions(assets=[orders, lines], jobs=[by_default, by_executor])
"""

SETTINGS: Mapping[str, Any] = {
    "telemetry": {"enabled": False},
    "run_coordinator": {"module": "dagster.core.run_coordinator", "class": "DefaultRunCoordinator"},
}
LAUNCHER: Mapping[str, Any] = {
    "module": "bench_orchestrator.warm_server.launcher",
    "class": "WarmRunLauncher",
    "config": {
        "cold": {"module": "dagster._core.launcher.sync_in_memory_run_launcher", "class": "SyncInMemoryRunLauncher"}
    },
}
PATIENCE_S = 120.0


@dataclass(frozen=True)
class Server:
    """A warm server, with a folder for its code and its instance."""

    folder: Path
    instance: dg.DagsterInstance

    def run(self, job: str, **tags: str) -> dict[str, Any]:
        """Launch a job and wait for its end: what its launch and its steps tell of themselves."""
        arguments = ["job", "launch", "--workspace", "workspace.yaml", "--job", job, "--tags", json.dumps(tags)]
        launcher = dagster(self.folder, *arguments)
        (run,) = self.instance.get_runs(limit=1)
        deadline = time.monotonic() + PATIENCE_S
        while not run.is_finished:
            assert time.monotonic() < deadline, self.story(run.run_id)
            time.sleep(0.05)
            run = self.instance.get_run_by_id(run.run_id) or run
        assert run.status is dg.DagsterRunStatus.SUCCESS, self.story(run.run_id)
        told: dict[str, Any] = {"launcher": launcher, "warmth": {}}
        for entry in self.instance.all_logs(run.run_id):
            event = entry.dagster_event
            if event and (event.message or "").startswith("Launched warm"):
                told["warmth"] = values(event.engine_event_data.metadata)
            if event and event.event_type is dg.DagsterEventType.STEP_OUTPUT:
                told[event.step_key or ""] = values(event.step_output_data.metadata)
        return told

    def story(self, run_id: str) -> list[str]:
        """What a run has logged, to read when a test fails."""
        return [entry.user_message for entry in self.instance.all_logs(run_id)]

    @property
    def imports(self) -> int:
        """How often the code was imported."""
        return len((self.folder / "imports").read_text().splitlines())


Serve = Callable[..., AbstractContextManager[Server]]


def values(metadata: Mapping[str, dg.MetadataValue[Any]]) -> dict[str, Any]:
    return {name.removeprefix("bench/"): value.value for name, value in metadata.items()}


def environment(folder: Path) -> dict[str, str]:
    return {**os.environ, "DAGSTER_HOME": str(folder)}


def dagster(folder: Path, *arguments: str) -> int:
    """Have a command of Dagster's done; the id of the process that did it."""
    command = [sys.executable, "-m", "dagster", *arguments]
    output = folder / "output"
    with output.open("w") as log:
        done = subprocess.Popen(command, cwd=folder, env=environment(folder), stdout=log, stderr=log)
        assert done.wait(PATIENCE_S) == 0, output.read_text()
    return done.pid


def free_port() -> int:
    with socket.create_server(("127.0.0.1", 0)) as listener:
        return int(listener.getsockname()[1])


@pytest.fixture
def serve(tmp_path: Path) -> Serve:
    """Start a server: `serve("--no-reload", run_launcher=…)`."""

    @contextmanager
    def start(*options: str, **settings: Any) -> Iterator[Server]:
        port = str(free_port())
        (tmp_path / "served.py").write_text(MODULE)
        (tmp_path / "dagster.yaml").write_text(json.dumps({**SETTINGS, **settings}))
        (tmp_path / "workspace.yaml").write_text(
            json.dumps(
                {"load_from": [{"grpc_server": {"host": "127.0.0.1", "port": int(port), "location_name": "it"}}]}
            )
        )
        command = [sys.executable, "-m", "bench_orchestrator.warm_server", *options, "-f", "served.py", "--port", port]
        with (
            dg.DagsterInstance.from_config(str(tmp_path)) as instance,
            subprocess.Popen(command, cwd=tmp_path, env=environment(tmp_path)) as process,
        ):
            try:
                wait_for_answer(process, port)
                yield Server(tmp_path, instance)
            finally:
                process.terminate()

    return start


def wait_for_answer(process: "subprocess.Popen[bytes]", port: str) -> None:
    deadline = time.monotonic() + PATIENCE_S
    with grpc.insecure_channel(f"127.0.0.1:{port}") as channel:
        health = HealthStub(channel)
        while True:
            assert process.poll() is None
            assert time.monotonic() < deadline
            with suppress(grpc.RpcError):
                if health.Check(HealthCheckRequest(service="DagsterApi")).status == HealthCheckResponse.SERVING:
                    return
            time.sleep(0.1)


@pytest.mark.parametrize("options", [("--no-reload",), ()], ids=["api grpc", "code-server start"])
def test_runs_and_steps_are_forked_and_load_nothing_again(serve: Serve, options: tuple[str, ...]) -> None:
    with serve(*options) as server:
        told = server.run("by_default")
        template = told["warmth"]["template_pid"]
        assert told["first"]["parent"] == told["second"]["parent"] == template
        assert len({template, told["first"]["pid"], told["second"]["pid"]}) == 3
        assert told["warmth"]["template_assets"] == 2
        assert server.imports == 1


def test_steps_are_forked_only_where_their_executor_says_so(serve: Serve) -> None:
    with serve("--no-reload", "--cold-steps") as server:
        told = server.run("by_executor")
        template = told["warmth"]["template_pid"]
        assert told["first"]["parent"] == told["second"]["parent"] == template
        assert server.imports == 1
        told = server.run("by_default")
        assert template not in (told["first"]["parent"], told["second"]["parent"])
        assert server.imports == 3


def test_a_tag_has_a_run_launched_the_stock_way(serve: Serve) -> None:
    with serve("--no-reload") as server:
        told = server.run("by_default", **{"bench/cold": "true"})
        assert told["warmth"] == {}
        assert server.imports == 4  # by the server, the run worker and two steps


def test_a_launcher_has_it_launched_by_another_one(serve: Serve) -> None:
    with serve("--no-reload", run_launcher=LAUNCHER) as server:
        assert server.run("by_default")["warmth"]["template_generation"] == 1
        told = server.run("by_default", **{"bench/cold": "true"})
        assert told["warmth"] == {}
        assert told["first"]["parent"] == told["launcher"]


@dg.asset
def raw() -> None: ...


@dg.asset(deps=[raw, "elsewhere"], partitions_def=dg.StaticPartitionsDefinition(["north", "south"]))
def clean() -> None: ...


@dg.asset_check(asset=clean)
def is_clean() -> dg.AssetCheckResult:
    return dg.AssetCheckResult(passed=True)


@dg.multi_asset(
    specs=[dg.AssetSpec("few", deps=[clean]), dg.AssetSpec("many", deps=["few"])],
    check_specs=[dg.AssetCheckSpec("has_many", asset="many")],
    can_subset=True,
)
def either() -> Iterator[dg.MaterializeResult[Any]]:
    yield from ()


@dg.multi_asset(specs=[dg.AssetSpec("left", deps=["many"]), dg.AssetSpec("right")])
def both() -> Iterator[dg.MaterializeResult[Any]]:
    yield from ()


NAMES = ("raw", "clean", "few", "many", "left", "right")


def selected(job: dg.JobDefinition, names: Sequence[str], checks: frozenset[dg.AssetCheckKey] | None) -> Any:
    """What a selection has of its assets and their checks, or why there is none."""
    try:
        keys = {dg.AssetKey(name) for name in names}
        graph = job.get_subset(asset_selection=keys, asset_check_selection=checks).asset_layer.asset_graph
    except dg.DagsterError as error:
        return str(error)
    nodes = {node.key: (node.is_executable, node.parent_keys, node.check_keys) for node in graph.asset_nodes}
    return nodes, graph.asset_check_keys


def test_assets_that_are_found_by_their_keys_are_those_that_dagster_finds(monkeypatch: pytest.MonkeyPatch) -> None:
    repository = dg.Definitions(
        [raw, clean, either, both, dg.AssetSpec("outside")], asset_checks=[is_clean]
    ).get_repository_def()
    job = repository.get_implicit_global_asset_job_def()
    one_check = frozenset({dg.AssetCheckKey(dg.AssetKey("many"), "has_many")})
    selections = [
        (names, checks)
        for count in range(1, len(NAMES) + 1)
        for names in combinations(NAMES, count)
        for checks in (None, frozenset[dg.AssetCheckKey](), one_check)
    ]
    by_dagster = [selected(job, *selection) for selection in selections]
    assert any(isinstance(one, str) for one in by_dagster)  # a part of what cannot be had in parts

    looks: list[int] = []
    look = asset_job._subset_assets_defs

    def count(assets: Any, *args: Any, **kwargs: Any) -> Any:
        looks.append(len(assets))
        return look(assets, *args, **kwargs)

    monkeypatch.setattr(asset_job, "_subset_assets_defs", count)
    internals.select_by_index(SimpleNamespace(definitions_by_name={"it": repository}))  # type: ignore[arg-type]
    assert [selected(job, *selection) for selection in selections] == by_dagster
    looks.clear()
    selected(job, ["raw"], None)
    assert looks == [1, 0]


def test_migrations_are_read_once(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    reads: list[str] = []
    read = ScriptDirectory.from_config

    def count(config: Any) -> ScriptDirectory:
        reads.append(config.get_main_option("script_location"))
        return read(config)

    monkeypatch.setattr(ScriptDirectory, "from_config", count)
    internals.keep_migrations()
    for name in ("one", "another"):
        (tmp_path / name).mkdir()
        with dg.DagsterInstance.local_temp(str(tmp_path / name)) as instance:
            assert instance.get_runs() == []
            assert instance.schedule_storage
    assert len(reads) == 1

    others = Config()
    others.set_main_option("script_location", str(tmp_path / "theirs"))
    (tmp_path / "theirs").mkdir()
    for _ in range(2):
        ScriptDirectory.from_config(others)
    assert reads[1:] == [str(tmp_path / "theirs")] * 2


def test_this_release_is_supported_and_those_before_and_after_the_tested_ones_are_not() -> None:
    assert internals.is_supported(dg.__version__)
    assert internals.is_supported(internals.TESTED[-1])
    assert not internals.is_supported("1.11.99")
    assert not internals.is_supported("1.13.100")
    assert not internals.is_supported("2.0.0rc1")
