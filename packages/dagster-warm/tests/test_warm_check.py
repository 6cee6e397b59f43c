"""`dagster-warm check` finds each kind of what does not fit a fork, where it is, and nothing in code that fits."""

import importlib
import json
import re
import subprocess
import sys
import time
from collections.abc import Mapping, Sequence
from dataclasses import fields
from fnmatch import fnmatchcase
from pathlib import Path
from textwrap import dedent
from typing import Any

import pytest
from click.testing import CliRunner, Result

from dagster_warm import check, reads
from dagster_warm.findings import FAULT, HAZARDS, NOTICE, Finding
from dagster_warm.loading import Outcome
from dagster_warm.reads import Read

README = (Path(__file__).parents[1] / "README.md").read_text()

DEFINITIONS = "import dagster as dg\n\ndefs = dg.Definitions()\n"


@pytest.fixture(autouse=True)
def folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """Return the working directory, which is on no import path and has a folder of installed packages."""
    site = tmp_path / "site-packages"
    site.mkdir()
    project = tmp_path / "project"
    project.mkdir()
    monkeypatch.chdir(project)
    monkeypatch.setattr(sys, "path", [*sys.path, str(site)])
    return project


def write(path: str | Path, code: str) -> None:
    Path(path).parent.mkdir(parents=True, exist_ok=True)
    Path(path).write_text(dedent(code))


def install(package: str, code: str) -> None:
    write(Path("..", "site-packages", package, "__init__.py"), code)


def invoke(*arguments: str) -> Result:
    return CliRunner().invoke(check.command, arguments)


def run(*arguments: str) -> dict[str, Any]:
    """Check code that can be loaded; return the report."""
    result = invoke(*arguments, "--json")
    assert result.exit_code in (0, 1), result.output
    report: dict[str, Any] = json.loads(result.output)
    return report


def find(code: str, *arguments: str) -> list[tuple[str, str, int | None]]:
    """Check code without definitions of its own; return name, severity and line of each finding."""
    write("served.py", code + "\n" + DEFINITIONS)
    findings = run("-f", "served.py", *arguments)["findings"]
    assert all(one["file"] in ("served.py", None) for one in findings)
    return [(one["name"], one["severity"], one["line"]) for one in findings]


def assert_finds(code: str, *expected: tuple[str, str, int]) -> None:
    found = find(code)
    matches = [
        (fnmatchcase(name, pattern), severity, line)
        for (name, severity, line), (pattern, *_) in zip(found, expected, strict=False)
    ]
    assert matches == [(True, severity, line) for _, severity, line in expected], found
    assert len(found) == len(expected), found


class TestFaults:
    @pytest.mark.parametrize(
        ("code", "name", "line"),
        [
            (
                """\
                import threading

                def flush():
                    threading.Event().wait()

                def start():
                    threading.Thread(
                        target=flush, name="metrics", daemon=True
                    ).start()

                start()
                """,
                "thread metrics (served:flush)",
                7,
            ),
            (
                """\
                import duckdb

                connection = duckdb.connect(config={"threads": 3})
                """,
                "native thread *",
                3,
            ),
            (
                """\
                import socket

                server = socket.create_server(("127.0.0.1", 0))
                """,
                "socket 127.0.0.1:*",
                3,
            ),
            ("import socket\npair = socket.socketpair()\nDONE = 1\n", "connection to another process", 2),
            ("import select\n\npoll = select.epoll()\nDONE = str(1)\n", "event loop *", 3),
        ],
        ids=["thread", "native thread", "socket", "connection", "event loop"],
    )
    def test_it_is_found_where_it_was_made(self, code: str, name: str, line: int) -> None:
        assert_finds(dedent(code), (name, FAULT, line))

    def test_a_connection_is_a_fault_and_asking_is_a_notice(self) -> None:
        code = """\
        import socket

        server = socket.create_server(("127.0.0.1", 0))
        client = socket.create_connection(server.getsockname())
        accepted = server.accept()
        server.close()
        """
        assert_finds(
            dedent(code),
            ("connection to 127.0.0.1:*", FAULT, 4),
            ("connection to 127.0.0.1:*", FAULT, 5),
            ("network 127.0.0.1:*", NOTICE, 4),
        )

    def test_a_library_is_named_with_the_line_that_imports_it(self) -> None:
        install("flusher", "import threading\nthreading.Thread(target=threading.Event().wait, daemon=True).start()")
        install("metrics", "import json\nimport flusher")
        write("assets.py", "import json\nimport metrics\n")
        write("served.py", "import assets\n" + DEFINITIONS)
        (finding,) = run("-f", "served.py")["findings"]
        assert (finding["library"], finding["file"], finding["line"]) == ("flusher", "assets.py", 2)
        assert "flusher, imported by assets.py:2" in invoke("-f", "served.py").output

    def test_a_thread_that_a_call_into_a_library_starts_is_the_callers(self) -> None:
        install("flusher", "import threading\n\ndef start():\n    threading.Timer(1000, print).start()\n")
        assert_finds("import flusher\n\nflusher.start()\n", ("thread Thread-* (threading:Timer.run)", FAULT, 3))

    def test_what_has_ended_is_no_fault(self) -> None:
        code = """\
        import socket, threading

        thread = threading.Thread(target=print)
        thread.start()
        thread.join()
        with socket.socket():
            pass
        forgotten = [socket.socket()]
        forgotten.append(forgotten)
        del forgotten
        """
        assert find(dedent(code)) == []

    def test_what_dagster_leaves_when_it_makes_the_jobs_is_a_fault(self) -> None:
        write(
            "served.py",
            """\
            import threading
            import dagster as dg

            @dg.op
            def one(): ...

            def make():
                threading.Timer(1000, print).start()
                @dg.job
                def lazy():
                    one()
                return lazy

            @dg.repository
            def everything():
                return {"jobs": {"lazy": make}}
            """,
        )
        (finding,) = run("-f", "served.py")["findings"]
        assert (finding["severity"], finding["line"]) == (FAULT, 8)


class TestNotices:
    EACH: Mapping[str, str] = {
        "time.time()": "clock time.time",
        "clock()": "clock time.time",
        "dt.now().date()": "clock datetime.datetime.now",
        "datetime.date.today()": "clock datetime.date.today",
        "time.strftime('%Y')": "clock time.strftime",
        "f'export-{os.getpid()}'": "process id os.getpid",
        "uuid.uuid4().hex": "randomness uuid.uuid4",
        "random.randint(1, 6)": "randomness random.randint",
        "secrets.token_hex()": "randomness secrets.token_hex",
        "os.urandom(1)": "randomness os.urandom",
        "numpy.random.rand()": "randomness numpy.random.rand",
        "random.seed(42)": "seed random.seed",
        "numpy.random.seed(42)": "seed numpy.random.seed",
        "os.environ['PATH']": "environment PATH",
        "os.environ.get('DATABASE_URL')": "environment DATABASE_URL",
        "os.getenv('SCHEMA', '')": "environment SCHEMA",
        "'CI' in os.environ": "environment CI",
        "dict(os.environ)": "environment * variables",
        "dagster.EnvVar('BUCKET').get_value()": "environment BUCKET",
        "subprocess.run(['true', '--password', 'x'])": "subprocess true",
        "subprocess.run('true --password x', shell=True)": "subprocess true",
        "os.system('true --password x')": "subprocess true",
        "os.waitpid(os.fork() or os._exit(0), 0)": "subprocess fork",
        "atexit.register(print)": "exit handler atexit.register",
        "open('out.csv', 'w')": "open file */out.csv",
        "tempfile.mkdtemp()": "temporary file *",
        "tempfile.TemporaryDirectory()": "temporary file *",
        "LOCK.acquire()": "lock threading.Lock",
        "RLOCK.acquire()": "lock threading.RLock",
    }
    """Expressions, and what they are found to be."""

    def test_each_is_found_where_it_was_done(self) -> None:
        imports = (
            "import atexit, dagster, datetime, numpy, os, random, secrets, subprocess, tempfile, threading, uuid\n"
            "import time; from time import time as clock; from datetime import datetime as dt; "
            "LOCK = threading.Lock(); RLOCK = threading.RLock()"
        )
        found = find("\n".join([imports, *(f"kept_{i} = {code}" for i, code in enumerate(self.EACH))]))
        names = {line: name for name, severity, line in found if severity == NOTICE}
        assert len(found) == len(names)
        for line, (code, name) in enumerate(self.EACH.items(), start=3):
            assert fnmatchcase(names.pop(line, ""), name), code
        assert not names

    def test_a_locked_file_is_a_lock(self) -> None:
        code = "import fcntl\nfile = open('lock', 'w')\nfcntl.flock(file, fcntl.LOCK_EX)\n"
        assert_finds(code, ("lock */lock", NOTICE, 2))

    def test_a_decorator_is_a_call(self) -> None:
        code = "import atexit\n\n@atexit.register\ndef clean(): ...\n"
        assert_finds(code, ("exit handler atexit.register", NOTICE, 3))

    def test_a_definitions_function_is_code_that_is_loaded(self) -> None:
        code = """\
        import time
        import dagster as dg

        @dg.definitions
        def build():
            return dg.Definitions(resources={"started": time.time()})
        """
        write("served.py", code)
        (finding,) = run("-f", "served.py")["findings"]
        assert (finding["name"], finding["line"]) == ("clock time.time", 6)

    def test_a_library_that_own_code_calls_asks_for_it(self) -> None:
        install("client", "import subprocess\n\ndef fetch():\n    subprocess.run(['true'])\n")
        assert_finds("import client\n\nclient.fetch()\n", ("subprocess true", NOTICE, 3))

    def test_the_innermost_line_of_own_code_is_told(self) -> None:
        write("helpers.py", "import time\n\ndef now():\n    return time.time()\n")
        write("served.py", "import helpers\n\nNOW = helpers.now()\n" + DEFINITIONS)
        (finding,) = run("-f", "served.py")["findings"]
        assert (finding["file"], finding["line"]) == ("helpers.py", 4)

    def test_many_reads_on_one_line_are_told_once(self) -> None:
        assert_finds("import time\nN = [time.time() for _ in range(9)]\n", ("clock time.time", NOTICE, 2))


class TestWhatFits:
    def test_imports_and_code_that_runs_later_are_not_reported(self) -> None:
        code = """\
        from __future__ import annotations

        import asyncio, atexit, datetime, logging, os, random, secrets, socket, subprocess
        import tempfile, threading, time, uuid
        from dataclasses import dataclass, field

        import numpy
        import requests
        import dagster as dg

        logging.basicConfig()
        LOG = logging.getLogger(__name__)
        LOG.warning("loaded")
        LOCK = threading.Lock()
        START = datetime.datetime(2026, 1, 1)
        WHEN = time.strftime("%Y", time.localtime(0))
        RANDOM = random.Random(42)
        FIRST = RANDOM.random()
        GENERATOR = numpy.random.default_rng()
        os.environ["MINE"] = "1"
        os.environ.setdefault("TOKENIZERS_PARALLELISM", "false")
        with LOCK, tempfile.TemporaryDirectory() as scratch:
            pass
        with open(__file__) as file:
            TEXT = file.read()

        @dataclass
        class Token:
            made: float = field(default_factory=time.time)

        BEGAN = time.perf_counter()

        class Settings(dg.ConfigurableResource):
            url: str

        @dg.asset(partitions_def=dg.DailyPartitionsDefinition("2026-01-01"))
        def now() -> None:
            subprocess.run([os.environ["COMMAND"], str(time.time()), uuid.uuid4().hex, str(random.random())])

        later = lambda: os.getpid()
        job = dg.define_asset_job("job", [now])
        defs = dg.Definitions([now], jobs=[job], resources={"settings": Settings(url=dg.EnvVar("URL"))})
        """
        write("served.py", code)
        result = invoke("-f", "served.py")
        assert result.output == "served.py can be launched warm: nothing found.\n"
        assert result.exit_code == 0

    def test_libraries_may_read_what_they_like_when_they_are_imported(self) -> None:
        install(
            "library",
            "import os, time, uuid\nVALUES = (time.time(), uuid.uuid4(), os.environ.get('HOME'), os.getpid())",
        )
        assert find("import library\n") == []

    def test_random_numbers_after_a_seed_are_the_same_everywhere(self) -> None:
        assert_finds("import random\nrandom.seed(42)\nN = random.random()\n", ("seed random.seed", NOTICE, 2))

    def test_appending_is_safe(self) -> None:
        assert find("import logging\nlogging.getLogger('mine').addHandler(logging.FileHandler('log'))\n") == []


class TestOwnCode:
    @pytest.mark.parametrize(("pointer", "name"), [("-m", "mine.definitions"), ("--package-name", "mine")])
    def test_the_package_that_is_loaded_is_own_code_also_if_it_is_installed(self, pointer: str, name: str) -> None:
        install("mine", "import time\nNOW = time.time()\n" + DEFINITIONS)
        write("../site-packages/mine/definitions.py", DEFINITIONS)
        (finding,) = run(pointer, name)["findings"]
        assert finding["file"].endswith("site-packages/mine/__init__.py")

    def test_further_packages_are_named(self) -> None:
        install("ours", "import time\nNOW = time.time()\n")
        assert find("import ours\n") == []
        write("served.py", "import ours\n" + DEFINITIONS)
        (finding,) = run("-f", "served.py", "--own", "ours")["findings"]
        assert finding["line"] == 2

    def test_observation_changes_nothing_that_code_can_see(self) -> None:
        code = """\
        from __future__ import annotations

        import collections, inspect, pickle, sys, typing, warnings
        from dataclasses import dataclass, field

        Point = collections.namedtuple("Point", "x y")
        assert Point.__module__ == __name__

        class Base:
            def __init__(self, n: typing.Annotated[int, field()] = 1) -> None:
                self.n = n

        class Child(Base):
            made: typing.ClassVar[typing.Annotated[int, max(1, 2)]] = 0

            def __init__(self) -> None:
                super().__init__(2)
                there = 3
                assert locals().keys() >= {"self", "there"}
                assert eval("there") == 3

        assert Child().n == 2
        assert Child.__annotations__["made"] == "typing.ClassVar[typing.Annotated[int, max(1, 2)]]"
        assert "super().__init__(2)" in inspect.getsource(Child)
        assert inspect.getsourcelines(Child)[1] == 13

        def caller():
            return sys._getframe(1).f_code.co_name, sys._getframe(1).f_lineno

        assert caller() == ("<module>", 30)

        with warnings.catch_warnings(record=True) as caught:
            warnings.simplefilter("always")
            warnings.warn("old", stacklevel=1)
        assert caught[0].lineno == 34

        @dataclass
        class Row:
            items: list[int] = field(default_factory=list)

        assert Row() == Row([])
        """
        assert find(dedent(code)) == []

    def test_code_that_loads_only_as_it_is_written_is_loaded_as_it_is_written(self) -> None:
        code = """\
        import threading, time

        def compiled():
            return max(1, 2)

        assert compiled.__code__.co_names == ("max",)
        NOW = time.time()
        threading.Timer(1000, print).start()
        """
        write("served.py", dedent(code) + DEFINITIONS)
        report = run("-f", "served.py")
        assert report["is_complete"] is False
        assert [one["kind"] for one in report["findings"]] == ["thread"]
        assert "clock, process id, randomness, seeds" in invoke("-f", "served.py").output


THREAD = "import threading\nthreading.Timer(1000, print).start()\n"
CLOCK = "import time\nNOW = time.time()\n"


class TestExitCodes:
    @pytest.mark.parametrize(
        ("code", "arguments", "exit_code"),
        [
            ("", (), 0),
            ("", ("--fail-on", "notice"), 0),
            (CLOCK, (), 0),
            (CLOCK, ("--fail-on", "notice"), 1),
            (THREAD, (), 1),
            (THREAD, ("--fail-on", "notice"), 1),
            (CLOCK, ("--fail-on", "notice", "--accept", "clock *"), 0),
            (THREAD, ("--accept", "thread *"), 0),
            (CLOCK.replace("()\n", "()  # dagster-warm: known\n"), ("--fail-on", "notice"), 0),
            (THREAD.replace("()\n", "()  # dagster-warm: known\n"), (), 1),
        ],
    )
    def test_it_says_what_was_found(self, code: str, arguments: Sequence[str], exit_code: int) -> None:
        write("served.py", code + DEFINITIONS)
        result = invoke("-f", "served.py", *arguments)
        assert result.exit_code == exit_code, result.output

    def test_what_was_accepted_is_counted(self) -> None:
        write("served.py", CLOCK + DEFINITIONS)
        assert "1 notice accepted." in invoke("-f", "served.py", "--accept", "clock *").output

    @pytest.mark.parametrize("arguments", [(), ("-m", "a", "-f", "b"), ("-m", "a", "--no-such-option")])
    def test_wrong_usage(self, arguments: Sequence[str]) -> None:
        assert invoke(*arguments).exit_code == 2

    @pytest.mark.parametrize(
        ("code", "reason"),
        [
            ("import no_such_module", "ModuleNotFoundError: No module named 'no_such_module' (served.py:1)"),
            ("import os\n\nURL = os.environ['NOT_SET']", "KeyError: 'NOT_SET' (served.py:3)"),
            ("def (", "SyntaxError: invalid syntax (served.py, line 1)"),
            ("import sys\nsys.exit(4)", "SystemExit: 4 (served.py:2)"),
            ("import os\nos._exit(4)", "the process ended with exit code 4 while it loaded the code"),
            ("import os\nos.kill(os.getpid(), 9)", "the process was killed by SIGKILL while it loaded the code"),
            ("while True: pass", "it was not loaded within 2 s"),
            ("", "DagsterInvariantViolationError: No Definitions, *"),
        ],
    )
    def test_code_that_cannot_be_loaded(self, code: str, reason: str) -> None:
        write("served.py", code)
        result = invoke("-f", "served.py", "--timeout", "2")
        assert result.exit_code == 3
        assert fnmatchcase(result.output, f"served.py cannot be loaded: {reason}\n"), result.output

    def test_the_reason_is_also_in_the_json(self) -> None:
        report = json.loads(invoke("-m", "no_such_module", "--json").output)
        assert report["error"] == "ModuleNotFoundError: No module named 'no_such_module'"

    def test_an_error_in_a_definitions_function_has_its_line(self) -> None:
        write("served.py", "import dagster as dg\n\n@dg.definitions\ndef build():\n    return 1 / 0\n")
        result = invoke("-f", "served.py")
        assert result.output == "served.py cannot be loaded: ZeroDivisionError: division by zero (served.py:5)\n"


class TestTheCommand:
    def test_it_takes_the_arguments_and_variables_of_a_server(self, monkeypatch: pytest.MonkeyPatch) -> None:
        monkeypatch.setenv("DAGSTER_CLI_API_GRPC_CONTAINER_CONTEXT", "{}")
        write("there/served.py", "def build(): ...\n" + CLOCK + DEFINITIONS)
        report = run("-h", "0.0.0.0", "-p", "4000", "--heartbeat", "-d", "there", "-m", "served", "-a", "defs")
        assert [one["file"] for one in report["findings"]] == ["there/served.py"]

    def test_the_help_shows_what_matters_here(self) -> None:
        text = invoke("--help").output
        assert "--module-name" in text
        assert "--fail-on" in text
        assert "--heartbeat" not in text

    def test_what_the_code_prints_is_no_part_of_the_report(self) -> None:
        write("served.py", "import os\nprint('hello')\nos.system('echo there')\n" + DEFINITIONS)
        command = [sys.executable, "-m", "dagster_warm", "check", "-f", "served.py", "--json"]
        done = subprocess.run(command, capture_output=True, text=True, check=True)
        assert json.loads(done.stdout)["target"] == "served.py"
        assert "hello" in done.stderr
        assert "there" in done.stderr
        assert "Traceback" not in done.stderr

    def test_it_leaves_nothing_behind(self) -> None:
        code = """\
        import atexit, pathlib, shutil, subprocess, tempfile

        scratch = tempfile.mkdtemp()
        atexit.register(shutil.rmtree, scratch)
        other = tempfile.TemporaryDirectory()
        process = subprocess.Popen(["sleep", "1000"])
        pathlib.Path("left.txt").write_text(f"{scratch} {other.name} {process.pid}")
        """
        find(dedent(code))
        *folders, pid = Path("left.txt").read_text().split()
        assert not any(Path(folder).exists() for folder in folders)
        deadline_s = time.monotonic() + 10
        while _is_running(pid):
            assert time.monotonic() < deadline_s
            time.sleep(0.01)

    @pytest.mark.parametrize(
        "code",
        [
            "import select, socket\npoll = select.epoll()\npair = socket.socketpair()\nstart()\n" + DEFINITIONS,
            """
import dagster as dg

def make():
    start()
    return dg.GraphDefinition("lazy").to_job()

@dg.repository
def everything():
    return {"jobs": {"lazy": make}}
""",
        ],
        ids=["after the import", "after the jobs are made"],
    )
    def test_faults_are_what_the_server_refuses(self, code: str) -> None:
        start = """
        import threading

        def start():
            threading.Thread(target=threading.Event().wait, daemon=True).start()

        """
        write("served.py", dedent(start) + code)
        options = ["-f", "served.py", "--accept", "connection *"]
        faults = [one["name"] for one in run(*options)["findings"] if one["severity"] == FAULT]
        assert faults
        server = [sys.executable, "-m", "dagster_warm", "--no-reload", "--on-hazard", "refuse", "-p", "1", *options]
        refused = subprocess.run(server, capture_output=True, text=True, check=False, timeout=60)
        assert refused.returncode != 0
        (message,) = (line for line in refused.stderr.splitlines() if "Runs cannot be forked" in line)
        told = re.findall(r"(?:fork: |; )(.+?) \((?=[^()]+\)(?:;|\.))", message)
        assert sorted(map(_unnumbered, told)) == sorted(map(_unnumbered, faults)), message


def _is_running(pid: str) -> bool:
    """Return whether a process exists and has not ended; nobody may have reaped it."""
    try:
        return Path("/proc", pid, "stat").read_text().rpartition(")")[2].split()[0] not in "ZX"
    except FileNotFoundError:
        return False


def _unnumbered(name: str) -> str:
    return re.sub(r"\d+", "N", name)


class TestFunctions:
    MODULES = ("atexit", "datetime", "numpy.random", "os", "random", "secrets", "threading", "time", "uuid")

    def test_each_that_is_named_exists(self) -> None:
        found = {
            read.name
            for read in reads.find_reads({name: importlib.import_module(name) for name in self.MODULES}).values()
        }
        named = {
            name
            for names in reads._FUNCTIONS.values()
            for name in names
            if name.startswith(tuple(f"{module}." for module in self.MODULES)) and "*" not in name
        }
        assert named - found <= {"uuid.uuid6", "uuid.uuid7"}  # new in Python 3.14
        assert {"random.choice", "secrets.token_bytes", "numpy.random.normal"} <= found
        assert not {"random.getstate", "secrets.compare_digest", "numpy.random.default_rng", "random.Random"} & found

    @pytest.mark.parametrize(
        ("read", "arguments", "is_one"),
        [
            (Read(reads.CLOCK, "time.localtime"), 0, True),
            (Read(reads.CLOCK, "time.localtime"), 1, False),
            (Read(reads.CLOCK, "time.strftime"), 2, False),
            (Read(reads.CLOCK, "datetime.datetime.now"), 1, True),
            (Read(reads.SEED, "random.seed"), 0, False),
            (Read(reads.SEED, "random.seed"), 1, True),
        ],
    )
    def test_a_time_to_convert_is_not_read(self, read: Read, arguments: int, is_one: bool) -> None:
        assert read.reads(arguments) is is_one


class TestTheReadme:
    def test_it_describes_each_field_of_the_json(self) -> None:
        report = json.loads(check.as_json("code", Outcome()))
        assert set(_first_cells("field")) == {f"`{name}`" for name in {*report, *(f.name for f in fields(Finding))}}

    def test_it_describes_each_kind(self) -> None:
        assert set(_first_cells("finding")) == {*HAZARDS, *reads.REMEDIES}


def _first_cells(heading: str) -> list[str]:
    """Return the first cell of each row of README's table with this heading."""
    table = README.partition(f"| {heading} |")[2].partition("\n\n")[0]
    return re.findall(r"^\| (.+?) \|", table, re.MULTILINE)
