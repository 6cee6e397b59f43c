"""`python -m bench_orchestrator.warm_server`."""

from bench_orchestrator.warm_server.command import main

if __name__ == "__main__":  # processes that are spawned import this again
    main()
