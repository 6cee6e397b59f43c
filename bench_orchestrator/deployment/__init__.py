"""A local Dagster deployment: one code server per location, the webserver, the daemon; and who may run one.

The servers are those of a deployment on Kubernetes (`dagster api grpc`, with no proxy in between), so that
what is measured here is shaped like what runs there. Dagster is not imported here: the supervisor stays small
beside what it measures.
"""

from bench_orchestrator.deployment.cpu_limits import why_no_cpu_limits
from bench_orchestrator.deployment.home import DeploymentError, RunningDeployment, find_deployment, find_home
from bench_orchestrator.deployment.instance import instance_home
from bench_orchestrator.deployment.local import Deployment
from bench_orchestrator.deployment.locations import (
    STOCK_SERVER,
    WARM_SERVER,
    CodeLocation,
    read_locations,
    shape_location,
)
from bench_orchestrator.deployment.status import DeploymentStatus, LocationState, LocationStatus

__all__ = [
    "STOCK_SERVER",
    "WARM_SERVER",
    "CodeLocation",
    "Deployment",
    "DeploymentError",
    "DeploymentStatus",
    "LocationState",
    "LocationStatus",
    "RunningDeployment",
    "find_deployment",
    "find_home",
    "instance_home",
    "read_locations",
    "shape_location",
    "why_no_cpu_limits",
]
