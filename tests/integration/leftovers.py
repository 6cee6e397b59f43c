"""Checks that deployments leave nothing behind."""

from pathlib import Path

from bench_orchestrator.deployment.processes import end_processes, processes_of


def assert_nothing_left(home: Path) -> None:
    """Fail if a process of any deployment of this home is alive; end it, too."""
    left = [process.as_dict(["pid", "cmdline"]) for process in processes_of(home=home)]
    end_processes(lambda: processes_of(home=home), grace_s=0)
    assert not left
