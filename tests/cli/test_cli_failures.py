"""Whatever cannot be used ends a command with exit code 3 and one line, never with a traceback or another's code."""

import errno
import io
import os
import shutil
from collections.abc import Sequence
from pathlib import Path
from typing import NoReturn

import click
import pytest
import samples
from click.testing import CliRunner, Result
from rich.console import Console
from test_cli_commands import bench

from bench_orchestrator.cli import COMMANDS, gate, main, run, shapes, sweeping, sweeps, try_
from bench_orchestrator.cli.console import open_console
from bench_orchestrator.cli.failures import describe
from bench_orchestrator.model.errors import UnusableError
from bench_orchestrator.model.launch import Sweep
from bench_orchestrator.results.store import Store
from bench_orchestrator.sweeps import client
from dagster_warm.loading import Outcome

WRITING = (
    ["report", samples.SWEEP_ID],
    ["timeline", "--sweep", samples.SWEEP_ID],
    ["advise", "--assets", "100"],
)


def usable_sweep() -> Sweep:
    """Return a sweep that every command can use; its launch lag is far below five minutes."""
    return samples.measured_sweep(("a250", "a2k", "a10k"), repeats=6)


@pytest.fixture(scope="module")
def saved(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Return a results folder with that sweep."""
    folder = tmp_path_factory.mktemp("saved")
    Store.in_directory(folder).save(usable_sweep())
    return folder


@pytest.fixture
def results(home: Path, saved: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """Return a copy of that folder, and an empty project around it."""
    assert home.is_dir()
    monkeypatch.chdir(tmp_path)
    folder = tmp_path / "measured"
    shutil.copytree(saved, folder)
    monkeypatch.setenv("BENCH_RESULTS_DIR", str(folder))
    return folder


@pytest.fixture
def gated(results: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Make the gate measure that sweep."""
    assert results.is_dir()
    monkeypatch.setattr(gate, "measure", lambda *_: usable_sweep())


@pytest.fixture(autouse=True)
def nobody_waits(monkeypatch: pytest.MonkeyPatch) -> None:
    """Give up at once on a webserver that does not answer."""
    monkeypatch.setattr(client, "_PATIENCE_S", 0)


def fails_in_one_line(result: Result) -> str:
    """Return the line of a command that must have ended with exit code 3."""
    assert result.exit_code == 3, result.output
    (line,) = (line for line in result.stderr.splitlines() if line.startswith("Error: "))
    assert "Traceback" not in result.output
    return line


def fail(monkeypatch: pytest.MonkeyPatch, error: BaseException) -> None:
    """Make `bench sweeps` raise this."""

    def raise_it() -> NoReturn:
        raise error

    monkeypatch.setattr(sweeps, "open_results", raise_it)


class TestFiles:
    @pytest.mark.parametrize("command", WRITING, ids=lambda command: command[0])
    @pytest.mark.usefixtures("undrawn", "results")
    def test_an_output_that_cannot_be_written_is_named_after_the_numbers(
        self, command: Sequence[str], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        (tmp_path / "file").touch()
        result = bench(*command, "--output", str(tmp_path / "file" / "folder"))
        assert f"Not a directory: {tmp_path / 'file'}" in fails_in_one_line(result)
        assert "launch lag" in result.stdout.lower()

        def full(self: Path, *_: object, **__: object) -> NoReturn:
            raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC), self)

        for write in ("write_text", "write_bytes"):
            monkeypatch.setattr(Path, write, full)
        line = fails_in_one_line(bench(*command, "--output", str(tmp_path / "out")))
        assert line.startswith(f"Error: No space left on device: {tmp_path / 'out'}/")
        assert ".tmp" not in line

    @pytest.mark.parametrize(
        "command", [*WRITING, ["sweeps"], ["compare", samples.SWEEP_ID, samples.SWEEP_ID]], ids=lambda line: line[0]
    )
    @pytest.mark.usefixtures("results")
    def test_a_results_folder_that_is_none_is_named(
        self, command: Sequence[str], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        (tmp_path / "bench.duckdb").mkdir()
        monkeypatch.setenv("BENCH_RESULTS_DIR", str(tmp_path))
        assert str(tmp_path) in fails_in_one_line(bench(*command))

    def test_a_file_in_the_place_of_a_folder_is_named(self, home: Path) -> None:
        (home / ".bench").touch()
        line = fails_in_one_line(bench("up"))
        assert str(home / ".bench") in line

    @pytest.mark.parametrize("state", ["[]", "{}", "nonsense", '{"pid": "x"}', "\udcff"])
    def test_a_damaged_state_file_is_no_deployment(
        self, home: Path, state: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        monkeypatch.chdir(tmp_path)
        (home / ".bench").mkdir()
        (home / ".bench" / "deployment.json").write_bytes(state.encode(errors="surrogateescape"))
        assert bench("locations").exit_code == 0


class TestErrors:
    def test_each_is_described_for_users(self) -> None:
        assert describe(UnusableError("Say\nit")) == "Say\nit"
        assert describe(PermissionError(errno.EACCES, "Permission denied", "/x")) == "Permission denied: /x"
        assert describe(OSError(errno.ENOSPC, "No space left on device")) == "No space left on device"
        assert describe(FileExistsError(errno.EEXIST, "File exists", "/x")) == "A file is where a folder is needed: /x"
        assert describe(OSError("copying\nfailed")) == "copying failed"
        assert describe(KeyError("python_module")) == (
            "Unexpected KeyError: 'python_module'. Please report it, with what BENCH_TRACEBACK=1 prints."
        )

    def test_an_unexpected_one_has_its_traceback_only_if_wanted(
        self, home: Path, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        assert home.is_dir()
        fail(monkeypatch, KeyError("http://user:secret@host"))
        line = fails_in_one_line(bench("sweeps"))
        assert "Unexpected KeyError" in line
        assert "secret" not in line
        monkeypatch.setenv("BENCH_TRACEBACK", "1")
        result = bench("sweeps")
        assert result.exit_code == 3
        assert "Traceback (most recent call last)" in result.stderr

    def test_an_interrupt_has_an_exit_code_of_its_own(self, home: Path, monkeypatch: pytest.MonkeyPatch) -> None:
        assert home.is_dir()
        fail(monkeypatch, KeyboardInterrupt())
        result = bench("sweeps")
        assert (result.exit_code, result.stderr) == (130, "Error: interrupted\n")

    def test_an_output_that_nobody_reads_is_not_a_failed_trial(self, monkeypatch: pytest.MonkeyPatch) -> None:
        monkeypatch.setattr(shapes, "open_console", unread)
        assert "Broken pipe" in fails_in_one_line(bench("shapes"))


@pytest.mark.usefixtures("gated", "undrawn")
class TestTheGate:
    @pytest.mark.parametrize(("limit", "code"), [("5min", 0), ("1ms", 1)])
    def test_a_report_that_cannot_be_written_does_not_change_its_exit_code(
        self, limit: str, code: int, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        (tmp_path / "file").touch()
        monkeypatch.setenv("BENCH_RESULTS_DIR", str(tmp_path / "file"))
        result = bench("gate", "--max-lag", limit)
        assert result.exit_code == code
        assert result.stderr.startswith("Warning: the report cannot be written: ")
        assert result.stderr.count("\n") == 1
        assert "The launch lag is" in result.stdout

    def test_nor_does_whatever_goes_wrong_in_it(self, monkeypatch: pytest.MonkeyPatch) -> None:
        def write_sweep(*_: object) -> NoReturn:
            raise ValueError("mathtext")

        monkeypatch.setattr(gate, "write_sweep", write_sweep)
        result = bench("gate", "--max-lag", "1ms")
        assert result.exit_code == 1
        assert "Warning: the report cannot be written: Unexpected ValueError: mathtext" in result.stderr

    def test_nor_does_an_output_that_nobody_reads(self, monkeypatch: pytest.MonkeyPatch) -> None:
        monkeypatch.setattr(gate, "open_console", unread)
        assert as_exit_code("gate", "--max-lag", "5min") == 0
        assert as_exit_code("gate", "--max-lag", "1ms") == 1

    def test_what_goes_wrong_before_it_measured_is_3(self, monkeypatch: pytest.MonkeyPatch) -> None:
        def measure(*_: object) -> NoReturn:
            raise RuntimeError("no luck")

        monkeypatch.setattr(gate, "measure", measure)
        assert "Unexpected RuntimeError: no luck" in fails_in_one_line(bench("gate", "--max-lag", "1ms"))


@pytest.mark.usefixtures("undrawn", "home")
def test_a_run_is_kept_and_its_table_is_printed_even_if_that_fails(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    sweep = samples.measured_sweep(("a250",), repeats=6)
    monkeypatch.setattr(run, "measure", lambda *_: sweep)
    monkeypatch.setenv("BENCH_RESULTS_DIR", str(tmp_path / "measured"))
    assert bench("run", "quick").exit_code == 0
    assert Store.in_directory(tmp_path / "measured").load(samples.SWEEP_ID) == sweep
    (tmp_path / "file").touch()
    monkeypatch.setenv("BENCH_RESULTS_DIR", str(tmp_path / "file"))
    result = bench("run", "quick")
    assert fails_in_one_line(result) == f"Error: A file is where a folder is needed: {tmp_path / 'file'}"
    assert "a250" in result.stdout


@pytest.mark.parametrize("command", [["locations"], ["run", "quick"], ["gate", "--max-lag", "1s"]], ids=" ".join)
class TestTheConnection:
    def test_no_credential_of_a_url_is_printed(self, home: Path, command: Sequence[str]) -> None:
        assert home.is_dir()
        for url in ("http://user:secret@127.0.0.1:9", "ftp://user:secret@host", "http://user:a@secret@host"):
            result = bench(*command, "--url", url)
            assert result.exit_code in (2, 3)
            assert "secret" not in result.output

    def test_what_requests_carry_is_checked_before_anything_is_asked(
        self, home: Path, command: Sequence[str], monkeypatch: pytest.MonkeyPatch
    ) -> None:
        assert home.is_dir()
        monkeypatch.setenv("BENCH_WEBSERVER_HEADERS", "no header: at all")
        line = fails_in_one_line(bench(*command, "--url", "http://127.0.0.1:9"))
        assert "Line 1 of BENCH_WEBSERVER_HEADERS is not a header" in line

    def test_an_empty_url_is_none_and_starts_no_deployment(self, home: Path, command: Sequence[str]) -> None:
        assert home.is_dir()
        result = bench(*command, "--url", "")
        assert result.exit_code == 2
        assert "is not the URL of a webserver" in result.stderr


class Unread(io.StringIO):
    def write(self, _text: str) -> NoReturn:
        raise BrokenPipeError(errno.EPIPE, "Broken pipe")


def unread(**_: object) -> Console:
    """Return a console whose output nobody reads."""
    console = open_console()
    console.file = Unread()
    return console


def as_exit_code(*arguments: str) -> int:
    return CliRunner().invoke(main, arguments).exit_code


BAD_VALUES = ("", "nan", "9" * 400, "\x00", "\udcff", "-1", "../../x", "${x}💥", "a" * 5000, "http://[")


@pytest.mark.usefixtures("undrawn")
@pytest.mark.parametrize("name", [name for name in COMMANDS if name not in ("up", "warm-server")])
def test_no_bad_value_ends_a_command_unexpectedly(name: str, results: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    command = main.get_command(click.Context(main), name)
    assert command is not None
    monkeypatch.setattr(sweeping, "Deployment", None)  # nothing here may start one
    monkeypatch.setattr(try_, "check_code", lambda *_: Outcome(error="no such code"))  # nor load code
    needed = {"gate": ["--max-lag", "1s"], "advise": ["--assets", "10"], "run": ["quick"]}.get(name, [])
    away = ["--url", "http://127.0.0.1:9"] if name in ("gate", "run", "locations") else []
    for parameter in command.params:
        for value in BAD_VALUES:
            if isinstance(parameter, click.Option):
                if parameter.is_flag or parameter.name == "output":
                    continue
                arguments = [*needed, *away, parameter.opts[0], value]
            else:
                arguments = [value] * (2 if name == "compare" else 1)
            result = CliRunner().invoke(main, [name, *arguments])
            assert result.exit_code in (0, 2, 3), (arguments, result.output, result.exception)
            assert "Unexpected" not in result.output, (arguments, result.output)
    assert results.is_dir()
