"""Commands that tests run in the meta location's pod, with its instance and results: `python - COMMAND …`."""

import json
import sys
from collections.abc import Callable
from dataclasses import dataclass

from dagster import DagsterInstance
from pydantic import TypeAdapter

from bench_orchestrator import settings
from bench_orchestrator.model.launch import Sweep
from bench_orchestrator.model.runs import Run
from bench_orchestrator.results.store import Store
from bench_orchestrator.sources.instance import find_trial_runs
from bench_orchestrator.sweeps import client
from bench_orchestrator.sweeps.harvest import harvest_sweep
from bench_orchestrator.sweeps.journal import read_journal
from bench_orchestrator.webserver import Webserver

HARVEST_TIMEOUT_S = 900


@dataclass(frozen=True)
class Swept:
    """A finished sweep, from each place that records it, and the runs of its trials."""

    fetched: Sweep
    """Over GraphQL, as `bench run` gets it."""
    stored: Sweep
    """From the results database."""
    again: Sweep
    """From the instance's journal and event logs, as another harvest would have it."""
    runs: list[Run]


SWEEP = TypeAdapter(Sweep)
SWEPT = TypeAdapter(Swept)


def start(scenario: str, config: str) -> str:
    """Launch a sweep; return its run id."""
    return client.start_sweep(_webserver(), scenario, json.loads(config))


def tell(run_id: str) -> str:
    """Wait until a sweep is finished and harvested; return everything about it as JSON."""
    # Query the webserver, with patience: the database may be temporarily unreachable.
    for _ in client.follow(_webserver(), run_id):
        pass
    with DagsterInstance.get() as instance:
        if read_journal(instance, run_id) is None:
            raise SystemExit(f"The sweep has no plan: {[entry.message for entry in instance.all_logs(run_id)][-3:]}")
        fetched = client.fetch_sweep(_webserver(), run_id, HARVEST_TIMEOUT_S)
        again = harvest_sweep(instance, run_id)
        assert again is not None
        runs = find_trial_runs(instance, again.plan.sweep_id)
    swept = Swept(fetched, _load(again.plan.sweep_id), again, runs)
    return SWEPT.dump_json(swept).decode()


def refusal(run_id: str) -> str:
    """Return why a refused sweep failed, in one line."""
    *_, last = client.follow(_webserver(), run_id)
    return last.failure


def stored(sweep_id: str) -> str:
    """Return the stored sweep as JSON."""
    return SWEEP.dump_json(_load(sweep_id)).decode()


def reload(location: str) -> str:
    """Make the webserver reload a code server; return the location's state."""
    mutation = (
        "mutation Reload($name: String!) { reloadRepositoryLocation(repositoryLocationName: $name) { __typename } }"
    )
    webserver = _webserver()
    webserver.query(mutation, {"name": location})
    return webserver.list_locations()[location].state


def _load(sweep_id: str) -> Sweep:
    return Store.in_directory(settings.results_directory()).load(sweep_id)


def _webserver() -> Webserver:
    return Webserver(settings.webserver_url())


if __name__ == "__main__":
    commands: dict[str, Callable[..., str]] = {
        "start": start,
        "tell": tell,
        "refusal": refusal,
        "stored": stored,
        "reload": reload,
    }
    print(commands[sys.argv[1]](*sys.argv[2:]))
