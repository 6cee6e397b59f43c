"""Synthetic code locations of any shape; knows Dagster and nothing of the bench that measures them."""
