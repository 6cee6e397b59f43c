"""The home's lock: it allows one deployment at a time, names its holder, and a killed holder blocks nothing."""

import signal
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest

from bench_orchestrator.deployment.home import DeploymentError, HomeLock, find_deployment

HOLDER = """
import sys, time
from pathlib import Path
from bench_orchestrator.deployment.home import HomeLock

lock = HomeLock(Path(sys.argv[1]))
if "--described" in sys.argv:
    lock.describe(4321, ["a10"], Path("/sockets"))
print("held", flush=True)
sys.stdin.read()
lock.release()
"""


@pytest.fixture
def holder(tmp_path: Path, request: pytest.FixtureRequest) -> Iterator[subprocess.Popen[str]]:
    """Yield another process that holds the lock of `tmp_path`."""
    with subprocess.Popen(
        [sys.executable, "-c", HOLDER, str(tmp_path), *getattr(request, "param", ())],
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        text=True,
    ) as process:
        try:
            assert process.stdout
            assert process.stdout.readline() == "held\n"
            yield process
        finally:
            process.kill()


@pytest.mark.parametrize("holder", [["--described"]], indirect=True)
def test_its_holder_is_reported(tmp_path: Path, holder: subprocess.Popen[str]) -> None:
    with pytest.raises(DeploymentError, match=rf"is up already, at http://127\.0\.0\.1:4321, process {holder.pid}\."):
        HomeLock(tmp_path)


@pytest.mark.parametrize("holder", [["--described"]], indirect=True)
def test_one_whose_webserver_is_being_restarted_is_found(tmp_path: Path, holder: subprocess.Popen[str]) -> None:
    found = find_deployment(tmp_path)
    assert found is not None
    assert (found.url, found.pid, found.answers) == ("http://127.0.0.1:4321", holder.pid, False)


@pytest.mark.usefixtures("holder")
def test_one_that_is_not_up_yet_holds_it_as_well(tmp_path: Path) -> None:
    with pytest.raises(DeploymentError, match="is up already, and is starting or stopping"):
        HomeLock(tmp_path)


@pytest.mark.parametrize("holder", [["--described"]], indirect=True)
def test_a_killed_holder_leaves_its_sockets_folder_and_no_lock(tmp_path: Path, holder: subprocess.Popen[str]) -> None:
    holder.send_signal(signal.SIGKILL)
    holder.wait(30)
    lock = HomeLock(tmp_path)
    assert lock.forget_leftover() == Path("/sockets")
    assert lock.forget_leftover() is None
    lock.release()


def test_it_can_be_taken_again_once_it_is_released(tmp_path: Path, holder: subprocess.Popen[str]) -> None:
    holder.communicate("")
    for _ in range(2):
        lock = HomeLock(tmp_path)
        with pytest.raises(DeploymentError, match="starting or stopping"):
            HomeLock(tmp_path)
        lock.release()
