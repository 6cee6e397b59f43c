"""Synthetic code locations of any shape; depends on Dagster but not on the bench that measures them."""
