"""One location with a job `look`, whose ops tell what the other modules of this folder see."""

import pkgutil
from importlib import import_module

import dagster as dg

import modules

NAMES = sorted(found.name for found in pkgutil.iter_modules(modules.__path__) if found.name != "served")


def _op(name: str) -> dg.OpDefinition:
    module = import_module(f"modules.{name}")

    @dg.op(name=name, out=dg.Out(dg.Nothing))
    def look(context: dg.OpExecutionContext) -> None:
        context.add_output_metadata({"facts": module.look(), "own": getattr(module, "own", dict)()})

    return look


OPS = [_op(name) for name in NAMES]


@dg.job(executor_def=dg.in_process_executor)
def look() -> None:
    """Let every module tell what it sees."""
    for one in OPS:
        one()


defs = dg.Definitions(jobs=[look])
