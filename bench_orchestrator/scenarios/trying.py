"""What `bench try` asks of a user's own code. Not in the registry: which code it is, only the command knows."""

from bench_orchestrator.model.plan import Scenario

STOCK, WARM = "stock", "warm"
"""The sides: Dagster's code server, and the warm one."""

LAUNCHES = 8
"""Measured launches on each side, unless the code takes long to load."""

FEWEST = 3
"""With fewer, an interval says nothing."""

BUDGET_S = 150.0
"""Seconds for all launches, so that an answer comes within three minutes."""

SCENARIO = Scenario("try", "How long do launches of your own code take, and how long behind the warm server?")
