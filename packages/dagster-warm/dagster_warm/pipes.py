"""Pipes between processes: the queue and the event of warm ones need neither semaphores nor threads."""

import multiprocessing.context
import multiprocessing.util
import os
import queue
import select
import threading
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from multiprocessing import connection, reduction, synchronize
from typing import Any


class PipeEvent(synchronize.Event):
    """An event without a named semaphore, which a killed process would leak.

    The event is set while its pipe contains a byte.
    """

    def __init__(self) -> None:
        self._keep(*os.pipe())

    def is_set(self) -> bool:
        """Return whether the event is set."""
        return self.wait(0)

    def set(self) -> None:
        """Set the event and wake all waiters, in all processes."""
        if not self.is_set():
            os.write(self._writer, b"!")

    def clear(self) -> None:
        """Clear the event."""
        while self.is_set():
            os.read(self._reader, 1)

    def wait(self, timeout: float | None = None) -> bool:
        """Wait up to `timeout` seconds for the event; return whether it is set."""
        waiter = select.poll()
        waiter.register(self._reader, select.POLLIN)
        return bool(waiter.poll(None if timeout is None else timeout * 1000))

    def _keep(self, reader: int, writer: int) -> None:
        self._reader, self._writer = reader, writer
        multiprocessing.util.Finalize(self, close_all, args=(reader, writer))

    def __getstate__(self) -> tuple[Any, Any]:
        return reduction.DupFd(self._reader), reduction.DupFd(self._writer)

    def __setstate__(self, ends: tuple[Any, Any]) -> None:
        self._keep(*(end.detach() for end in ends))


class PipeQueue:
    """A queue from a child to its parent, without threads or semaphores.

    The parent keeps the reading end and the child gets the writing end. The parent receives every item that the child
    wrote completely, and end-of-file once the child is dead.
    """

    def __init__(self) -> None:
        self._reader, self._writer = connection.Pipe(duplex=False)
        self._lock = threading.Lock()

    def put(self, item: Any) -> None:
        """Send an item to the parent; do nothing if the parent has exited."""
        with self._lock, suppress(BrokenPipeError):
            self._writer.send(item)

    def get(self, block: bool = True, timeout: float | None = None) -> Any:
        """Return the next item.

        Raises:
            queue.Empty: no item arrived in time, or the writers are gone.
        """
        try:
            if self._reader.poll(timeout if block else 0):
                return self._reader.recv()
        except EOFError:
            pass
        raise queue.Empty

    def get_nowait(self) -> Any:
        """Return the next item without waiting."""
        return self.get(block=False)

    def close(self) -> None:
        """Close the pipe."""
        self._reader.close()
        self._writer.close()

    def __getstate__(self) -> connection.Connection:
        when_launched = getattr(multiprocessing.context.get_spawning_popen(), "when_launched", None)
        if when_launched:
            when_launched(self._writer.close)
        return self._writer

    def __setstate__(self, writer: connection.Connection) -> None:
        self._writer = writer
        self._lock = threading.Lock()


def close_all(*fds: int) -> None:
    """Close descriptors."""
    for fd in fds:
        os.close(fd)


@contextmanager
def handed_over(data: bytes) -> Iterator[int]:
    """Yield a descriptor, from which a process that is started in the block reads the data to their end."""
    reader, writer = os.pipe()

    def write() -> None:  # a pipe holds less than a large state
        with suppress(BrokenPipeError), os.fdopen(writer, "wb") as pipe:
            pipe.write(data)

    threading.Thread(target=write, name="hand-over", daemon=True).start()
    try:
        yield reader
    finally:
        os.close(reader)
