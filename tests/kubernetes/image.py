"""The project's image, built by podman, and containers of it."""

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

# Without these podman asks for more than a root without CAP_SYS_RESOURCE may give.
_LIMITS = ["--ulimit=nofile=8192:8192", "--ulimit=nproc=8192:8192"]
# The strictest pod there is: without network, privileges, and a root file system to write to.
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
    """Build the image as `make image` does, and return its name; podman builds anew only what has changed.

    BASE_IMAGE names the image to build on; else it is one that is made here, without a registry.
    """
    environment = {**os.environ, "BASE_IMAGE": os.environ.get("BASE_IMAGE") or base_image()}
    # The machine's own network: one of podman's would leave a bridge and packet filters behind.
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
    """The id of a running container, restricted as far as can be, which is removed afterwards."""
    variables = [f"--env={name}={value}" for name, value in (environment or {}).items()]
    started = podman("run", "--detach", *_RESTRICTED, *variables, image, *command).strip()
    try:
        yield started
    finally:
        print(podman("logs", started), file=sys.stderr)
        podman("rm", "--force", "--time=0", started)


def podman(*arguments: str) -> str:
    """What podman prints; what it complains about goes to stderr."""
    return subprocess.run(["podman", *arguments], check=True, stdout=subprocess.PIPE, text=True).stdout
