"""The image works under the chart's restrictions, and contains nothing that it does not need."""

import json
import shutil
import subprocess
import time
import tomllib
from collections.abc import Iterator

import pytest
from image import PROJECT, build_image, container, podman

pytestmark = pytest.mark.kubernetes

SERVER_INFO = "import urllib.request as r; print(r.urlopen('http://localhost:3000/server_info').read().decode())"
NOT_COMPILED = """
import json, os, sys
import bench_orchestrator.cli, bench_orchestrator.definitions, dagster_warm
import dagster_k8s, dagster_postgres, dagster_webserver.cli, dagster._daemon.cli, matplotlib.pyplot, scipy.stats
cached = [getattr(module, "__cached__", None) for module in list(sys.modules.values())]
print(json.dumps([path for path in cached if path and not os.path.exists(path)]))
"""
TO_INSTALL_WITH = """
import importlib.util, shutil
modules = [name for name in ("ensurepip", "pip", "setuptools", "wheel", "uv") if importlib.util.find_spec(name)]
programs = [name for name in ("cc", "c++", "gcc", "ld", "make", "pip", "uv", "git", "curl") if shutil.which(name)]
print(*modules, *programs)
"""
OF_ITS_BUILDING = """
import pwd
from pathlib import Path
places = ("/etc/pip.conf", "/run/secrets", "/build", "/project", "/opt/pip", pwd.getpwuid(0).pw_dir + "/.cache")
print(*[place for place in places if Path(place).exists()])
"""


@pytest.fixture(scope="module")
def image() -> str:
    for program in ("podman", "debootstrap"):
        if not shutil.which(program):
            pytest.skip(f"building the image needs {program}")
    return build_image()


@pytest.fixture(scope="module")
def idle(image: str) -> Iterator[str]:
    """Yield an idle container for inspection."""
    with container(image, "sleep", "infinity") as idle:
        yield idle


def printed_once_it_works(container: str, *command: str) -> str:
    """Return the command's output in the container, once it succeeds."""
    deadline = time.monotonic() + 60
    while True:
        try:
            return podman("exec", container, *command)
        except subprocess.CalledProcessError:
            if time.monotonic() > deadline:
                raise
        time.sleep(1)


class TestItsWork:
    def test_the_webserver_answers(self, image: str) -> None:
        command = ("dagster-webserver", "-h", "0.0.0.0", "-p", "3000", "--empty-workspace")
        with container(image, *command) as webserver:
            answer = json.loads(printed_once_it_works(webserver, "python", "-c", SERVER_INFO))
        assert answer["dagster_version"]

    def test_without_a_command_it_is_the_location_of_the_shape(self, image: str) -> None:
        with container(image, environment={"BENCH_SHAPE": "a10"}) as location:
            printed_once_it_works(location, "dagster", "api", "grpc-health-check", "-p", "4000")
            # PID 1 of a container: only signals that it handles can end it.
            podman("stop", "--time=30", location)
            assert podman("inspect", "--format={{.State.ExitCode}}", location).strip() == "0"

    @pytest.mark.parametrize("command", ["bench", "dagster", "dagster-daemon", "python -m dagster_warm"])
    def test_its_commands_are_there(self, idle: str, command: str) -> None:
        assert "Usage:" in podman("exec", idle, *command.split(), "--help")


class TestWhatItHolds:
    def test_whatever_it_imports_is_compiled(self, idle: str) -> None:
        assert json.loads(podman("exec", idle, "python", "-c", NOT_COMPILED)) == []

    def test_nothing_to_install_or_build_with(self, idle: str) -> None:
        assert podman("exec", idle, "python", "-c", TO_INSTALL_WITH).split() == []

    def test_nothing_within_its_users_reach_gives_rights(self, idle: str) -> None:
        out_of_reach = ("-type", "d", "(", "-not", "-readable", "-o", "-not", "-executable", ")", "-prune")
        setuid = ("-type", "f", "-perm", "/6000", "-print")
        assert podman("exec", idle, "find", "/", "-xdev", *out_of_reach, "-o", *setuid) == ""

    def test_nothing_of_its_building(self, idle: str) -> None:
        assert podman("exec", "--user=0", idle, "python", "-c", OF_ITS_BUILDING).split() == []

    def test_no_code_that_its_user_can_change(self, idle: str) -> None:
        theirs = ("(", "-user", "1000", "-o", "-group", "1000", "-o", "-perm", "/o+w", ")", "-not", "-type", "l")
        assert podman("exec", idle, "find", "/opt/venv", "/usr", *theirs) == ""

    def test_its_labels_and_its_user(self, image: str) -> None:
        project = tomllib.loads((PROJECT / "pyproject.toml").read_text())["project"]
        config = json.loads(podman("inspect", "--format={{json .Config}}", image))
        labels = {key.removeprefix("org.opencontainers.image."): value for key, value in config["Labels"].items()}
        assert {key: labels[key] for key in ("title", "description", "version")} == {
            "title": project["name"],
            "description": project["description"],
            "version": project["version"],
        }
        assert config["User"] == "1000:1000"
        assert not config.get("Entrypoint")
