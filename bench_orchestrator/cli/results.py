"""The results database that a command reads and writes."""

from contextlib import suppress

from bench_orchestrator import settings
from bench_orchestrator.deployment import find_home
from bench_orchestrator.model.launch import Sweep
from bench_orchestrator.results.database import StoreError
from bench_orchestrator.results.store import Store


def open_results() -> Store:
    """Return the results database of the Dagster home that the command runs in; it is opened on use.

    Raises:
        DeploymentError: there is no Dagster home.
    """
    return Store.in_directory(settings.results_directory(find_home()))


def keep(sweep: Sweep) -> Store:
    """Save a sweep, unless the results database has it, and return that database.

    Raises:
        UnusableError: the database cannot be written.
    """
    store = open_results()
    with suppress(StoreError):
        if store.load(sweep.plan.sweep_id) == sweep:
            return store
    store.save(sweep)
    return store
