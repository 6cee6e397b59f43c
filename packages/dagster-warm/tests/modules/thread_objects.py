"""Locks, an executor without threads, and values per thread."""

import threading
from concurrent.futures import ThreadPoolExecutor

LOCK = threading.RLock()
READY = threading.Event()
LOCAL = threading.local()
LOCAL.name = "main"
POOL = ThreadPoolExecutor(2)


def look() -> dict[str, object]:
    with LOCK:
        done = POOL.submit(READY.set)
        done.result(10)
    return {"ready": READY.wait(10), "name": LOCAL.name}
