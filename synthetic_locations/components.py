"""Components for `dg` projects: a probe in the user's own code location, and generated assets. Importing it is cheap.

`dg scaffold defs synthetic_locations.components.LaunchProbe probe` writes the YAML file that adds one.
"""

import dagster as dg
from pydantic import Field

from synthetic_locations.probed import PROBE


class LaunchProbe(dg.Component, dg.Model, dg.Resolvable):
    """Adds an asset that does nothing: what its launches take is what this location's launches take."""

    key: str = Field(default=PROBE, description="Its asset key.")
    group: str = Field(default="dagster_bench", description="Its group in the catalog.")

    def build_defs(self, context: dg.ComponentLoadContext) -> dg.Definitions:  # noqa: ARG002
        """Return the probe with an I/O manager of its own, so that it needs nothing of the project."""
        from synthetic_locations.probe import probe_asset

        return dg.Definitions(assets=[probe_asset(self.key, self.group)])


class SyntheticLocation(dg.Component, dg.Model, dg.Resolvable):
    """Adds generated assets, as many and of the kind that the name of a shape says."""

    shape: str = Field(description="Such as a250, or a100p30_daily; `bench shapes` prints the grammar.")

    def build_defs(self, context: dg.ComponentLoadContext) -> dg.Definitions:  # noqa: ARG002
        """Return the shape's definitions.

        Raises:
            ValueError: no shape has this name; the message has the grammar.
        """
        from synthetic_locations.loading import load_definitions
        from synthetic_locations.shape import parse_shape

        return load_definitions(parse_shape(self.shape))
