"""`bench warm-server`: serve a code location with its runs forked from a process that has everything loaded."""

from bench_orchestrator.warm_server.command import command

__all__ = ["command"]
