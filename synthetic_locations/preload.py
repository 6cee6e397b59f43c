"""Modules for a fork server to import, one for each location.

    synthetic_locations.preload.a2k_forkserver
    synthetic_locations.preload.a2k_preloaded-blue    (the location is called blue)

A synthetic location is an attribute that its module creates on access, so importing that module would preload nothing.
Importing one of these modules builds the definitions and, for a preloaded location, its asset job. Every forked step
then finds them built.

Importing this package adds a module finder for these names; only fork servers should do so.
"""

import sys
from importlib.abc import Loader
from importlib.machinery import ModuleSpec
from types import ModuleType

from synthetic_locations.kinds import Executor
from synthetic_locations.loading import load_definitions
from synthetic_locations.shape import parse_shape

__path__: list[str] = []
"""Marks the module as a package; it contains no files."""


class _Locations(Loader):
    def find_spec(self, fullname: str, *_unused: object) -> ModuleSpec | None:
        package, _, _ = fullname.rpartition(".")
        return ModuleSpec(fullname, self) if package == __name__ else None

    def exec_module(self, module: ModuleType) -> None:
        name, _, location = module.__name__.rpartition(".")[2].partition("-")
        shape = parse_shape(name)
        definitions = load_definitions(shape, location or None)
        if shape.executor is Executor.PRELOADED:
            definitions.resolve_implicit_global_asset_job_def()


sys.meta_path.append(_Locations())
