"""The remedies' code works exactly as shown, given the few names that it assumes."""

import functools
import gc
import os
import re
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from contextlib import closing
from pathlib import Path
from typing import Any, Literal

import dagster as dg
import pytest
import yaml
from dagster._core.instance.config import ConcurrencyConfig, PoolGranularity
from dagster._core.run_coordinator import DefaultRunCoordinator, QueuedRunCoordinator
from dagster._grpc.client import DagsterGrpcClient
from dagster._utils.tags import TagConcurrencyLimitsCounter
from pydantic import BaseModel, ConfigDict

from bench_orchestrator.deployment.ports import HeldPort
from bench_orchestrator.scenarios.registry import EXPERIMENTS
from dagster_warm.command import command
from dagster_warm.queue import PromptRunCoordinator

REMEDIES = {remedy.variant: remedy for experiment in EXPERIMENTS.values() for remedy in experiment.remedies}

ASSETS = """
import os

import dagster as dg

with open(os.environ["IMPORTS"], "a") as log:
    log.write(f"{os.getpid()}\\n")


def say() -> None:
    with open(os.environ["STEPS"], "a") as log:
        log.write(f"{os.getpid()}\\n")


@dg.asset
def orders() -> None:
    say()


@dg.asset(deps=[orders])
def lines() -> None:
    say()


assets = [orders, lines]
"""


def test_it_is_a_few_lines_that_parse() -> None:
    for remedy in REMEDIES.values():
        lines = [line for line in remedy.apply.splitlines() if line.strip()]
        assert len(lines) <= 5, remedy.name
        assert max(map(len, lines)) <= 100
        if remedy.language == "python":
            compile(remedy.apply, remedy.name, "exec")
        else:
            assert isinstance(yaml.safe_load(remedy.apply), dict)


def write(variant: str, **names: Any) -> dict[str, Any]:
    """Return the module of the remedy's lines, with these names predefined."""
    module: dict[str, Any] = {"dg": dg, "gc": gc, "functools": functools, **names}
    exec(REMEDIES[variant].apply, module)
    return module


def prove_split() -> None:
    @dg.asset(deps=["orders"])
    def lines() -> None: ...

    defs = write("nine locations", assets_of_this_part=[lines])["defs"]
    dg.Definitions.validate_loadable(defs)
    graph = defs.resolve_asset_graph()
    assert not graph.get(dg.AssetKey("orders")).is_executable
    assert graph.get(dg.AssetKey("lines")).parent_keys == {dg.AssetKey("orders")}


def prove_multi_asset() -> None:
    result = dg.materialize([write("multi-asset, multiprocess")["orders_and_lines"]])
    assert len(result.get_asset_materialization_events()) == 2
    assert len(result.get_step_success_events()) == 1


def prove_one_function() -> None:
    written: list[str] = []
    names = {"read": lambda: " text", "clean": str.strip, "write": written.append}
    assert dg.materialize([write("one function, multiprocess", **names)["lines"]]).success
    assert written == ["text"]


def prove_graph_asset() -> None:
    @dg.op
    def read() -> str:
        return " text"

    @dg.op
    def clean(text: str) -> str:
        return text.strip()

    result = dg.materialize([write("graph asset, multiprocess", read=read, clean=clean)["lines"]])
    assert result.asset_value("lines") == "text"
    assert len(result.get_step_success_events()) == 2


def prove_late_import() -> None:
    module = write("inside the asset")
    assert dg.materialize([module["chart"]]).success
    assert "plt" not in module


def prove_memoised() -> None:
    built: list[int] = []

    @dg.asset
    def orders() -> None: ...

    class Assets(list[Any]):
        def __iter__(self) -> Iterator[Any]:
            built.append(1)
            return super().__iter__()

    defs = write("a memoised function", assets=Assets([orders]))["defs"]
    # As Dagster does in every run worker: once for the job, once for its execution plan.
    assert defs() is defs()
    assert list(defs().resolve_all_asset_keys()) == [dg.AssetKey("orders")]


def prove_no_garbage_collection() -> None:
    frozen = gc.get_freeze_count()
    try:
        module = write("memoised, no garbage collection")
        assert not gc.isenabled()
        assert dg.materialize([module["orders"]]).success
        assert gc.isenabled()
        assert gc.get_freeze_count() > frozen
    finally:
        gc.enable()


class Resources(BaseModel):
    """A container's resources as Kubernetes accepts them, with no other fields."""

    model_config = ConfigDict(extra="forbid")
    requests: dict[Literal["cpu", "memory"], str]
    limits: dict[Literal["cpu", "memory"], str]


def prove_cpu_limit() -> None:
    resources = Resources.model_validate(yaml.safe_load(REMEDIES["2 CPUs"].apply)["resources"])

    def cpus(quantity: str) -> float:
        number = re.fullmatch(r"(\d+)(m?)", quantity)
        assert number
        return int(number[1]) / (1000 if number[2] else 1)

    assert cpus(resources.requests["cpu"]) < cpus(resources.limits["cpu"]) == 2


def concurrency_of(variant: str) -> ConcurrencyConfig:
    """Return what Dagster makes of a remedy's lines in dagster.yaml."""
    settings = yaml.safe_load(REMEDIES[variant].apply)["concurrency"]
    return ConcurrencyConfig.from_concurrency_settings(settings, QueuedRunCoordinator().get_run_queue_config())


def prove_run_limit() -> None:
    queue = concurrency_of("limit 8").run_queue_config
    assert queue is not None
    assert queue.max_concurrent_runs == 8


def prove_pools_of_runs() -> None:
    assert concurrency_of("graph assets, run granularity").pool_config.pool_granularity is PoolGranularity.RUN


def prove_limit_per_value() -> None:
    queue = concurrency_of("per unique value").run_queue_config
    assert queue is not None
    runs = [dg.DagsterRun("job", tags={"customer": customer}) for customer in ("a", "a", "b")]
    counter = TagConcurrencyLimitsCounter(queue.tag_concurrency_limits, runs)
    assert [counter.is_blocked(run) for run in runs] == [True, True, False]


def prove_op_priorities() -> None:
    @dg.op(out=dg.DynamicOut())
    def split() -> Iterator[dg.DynamicOutput[str]]:
        yield from (dg.DynamicOutput(name, mapping_key=name) for name in ("a", "b"))

    def stage(name: str) -> dg.OpDefinition:
        @dg.op(name=name)
        def passing(batch: str) -> str:
            return batch

        return passing

    names = {"split": split} | {name: stage(name) for name in ("extract", "transform", "load")}
    result = write("dynamic with priorities", **names)["batches"].execute_in_process()
    assert [event.step_key for event in result.get_step_success_events()] == [
        "split",
        *(f"{name}[{batch}]" for batch in ("a", "b") for name in ("extract", "transform", "load")),
    ]


def prove_priority(variant: str, job: str, priority: str) -> None:
    @dg.asset
    def orders() -> None: ...

    definitions = dg.Definitions([orders], jobs=[write(variant)[job]])
    assert definitions.resolve_job_def(job).run_tags["dagster/priority"] == priority


IN_THIS_PROCESS: dict[str, Callable[[], None]] = {
    "nine locations": prove_split,
    "multi-asset, multiprocess": prove_multi_asset,
    "one function, multiprocess": prove_one_function,
    "graph asset, multiprocess": prove_graph_asset,
    "inside the asset": prove_late_import,
    "a memoised function": prove_memoised,
    "memoised, no garbage collection": prove_no_garbage_collection,
    "2 CPUs": prove_cpu_limit,
    "limit 8": prove_run_limit,
    "graph assets, run granularity": prove_pools_of_runs,
    "per unique value": prove_limit_per_value,
    "dynamic with priorities": prove_op_priorities,
    "priority 10": functools.partial(prove_priority, "priority 10", "urgent", "10"),
    "backfill of priority -10": functools.partial(prove_priority, "backfill of priority -10", "history", "-10"),
}


@pytest.mark.parametrize("variant", IN_THIS_PROCESS)
def test_it_does_what_it_says(variant: str) -> None:
    IN_THIS_PROCESS[variant]()


@pytest.mark.parametrize("limits", ["", "concurrency:\n  runs:\n    max_concurrent_runs: 10\n"])
@pytest.mark.parametrize("variant", ["every 1 s", "at once", "no queue"])
def test_dagster_takes_the_queues_configuration(prepared_home: Path, variant: str, limits: str) -> None:
    (prepared_home / "dagster.yaml").write_text(f"{limits}{REMEDIES[variant].apply}\n")
    with dg.DagsterInstance.from_config(str(prepared_home)) as instance:
        coordinator = instance.run_coordinator
        if variant == "every 1 s":
            assert isinstance(coordinator, QueuedRunCoordinator)
            assert coordinator.dequeue_interval_seconds == 1
        elif variant == "at once":
            assert isinstance(coordinator, PromptRunCoordinator)
        else:
            assert isinstance(coordinator, DefaultRunCoordinator)


@pytest.mark.parametrize(
    ("variant", "imported", "stepped"),
    [
        ("in-process, 1 step", 1, 1),
        pytest.param("forkserver, module, 1 step", 2, 2, marks=pytest.mark.thorough),
        ("forkserver, job, 1 step", 2, 2),
    ],
)
def test_steps_run_where_it_says_and_load_nothing_again(
    tmp_path: Path, variant: str, imported: int, stepped: int
) -> None:
    """The number of processes that import the code and run steps: the run's, or those of a fork server."""
    module = REMEDIES[variant].apply
    (tmp_path / "my_project").mkdir()
    if variant == "forkserver, job, 1 step":
        (tmp_path / "my_project" / "preload.py").write_text(module)
        module = REMEDIES["forkserver, module, 1 step"].apply.replace("my_project.definitions", "my_project.preload")
    (tmp_path / "my_project" / "assets.py").write_text(ASSETS)
    (tmp_path / "my_project" / "definitions.py").write_text(
        f"import dagster as dg\n\nfrom my_project.assets import assets\n\n{module}\n"
    )
    (tmp_path / "dagster.yaml").write_text("telemetry:\n  enabled: false\n")
    log = {name: tmp_path / f"{name}.log" for name in ("IMPORTS", "STEPS")}
    done = subprocess.run(
        [sys.executable, "-m", "dagster", "asset", "materialize", "-m", "my_project.definitions", "--select", "*"],
        cwd=tmp_path,
        env={**os.environ, "DAGSTER_HOME": str(tmp_path), **{name: str(path) for name, path in log.items()}},
        capture_output=True,
        text=True,
        timeout=300,
        check=False,
    )
    assert done.returncode == 0, done.stderr
    processes = {name: set(path.read_text().split()) for name, path in log.items()}
    assert (len(processes["IMPORTS"]), len(processes["STEPS"])) == (imported, stepped)


def test_the_server_that_it_names_takes_its_arguments() -> None:
    _, *module, shown_module, name, option, port = yaml.safe_load(REMEDIES["warm, a10k"].apply)["command"]
    assert module == ["-m", "dagster_warm"]
    given = command.make_context("dagster-warm", [shown_module, name, option, port]).params
    assert (given["module_name"], given["port"]) == ("my_project.definitions", 4_000)


@pytest.mark.thorough
def test_the_server_that_it_names_serves_the_code(tmp_path: Path) -> None:
    (tmp_path / "my_project").mkdir()
    (tmp_path / "my_project" / "definitions.py").write_text("import dagster as dg\n\ndefs = dg.Definitions()\n")
    python, *arguments, shown_port = yaml.safe_load(REMEDIES["warm, a10k"].apply)["command"]
    assert (python, shown_port) == ("python", "4000")
    with (
        closing(HeldPort()) as port,
        subprocess.Popen([sys.executable, *arguments, str(port.number)], cwd=tmp_path) as server,
    ):
        try:
            deadline = time.monotonic() + 120
            client = DagsterGrpcClient(port=port.number)
            while client.health_check_query() != "SERVING":  # type: ignore[no-untyped-call]
                assert server.poll() is None
                assert time.monotonic() < deadline
                time.sleep(0.2)
        finally:
            server.terminate()


def test_every_remedy_is_proven() -> None:
    executors = {remedy.variant for remedy in EXPERIMENTS["executors"].remedies}
    assert {*IN_THIS_PROCESS, *executors, "every 1 s", "at once", "no queue", "warm, a10k"} == set(REMEDIES)
