"""A code server whose runs are forked from a process that has everything loaded.

Stands in the place of `dagster api grpc` and `dagster code-server start`: `python -m bench_orchestrator.warm_server`
takes their options. Imports nothing of the rest of the bench and needs Dagster alone, on Linux or macOS.

    command ──> servicer ──> template ──> processes
       │         │  │            │
       │         │  └────────────┤
       └─────────┼───────────────┴──> internals <── executor: the only module that touches what Dagster calls private
                 └──> launcher
"""
