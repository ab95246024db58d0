"""What a container without a machine says: sessions, logs and promises of an exit code, obeying `engine.api.backend`."""

from __future__ import annotations

import queue
import threading
from collections.abc import Iterator

from engine.streams import STDERR, STDOUT, Frame

Frames = tuple[Frame, ...]


class EchoSession:
    """Says `ready`, repeats its input line by line on stdout, and says `bye` on stderr at the end of it."""

    def __init__(self, tty: bool = False, ends_at_once: bool = False) -> None:
        self.tty = tty
        self.closed = threading.Event()
        self.input_closed = threading.Event()
        self._out: queue.SimpleQueue[Frame | None] = queue.SimpleQueue()
        self._out.put(Frame(STDOUT, b"ready\n"))
        if ends_at_once:
            self._out.put(None)

    def read(self) -> Frame | None:
        return self._out.get()

    def write(self, data: bytes) -> None:
        self._out.put(Frame(STDOUT, data))

    def close_input(self) -> None:
        self.input_closed.set()
        self._out.put(Frame(STDERR, b"bye\n"))
        self._out.put(None)

    def finish(self) -> None:
        self._out.put(None)

    def close(self) -> None:
        self.closed.set()
        self._out.put(None)


class Log(Iterator[Frame]):
    """A log that, when followed, ends only by `close`, which any thread may call."""

    def __init__(self, frames: Frames, follow: bool) -> None:
        self._frames: queue.SimpleQueue[Frame | None] = queue.SimpleQueue()
        for frame in frames:
            self._frames.put(frame)
        self.closed = threading.Event()
        if not follow:
            self._frames.put(None)

    def __next__(self) -> Frame:
        frame = self._frames.get()
        if frame is None:
            raise StopIteration
        return frame

    def close(self) -> None:
        self.closed.set()
        self._frames.put(None)


class Waiter:
    """A promise of an exit code. `closed` tells that nobody waits for it any more."""

    def __init__(self) -> None:
        self._done = threading.Event()
        self._result = (0, "")
        self.closed = threading.Event()

    def result(self, timeout: float | None = None) -> tuple[int, str]:
        assert self._done.wait(timeout)
        return self._result

    def settle(self, result: tuple[int, str]) -> None:
        self._result = result
        self._done.set()

    def close(self) -> None:
        self.closed.set()
