"""User code with a job for each behaviour of a code server, for the tests that ask for the same of every server."""

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
    """Reads its greeting from the environment, when a run begins."""

    greeting: str


RESOURCES = {"greeter": Greeter(greeting=dg.EnvVar("GREETING"))}


class Where(dg.Config):
    """A file or folder that a test looks at afterwards."""

    path: str


@dg.op
def look(context: dg.OpExecutionContext, greeter: Greeter) -> int:
    """Tell what this process is like."""
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
    """Take what came from another process."""
    context.add_output_metadata({"pid": os.getpid()})
    return one + 1


@dg.op
def refuse(one: int) -> None:
    """Fail."""
    raise ValueError(f"the warehouse is closed, with {one} inside")


@dg.op
def refuse_once(config: Where, one: int) -> int:
    """Fail, unless it has been tried before."""
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
    """Three pieces."""
    for number in range(3):
        yield dg.DynamicOutput(number, mapping_key=f"piece_{number}")


@dg.op
def double(piece: int) -> int:
    """Work on one of them."""
    return 2 * piece


@dg.op
def collect(context: dg.OpExecutionContext, pieces: list[int]) -> int:
    """Put them together."""
    context.add_output_metadata({"sum": sum(pieces)})
    return sum(pieces)


@dg.op(pool="narrow")
def squeeze(context: dg.OpExecutionContext) -> int:
    """Take a while where there is room for one."""
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
    """Be killed, unless that has happened before."""
    died = Path(config.path)
    if not died.exists():
        died.touch()
        os.kill(os.getpid(), signal.SIGKILL)
    return 0


@dg.op
def wait(config: Where) -> int:
    """Leave the id of this process, and do not end."""
    Path(config.path).write_text(str(os.getpid()))
    time.sleep(600)
    return 0


@dg.op
def wait_for_file(config: Where) -> int:
    """Leave the id of this process, and end as soon as its file is gone."""
    path = Path(config.path)
    path.write_text(str(os.getpid()))
    while path.exists():
        time.sleep(0.05)
    return 0


@dg.job(resource_defs=RESOURCES)
def success() -> None:
    """Two steps in processes of their own, the second with what the first returned."""
    add(look())


@dg.job(executor_def=dg.in_process_executor, resource_defs=RESOURCES)
def success_in_process() -> None:
    """Two steps in the run worker's process."""
    add(look())


@dg.job(resource_defs=RESOURCES)
def failure() -> None:
    """A step that works and one that does not."""
    refuse(look())


@dg.job(resource_defs=RESOURCES)
def recovery() -> None:
    """A step that works and one that does so the second time."""
    refuse_once(look())


@dg.job
def retrying() -> None:
    """A step with a retry policy."""
    stumble()


@dg.job
def dynamic() -> None:
    """As many steps as there are pieces."""
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
    """A step, in a process of its own, that does not end."""
    wait()


@dg.job(executor_def=dg.in_process_executor)
def endless_in_process() -> None:
    """A run that does not end."""
    wait()


@dg.job(executor_def=dg.in_process_executor)
def lasting() -> None:
    """A run that ends when it is told to."""
    wait_for_file()


@dg.asset(partitions_def=dg.StaticPartitionsDefinition(list(PARTITIONS)))
def sales(context: dg.AssetExecutionContext) -> str:
    """Partitioned, for backfills."""
    return str(context.partition_key)


@dg.asset
def report(sales: dict[str, str]) -> None:
    """Below all partitions."""


@dg.asset_check(asset=report)
def report_is_there() -> dg.AssetCheckResult:
    """A check in a step of its own."""
    return dg.AssetCheckResult(passed=True)


@dg.sensor(job=success, minimum_interval_seconds=1)
def watch() -> Iterator[dg.RunRequest]:
    """Ask for one run."""
    yield dg.RunRequest(run_key="only", tags={"asked_by": "watch"})


@dg.schedule(job=success_in_process, cron_schedule="* * * * *")
def clock() -> dg.RunRequest:
    """Ask for a run a minute."""
    return dg.RunRequest(tags={"asked_by": "clock"})


@dg.repository
def main() -> list[Any]:
    """Nearly everything."""
    jobs = [
        success,
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
    """Of the same name as one in the other repository."""
    collect(split().map(double).collect())


@dg.repository
def other() -> list[Any]:
    """A second repository."""
    return [other_success]
