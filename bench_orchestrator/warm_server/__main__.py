"""`python -m bench_orchestrator.warm_server`."""

from bench_orchestrator.warm_server.command import main

main()
