"""A local Dagster deployment, at most one per home: a code server per location, the webserver and the daemon.

The servers match a deployment on Kubernetes (`dagster api grpc`, with no proxy in between), so that launches measured
here have the same structure. Dagster is not imported here: the supervisor must be small beside what it measures.
"""

from bench_orchestrator.deployment.cpu_limits import why_no_cpu_limits
from bench_orchestrator.deployment.home import DeploymentError, RunningDeployment, find_deployment, find_home
from bench_orchestrator.deployment.instance import instance_home
from bench_orchestrator.deployment.local import Deployment
from bench_orchestrator.deployment.locations import (
    STOCK_SERVER,
    WARM_SERVER,
    CodeLocation,
    ConnectedLocation,
    shape_location,
)
from bench_orchestrator.deployment.project import find_code, probed_location
from bench_orchestrator.deployment.status import DeploymentStatus, LocationState, LocationStatus
from bench_orchestrator.deployment.workspace import read_locations

__all__ = [
    "STOCK_SERVER",
    "WARM_SERVER",
    "CodeLocation",
    "ConnectedLocation",
    "Deployment",
    "DeploymentError",
    "DeploymentStatus",
    "LocationState",
    "LocationStatus",
    "RunningDeployment",
    "find_code",
    "find_deployment",
    "find_home",
    "instance_home",
    "probed_location",
    "read_locations",
    "shape_location",
    "why_no_cpu_limits",
]
