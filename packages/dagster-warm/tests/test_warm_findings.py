"""`dagster-warm check` finds each kind of what does not fit a fork, where it is, and nothing in code that fits."""

from collections.abc import Mapping
from fnmatch import fnmatchcase
from textwrap import dedent

import pytest
from checking import DEFINITIONS, assert_finds, find, install, invoke, run, write
from checking import folder as folder

from dagster_warm.findings import FAULT, NOTICE


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
