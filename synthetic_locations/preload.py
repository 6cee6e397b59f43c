"""Modules for a forkserver to import: any location is one of them.

    synthetic_locations.preload.a2k_forkserver
    synthetic_locations.preload.a2k_preloaded-blue    (the location is called blue)

What a user has in a module of their own, a synthetic location has in an attribute of a module, made when it is
asked for: importing that module preloads nothing. Importing one of these builds the definitions, and for a
preloaded location its asset job too, and every step that is forked then finds them built.

Importing this package changes how Python finds modules of the names above, and is for forkservers only.
"""

import sys
from importlib.abc import Loader
from importlib.machinery import ModuleSpec
from types import ModuleType

from synthetic_locations.kinds import Executor
from synthetic_locations.loading import load_definitions
from synthetic_locations.shape import parse_shape

__path__: list[str] = []
"""What makes a module a package; there are no files to find in this one."""


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
