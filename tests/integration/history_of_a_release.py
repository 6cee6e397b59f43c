"""A deployment of another release of Dagster: a code location, and runs of all kinds in its history.

    python history_of_a_release.py

records the runs in the instance of DAGSTER_HOME. The webserver of that release serves the same file. It imports nothing
but Dagster, and uses only what all releases from 1.11 on have.
"""

import dagster as dg
from dagster._core.remote_origin import RegisteredCodeLocationOrigin, RemoteJobOrigin, RemoteRepositoryOrigin
from dagster._core.utils import make_new_run_id

LOCATION = "old"
REPOSITORY_TAG = {".dagster/repository": f"__repository__@{LOCATION}"}


@dg.asset(partitions_def=dg.StaticPartitionsDefinition([f"p{number}" for number in range(12)]))
def orders() -> None:
    """An asset of twelve partitions."""


@dg.asset_check(asset=orders)
def plausible() -> dg.AssetCheckResult:
    """A check of it."""
    return dg.AssetCheckResult(passed=True)


@dg.op(retry_policy=dg.RetryPolicy(max_retries=1))
def flaky(context: dg.OpExecutionContext) -> None:
    """Succeeds when it is tried again."""
    if context.retry_number == 0:
        raise RuntimeError("not yet")


@dg.job
def shaky() -> None:
    """A job whose step is retried."""
    flaky()


@dg.sensor(job=shaky)
def files() -> None:
    """A sensor that never ran."""


defs = dg.Definitions(assets=[orders], asset_checks=[plausible], jobs=[shaky], sensors=[files])


def record(instance: dg.DagsterInstance) -> None:
    """Record finished, retried, queued and stuck runs, and a slot that a finished run has not given back."""
    for number in range(3):
        dg.materialize([orders], instance=instance, partition_key=f"p{number}", tags=REPOSITORY_TAG)
    finished = shaky.execute_in_process(instance=instance, tags=REPOSITORY_TAG).run_id
    origin = RemoteJobOrigin(RemoteRepositoryOrigin(RegisteredCodeLocationOrigin(LOCATION), "__repository__"), "shaky")
    for status in (dg.DagsterRunStatus.QUEUED, dg.DagsterRunStatus.STARTING):
        run_id = make_new_run_id()
        instance.add_run(dg.DagsterRun("shaky", run_id, status=status, tags=REPOSITORY_TAG, remote_job_origin=origin))
    instance.event_log_storage.set_concurrency_slots("db", 1)
    instance.event_log_storage.claim_concurrency_slot("db", finished, "flaky")


if __name__ == "__main__":
    with dg.DagsterInstance.get() as here:
        record(here)
