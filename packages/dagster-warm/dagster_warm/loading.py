"""Loads a code location as the server does, in a forked process and under observation."""

import gc
import json
import os
import select
import signal
import time
import traceback
from collections.abc import Callable, Mapping, Sequence
from contextlib import suppress
from contextvars import Context
from dataclasses import asdict, dataclass
from functools import partial
from typing import Any, NoReturn

import dagster as dg

from dagster_warm import exits, internals
from dagster_warm.findings import FAULT, Finding, collect, relative
from dagster_warm.observation import Observation
from dagster_warm.own_code import OwnCode
from dagster_warm.safety import Hazard, find_hazards, open_descriptors

_PATIENCE_S = 5.0
"""How long the user's exit handlers may take."""


@dataclass(frozen=True)
class Outcome:
    """What came of loading code."""

    findings: Sequence[Finding] = ()
    accepted: int = 0
    """How many notices were accepted, by a pattern or by a comment."""
    error: str | None = None
    """Why the code cannot be loaded."""
    is_complete: bool = True
    """Whether all calls were observed. If not, reads of the clock, the process id and randomness are missing."""

    @property
    def is_cold(self) -> bool:
        """Whether the warm server launches the code's runs the stock way."""
        return any(one.severity == FAULT for one in self.findings)


@dataclass(frozen=True)
class Code:
    """What to load, and how."""

    options: Mapping[str, Any]
    """Those of `dagster api grpc`."""
    own: OwnCode
    accepted: Sequence[str]
    """Name patterns of the findings that the user accepts."""
    timeout_s: float


def load(code: Code) -> Outcome:
    """Load code and report on it."""
    outcome = _load(code, looking=True)
    if outcome.error is None or not outcome.is_complete:
        return outcome
    # Some libraries compile functions of their user, and fail at what the observation put into them.
    again = _load(code, looking=False)
    return outcome if again.error else again


def _load(code: Code, *, looking: bool) -> Outcome:
    reader, writer = os.pipe()
    pid = os.fork()
    if pid == 0:
        os.close(reader)
        _be_child(code, writer, looking=looking)
    os.close(writer)
    deadline_s = time.monotonic() + code.timeout_s
    try:
        answer = b""
        while not answer.endswith(b"\n"):
            if not select.select([reader], [], [], max(0.0, deadline_s - time.monotonic()))[0]:
                return Outcome(error=f"it was not loaded within {code.timeout_s:g} s", is_complete=False)
            chunk = os.read(reader, 1 << 16)
            if not chunk:
                return Outcome(error=_describe_end(pid), is_complete=False)
            answer += chunk
        _wait(pid)
    finally:
        os.close(reader)
        with suppress(ProcessLookupError, PermissionError):
            os.killpg(pid, signal.SIGKILL)
        with suppress(ChildProcessError):
            os.waitpid(pid, 0)
    told = json.loads(answer)
    return Outcome(**{**told, "findings": [Finding(**one) for one in told["findings"]]})


def _wait(pid: int) -> None:
    deadline_s = time.monotonic() + _PATIENCE_S
    while os.waitpid(pid, os.WNOHANG) == (0, 0) and time.monotonic() < deadline_s:
        time.sleep(0.01)


def _describe_end(pid: int) -> str:
    code = os.waitstatus_to_exitcode(os.waitpid(pid, 0)[1])
    how = f"was killed by {signal.Signals(-code).name}" if code < 0 else f"ended with exit code {code}"
    return f"the process {how} while it loaded the code"


def _be_child(code: Code, writer: int, *, looking: bool) -> NoReturn:
    try:
        os.setpgid(0, 0)  # what the code leaves running is ended with it
        os.dup2(os.open(os.devnull, os.O_RDONLY), 0)
        os.dup2(2, 1)  # what the code prints is no part of the report
        exits.disown()
        observation = Observation(code.own, looking=looking)
        try:
            # Dagster leaves the storage of an instance in its thread's context, also when the instance is gone.
            Context().run(_serve, code, observation, partial(_end, writer))
        except BaseException as error:
            _end(writer, Outcome(error=_describe_error(error, observation), is_complete=looking))
    except BaseException:  # a fork must never return into its parent's code
        traceback.print_exc()
    finally:
        os._exit(1)


def _serve(code: Code, observation: Observation, end: Callable[[Outcome], NoReturn]) -> None:
    """Begin to serve the code as `dagster api grpc` does, until it is loaded."""

    class ObservedServer(internals.DagsterApiServer):
        def __init__(self, **kwargs: Any) -> None:
            harmless = open_descriptors()

            def report(loaded: internals.LoadedRepositories) -> NoReturn:
                observation.end()
                gc.collect()  # what nothing refers to any more is not left behind
                left_open = open_descriptors() - harmless
                # Like the server: what importing leaves behind, and then what a run touches before its first step.
                hazards = find_hazards(harmless, code.accepted) or self._rehearse(loaded, harmless | left_open)
                findings, accepted = collect(observation, hazards, sorted(left_open), code.accepted)
                end(Outcome(findings, accepted, is_complete=observation.looking))

            with internals.when_loaded(report):
                super().__init__(**kwargs)

        def _rehearse(self, loaded: internals.LoadedRepositories, harmless: frozenset[int]) -> list[Hazard]:
            instance = internals.instance_of(self)
            try:
                internals.rehearse(loaded, instance.get_ref() if instance else None)
            except Exception as error:
                return [Hazard(f"preparation {_describe(error)}", "dagster definitions validate says more")]
            return find_hazards(harmless, code.accepted)

    internals.serve_with(ObservedServer)
    options = {**code.options, "port": 1, "socket": None, "lazy_load_user_code": False, "log_level": "error"}
    assert internals.grpc_command.callback is not None
    internals.grpc_command.callback(**options)


def _end(writer: int, outcome: Outcome) -> NoReturn:
    """Send the outcome and end this process as the interpreter does at the end of a program."""
    with suppress(BrokenPipeError), os.fdopen(writer, "w") as pipe:
        pipe.write(json.dumps(asdict(outcome)) + "\n")
    exits.finish()
    os._exit(0)


def _describe_error(error: BaseException, observation: Observation) -> str:
    """Describe what the user's code raised, without the errors that Dagster wraps around it."""
    while isinstance(error, dg.DagsterError) and error.__cause__ is not None:
        error = error.__cause__
    place = observation.place_of(error.__traceback__)
    where = f" ({relative(place.file)}:{place.line})" if place.file else ""
    return _describe(error) + where


def _describe(error: BaseException) -> str:
    """Return an error's type and message."""
    return f"{type(error).__name__}: {error}".removesuffix(": ")
