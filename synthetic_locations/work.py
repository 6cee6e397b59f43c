"""The body of the assets: units of work, and a report on the process that does them.

A unit of work is a sleep. Assets of every structure count theirs, so that a comparison can verify that locations do the
same work in different ways.
"""

import gc
import time
from typing import Any

import dagster as dg

from synthetic_locations.imports import import_heavy, installed_libraries
from synthetic_locations.kinds import Imports
from synthetic_locations.process import Elapsed, measure_process
from synthetic_locations.shape import Shape


class Work:
    """The work of one location's assets."""

    def __init__(self, shape: Shape) -> None:
        self.built = Elapsed(0)
        """The time to build the definitions that contain these assets."""
        self._shape = shape

    def perform(self, units: int, before: int = 0) -> dict[str, Any]:
        """Do units of work for each partition of the run; return metadata for a materialization.

        - all measurements of `measure_process`, taken before the work
        - `bench/build_s`: seconds that this process spent on building the definitions
        - `bench/imported`, `bench/heavy_import_s`: the heavy libraries, and this process's seconds spent importing
          them, if the shape has such imports
        - `bench/work`: units of work per partition's materialization, including `before`

        Args:
            units: units of work to do here.
            before: units of work already done elsewhere for the same materialization.
        """
        if self._shape.nogc and not gc.isenabled():
            # Loaded objects live as long as the process, so the collector can skip them.
            gc.freeze()
            gc.enable()
        report: dict[str, Any] = {}
        if self._shape.imports is not Imports.NONE:
            report = {"heavy_import_s": import_heavy().here_s, "imported": ", ".join(installed_libraries())}
        report |= measure_process()
        report |= {"build_s": self.built.here_s, "work": before + units}
        for _ in range(units * self._partitions_of_run()):
            time.sleep(self._shape.compute_ms / 1000)
        return {f"bench/{name}": value for name, value in report.items()}

    def _partitions_of_run(self) -> int:
        if not self._shape.partitions:
            return 1
        context = dg.OpExecutionContext.get()
        return len(context.partition_keys) if context.has_partition_key_range else 1
