"""The deployments that a sweep's variants are launched in: the sweep's own, or temporary ones.

A variant needs a temporary deployment if it requires a different dagster.yaml, or if its locations are not served as
required. Such a deployment has fresh storage, serves only what its variants need, and ends with the sweep. On
Kubernetes there are none: the release must serve every location, those with CPU limits or the warm server under
separate names (`served_name`).
"""

import json
import shutil
from collections.abc import Callable, Collection, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any, Protocol

import yaml
from dagster import DagsterInstance

from bench_orchestrator.deployment import (
    STOCK_SERVER,
    WARM_SERVER,
    Deployment,
    DeploymentError,
    DeploymentStatus,
    LocationState,
    shape_location,
)
from bench_orchestrator.model.errors import PreflightError
from bench_orchestrator.model.plan import ServerState, Variant
from bench_orchestrator.sources.kubernetes import KubernetesServers
from bench_orchestrator.sources.processes import UsageMeter
from bench_orchestrator.sweeps.environment import describe_environment, is_launched_warm, kubernetes_namespace
from bench_orchestrator.waiting import spaced
from bench_orchestrator.webserver import Webserver

OWN_INSTANCE: Mapping[str, Any] = {
    "telemetry": {"enabled": False},
    # On fresh storage, the freshness daemon first writes an event for every asset, with or without a policy, which
    # older storage already has.
    "freshness": {"enabled": False},
    "concurrency": {"runs": {"max_concurrent_runs": 10}},
    # 1 s instead of 5 s, so that the random queue wait does not mask the effect under test.
    "run_coordinator": {
        "module": "dagster.core.run_coordinator",
        "class": "QueuedRunCoordinator",
        "config": {
            "dequeue_interval_seconds": 1,
            # The daemon may notice later than the webserver that a code server is back; launches must not fail then.
            "max_user_code_failure_retries": 10,
            "user_code_failure_retry_delay": 1,
        },
    },
}
"""The dagster.yaml of a temporary deployment; a variant's entries replace these, and None removes one."""

_LOADING_S = 1_800.0


class CodeServers(Protocol):
    """Stops and starts the code servers of a deployment; raises UnusableError on failure."""

    def stop_server(self, location: str) -> None:
        """Stop the location's code server and keep it down."""

    def start_server(self, location: str) -> None:
        """Start it again without waiting for it."""


@dataclass(frozen=True)
class Site:
    """A deployment that trials are launched in."""

    name: str
    """Empty for the deployment that the sweep itself runs in."""
    webserver: Webserver
    instance: DagsterInstance
    meter: UsageMeter
    environment: Mapping[str, Any]
    load_s: Mapping[str, float] = field(default_factory=dict)
    """The start time of each location's code server in seconds, if known."""
    servers: CodeServers | None = None
    """None if the sweep must not stop the code servers."""


def served_name(location: str, variant: Variant) -> str:
    """Return the name of a location that is served as this variant requires: `a2k_500m`, `a10_warm`.

    No shape has such a name. A name that already has the suffix is returned unchanged.
    """
    return location.removesuffix(_suffix(variant)) + _suffix(variant)


def _suffix(variant: Variant) -> str:
    limited = "" if variant.cpus is None else f"_{_millicores(variant.cpus)}"
    return limited + ("_warm" if variant.warm else "")


def _millicores(cpus: float) -> str:
    return f"{round(cpus * 1000)}m"


@contextmanager
def open_sites(
    variants: Sequence[Variant], here: Site, directory: Path, say: Callable[[str], None]
) -> Iterator[tuple[tuple[Variant, ...], dict[str, Site]]]:
    """Yield the variants with their locations' served names, and the site of each variant by its name.

    Temporary deployments end with the block.

    Args:
        here: the deployment that the sweep runs in.
        directory: for the instances of temporary deployments. Never used before, because processes of a killed sweep
            may still be ending; its parent must contain only such folders.
        say: receives a line for each slow operation.

    Raises:
        PreflightError: a temporary deployment cannot be started, or one of its locations cannot be loaded; on
            Kubernetes, something is not served.
    """
    namespace = kubernetes_namespace(here.instance)
    statuses = here.webserver.list_locations()
    if namespace is not None:
        _refuse_unserved(variants, statuses.keys(), here.instance)
        servers = KubernetesServers(namespace, lambda location: statuses[location].host)
        yield (
            tuple(map(_as_served, variants)),
            dict.fromkeys((variant.name for variant in variants), replace(here, servers=servers)),
        )
        return
    served = {name for name, status in statuses.items() if status.state == "loaded"}
    particular = [variant for variant in variants if _is_particular(variant)]
    # All or none: sides in different deployments would differ in more than the property under test.
    if all(_is_served(variant, served) and variant.server is ServerState.AS_IT_IS for variant in particular):
        variants = tuple(map(_as_served, variants))
        particular = []
    shutil.rmtree(directory.parent, ignore_errors=True)  # left by a killed sweep
    groups: dict[str, list[Variant]] = {}
    for variant in variants:
        if variant not in particular and served.issuperset(variant.locations):
            continue
        groups.setdefault(json.dumps([variant.instance, variant.cpus, variant.warm], sort_keys=True), []).append(
            variant
        )
    sites = {variant.name: here for variant in variants}
    started: list[_Own] = []
    try:
        for group in groups.values():
            # Named after its first variant, unless all variants share it.
            name = "own" if len(groups) == 1 else group[0].name
            say(f"Starting a deployment for {', '.join(variant.name for variant in group)} ...")
            own = _Own(name, group, directory / str(len(started)))
            started.append(own)
            site = own.start(spaced(say))
            say(f"It is up at {site.webserver.url}")
            sites |= {variant.name: site for variant in group}
        yield tuple(variants), sites
    finally:
        for own in started:
            own.stop()
        shutil.rmtree(directory.parent, ignore_errors=True)


def _is_particular(variant: Variant) -> bool:
    """Return whether a variant has requirements on how its locations are served."""
    treated = variant.server is not ServerState.AS_IT_IS
    return bool(variant.instance) or variant.cpus is not None or variant.warm is not None or treated


def _as_served(variant: Variant) -> Variant:
    return replace(variant, locations=tuple(served_name(location, variant) for location in variant.locations))


def _is_served(variant: Variant, served: Collection[str]) -> bool:
    return not variant.instance and set(served).issuperset(_as_served(variant).locations)


def _refuse_unserved(variants: Sequence[Variant], served: Collection[str], instance: DagsterInstance) -> None:
    """Check that every variant of a sweep on Kubernetes is served as it requires.

    Raises:
        PreflightError: lists everything that is not.
    """
    problems = [
        f"{variant.name!r} needs its own settings in dagster.yaml, but all locations here share one. Launch it in a "
        "local deployment."
        for variant in variants
        if variant.instance
    ]
    missing = dict.fromkeys(
        _chart_entry(location, variant)
        for variant in variants
        for location in variant.locations
        if served_name(location, variant) not in served
    )
    if missing:
        problems.append("Runs are Kubernetes jobs here, and a sweep starts no code servers for them. Add these to")
        problems.append("`locations` in the chart's values (and see runLauncher.warm there for warm ones):")
        problems += missing
    for variant in map(_as_served, variants):
        for location in variant.locations:
            if variant.warm is not None and location in served and variant.warm != is_launched_warm(instance, location):
                how, wanted = ("warm", "false") if is_launched_warm(instance, location) else ("cold", "true")
                problems.append(
                    f"The run launcher launches runs of {location} {how}. Set runLauncher.warm to true, and `warm` of "
                    f"{location} to {wanted}, in the chart's values."
                )
    if problems:
        raise PreflightError("\n".join(dict.fromkeys(problems)))


def _chart_entry(location: str, variant: Variant) -> str:
    """Return the line of the chart's `locations` that serves a location as the variant requires."""
    name = served_name(location, variant)
    if not _suffix(variant):
        return f"  - {name}"
    entry = f"name: {name}, shape: {location.removesuffix(_suffix(variant))}"
    if variant.cpus is not None:
        entry += f", cpu: {_millicores(variant.cpus)}"
    return f"  - {{{entry}{', warm: true' if variant.warm else ''}}}"


def write_settings(home: Path, settings: Mapping[str, Any] = OWN_INSTANCE) -> None:
    """Write the dagster.yaml of a temporary deployment."""
    (home / "dagster.yaml").write_text(yaml.safe_dump(dict(settings)))


def await_loaded(deployment: Deployment, on_progress: Callable[[DeploymentStatus], None]) -> DeploymentStatus:
    """Wait until all locations of a temporary deployment are loaded.

    Raises:
        DeploymentError: it does not get ready.
        PreflightError: a location cannot be loaded.
    """
    status = deployment.wait_until_loaded(_LOADING_S, on_progress)
    broken = [location for location in status.locations if location.state is LocationState.ERROR]
    if broken:
        raise PreflightError("\n".join(f"{location.name}: {location.message}" for location in broken))
    return status


def own_site(
    name: str,
    deployment: Deployment,
    status: DeploymentStatus,
    instance: DagsterInstance,
    particulars: Mapping[str, Any],
) -> Site:
    """Return the site of a temporary deployment that has loaded.

    Args:
        name: what the plan calls it; not empty.
        particulars: what belongs into its environment besides what the instance tells.
    """
    return Site(
        name=name,
        webserver=Webserver(deployment.url),
        instance=instance,
        meter=UsageMeter(deployment.home),
        environment={**describe_environment(instance), **particulars},
        load_s={location.name: location.load_s for location in status.locations if location.load_s is not None},
        servers=deployment,
    )


class _Own:
    """A temporary deployment of the sweep, from `start` to `stop`."""

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
            raise PreflightError(f"{error} A temporary deployment can serve shapes only.") from error
        self._deployment: Deployment | None = None
        self._instance: DagsterInstance | None = None

    def start(self, say: Callable[[str], None]) -> Site:
        """Start it and wait until its locations are loaded.

        Args:
            say: receives a line at every look while they load.
        """
        self._home.mkdir(parents=True)
        write_settings(self._home, self._settings)
        # Not as a context manager, which would handle signals: Dagster uses them to cancel runs in this process.
        self._deployment = Deployment(self._home, self._locations)
        try:
            self._deployment.start()
            status = await_loaded(
                self._deployment, lambda status: say(f"Still waiting for {', '.join(status.missing)} ...")
            )
        except DeploymentError as error:
            raise PreflightError(f"The deployment for {self._name!r} cannot be started: {error}") from error
        self._instance = DagsterInstance.from_config(str(self._home))
        particulars = {
            "cpus_of_code_servers": self._cpus,
            "code_servers": " ".join(self._server),
            "dagster_yaml": self._settings,
        }
        return own_site(self._name, self._deployment, status, self._instance, particulars)

    def stop(self) -> None:
        if self._instance is not None:
            self._instance.dispose()
        if self._deployment is not None:
            self._deployment.stop()
