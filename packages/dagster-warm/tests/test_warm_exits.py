"""A forked process ends with what it made itself; what it inherited is left to the process that made it."""

import subprocess
import sys
from pathlib import Path

import pytest

FORK = """
import atexit, gc, gzip, io, logging, logging.handlers, os, pathlib, tempfile, threading, weakref, zipfile
from dagster_warm import exits

exits.watch()
{imported}
gc.collect()
exits.flush_before_fork(gc.get_objects())
gc.freeze()
if (pid := os.fork()) == 0:
    exits.disown()
{run}
    exits.finish()
    os._exit(0)
os.waitpid(pid, 0)
os._exit(0)
"""


def end(folder: Path, imported: str = "", run: str = "pass") -> str:
    """Import code, fork, run code in the forked process, and end only that; return what was printed."""
    run = "\n".join(f"    {line}" for line in run.strip().splitlines())
    done = subprocess.run(
        [sys.executable, "-c", FORK.format(imported=imported, run=run)],
        cwd=folder,
        capture_output=True,
        text=True,
        check=True,
    )
    assert not done.stderr or "Exception ignored" in done.stderr
    return done.stdout + done.stderr


@pytest.mark.parametrize(
    "register",
    [
        "atexit.register(print, 'inherited')",
        "threading._register_atexit(print, 'inherited')",
        "threading._threading_atexits.append((lambda func: lambda: func('inherited'))(print))",
        "class Thing: pass\nthing = Thing()\nweakref.finalize(thing, print, 'inherited')",
        "atexit.register(threading.Event().wait)",
    ],
    ids=["atexit", "threading", "threading of Python 3.13", "finalize", "a handler that would wait for ever"],
)
def test_inherited_handlers_do_not_run(tmp_path: Path, register: str) -> None:
    assert end(tmp_path, register, "print('ran')\nthreading._shutdown()") == "ran\n"


@pytest.mark.parametrize(
    "register",
    [
        "atexit.register(print, 'own')",
        "class Thing: pass\nthing = Thing()\nweakref.finalize(thing, print, 'own')",
    ],
    ids=["atexit", "finalize"],
)
def test_its_own_handlers_run(tmp_path: Path, register: str) -> None:
    inherited = "class Other: pass\nother = Other()\nweakref.finalize(other, print, 'inherited')"
    assert end(tmp_path, inherited, register) == "own\n"


def test_handlers_that_deliver_what_was_gathered_run_unless_they_were_unregistered(tmp_path: Path) -> None:
    imported = """
def deliver(what): print(what)
deliver.__module__ = "opentelemetry.sdk.trace"
def forget(): print("forgotten")
forget.__module__ = "sentry_sdk"
atexit.register(deliver, "spans")
atexit.register(deliver, what="metrics")
atexit.register(forget)
atexit.unregister(forget)
"""
    assert end(tmp_path, imported, "atexit.register(print, 'own')") == "own\nmetrics\nspans\n"


FILES = """
file = open("plain", "a")
binary = open("binary", "ab")
compressed = gzip.open("compressed", "at")
archive = zipfile.ZipFile("archive", "a")
def write(text):
    file.write(text)
    binary.write(text.encode())
    compressed.write(text)
    archive.writestr(text, text)
"""


def read(folder: Path) -> list[str]:
    """Return what the files contain."""
    script = "import gzip, zipfile; print(gzip.open('compressed', 'rt').read(), *zipfile.ZipFile('archive').namelist())"
    done = subprocess.run([sys.executable, "-c", script], cwd=folder, capture_output=True, text=True, check=True)
    return [(folder / "plain").read_text(), (folder / "binary").read_text(), *done.stdout.split()]


def test_files_that_it_opens_are_closed(tmp_path: Path) -> None:
    end(tmp_path, "", f"{FILES}\nwrite('run')")
    assert read(tmp_path) == ["run"] * 4


def test_files_that_it_inherits_are_written_once(tmp_path: Path) -> None:
    imported = """
file, binary = open("plain", "a"), open("binary", "ab")
file.write("import ")
binary.write(b"import ")
"""
    end(tmp_path, imported, "file.write('run')\nbinary.write(b'run')")
    assert (tmp_path / "plain").read_text() == (tmp_path / "binary").read_text() == "import run"


def test_what_the_import_printed_is_printed_once(tmp_path: Path) -> None:
    assert end(tmp_path, "print('import')", "print('run')") == "import\nrun\n"


def test_logging_handlers_write_what_they_hold_back_and_only_its_own_are_closed(tmp_path: Path) -> None:
    imported = """
class Handler(logging.handlers.MemoryHandler):
    def __init__(self, name):
        super().__init__(100, target=logging.FileHandler(name))
    def close(self):
        print("closed", self.target.baseFilename.rpartition("/")[2])
        super().close()
inherited = logging.getLogger("inherited")
inherited.addHandler(Handler("inherited"))
inherited.warning("import")
"""
    run = """
inherited.warning("run")
own = logging.getLogger("own")
own.addHandler(Handler("own"))
own.warning("run")
"""
    assert end(tmp_path, imported, run) == "closed own\n"
    assert (tmp_path / "inherited").read_text() == "import\nrun\n"
    assert (tmp_path / "own").read_text() == "run\n"


def test_objects_that_it_made_are_deleted_and_those_that_it_inherited_are_not(tmp_path: Path) -> None:
    imported = """
class Thing:
    def __init__(self, name): self.name = name
    def __del__(self):
        print("deleted", self.name)
        if self.name == "broken": raise ValueError(self.name)
kept = [Thing("inherited")]
"""
    told = end(tmp_path, imported, "kept.append(Thing('broken'))\nkept.append(Thing('own'))")
    assert "deleted own" in told
    assert "deleted inherited" not in told
    assert "Exception ignored in" in told


def test_a_temporary_file_that_it_made_is_removed(tmp_path: Path) -> None:
    made = "kept = tempfile.NamedTemporaryFile(dir='.', prefix='own')"
    end(tmp_path, "inherited = tempfile.NamedTemporaryFile(dir='.', prefix='inherited')", made)
    assert [path.name[:9] for path in tmp_path.iterdir()] == ["inherited"]
