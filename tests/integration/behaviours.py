"""User code with a job for each behaviour of a code server, for tests that compare servers."""

import json
import os
import random
import signal
import socket
import sys
import tempfile
import threading
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import dagster as dg

os.environ["SET_AT_IMPORT"] = "yes"

PARTITIONS = ("north", "south", "west")


class Greeter(dg.ConfigurableResource):  # type: ignore[type-arg]
    """Reads its greeting from the environment when a run begins."""

    greeting: str


RESOURCES = {"greeter": Greeter(greeting=dg.EnvVar("GREETING"))}


class Where(dg.Config):
    """A file or folder that a test inspects afterwards."""

    path: str


@dg.op
def look(context: dg.OpExecutionContext, greeter: Greeter) -> int:
    """Report on this process."""
    print("a line to stdout")
    print("a line to stderr", file=sys.stderr)
    context.log.info("a line to the log")
    environment = {name: value for name, value in os.environ.items() if name.startswith(("DAGSTER_", "SET_", "GREET"))}
    context.add_output_metadata(
        {
            "pid": os.getpid(),
            "random": random.random(),
            "temporary": Path(tempfile.mkdtemp()).name,
            "directory": str(Path.cwd()),
            "environment": json.dumps(environment, sort_keys=True),
            "greeting": greeter.greeting,
            "main_thread": threading.current_thread() is threading.main_thread(),
            "tags": json.dumps(dict(context.run.tags), sort_keys=True),
        }
    )
    return 1


@dg.op
def add(context: dg.OpExecutionContext, one: int) -> int:
    """Use a value from another process."""
    context.add_output_metadata({"pid": os.getpid()})
    return one + 1


@dg.op
def refuse(one: int) -> None:
    """Fail."""
    raise ValueError(f"the warehouse is closed, with {one} inside")


@dg.op
def refuse_once(config: Where, one: int) -> int:
    """Fail at the first attempt."""
    tried = Path(config.path)
    if not tried.exists():
        tried.touch()
        raise ValueError("the warehouse opens later")
    return one


@dg.op(retry_policy=dg.RetryPolicy(max_retries=1))
def stumble(context: dg.OpExecutionContext) -> int:
    """Fail the first time."""
    if context.retry_number == 0:
        raise ValueError("once more")
    return context.retry_number


@dg.op(out=dg.DynamicOut())
def split() -> Iterator[dg.DynamicOutput[int]]:
    """Yield three pieces."""
    for number in range(3):
        yield dg.DynamicOutput(number, mapping_key=f"piece_{number}")


@dg.op
def double(piece: int) -> int:
    """Process one of them."""
    return 2 * piece


@dg.op
def collect(context: dg.OpExecutionContext, pieces: list[int]) -> int:
    """Combine them."""
    context.add_output_metadata({"sum": sum(pieces)})
    return sum(pieces)


@dg.op(pool="narrow")
def squeeze(context: dg.OpExecutionContext) -> int:
    """Take a while in a pool of one."""
    entered = time.time()
    time.sleep(1)
    context.add_output_metadata({"entered": entered, "left": time.time()})
    return 0


@dg.op
def connect(context: dg.OpExecutionContext) -> int:
    """Start threads and open connections."""
    ours, theirs = socket.socketpair()
    received: list[bytes] = []
    threads = [threading.Thread(target=lambda: received.append(ours.recv(1))) for _ in range(3)]
    for thread in threads:
        thread.start()
    theirs.sendall(b"abc")
    for thread in threads:
        thread.join()
    context.add_output_metadata({"received": b"".join(sorted(received)).decode()})
    return len(received)


@dg.op
def die(config: Where) -> int:
    """Kill this process at the first attempt."""
    died = Path(config.path)
    if not died.exists():
        died.touch()
        os.kill(os.getpid(), signal.SIGKILL)
    return 0


@dg.op
def wait(config: Where) -> int:
    """Write this process's id, and never end."""
    Path(config.path).write_text(str(os.getpid()))
    time.sleep(600)
    return 0


@dg.op
def wait_for_file(config: Where) -> int:
    """Write this process's id, and end once the file is gone."""
    path = Path(config.path)
    path.write_text(str(os.getpid()))
    while path.exists():
        time.sleep(0.05)
    return 0


@dg.job(resource_defs=RESOURCES)
def success() -> None:
    """Two out-of-process steps; the second uses the first's value."""
    add(look())


@dg.job(executor_def=dg.multiprocess_executor.configured({"start_method": {"forkserver": {}}}), resource_defs=RESOURCES)
def success_by_forkserver() -> None:
    """The same, with steps that Dagster forks by itself."""
    add(look())


@dg.job(executor_def=dg.in_process_executor, resource_defs=RESOURCES)
def success_in_process() -> None:
    """Two steps in the run worker's process."""
    add(look())


@dg.job(resource_defs=RESOURCES)
def failure() -> None:
    """A step that succeeds and one that fails."""
    refuse(look())


@dg.job(resource_defs=RESOURCES)
def recovery() -> None:
    """A step that succeeds and one that succeeds at the second attempt."""
    refuse_once(look())


@dg.job
def retrying() -> None:
    """A step with a retry policy."""
    stumble()


@dg.job
def dynamic() -> None:
    """A step for each piece."""
    collect(split().map(double).collect())


@dg.job
def pooled() -> None:
    """A step in a pool of one."""
    squeeze()


@dg.job
def connecting() -> None:
    """A step with threads and connections."""
    connect()


@dg.job
def dying_step() -> None:
    """A step whose process is killed."""
    die()


@dg.job(executor_def=dg.in_process_executor)
def dying_run() -> None:
    """A run whose process is killed."""
    die()


@dg.job
def endless() -> None:
    """An out-of-process step that does not end."""
    wait()


@dg.job(executor_def=dg.in_process_executor)
def endless_in_process() -> None:
    """A run that does not end."""
    wait()


@dg.job(executor_def=dg.in_process_executor)
def lasting() -> None:
    """A run that ends on request."""
    wait_for_file()


@dg.asset(partitions_def=dg.StaticPartitionsDefinition(list(PARTITIONS)))
def sales(context: dg.AssetExecutionContext) -> str:
    """Partitioned, for backfills."""
    return str(context.partition_key)


@dg.asset
def report(sales: dict[str, str]) -> None:
    """Depends on all partitions."""


@dg.asset_check(asset=report)
def report_is_there() -> dg.AssetCheckResult:
    """A check in a separate step."""
    return dg.AssetCheckResult(passed=True)


@dg.sensor(job=success, minimum_interval_seconds=1)
def watch() -> Iterator[dg.RunRequest]:
    """Request one run."""
    yield dg.RunRequest(run_key="only", tags={"asked_by": "watch"})


@dg.schedule(job=success_in_process, cron_schedule="* * * * *")
def clock() -> dg.RunRequest:
    """Request a run every minute."""
    return dg.RunRequest(tags={"asked_by": "clock"})


@dg.repository
def main() -> list[Any]:
    """Almost all of the definitions."""
    jobs = [
        success,
        success_by_forkserver,
        success_in_process,
        failure,
        recovery,
        retrying,
        dynamic,
        pooled,
        connecting,
        dying_step,
        dying_run,
        endless,
        endless_in_process,
        lasting,
    ]
    return [sales, report, report_is_there, *jobs, watch, clock]


@dg.job(name="success")
def other_success() -> None:
    """Has the same name as a job in the other repository."""
    collect(split().map(double).collect())


@dg.repository
def other() -> list[Any]:
    """A second repository."""
    return [other_success]
