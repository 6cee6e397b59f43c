"""Where the variants of a sweep are launched: in the deployment that the sweep runs in, or in one of its own.

A variant needs a deployment of its own where it wants another dagster.yaml, a limit on its CPUs or another code server,
or where its locations are not served yet. Such a deployment has a fresh store, serves what its variants need and
nothing else, and lives only as long as the sweep.
"""

import json
import shutil
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import yaml
from dagster import DagsterInstance

from bench_orchestrator.deployment import (
    STOCK_SERVER,
    WARM_SERVER,
    Deployment,
    DeploymentError,
    LocationState,
    shape_location,
)
from bench_orchestrator.environment import describe_environment
from bench_orchestrator.launching import Webserver
from bench_orchestrator.model import PreflightError, Variant
from bench_orchestrator.usage import UsageMeter

OWN_INSTANCE: Mapping[str, Any] = {
    "telemetry": {"enabled": False},
    # In a fresh store the freshness daemon first writes an event for every asset that there is, with or without a
    # policy. A store that is not fresh has that behind it.
    "freshness": {"enabled": False},
    "concurrency": {"runs": {"max_concurrent_runs": 10}},
    # Every second instead of every five: what an experiment is about is not hidden behind a wait that is chance.
    "run_coordinator": {
        "module": "dagster.core.run_coordinator",
        "class": "QueuedRunCoordinator",
        "config": {"dequeue_interval_seconds": 1},
    },
}
"""The dagster.yaml of a sweep's own deployment; a variant's entries replace these, and None takes one away."""

_LOADING_S = 1_800.0


@dataclass(frozen=True)
class Site:
    """A deployment that trials are launched in."""

    name: str
    """Empty for the one that the sweep itself runs in."""
    webserver: Webserver
    instance: DagsterInstance
    meter: UsageMeter
    environment: Mapping[str, Any]
    load_s: Mapping[str, float] = field(default_factory=dict)
    """How long each location's code server took to start, where that is known."""


@contextmanager
def open_sites(
    variants: Sequence[Variant], here: Site, directory: Path, say: Callable[[str], None]
) -> Iterator[dict[str, Site]]:
    """Each variant's site, by the variant's name; the sweep's own deployments end with the block.

    Args:
        here: the deployment that the sweep runs in.
        directory: where own deployments keep their instances for the time being. Nobody else had it before, as
            processes of a killed sweep may still be ending; its parent is for nothing but such folders.
        say: gets a line for whatever takes long.

    Raises:
        PreflightError: an own deployment cannot be started, or a location in it cannot be loaded.
    """
    served = {name for name, status in here.webserver.list_locations().items() if status.state == "loaded"}
    shutil.rmtree(directory.parent, ignore_errors=True)  # what a sweep that was killed left there
    groups: dict[str, list[Variant]] = {}
    for variant in variants:
        if not _needs_own(variant, served):
            continue
        groups.setdefault(json.dumps([variant.instance, variant.cpus, variant.warm], sort_keys=True), []).append(
            variant
        )
    sites = {variant.name: here for variant in variants}
    started: list[_Own] = []
    try:
        for group in groups.values():
            # Named for its first variant, unless all of the sweep's variants share it.
            name = "own" if len(groups) == 1 else group[0].name
            say(f"Starting a deployment for {', '.join(variant.name for variant in group)} ...")
            own = _Own(name, group, directory / str(len(started)))
            started.append(own)
            site = own.start()
            say(f"It is up at {site.webserver.url}")
            sites |= {variant.name: site for variant in group}
        yield sites
    finally:
        for own in started:
            own.stop()
        shutil.rmtree(directory.parent, ignore_errors=True)


def _needs_own(variant: Variant, served: set[str]) -> bool:
    particular = bool(variant.instance) or variant.cpus is not None or variant.warm is not None
    return particular or not served.issuperset(variant.locations)


class _Own:
    """A deployment of the sweep's own, from `start` to `stop`."""

    def __init__(self, name: str, variants: Sequence[Variant], home: Path) -> None:
        self._name = name
        self._home = home
        self._settings = {
            key: value for key, value in {**OWN_INSTANCE, **variants[0].instance}.items() if value is not None
        }
        names = dict.fromkeys(location for variant in variants for location in variant.locations)
        self._cpus = variants[0].cpus
        self._server = WARM_SERVER if variants[0].warm else STOCK_SERVER
        try:
            self._locations = [shape_location(location, self._cpus, self._server) for location in names]
        except DeploymentError as error:
            raise PreflightError(f"{error} A deployment of the sweep's own can serve shapes only.") from error
        self._deployment: Deployment | None = None
        self._instance: DagsterInstance | None = None

    def start(self) -> Site:
        self._home.mkdir(parents=True)
        (self._home / "dagster.yaml").write_text(yaml.safe_dump(self._settings))
        # Not as a context manager: the signals of this process are Dagster's, which cancels runs by them.
        self._deployment = Deployment(self._home, self._locations)
        try:
            self._deployment.start()
            status = self._deployment.wait_until_loaded(_LOADING_S)
        except DeploymentError as error:
            raise PreflightError(f"The deployment for {self._name!r} cannot be started: {error}") from error
        broken = [location for location in status.locations if location.state is LocationState.ERROR]
        if broken:
            raise PreflightError("\n".join(f"{location.name}: {location.message}" for location in broken))
        self._instance = DagsterInstance.from_config(str(self._home))
        return Site(
            name=self._name,
            webserver=Webserver(self._deployment.url),
            instance=self._instance,
            meter=UsageMeter(self._home),
            environment={
                **describe_environment(self._instance),
                "cpus_of_code_servers": self._cpus,
                "code_servers": " ".join(self._server),
                "dagster_yaml": self._settings,
            },
            load_s={location.name: location.load_s for location in status.locations if location.load_s is not None},
        )

    def stop(self) -> None:
        if self._instance is not None:
            self._instance.dispose()
        if self._deployment is not None:
            self._deployment.stop()
