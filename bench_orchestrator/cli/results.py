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
        UnusableError: the database cannot be written, or has another sweep of this id, from another deployment.
    """
    store = open_results()
    stored = None
    with suppress(StoreError):
        stored = store.load(sweep.plan.sweep_id)
    if stored is not None and stored.plan.created_us != sweep.plan.created_us:
        raise StoreError(
            f"{store.path} has another sweep {sweep.plan.sweep_id}, which is kept. Choose another results folder in "
            f"{settings.RESULTS_DIR} for this one, and run `bench report` there."
        )
    if stored != sweep:
        store.save(sweep)
    return store
