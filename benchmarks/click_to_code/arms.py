"""The deployments that are compared."""

from collections.abc import Iterator, Mapping
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass
from typing import Any

from bench_orchestrator.deployment import STOCK_SERVER, WARM_SERVER, CodeLocation
from benchmarks.warm_server.sides import LAUNCHERS, WARM, Side, open_side

DEFAULT, PROMPT = "default", "prompt"

USER_TAG = "user"
"""A tag of every run."""

LIMITED: Mapping[str, Any] = {
    "run_coordinator": {"module": "dagster_warm.queue", "class": "PromptRunCoordinator"},
    "concurrency": {
        "runs": {
            "max_concurrent_runs": 10,
            "tag_concurrency_limits": [
                {"key": USER_TAG, "limit": 5},
                {"key": USER_TAG, "value": {"applyLimitPerUniqueValue": True}, "limit": 2},
            ],
        },
        "pools": {"default_limit": 2},
    },
}
"""The queue that answers at once, with limits that one run at a time does not reach."""


@dataclass(frozen=True)
class Arm:
    """A kind of deployment."""

    label: str
    server: tuple[str, ...]
    settings: Mapping[str, Any]


ARMS: Mapping[str, Arm] = {
    DEFAULT: Arm("Dagster's code server and queue", STOCK_SERVER, {}),
    "prompt_stock": Arm("Dagster's code server, the queue that answers at once", STOCK_SERVER, LIMITED),
    "warm": Arm("the warm code server, Dagster's queue", WARM_SERVER, LAUNCHERS[WARM]),
    PROMPT: Arm("the warm code server, the queue that answers at once", WARM_SERVER, {**LAUNCHERS[WARM], **LIMITED}),
}


@contextmanager
def open_arms(location: str) -> Iterator[list[Side]]:
    """Yield a deployment of each kind, all of which serve the location of this shape."""
    with ExitStack() as stack:
        yield [
            stack.enter_context(
                open_side(
                    name,
                    [CodeLocation(location, "benchmarks.click_to_code.location", location, server=arm.server)],
                    arm.settings,
                )
            )
            for name, arm in ARMS.items()
        ]
