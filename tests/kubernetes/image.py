"""The project's image, built by podman, and its containers."""

import functools
import os
import subprocess
import sys
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path

from cluster import base_image

PROJECT = Path(__file__).parents[2]
IMAGE = "localhost/dagster-bench:test"
POSTGRESQL_IMAGE = "localhost/dagster-bench-postgresql:test"

# By default podman requests higher limits than root may set without CAP_SYS_RESOURCE.
_LIMITS = ["--ulimit=nofile=8192:8192", "--ulimit=nproc=8192:8192"]
# The strictest pod: no network, no privileges, a read-only root file system.
_RESTRICTED = [
    "--network=none",
    "--read-only",
    "--read-only-tmpfs=false",
    "--cap-drop=all",
    "--security-opt=no-new-privileges",
    "--no-healthcheck",
    "--tmpfs=/tmp",
    # Unlike --tmpfs, this can belong to the image's user.
    "--mount=type=tmpfs,destination=/opt/dagster/home,chown",
    *_LIMITS,
]


@functools.cache
def build_image() -> str:
    """Build the image like `make image`, and return its name; podman rebuilds only what has changed.

    BASE_IMAGE names the base image; by default one is built here, without a registry.
    """
    environment = {**os.environ, "BASE_IMAGE": os.environ.get("BASE_IMAGE") or base_image()}
    # Use the machine's own network: podman's would leave a bridge and packet filters behind.
    make = ["make", "image", "BUILDER=podman", f"IMAGE={IMAGE}", "BUILD_OPTIONS=--network=host"]
    subprocess.run(make, cwd=PROJECT, env=environment, stdout=sys.stderr, check=True)
    return IMAGE


@functools.cache
def build_postgresql_image() -> str:
    """Build an image for the chart's PostgreSQL without a registry, and return its name."""
    build = ["build", "--network=host", *_LIMITS, f"--build-arg=BASE_IMAGE={base_image()}", f"--tag={POSTGRESQL_IMAGE}"]
    print(podman(*build, str(Path(__file__).with_name("postgresql"))), file=sys.stderr)
    return POSTGRESQL_IMAGE


@contextmanager
def container(image: str, *command: str, environment: Mapping[str, str] | None = None) -> Iterator[str]:
    """Yield the id of a running container with the tightest restrictions; remove it afterwards."""
    variables = [f"--env={name}={value}" for name, value in (environment or {}).items()]
    started = podman("run", "--detach", *_RESTRICTED, *variables, image, *command).strip()
    try:
        yield started
    finally:
        print(podman("logs", started), file=sys.stderr)
        podman("rm", "--force", "--time=0", started)


def podman(*arguments: str) -> str:
    """Return podman's output; its errors go to stderr."""
    return subprocess.run(["podman", *arguments], check=True, stdout=subprocess.PIPE, text=True).stdout
