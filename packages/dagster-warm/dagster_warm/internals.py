"""Dagster's private API, as far as the warm server uses it.

Contract tests pin it with the oldest and the newest supported release. Apart from this module, only `shortcuts`,
`asset_index`, `state`, the run launcher (`launcher`, `starting`, `absence`, `health`) and the run queue (`queue`,
`dequeuing`, `changes`) import private modules.
"""

import multiprocessing
import os
import re
import signal
import subprocess
import threading
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import AbstractContextManager, closing, contextmanager, nullcontext, suppress
from dataclasses import dataclass
from functools import partial, wraps
from multiprocessing.process import BaseProcess
from typing import Any
from unittest import mock

import dagster as dg
from dagster._cli.api import grpc_command
from dagster._cli.code_server import start_command
from dagster._core.definitions import reconstruct
from dagster._core.definitions.assets.job.asset_job import is_reserved_asset_job_name
from dagster._core.events import EngineEventData
from dagster._core.execution.api import create_execution_plan
from dagster._core.executor import multiprocess
from dagster._core.executor.multiprocess import MultiprocessExecutor
from dagster._core.instance import DagsterInstance, InstanceRef
from dagster._core.remote_representation.grpc_server_registry import ServerRegistryEntry
from dagster._grpc import impl, proxy_server, server
from dagster._grpc.proxy_server import DagsterProxyApiServicer
from dagster._grpc.server import DagsterApiServer, LoadedRepositories
from dagster._grpc.types import CanCancelExecutionRequest, ExecuteExternalJobArgs
from dagster._serdes import deserialize_value
from dagster._utils import get_run_crash_explanation
from dagster_shared.libraries import DagsterLibraryRegistry

from dagster_warm import shortcuts
from dagster_warm.launcher import LEAVING_TAG

__all__ = [
    "DagsterApiServer",
    "DagsterInstance",
    "DagsterProxyApiServicer",
    "InstanceRef",
    "LoadedRepositories",
    "grpc_command",
    "start_command",
]

GRPC_VARIABLES = "DAGSTER_CLI_API_GRPC"
"""Prefix of the variables that Dagster derives from `dagster api grpc`. Its Helm chart sets them."""

TESTED = ("1.12.0", "1.12.22", "1.13.0", "1.13.29")
"""Releases that the contract tests run against, ascending. The first and the last bound the supported range."""


_PLANNING_LIMIT_S = 1.0
"""How long a rehearsal makes plans of a repository, in seconds: there may be hundreds, which need much the same."""


def is_supported(release: str) -> bool:
    """Return whether a Dagster release lies within the tested range."""
    oldest, this, newest = (_numbers(one) for one in (TESTED[0], release, TESTED[-1]))
    return oldest <= this <= newest


def _numbers(release: str) -> list[int]:
    return [int(number) for number in re.findall(r"\d+", release)[:3]]


def serve_with(servicer: Callable[..., DagsterApiServer]) -> None:
    """Make `dagster api grpc` use another servicer; all its options keep their meaning."""
    server.DagsterApiServer = servicer  # type: ignore[misc, assignment]


def proxy_to(entry_point: Callable[[str], Sequence[str]], proxy: Callable[..., DagsterProxyApiServicer]) -> None:
    """Make `dagster code-server start` use another proxy, and another command than `python -m dagster` for its servers.

    Args:
        entry_point: maps an interpreter's path to a command that accepts `api grpc …`.
    """
    server.get_python_environment_entry_point = entry_point  # type: ignore[assignment, attr-defined]
    proxy_server.DagsterProxyApiServicer = proxy  # type: ignore[misc, assignment]


@contextmanager
def when_loaded(
    callback: Callable[[LoadedRepositories], None], loading: AbstractContextManager[None] | None = None
) -> Iterator[None]:
    """Call back once a servicer created in this context has loaded the code, before it starts any thread.

    Args:
        loading: entered while the code is loaded.
    """

    class Loaded(LoadedRepositories):
        def __init__(self, *args: Any, **kwargs: Any) -> None:
            with loading or nullcontext():
                super().__init__(*args, **kwargs)
            callback(self)

    with mock.patch.object(server, "LoadedRepositories", Loaded):
        yield


def hold(loaded: LoadedRepositories, load_data: Mapping[str, Any]) -> None:
    """Make Dagster reuse the loaded definitions in this process instead of loading them again.

    It still reloads them if it asks for a different `repository_load_data` than they were loaded with.

    Args:
        load_data: that of the repositories whose definitions do not know it themselves.
    """
    repositories = loaded.definitions_by_name
    held = {
        pointer: (repositories[name], load_data.get(name, repositories[name].repository_load_data))
        for name, pointer in loaded.code_pointers_by_repo_name.items()
    }
    load = reconstruct.reconstruct_repository_def_from_pointer

    @wraps(load)
    def find(pointer: Any, repository_load_data: Any = None) -> dg.RepositoryDefinition:
        found, loaded_with = held.get(pointer, (None, None))
        if found is not None and repository_load_data in (None, loaded_with):
            return found
        return load(pointer, repository_load_data)

    reconstruct.reconstruct_repository_def_from_pointer = find


def rehearse(loaded: LoadedRepositories, instance_ref: InstanceRef | None) -> None:
    """Do what a run does before its first step, so that forked runs inherit its imports and caches."""
    if instance_ref is not None:
        shortcuts.hold_instance(instance_ref)
    for name, repository in loaded.definitions_by_name.items():
        repository.load_all_definitions()
        deadline_s = time.monotonic() + _PLANNING_LIMIT_S
        for job_name in sorted(repository.job_names, key=is_reserved_asset_job_name, reverse=True):
            job = repository.get_job(job_name)
            if time.monotonic() > deadline_s:
                continue
            recon_job = loaded.reconstructables_by_name[name].get_reconstructable_job(job_name)
            keys = sorted(job.asset_layer.selected_asset_keys)[:1]
            try:
                create_execution_plan(recon_job.get_subset(asset_selection=frozenset(keys)) if keys else recon_job)
            except Exception:
                continue  # needs configuration, or user code fails: the run itself builds its plan or reports the error


def count_assets(loaded: LoadedRepositories) -> int:
    """Return the number of assets in all repositories."""
    return sum(len(repository.asset_graph.get_all_asset_keys()) for repository in loaded.definitions_by_name.values())


_END_EVENTS = {dg.DagsterEventType.RUN_SUCCESS, dg.DagsterEventType.RUN_FAILURE, dg.DagsterEventType.RUN_CANCELED}
_ENDED_BY_OTHERS = {dg.DagsterRunStatus.FAILURE, dg.DagsterRunStatus.CANCELED}

_current_run: tuple[dg.DagsterInstance, dg.DagsterRun] | None = None
"""In a run worker: the run, and the instance that it reports to."""


def announce(describe: Callable[[], tuple[str, Mapping[str, Any]]]) -> None:
    """Log an engine event at the start of every run in this process, and end the run's work if others end the run.

    Args:
        describe: returns the event's message and metadata.
    """
    execute = impl.core_execute_run

    @wraps(execute)
    def announced(
        recon_job: Any, dagster_run: dg.DagsterRun, instance: dg.DagsterInstance, *args: Any, **kwargs: Any
    ) -> Any:
        global _current_run
        _current_run = instance, dagster_run
        message, metadata = describe()
        yield instance.report_engine_event(message, dagster_run, EngineEventData(metadata=dict(metadata)))
        is_over = threading.Event()
        look = partial(_interrupt_if_ended, instance, dagster_run.run_id, is_over)
        threading.Thread(target=look, name="run-watch", daemon=True).start()
        try:
            with closing(execute(recon_job, dagster_run, instance, *args, **kwargs)) as events:
                for event in events:
                    if event.event_type in _END_EVENTS:
                        is_over.set()
                    yield event
        finally:
            is_over.set()

    impl.core_execute_run = announced


def tell_run(message: str) -> None:
    """Log an engine event in the run whose worker this process is."""
    if _current_run is not None:
        instance, run = _current_run
        instance.report_engine_event(message, run)


def _interrupt_if_ended(instance: dg.DagsterInstance, run_id: str, is_over: threading.Event) -> None:
    """Interrupt this process once its run was ended by others, or canceled when no server may have told it so.

    Dagster's run workers have such a thread, too, which only Dagster+ starts.
    """
    while not is_over.wait(instance.cancellation_thread_poll_interval_seconds):
        run = None
        with suppress(Exception):  # the database may be away
            run = instance.get_run_by_id(run_id)
        if run is None:
            continue
        server_process = multiprocessing.parent_process()
        is_alone = LEAVING_TAG in run.tags or (server_process is not None and not server_process.is_alive())
        if run.status not in _ENDED_BY_OTHERS and not (is_alone and run.status is dg.DagsterRunStatus.CANCELING):
            continue
        if not is_over.wait(1):  # its own end is stored a moment before it is known here
            os.kill(os.getpid(), signal.SIGINT)
        return


def explain_crashes(add: Callable[[int], str]) -> None:
    """Extend what Dagster tells about crashed runs and steps by a sentence that depends on the exit code."""
    explain = get_run_crash_explanation

    @wraps(explain)
    def explain_further(prefix: str, exit_code: int) -> str:
        return explain(prefix, exit_code) + add(exit_code)

    for module in (server, multiprocess):
        module.get_run_crash_explanation = explain_further  # type: ignore[attr-defined]


def describe_location(text: str) -> None:
    """Show a text among the libraries of the location, which the UI lists."""
    DagsterLibraryRegistry.register("dagster-warm", text, is_dagster_package=False)


def instance_of(servicer: DagsterApiServer) -> dg.DagsterInstance | None:
    """Return the instance that a servicer has opened, if any."""
    return servicer._instance


def open_for(servicer: DagsterApiServer, instance_ref: InstanceRef) -> DagsterInstance:
    """Open an instance until the servicer's cleanup."""
    instance: DagsterInstance = servicer._exit_stack.enter_context(DagsterInstance.from_ref(instance_ref))
    return instance


def run_of(request: Any) -> tuple[str, InstanceRef]:
    """Return the run id and the instance of a StartRun request."""
    args = deserialize_value(request.serialized_execute_run_args, ExecuteExternalJobArgs)
    assert args.instance_ref is not None
    return args.run_id, args.instance_ref


@dataclass(frozen=True)
class Execution:
    """A run in progress, as its server knows it."""

    run_id: str
    process: BaseProcess
    instance_ref: InstanceRef
    interruption: Any
    """The event that interrupts the run's process."""


def executions_of(servicer: DagsterApiServer) -> list[Execution]:
    """Return the runs in progress."""
    with servicer._execution_lock:
        return [
            Execution(run_id, process, instance_ref, servicer._termination_events[run_id])
            for run_id, (process, instance_ref) in servicer._executions.items()
        ]


def add_run_tag(execution: Execution, name: str, value: str) -> None:
    """Add a tag to a run in progress."""
    with DagsterInstance.from_ref(execution.instance_ref) as instance:
        instance.add_run_tags(execution.run_id, {name: value})


def report_end(execution: Execution, message: str) -> None:
    """Report a run as failed, or as canceled if it was about to be, unless it has ended."""
    with DagsterInstance.from_ref(execution.instance_ref) as instance:
        run = instance.get_run_by_id(execution.run_id)
        if run is None or run.is_finished:
            return
        if run.status is dg.DagsterRunStatus.CANCELING:
            instance.report_run_canceled(run, message)
        else:
            instance.report_run_failed(run, message)


def is_stopping(servicer: DagsterApiServer | DagsterProxyApiServicer) -> bool:
    """Return whether a servicer was told to stop once its runs have ended."""
    return servicer._shutdown_once_executions_finish_event.is_set()


def termination_of(servicer: DagsterApiServer | DagsterProxyApiServicer) -> threading.Event:
    """Return the event that tells that a servicer's runs have ended and it stops."""
    return servicer._server_termination_event


def servers_of(proxy: DagsterProxyApiServicer) -> list["subprocess.Popen[Any]"]:
    """Return the processes of a proxy's servers: the current one, and earlier ones that still have runs."""
    return [server.server_process for server in proxy._grpc_server_registry._all_processes]


def server_of(proxy: DagsterProxyApiServicer) -> "subprocess.Popen[Any] | None":
    """Return the process of a proxy's current server; None if that could not be started."""
    for entry in list(proxy._grpc_server_registry._active_entries.values()):
        if isinstance(entry, ServerRegistryEntry):
            return entry.process.server_process
    return None


def replace_server(proxy: DagsterProxyApiServicer, gone: "subprocess.Popen[Any]") -> None:
    """Start another server in the place of a dead one, unless a reload has."""
    with proxy._reload_lock:
        if server_of(proxy) is gone:
            heartbeat: Any = proxy._client_heartbeat_shutdown_event
            proxy._reload_location()  # type: ignore[no-untyped-call]
            if heartbeat is not None:
                heartbeat.set()


def client_of(proxy: DagsterProxyApiServicer, request: Any) -> Any:
    """Return the client of the server that has the run of a CanCancelExecution request, if a proxy knows it."""
    asked = deserialize_value(request.serialized_can_cancel_execution_request, CanCancelExecutionRequest)
    return proxy._run_clients.get(asked.run_id)


def set_context(servicer: DagsterApiServer, context: Any) -> None:
    """Make a servicer start its run workers with another `multiprocessing` context."""
    servicer._mp_ctx = context


def start_steps_by(executor: dg.Executor, method: str) -> None:
    """Make a multiprocess executor use a start method that its configuration does not offer."""
    assert isinstance(executor, MultiprocessExecutor)
    executor._start_method = method


def start_all_steps_by(method: str) -> None:
    """Make all multiprocess executors of this process use another start method, whatever their configuration says."""
    execute = MultiprocessExecutor.execute

    @wraps(execute)
    def execute_by(self: MultiprocessExecutor, *args: Any, **kwargs: Any) -> Any:
        start_steps_by(self, method)
        return execute(self, *args, **kwargs)

    MultiprocessExecutor.execute = execute_by  # type: ignore[method-assign]
