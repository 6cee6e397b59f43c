"""The command accepts the options of Dagster's two commands, and warns about untested Dagster releases."""

import os
import signal
import subprocess
import sys
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import click
import dagster
import pytest
from click.testing import CliRunner
from dagster._cli.api import grpc_command
from dagster._cli.code_server import start_command
from lone_server import serve

from dagster_warm import command as module
from dagster_warm.command import command
from dagster_warm.warmth import Options


def flags(one: click.Command) -> set[str]:
    return {flag for parameter in one.params for flag in (*parameter.opts, *parameter.secondary_opts)}


@pytest.mark.parametrize("dagsters", [grpc_command, start_command], ids=["api grpc", "code-server start"])
def test_it_takes_every_option_of_dagster(dagsters: click.Command) -> None:
    assert flags(dagsters) <= flags(command)


def test_its_own_options_do_not_collide_with_dagsters() -> None:
    own = {flag for parameter in module._OWN for flag in (*parameter.opts, *parameter.secondary_opts)}
    assert not own & (flags(grpc_command) | flags(start_command))


def test_its_help_says_what_it_is() -> None:
    text = CliRunner().invoke(command, ["--help"]).output
    assert "Serve a code location" in text
    assert "--on-hazard" in text
    assert "--module-name" in text


@pytest.mark.parametrize(("text", "seconds"), [("90", 90), ("90s", 90), ("1.5m", 90), ("12 h", 43_200), ("1d", 86_400)])
def test_a_duration_has_a_unit_or_is_in_seconds(text: str, seconds: float) -> None:
    assert module._duration(text) == seconds


@pytest.mark.parametrize("text", ["", "0", "-1", "1w", "soon"])
def test_what_is_no_duration_is_an_error_that_says_so(text: str) -> None:
    done = CliRunner().invoke(command, ["--max-age", text, "-m", "a_module"])
    assert done.exit_code == 2
    assert f"{text!r} is not a number of seconds, nor one with s, m, h or d." in " ".join(done.output.split())


def test_it_reads_the_environment_variables_that_dagsters_helm_chart_sets(monkeypatch: pytest.MonkeyPatch) -> None:
    served: list[Mapping[str, Any]] = []
    monkeypatch.setattr(module, "_serve_once", lambda _: None)
    monkeypatch.setattr(module, "_call", lambda _, options: served.append(options))
    monkeypatch.setenv("DAGSTER_CLI_API_GRPC_CONTAINER_CONTEXT", '{"k8s": {"namespace": "data"}}')
    done = CliRunner().invoke(command, ["--no-reload", "-m", "a_module", "-p", "4000"])
    assert done.exit_code == 0, done.output
    assert served[0]["container_context"] == '{"k8s": {"namespace": "data"}}'


def test_as_an_entry_point_it_passes_other_commands_on_to_dagster() -> None:
    command = [sys.executable, "-m", "dagster_warm", "dagster", "--version"]
    done = subprocess.run(command, capture_output=True, text=True, check=True)
    assert dagster.__version__ in done.stdout


@pytest.fixture
def served(monkeypatch: pytest.MonkeyPatch) -> dict[str, Any]:
    """Return the options that Dagster's command gets, and `options`: those of the warm server."""
    served: dict[str, Any] = {}
    monkeypatch.setattr(module, "_serve_reloading", lambda own, dagsters: served.update(dagsters, options=own))
    monkeypatch.setattr(module, "_serve_once", lambda own: served.update(options=own))
    monkeypatch.setattr(module, "_call", lambda _, dagsters: served.update(dagsters))
    for name in [name for name in os.environ if name.startswith("DAGSTER_")]:
        monkeypatch.delenv(name)
    return served


def call(monkeypatch: pytest.MonkeyPatch, *words: str, **environ: str) -> None:
    for name, value in environ.items():
        monkeypatch.setenv(name, value)
    monkeypatch.setattr(sys, "argv", ["dagster-warm", *words])
    with pytest.raises(SystemExit) as ended:
        module.main()
    assert ended.value.code == 0


@pytest.mark.parametrize(
    ("words", "port"),
    [("dagster code-server start", 1), ("dagster api grpc", 2), ("", 2), ("--no-reload", 2)],
)
def test_variables_mean_what_they_mean_to_the_command_that_it_replaces(
    served: dict[str, Any], monkeypatch: pytest.MonkeyPatch, words: str, port: int
) -> None:
    both = {"DAGSTER_CODE_SERVER_PORT": "1", "DAGSTER_GRPC_PORT": "2"}
    call(monkeypatch, *words.split(), "-m", "a_module", **both)
    assert served["port"] == port


@pytest.mark.parametrize(
    ("variable", "value", "option", "expected"),
    [
        ("DAGSTER_CODE_SERVER_PORT", "4000", "port", 4000),
        ("DAGSTER_CODE_SERVER_SOCKET", "a_socket", "socket", "a_socket"),
        ("DAGSTER_CODE_SERVER_HOST", "0.0.0.0", "host", "0.0.0.0"),
        ("DAGSTER_CODE_SERVER_MAX_WORKERS", "7", "max_workers", 7),
        ("DAGSTER_CODE_SERVER_STARTUP_TIMEOUT", "8", "startup_timeout", 8),
        ("DAGSTER_CLI_CODE_SERVER_START_LOG_LEVEL", "debug", "log_level", "debug"),
    ],
)
def test_variables_of_the_reloading_command_are_read(
    served: dict[str, Any], monkeypatch: pytest.MonkeyPatch, variable: str, value: str, option: str, expected: object
) -> None:
    call(monkeypatch, "dagster", "code-server", "start", "-m", "a_module", **{variable: value})
    assert served[option] == expected


def test_its_own_options_can_be_variables(served: dict[str, Any], monkeypatch: pytest.MonkeyPatch) -> None:
    own = {"GRACE": "90", "ON_HAZARD": "refuse", "ACCEPT": "one* two*", "WARM_STEPS": "false"}
    variables = {f"DAGSTER_WARM_{name}": value for name, value in own.items()}
    call(monkeypatch, "dagster", "api", "grpc", "-m", "a_module", "-p", "4000", **variables)
    assert served["options"] == Options(grace_s=90, refuse_hazards=True, accepted=("one*", "two*"), warm_steps=False)


@pytest.mark.parametrize(
    "words",
    [
        ["sh", "-c", 'echo "$1"', "sh", "heard -m"],
        pytest.param([sys.executable, "-c", "import sys; print(sys.argv[1])", "heard -m"], marks=pytest.mark.thorough),
        pytest.param(["env", "printf", "%s\\n", "heard -m"], marks=pytest.mark.thorough),
    ],
    ids=["sh", "python", "env"],
)
def test_other_commands_run_unchanged(words: list[str]) -> None:
    command = [sys.executable, "-m", "dagster_warm", *words]
    done = subprocess.run(command, capture_output=True, text=True, check=True)
    assert done.stdout == "heard -m\n"


def test_what_is_no_command_is_a_wrong_argument() -> None:
    done = CliRunner().invoke(command, ["no-such-command"])
    assert done.exit_code == 2
    assert "no-such-command" in done.output


@pytest.mark.timeout(120)
@pytest.mark.parametrize(
    "options", [(), pytest.param(("--no-reload",), marks=pytest.mark.thorough)], ids=["reloading", "once"]
)
def test_it_ends_on_sigterm_even_if_it_inherits_an_ignored_sigint(tmp_path: Path, options: tuple[str, ...]) -> None:
    (tmp_path / "served.py").write_text("import dagster as dg\n\ndefs = dg.Definitions()\n")
    ignored = signal.signal(signal.SIGINT, signal.SIG_IGN)
    try:
        with serve(tmp_path, [*options, "--python-file", "served.py"]):
            pass  # leaving the context sends SIGTERM and waits
    finally:
        signal.signal(signal.SIGINT, ignored)


def test_an_untested_dagster_is_warned_about_or_refused(monkeypatch: pytest.MonkeyPatch) -> None:
    served: list[str] = []
    monkeypatch.setattr(module, "_serve_once", lambda _: served.append("once"))
    monkeypatch.setattr(module, "_call", lambda *_: None)
    monkeypatch.setattr("dagster.__version__", "1.99.0")
    arguments = ["--no-reload", "-m", "a_module", "-p", "4000"]
    warned = CliRunner().invoke(command, arguments)
    assert warned.exit_code == 0
    assert "this is 1.99.0. It may not work." in warned.output
    assert served == ["once"]
    refused = CliRunner().invoke(command, [*arguments, "--strict"])
    assert refused.exit_code == 1
    assert "this is 1.99.0" in refused.output
    assert served == ["once"]


def test_it_imports_only_dagster() -> None:
    look = (
        "import sys, dagster_warm.command, dagster_warm.executor, dagster_warm.launcher\n"
        "packages = {name.partition('.')[0] for name in sys.modules}\n"
        "print(sorted({'bench_orchestrator', 'synthetic_locations'} & packages))\n"
        "print(sorted({'duckdb', 'matplotlib', 'scipy', 'psutil', 'dagster_graphql'} & packages))"
    )
    done = subprocess.run([sys.executable, "-c", look], capture_output=True, text=True, check=True)
    assert done.stdout.splitlines() == ["[]", "[]"]
