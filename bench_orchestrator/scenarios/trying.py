"""What `bench try` and `bench gate` ask of a user's own code.

Not in the registry: which code it is, only the command knows.
"""

from bench_orchestrator.model.plan import Scenario

STOCK, WARM = "stock", "warm"
"""The sides: Dagster's code server, and the warm one."""

BASE = "base"
"""The side of another checkout of the code, behind Dagster's code server."""

NOTHING_EXECUTED = (
    "Nothing of the code was executed but its import. What was launched is an asset that does nothing; sensors and "
    "schedules were stopped, and the instance was a new one."
)

LAUNCHES = 8
"""Measured launches on each side, unless the code takes long to load."""

FEWEST = 3
"""With fewer, an interval says nothing."""

BUDGET_S = 150.0
"""Seconds for all launches, so that an answer comes within three minutes."""

SCENARIO = Scenario("try", "How long do launches of your own code take, and how long behind the warm server?")
