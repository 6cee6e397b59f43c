"""The bounds of every number that can be configured, in the launchpad, on a command line or in a variable."""

LONGEST_S = 86_400.0
"""A day: the maximum of any configured duration, in seconds."""

MOST_LAUNCHES = 10_000
"""Per location or variant of a sweep, warm-ups and measured launches apart."""

LARGEST_SEED = 2**53 - 1
"""The largest integer that JSON carries everywhere, also through a browser."""

MOST_ASSETS = 10_000_000
"""In the code location that is predicted."""

MOST_STEPS = 100_000
"""Of a run whose start is predicted."""

MOST_RUNS = 100_000
"""At once, in a pod whose memory and CPU are predicted."""
