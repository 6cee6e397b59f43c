"""Which functions read what is different in each process: the clock, the process id, randomness, and so on."""

import sys
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from types import ModuleType
from typing import Any

import dagster as dg

CLOCK = "clock"
PROCESS_ID = "process id"
RANDOMNESS = "randomness"
SEED = "seed"
ENVIRONMENT = "environment"
NETWORK = "network"
SUBPROCESS = "subprocess"
EXIT_HANDLER = "exit handler"
OPEN_FILE = "open file"
TEMPORARY_FILE = "temporary file"
LOCK = "lock"

REMEDIES: Mapping[str, str] = {
    CLOCK: "call it in the asset; for the day to process, use a partition or the schedule's tick",
    PROCESS_ID: "call it in the asset",
    RANDOMNESS: "draw it in the asset, or use context.run_id",
    SEED: "nothing, if every run is to draw the same numbers; otherwise seed in the asset",
    ENVIRONMENT: "use dg.EnvVar in a resource's configuration, or read it in the asset",
    NETWORK: "ask in the asset or in a resource; for definitions, ask when the image is built",
    SUBPROCESS: "run it in the asset, or when the image is built",
    EXIT_HANDLER: "clean up in the asset (try/finally) or in a resource (yield_for_execution)",
    OPEN_FILE: "open it in the asset, in a with statement",
    TEMPORARY_FILE: "make it in the asset, as `with tempfile.TemporaryDirectory()`",
    LOCK: "hold it in the asset, in a with statement",
}
"""What to write instead, by kind of finding."""

_FUNCTIONS: Mapping[str, tuple[str, ...]] = {
    CLOCK: (
        # Without monotonic clocks: they measure how long something takes.
        *(f"time.{name}" for name in ("time", "time_ns", "localtime", "gmtime", "ctime", "asctime", "strftime")),
        *(f"datetime.datetime.{name}" for name in ("now", "utcnow", "today")),
        "datetime.date.today",
        *(f"pandas.Timestamp.{name}" for name in ("now", "utcnow", "today")),
        *(f"pendulum.{name}" for name in ("now", "today", "tomorrow", "yesterday")),
        *(f"arrow.{name}" for name in ("now", "utcnow")),
        *(f"django.utils.timezone.{name}" for name in ("now", "localdate")),
    ),
    PROCESS_ID: ("os.getpid", "os.getppid", "threading.get_native_id"),
    RANDOMNESS: (
        *("random.*", "secrets.*", "numpy.random.*"),
        *(f"uuid.{name}" for name in ("uuid1", "uuid4", "uuid6", "uuid7")),
        *("os.urandom", "os.getrandom"),
        *(f"torch.{name}" for name in ("rand", "randn", "randint", "randperm")),
    ),
    SEED: ("random.seed", "numpy.random.seed", "torch.manual_seed"),
    # What connects without Python's sockets; those are observed where they connect.
    NETWORK: ("psycopg2.connect", "psycopg.connect", "psycopg.Connection.connect", "pyodbc.connect"),
    EXIT_HANDLER: ("atexit.register",),
}
_PURE = {
    *("random.getstate", "random.setstate", "secrets.compare_digest"),
    # Every run seeds a generator anew that has no seed.
    *(f"numpy.random.{name}" for name in ("default_rng", "get_state", "set_state", "get_bit_generator")),
    "numpy.random.set_bit_generator",
}
"""Functions that the patterns of `_FUNCTIONS` match, and that draw nothing."""

_ENOUGH: Mapping[str, int] = {
    **dict.fromkeys(("time.localtime", "time.gmtime", "time.ctime", "time.asctime"), 1),
    "time.strftime": 2,
}
"""How many arguments make a function read nothing: they are the time to convert."""

READING_FOR_OTHERS = frozenset(
    {"os", "collections", "decouple", "dotenv", "dynaconf", "environs", "pydantic_settings"} | {dg.EnvVar.__module__}
)
"""Modules that read the environment for their caller."""


@dataclass(frozen=True)
class Read:
    """A function that reads what is different in each process."""

    kind: str
    name: str
    """Where it is found: `datetime.datetime.now`."""

    @property
    def module(self) -> str:
        """The module. What its functions draw depends on the seed that another of them sets."""
        return self.name.rpartition(".")[0]

    def reads(self, arguments: int) -> bool:
        """Return whether a call with this many arguments reads anything."""
        return arguments > 0 if self.kind == SEED else arguments < _ENOUGH.get(self.name, sys.maxsize)


def find_reads(modules: Mapping[str, ModuleType]) -> dict[Any, Read]:
    """Return the functions that read, among those of these modules, by the function."""
    found: dict[Any, Read] = {}
    for kind, names in _FUNCTIONS.items():
        for name in names:
            for full_name, function in _resolve(name, modules):
                found[function] = Read(kind, full_name)
    return found


MODULES = frozenset(name.rpartition(".")[0] for names in _FUNCTIONS.values() for name in names)
"""The modules, and some classes, that `find_reads` looks into."""


def _resolve(name: str, modules: Mapping[str, ModuleType]) -> Iterator[tuple[str, Any]]:
    path, _, last = name.rpartition(".")
    holder: Any = modules.get(path)
    if holder is None:  # a class of a module
        module, _, attribute = path.rpartition(".")
        holder = getattr(modules.get(module), attribute, None)
    lasts = [one for one in getattr(holder, "__all__", ()) if one[0].islower()] if last == "*" else [last]
    for one in lasts:
        function = getattr(holder, one, None)
        if function is not None and f"{path}.{one}" not in _PURE:
            yield f"{path}.{one}", function
