"""The metrics of runs that have ended: how many, how long they waited, and the stages of their launches."""

from prometheus_client import CollectorRegistry, Counter, Histogram

from bench_orchestrator.model.deployment_reading import ReadRun
from bench_orchestrator.model.instants import MICROSECONDS
from bench_orchestrator.model.launch import Launch
from bench_orchestrator.model.runs import FINISHED
from bench_orchestrator.model.stages import Stage
from bench_orchestrator.model.text import legible

BUCKETS_S = (0.01, 0.03, 0.1, 0.3, 1.0, 2.0, 3.0, 5.0, 10.0, 20.0, 30.0, 60.0, 120.0, 300.0, 600.0, 1_800.0)
"""The upper bounds of the histograms' buckets, from 10 ms to half an hour."""

MOST_JOBS = 100
"""How many jobs of all locations have series of their own. Each has some 250."""

OTHER = "other"
"""The job of all further ones."""
_UNKNOWN = "unknown"
"""The location of runs whose records name none."""
_JOB_LABELS = ("location", "job")


class JobNames:
    """The values of the labels `location` and `job`: of a bounded number of jobs their own, of all others `other`."""

    def __init__(self, most: int = MOST_JOBS) -> None:
        self._most = most
        self._jobs: dict[tuple[str, str], None] = {}
        self._locations: set[str] = set()

    @property
    def known(self) -> tuple[tuple[str, str], ...]:
        """The values for the jobs that have their own so far."""
        return tuple(self._jobs)

    def of(self, location: str, job: str) -> tuple[str, str]:
        """Return the values for a job of a location."""
        names = legible(location) or _UNKNOWN, legible(job)
        if names not in self._jobs and len(self._jobs) >= self._most:
            return names[0] if names[0] in self._locations else OTHER, OTHER
        self._jobs[names] = None
        self._locations.add(names[0])
        return names


class RunMetrics:
    """Counters and histograms of runs that have ended. They begin at zero and only grow."""

    def __init__(self, registry: CollectorRegistry, jobs: JobNames) -> None:
        self._jobs = jobs

        def histogram(name: str, what: str, *labels: str) -> Histogram:
            return Histogram(name, what, (*_JOB_LABELS, *labels), registry=registry, buckets=BUCKETS_S)

        self._ended = Counter(
            "dagster_runs_ended_total",
            "Runs that ended, by their last status: success, failure or canceled.",
            (*_JOB_LABELS, "status"),
            registry=registry,
        )
        self._wait = histogram(
            "dagster_run_wait_to_start_seconds", "From a run's creation until its worker executes it."
        )
        self._queue = histogram("dagster_run_queue_seconds", "Queue time: from RUN_ENQUEUED to RUN_START.")
        self._init = histogram("dagster_run_init_seconds", "Init time: from RUN_START to the first STEP_START.")
        self._lag = histogram(
            "dagster_run_launch_lag_seconds", "Launch lag: from RUN_ENQUEUED to the first STEP_START."
        )
        self._stage = histogram("dagster_run_stage_seconds", "Each stage of a launch; they sum to the launch.", "stage")

    def begin(self, location: str, job: str) -> tuple[str, str]:
        """Begin the series of a job at zero, for its first end to be an increase, and return its labels' values."""
        names = self._jobs.of(location, job)
        for status in FINISHED:
            self._ended.labels(*names, status.lower())
        for histogram in (self._wait, self._queue, self._init, self._lag):
            histogram.labels(*names)
        return names

    def count(self, ended: ReadRun) -> None:
        """Count a run that has ended, by its record."""
        names = self.begin(ended.location, ended.run.job)
        self._ended.labels(*names, ended.run.status.lower()).inc()
        if ended.run.started_us is not None:
            _observe(self._wait.labels(*names), ended.run.started_us - ended.run.created_us)

    def measure(self, ended: ReadRun, launch: Launch) -> None:
        """Add the launch of a run that has ended, as far as it came."""
        names = self._jobs.of(ended.location, ended.run.job)
        for histogram, us in ((self._queue, launch.queue_us), (self._init, launch.init_us), (self._lag, launch.lag_us)):
            if us is not None:
                _observe(histogram.labels(*names), us)
        for stage in Stage:
            us = launch.stages_us[stage]
            if us is not None:
                _observe(self._stage.labels(*names, stage.value), us)


def _observe(histogram: Histogram, us: int) -> None:
    """Add a duration; one that clocks of several machines made negative is zero."""
    histogram.observe(max(0, us) / MICROSECONDS)
