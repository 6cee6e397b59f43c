"""The start of a run's steps, in its run worker."""

from multiprocessing import popen_spawn_posix
from multiprocessing.process import BaseProcess
from typing import Any

from dagster_warm import internals
from dagster_warm.processes import ForkFailedError, TemplateClient, TemplateGoneError, TemplateSilentError, WarmPopen


class StepLauncher:
    """Starts the steps of a run."""

    def __init__(self, template: TemplateClient) -> None:
        self._template: TemplateClient | None = template

    def launch(self, process: BaseProcess) -> Any:
        """Start a step from the run's template; by spawning once that has failed."""
        if self._template is None:
            return popen_spawn_posix.Popen(process)
        try:
            return WarmPopen(process, self._template, ends_with_parent=True)
        except ForkFailedError as error:
            reason = f"{error.strerror}."
        except TemplateGoneError:
            reason, self._template = "The run's template has died.", None
        except TemplateSilentError as error:
            reason, self._template = str(error), None
        internals.tell_run(f"Steps are launched cold: {reason}")
        return popen_spawn_posix.Popen(process)
