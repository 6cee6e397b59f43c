"""The guard of a deployment: ends what a dead supervisor leaves behind, even after SIGKILL.

    python -m bench_orchestrator.deployment.guard DEPLOYMENT_ID DIRECTORY

It waits until its standard input closes, which the kernel does whenever the supervisor dies.
"""

import shutil
import sys
from pathlib import Path

from bench_orchestrator.deployment.cpu_limits import remove_recorded
from bench_orchestrator.deployment.processes import end_processes, processes_of

if __name__ == "__main__":
    deployment_id, directory = sys.argv[1:]
    sys.stdin.read()
    end_processes(lambda: processes_of(deployment_id))
    remove_recorded(Path(directory))
    shutil.rmtree(directory, ignore_errors=True)
