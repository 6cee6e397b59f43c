"""A code server whose runs are forked from a process that has everything loaded.

Stands in the place of `dagster api grpc` and `dagster code-server start`: `dagster-warm` takes their options.
Needs Dagster alone, on Linux or macOS.

    command ──> servicer ──> template ──> processes
       │         │  │            │
       │         │  └────────────┤
       └─────────┼───────────────┴──> internals <── executor: the only module that touches what Dagster calls private
                 └──> launcher
"""
