"""A handler of a signal."""

import signal

RECEIVED: list[int] = []
signal.signal(signal.SIGUSR1, lambda number, _: RECEIVED.append(number))


def look() -> dict[str, object]:
    signal.raise_signal(signal.SIGUSR1)
    return {"received": len(RECEIVED)}
