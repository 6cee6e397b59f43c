"""Real deployments for the tests.

Each deployment is stopped after its test, and must leave no process and no socket behind.
"""

from collections.abc import Callable, Iterator, Sequence
from contextlib import ExitStack
from pathlib import Path

import pytest
from postgresql import new_database

from bench_orchestrator.deployment import CodeLocation, Deployment
from integration.leftovers import assert_nothing_left

LIMITED_SCENARIO = "assets-vs-partitions"
"""The limits do not let its sweep and a trial run together."""

DAGSTER_YAML = f"""
telemetry: {{enabled: false}}
freshness: {{enabled: false}}  # on fresh storage it writes an event for every asset
run_coordinator:
  module: dagster.core.run_coordinator
  class: QueuedRunCoordinator
  config: {{dequeue_interval_seconds: 1}}
concurrency:
  runs:
    max_concurrent_runs: 10
    tag_concurrency_limits: [{{key: bench/scenario, value: {LIMITED_SCENARIO}, limit: 1}}]
  pools: {{granularity: run, default_limit: 1}}
"""

TINY_MODULE = """
import dagster as dg

@dg.asset(key_prefix="NAME")
def hello() -> None: ...

@dg.asset(key_prefix="NAME")
def endless() -> None:
    import time
    time.sleep(600)

defs = dg.Definitions(assets=[hello, endless], executor=dg.in_process_executor)
"""

StartDeployment = Callable[..., Deployment]
NewHome = Callable[..., Path]
NewDatabase = Callable[[], str | None]


@pytest.fixture(scope="session")
def new_home(tmp_path_factory: pytest.TempPathFactory) -> NewHome:
    """Create a separate Dagster home: `new_home()` or, with a given folder name, `new_home("a name")`."""

    def make(name: str = "home") -> Path:
        home: Path = tmp_path_factory.mktemp("deployment") / name
        home.mkdir()
        (home / "dagster.yaml").write_text(DAGSTER_YAML)
        return home

    return make


@pytest.fixture(scope="module", params=["sqlite", pytest.param("postgresql", marks=pytest.mark.thorough)])
def new_database_url(request: pytest.FixtureRequest) -> Iterator[NewDatabase]:
    """Create a database for the runs and events of a deployment, and drop it afterwards; None: files in its home.

    `make test-thorough` runs the tests that use it both ways; `test_postgresql` has those that need PostgreSQL.
    """
    if request.param == "sqlite":
        yield lambda: None
        return
    server: str = request.getfixturevalue("postgres_server")
    with ExitStack() as made:
        yield lambda: made.enter_context(new_database(server))


@pytest.fixture
def tiny_location(tmp_path: Path) -> Callable[[str], CodeLocation]:
    """Create a code location of that name with the assets `<name>/hello` and `<name>/endless`."""

    def make(name: str) -> CodeLocation:
        (tmp_path / f"{name}.py").write_text(TINY_MODULE.replace("NAME", name))
        return CodeLocation(name, name, working_directory=tmp_path)

    return make


@pytest.fixture
def start_deployment(new_home: NewHome) -> Iterator[StartDeployment]:
    """Start deployments that a test may break: `start_deployment(locations, home=None, port=None, **options)`."""
    started: list[Deployment] = []

    def start(
        locations: Sequence[CodeLocation],
        home: Path | None = None,
        port: int | None = None,
        on_event: Callable[[str], None] = print,
    ) -> Deployment:
        deployment = Deployment(home or new_home(), locations, port, on_event=on_event)
        started.append(deployment)
        deployment.start()
        return deployment

    yield start
    for deployment in started:
        deployment.stop()
    for deployment in started:
        assert_nothing_left(deployment.home)
