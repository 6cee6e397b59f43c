"""The results database that a command reads and writes."""

from bench_orchestrator import settings
from bench_orchestrator.deployment import find_home
from bench_orchestrator.results.store import Store


def open_results() -> Store:
    """Return the results database of the Dagster home that the command runs in; it is opened on use.

    Raises:
        DeploymentError: there is no Dagster home.
    """
    return Store.in_directory(settings.results_directory(find_home()))
