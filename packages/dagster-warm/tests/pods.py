"""A run launcher that stands in for Kubernetes: it starts a process for each run, which is its pod."""

import subprocess
import sys
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any, Self

import dagster as dg
import psutil
from dagster._core.launcher import CheckRunHealthResult, LaunchRunContext, ResumeRunContext, RunLauncher, WorkerStatus
from dagster._grpc.types import ExecuteRunArgs, ResumeRunArgs
from dagster._serdes import ConfigurableClass
from dagster._serdes.config_class import ConfigurableClassData

POD_STARTED = "Pod started"


class PodLauncher(RunLauncher, ConfigurableClass):
    """Starts, watches, resumes and ends pods, from any process that has the instance."""

    def __init__(self, folder: str, inst_data: ConfigurableClassData | None = None) -> None:
        self.pod_settings = {"folder": folder}
        self._pids = Path(folder)
        self._inst_data = inst_data
        super().__init__()  # type: ignore[no-untyped-call]

    @property
    def inst_data(self) -> ConfigurableClassData | None:
        return self._inst_data

    @classmethod
    def config_type(cls) -> Mapping[str, Any]:
        return {"folder": str}

    @classmethod
    def from_config_value(cls, inst_data: ConfigurableClassData | None, config_value: Mapping[str, Any]) -> Self:
        return cls(config_value["folder"], inst_data)

    def launch_run(self, context: LaunchRunContext) -> None:
        run = context.dagster_run
        assert run.job_code_origin
        args = ExecuteRunArgs(run.job_code_origin, run.run_id, self._instance.get_ref())
        self._start(run, args.get_command_args())

    @property
    def supports_resume_run(self) -> bool:
        return True

    def resume_run(self, context: ResumeRunContext) -> None:
        run = context.dagster_run
        assert run.job_code_origin
        args = ResumeRunArgs(run.job_code_origin, run.run_id, self._instance.get_ref())
        self._start(run, args.get_command_args())

    def terminate(self, run_id: str) -> bool:
        run = self._instance.get_run_by_id(run_id)
        pod = self.pod_of(run_id)
        if run is None or pod is None:
            return False
        self._instance.report_run_canceling(run)
        pod.terminate()
        return True

    @property
    def supports_check_run_worker_health(self) -> bool:
        return True

    def check_run_worker_health(self, run: dg.DagsterRun) -> CheckRunHealthResult:
        if self.pod_of(run.run_id):
            return CheckRunHealthResult(WorkerStatus.RUNNING)
        return CheckRunHealthResult(WorkerStatus.FAILED, "its pod is gone")

    def get_run_worker_debug_info(self, run: dg.DagsterRun, include_container_logs: bool | None = True) -> str | None:
        return f"the pod of {run.run_id}{', with logs' if include_container_logs else ''}"

    def pod_of(self, run_id: str) -> psutil.Process | None:
        """Return a run's process; None if it has none, or no more."""
        pid = self._pids / run_id
        if not pid.exists():
            return None
        try:
            pod = psutil.Process(int(pid.read_text()))
            return None if pod.status() == psutil.STATUS_ZOMBIE else pod
        except psutil.NoSuchProcess:
            return None

    def _start(self, run: dg.DagsterRun, arguments: Sequence[str]) -> None:
        pod = subprocess.Popen([sys.executable, "-m", "dagster", *arguments[-3:]])
        pod.returncode = 0  # it outlives this process
        (self._pids / run.run_id).write_text(str(pod.pid))
        self._instance.report_engine_event(POD_STARTED, run)
