"""The results database that a command reads and writes."""

from bench_orchestrator import settings
from bench_orchestrator.deployment import find_home
from bench_orchestrator.results.store import Store


def open_results() -> Store:
    """That of the Dagster instance that the command runs in; nothing is opened until it is used.

    Raises:
        DeploymentError: there is no such instance.
    """
    return Store.in_directory(settings.results_directory(find_home()))
