"""Whatever a command is given, it ends with a documented exit code and a text, never with a traceback."""

from collections.abc import Mapping, Sequence
from contextlib import suppress
from pathlib import Path
from typing import Any

import pytest
from click.testing import CliRunner
from fuzzing import JUNK, TEXT, fuzz, sizes
from hypothesis import settings
from hypothesis import strategies as st
from pydantic import ValidationError
from samples import measured_sweep
from try_samples import CHECKED, try_sweep

from bench_orchestrator.cli import gate, main, own_code, run, try_
from bench_orchestrator.deployment import home
from bench_orchestrator.model.errors import PreflightError, UnusableError
from bench_orchestrator.model.launch import Sweep
from bench_orchestrator.model.plan import Scenario
from bench_orchestrator.results.store import Store
from bench_orchestrator.scenarios.registry import SCENARIOS
from bench_orchestrator.settings import WEBSERVER_URL
from bench_orchestrator.sweeps.config import SweepConfig, scenario_config

VALUES = st.one_of(
    TEXT,
    st.integers(-5, 10**25).map(str),
    st.floats().map(str),
    st.sampled_from(["10s", "1e400s", "9" * 400, "inf", "a10", "executors", "quick", "20260714-093000-4f2a"]),
).map(lambda text: text.replace("\0", ""))  # no command line holds one

OPTIONS: Mapping[str, Sequence[str]] = {
    "run": (
        *("--locations", "--only", "--repeats", "--warmups", "--seed", "--timeout", "--pause", "--jitter"),
        *("--settle", "--resume", "--url", "--quick", "--json"),
    ),
    "gate": (
        *("--max-lag", "--max-queue", "--max-init", "--max-startup", "--baseline", "--against", "--max-regression"),
        *("--module-name", "--python-file", "--project", "--save-baseline", "--junit", "--markdown"),
        *("--locations", "--trials", "--timeout", "--url", "--json"),
    ),
    "report": ("--json",),
    "timeline": ("--gantt", "--steps", "--sweep", "--location", "--variant", "--json"),
    "compare": ("--json",),
    "advise": ("--assets", "--steps", "--max-lag", "--json"),
    "doctor": ("--url", "--header", "--token", "--basic", "--runs", "--budget", "--every", "--json"),
    "sweeps": ("--json",),
    "shapes": ("--json",),
    "try": (
        *("--module-name", "--python-file", "--workspace", "--attribute", "--working-directory", "--location"),
        *("--launches", "--timeout", "--json"),
    ),
}
FLAGS = ("--gantt", "--json", "--project", "--quick")


@st.composite
def command_lines(draw: st.DrawFn) -> list[str]:
    """Draw a command with some of its options and arguments."""
    name = draw(st.sampled_from(sorted(OPTIONS)))
    words = [name, *draw(st.lists(VALUES, max_size=2))]
    for option in draw(st.lists(st.sampled_from(OPTIONS[name]), max_size=4)):
        words += [option] if option in FLAGS else [option, draw(VALUES)]
    return words


def sweep_as_configured(scenario: Scenario, config: Mapping[str, Any], *_: object) -> Sweep:
    """Check the configuration as the launchpad does, and return a sweep as if it had been carried out."""
    try:
        scenario_config(scenario)(**config).variants(scenario)
    except (ValidationError, PreflightError) as error:
        raise UnusableError(str(error)) from error
    return measured_sweep(("a10",), 1)


@sizes(15)
@pytest.mark.usefixtures("undrawn")
def test_any_command_line_ends_with_an_exit_code(
    limits: settings, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("DAGSTER_HOME", str(tmp_path))
    monkeypatch.setenv(WEBSERVER_URL, "http://127.0.0.1:9")  # where nothing answers
    monkeypatch.chdir(tmp_path)
    for module in (run, gate):
        monkeypatch.setattr(module, "measure", sweep_as_configured)
    monkeypatch.setattr(own_code, "check_code", lambda *_: CHECKED)
    for module in (try_, gate):
        monkeypatch.setattr(module, "carry_out", lambda *_: try_sweep())
    Store.in_directory(tmp_path / "results").save(measured_sweep(("a10", "a250", "a2k"), 2))
    assert home.find_home() == tmp_path

    @fuzz(limits, command_lines())
    def check(words: list[str]) -> None:
        result = CliRunner().invoke(main, words)
        assert result.exception is None or isinstance(result.exception, SystemExit), result.exception
        assert result.exit_code in (0, 1, 2, 3, 4)
        assert result.output
        result.output.encode()


@sizes(60)
def test_any_configuration_is_accepted_or_refused(limits: settings) -> None:
    fields = [*SweepConfig.model_fields, "only", "locations"]

    @fuzz(limits, st.sampled_from(list(SCENARIOS)), st.dictionaries(st.sampled_from(fields), JUNK, max_size=3))
    def check(name: str, values: dict[str, Any]) -> None:
        with suppress(ValidationError, PreflightError):
            assert scenario_config(SCENARIOS[name])(**values).variants(SCENARIOS[name])
