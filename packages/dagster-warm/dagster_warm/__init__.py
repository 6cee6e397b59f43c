"""A Dagster code server that forks its runs from a process with the definitions loaded.

Replaces `dagster api grpc` and `dagster code-server start`; `dagster-warm` takes their options.
Requires only Dagster, on Linux or macOS. ARCHITECTURE.md shows how the modules depend on each other.
"""
