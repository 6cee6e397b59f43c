"""`python -m bench_orchestrator` is the `bench` command."""

from bench_orchestrator.cli import main

main()
