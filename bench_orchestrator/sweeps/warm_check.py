"""Whether code can be launched warm, as `dagster-warm check` finds it: loads it once, in a process of its own."""

import json
import os
import signal
import subprocess
import sys
from contextlib import suppress
from dataclasses import replace
from pathlib import Path
from typing import Any

from pydantic import TypeAdapter, ValidationError

from bench_orchestrator.deployment import CodeLocation
from bench_orchestrator.model.errors import UnusableError, one_line
from dagster_warm.loading import Outcome

_OUTCOME = TypeAdapter(Outcome)

_PATIENCE_S = 10.0
"""How long an interrupted check may take to end."""


def check_code(code: CodeLocation, folder: Path, home: Path, timeout_s: float) -> Outcome:
    """Load code once under observation, and return what does not fit a fork, or why it cannot be loaded.

    Args:
        folder: the working directory of the process.
        home: its DAGSTER_HOME.
        timeout_s: seconds that the code may take to load.

    Raises:
        UnusableError: the check itself failed.
    """
    checked = replace(code, server=("dagster_warm", "check", "--json", "--timeout", f"{timeout_s:g}"))
    if any("\0" in argument for argument in checked.arguments):
        raise UnusableError(f"{code.name} cannot be loaded: a name of it holds a null character.")
    with subprocess.Popen(
        [sys.executable, "-m", *checked.arguments],
        cwd=folder,
        env={**os.environ, **code.environment, "DAGSTER_HOME": str(home)},
        stdin=subprocess.DEVNULL,
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
        errors="replace",
    ) as process:
        try:
            answer, said = process.communicate()
        except BaseException:
            process.send_signal(signal.SIGINT)  # it ends what it has forked
            with suppress(subprocess.TimeoutExpired):
                process.wait(_PATIENCE_S)
            process.kill()
            raise
    try:
        told: dict[str, Any] = json.loads(answer)
        return _OUTCOME.validate_python(told)
    except (ValueError, ValidationError) as error:
        last = next((line for line in reversed(said.splitlines()) if line.strip()), "it printed nothing")
        raise UnusableError(f"{code.name} cannot be checked: {one_line(last)}") from error
