"""A lock and a number that processes share, and a pool's context."""

import multiprocessing
from concurrent.futures import ProcessPoolExecutor

CONTEXT = multiprocessing.get_context("fork")
LOCK = CONTEXT.Lock()
NUMBER = CONTEXT.Value("i", 5)
POOL = ProcessPoolExecutor(1, CONTEXT)


def look() -> dict[str, object]:
    with LOCK, NUMBER:
        held = NUMBER.value
    return {"held": held, "computed": POOL.submit(abs, -3).result(30)}
