"""The contract with Dagster: `internals` does what the warm server relies on, in this release of Dagster.

Needs only Dagster and pytest: `test_warm_releases` runs it against other releases.
"""

import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import AbstractContextManager
from itertools import combinations
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import dagster as dg
import pytest
from dagster._core.definitions.assets.job import asset_job
from dagster._core.executor import multiprocess
from dagster._core.launcher import LaunchRunContext
from dagster._core.utils import make_new_run_id
from dagster._core.workspace.context import WorkspaceProcessContext
from dagster._core.workspace.load_target import WorkspaceFileTarget
from dagster._grpc import server
from lone_server import PATIENCE_S, LoneServer, serve

from dagster_warm import asset_index, internals

MODULE = """
import os
from multiprocessing import resource_tracker

import dagster as dg

from dagster_warm.executor import warm_multiprocess_executor

with open("imports", "a") as imports:
    imports.write(f"{os.getpid()}\\n")

@dg.op
def first(context: dg.OpExecutionContext) -> int:
    has_tracker = resource_tracker._resource_tracker._pid is not None
    context.add_output_metadata({"pid": os.getpid(), "parent": os.getppid(), "has_tracker": has_tracker})
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

@dg.job(executor_def=dg.multiprocess_executor.configured({"start_method": {"forkserver": {"preload_modules": ["os"]}}}))
def by_forkserver() -> None:
    second(first())

@dg.job(executor_def=dg.multiprocess_executor.configured({"start_method": {"spawn": {}}}))
def by_spawn() -> None:
    second(first())

@dg.asset
def orders() -> None: ...

@dg.asset(deps=[orders])
def lines() -> None: ...

defs = dg.Definitions(assets=[orders, lines], jobs=[by_default, by_executor, by_forkserver, by_spawn])
"""

LAUNCHER: Mapping[str, Any] = {
    "module": "dagster_warm.launcher",
    "class": "WarmRunLauncher",
    "config": {
        "cold": {"module": "dagster._core.launcher.sync_in_memory_run_launcher", "class": "SyncInMemoryRunLauncher"}
    },
}


Serve = Callable[..., AbstractContextManager[LoneServer]]


@pytest.fixture
def serve_module(tmp_path: Path) -> Serve:
    """Serve that module: `serve_module("--no-reload", run_launcher=…)`."""
    (tmp_path / "served.py").write_text(MODULE)

    def start(*options: str, **settings: Any) -> AbstractContextManager[LoneServer]:
        return serve(tmp_path, [*options, "--python-file", "served.py"], **settings)

    return start


def imports(server: LoneServer) -> int:
    """Return how often the code was imported."""
    return len((server.home / "imports").read_text().splitlines())


@pytest.mark.parametrize(
    "words",
    [
        pytest.param("dagster api grpc", marks=pytest.mark.thorough),
        "dagster code-server start",
        pytest.param("", marks=pytest.mark.thorough),
    ],
)
def test_runs_and_steps_are_forked_and_load_nothing_again(serve_module: Serve, words: str) -> None:
    with serve_module(*words.split()) as server:
        told = server.run("by_default")
        template = told["warmth"]["template_pid"]
        assert told["first"]["parent"] == told["second"]["parent"] == template
        assert len({template, told["first"]["pid"], told["second"]["pid"]}) == 3
        assert told["first"]["has_tracker"] is False  # an interpreter for each process, if Dagster has its way
        assert told["warmth"]["template_assets"] == 2
        assert imports(server) == 1


@pytest.mark.parametrize("knows_home", [pytest.param(True, marks=pytest.mark.thorough), False])
def test_steps_are_forked_whatever_their_start_method_is_unless_a_tag_has_the_run_launched_the_stock_way(
    serve_module: Serve, knows_home: bool
) -> None:
    with serve_module("--no-reload", knows_home=knows_home) as server:
        for job in ("by_forkserver", "by_spawn"):
            told = server.run(job)
            assert told["first"]["parent"] == told["second"]["parent"] == told["warmth"]["template_pid"]
        assert imports(server) == 1
        told = server.run("by_default", **{"bench/cold": "true"})
        assert told["warmth"] == {}
        assert imports(server) == 4  # by the server, the cold run worker and its two steps


def test_steps_are_forked_only_where_their_executor_says_so(serve_module: Serve) -> None:
    with serve_module("--no-reload", "--cold-steps") as server:
        told = server.run("by_executor")
        template = told["warmth"]["template_pid"]
        assert told["first"]["parent"] == told["second"]["parent"] == template
        assert imports(server) == 1
        told = server.run("by_default")
        assert template not in (told["first"]["parent"], told["second"]["parent"])
        assert imports(server) == 3


@pytest.mark.filterwarnings("ignore:Error loading repository location it")
def test_a_launcher_has_a_run_launched_by_another_one_and_asks_a_server_that_was_away_when_the_daemon_looked(
    serve_module: Serve, monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    with serve_module("--no-reload", run_launcher=LAUNCHER) as server:
        with monkeypatch.context() as patch:
            patch.setattr(dg.DagsterInstance, "from_ref", pytest.fail)  # the launching process has one open
            run_id = server.launch("by_default")
        assert server.wait_for(run_id) is dg.DagsterRunStatus.SUCCESS
        assert server.run("by_default")["warmth"]["template_generation"] == 1
        launcher, told = server.run_by_command("by_default", **{"bench/cold": "true"})
        assert told["warmth"] == {}
        assert told["first"]["parent"] == launcher
        earlier = server.instance.get_run_by_id(run_id)
        assert earlier
        origin = earlier.remote_job_origin
        assert origin
    with (
        dg.DagsterInstance.from_config(str(tmp_path)) as instance,
        WorkspaceProcessContext(instance, WorkspaceFileTarget([str(tmp_path / "workspace.yaml")])) as daemon,
    ):
        workspace = daemon.create_request_context()
        assert workspace.get_code_location_error("it")
        run = instance.add_run(earlier._replace(run_id=make_new_run_id(), status=dg.DagsterRunStatus.NOT_STARTED))
        port = origin.repository_origin.code_location_origin.get_display_metadata()["port"]
        with serve_module("--no-reload", run_launcher=LAUNCHER, port=int(port)):
            instance.run_launcher.launch_run(LaunchRunContext(run, workspace))
            deadline = time.monotonic() + PATIENCE_S
            while not (run := instance.get_run_by_id(run.run_id) or run).is_finished and time.monotonic() < deadline:
                time.sleep(0.05)
        assert run.status is dg.DagsterRunStatus.SUCCESS


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
    """Return the nodes and the checks of a selection, or the message of the error that it raises."""
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
    assert any(isinstance(one, str) for one in by_dagster)  # a selection of part of an indivisible asset

    looks: list[int] = []
    look = asset_job._subset_assets_defs

    def count(assets: Any, *args: Any, **kwargs: Any) -> Any:
        looks.append(len(assets))
        return look(assets, *args, **kwargs)

    monkeypatch.setattr(asset_job, "_subset_assets_defs", count)
    asset_index.select_by_index(SimpleNamespace(definitions_by_name={"it": repository}))  # type: ignore[arg-type]
    assert [selected(job, *selection) for selection in selections] == by_dagster
    looks.clear()
    selected(job, ["raw"], None)
    assert looks == [1, 0]


def test_a_crash_is_explained_further(monkeypatch: pytest.MonkeyPatch) -> None:
    for module in (server, multiprocess):
        monkeypatch.setattr(module, "get_run_crash_explanation", module.get_run_crash_explanation)
    internals.explain_crashes(lambda exit_code: f" Further: {exit_code}.")
    for module in (server, multiprocess):
        told = module.get_run_crash_explanation(prefix="It", exit_code=3)
        assert told == "It unexpectedly exited with code 3. Further: 3."


def test_this_release_is_supported_and_those_before_and_after_the_tested_ones_are_not() -> None:
    assert internals.is_supported(dg.__version__)
    assert internals.is_supported(internals.TESTED[-1])
    assert not internals.is_supported("1.11.99")
    assert not internals.is_supported("1.13.100")
    assert not internals.is_supported("2.0.0rc1")
