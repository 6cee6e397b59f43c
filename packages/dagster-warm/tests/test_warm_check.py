"""`dagster-warm check` as a command: whose code it observes, its report and exit codes, and that the server agrees."""

import gc
import importlib
import json
import re
import subprocess
import sys
import time
from collections.abc import Sequence
from dataclasses import fields
from fnmatch import fnmatchcase
from pathlib import Path
from textwrap import dedent

import dagster as dg
import pytest
from checking import DEFINITIONS, find, install, invoke, run, write
from checking import folder as folder
from dagster._core.storage.defs_state.base import set_defs_state_storage

from dagster_warm import check, reads
from dagster_warm.findings import FAULT, HAZARDS, Finding
from dagster_warm.loading import Outcome
from dagster_warm.reads import Read

README = (Path(__file__).parents[1] / "README.md").read_text()


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

    def test_the_code_is_loaded_in_a_context_of_its_own(self, tmp_path: Path) -> None:
        storage = dg.DagsterInstance.local_temp(str(tmp_path)).defs_state_storage
        gc.collect()
        write("served.py", DEFINITIONS)
        with set_defs_state_storage(storage):
            assert not run("-f", "served.py")["error"]

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
