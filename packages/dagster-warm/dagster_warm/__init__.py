"""A Dagster code server that forks its runs from a process with the definitions loaded.

Replaces `dagster api grpc` and `dagster code-server start`; `dagster-warm` takes their options.
Requires only Dagster, on Linux or macOS.

    command ──> servicer ──> template ──> processes
       │         │  │            │
       │         │  └────────────┤
       └─────────┼───────────────┴──> internals <── executor: the only module that touches what Dagster calls private
                 └──> launcher
"""
