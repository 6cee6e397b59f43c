"""Waterfalls: one launch laid out in time."""
