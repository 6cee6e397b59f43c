"""One launch laid out in time."""
