"""One thread that waits for many sockets and for the clock. It decides nothing; it does the waiting, and only that.

A callback that raises is written to the log and the loop goes on: a fault in one conversation may not silence the
names of every other container.
"""

from __future__ import annotations

import heapq
import itertools
import selectors
import socket
import time
import traceback
from collections.abc import Callable

READ = selectors.EVENT_READ
WRITE = selectors.EVENT_WRITE

Ready = Callable[[int], None]  # is given the events that are ready


class Timer:
    """A callback to come. `cancel` may be called at any time, and more than once."""

    __slots__ = ("work",)

    def __init__(self, work: Callable[[], None]) -> None:
        self.work: Callable[[], None] | None = work

    def cancel(self) -> None:
        self.work = None


class Loop:
    """`run` returns after `stop`. Not thread-safe: all calls come from its own callbacks, or before `run`."""

    def __init__(self) -> None:
        self._selector = selectors.DefaultSelector()
        self._timers: list[tuple[float, int, Timer]] = []
        self._order = itertools.count()
        self._running = False

    @staticmethod
    def now() -> float:
        """Seconds, monotonic."""
        return time.monotonic()

    def watch(self, source: socket.socket, events: int, ready: Ready) -> None:
        """Call `ready` whenever one of `events` (READ, WRITE) is possible on `source`; again to change it."""
        if source.fileno() in self._selector.get_map():
            self._selector.modify(source, events, ready)
        else:
            self._selector.register(source, events, ready)

    def forget(self, source: socket.socket) -> None:
        """Stop watching `source`, which must not be closed yet. Succeeds where it is not watched."""
        if source.fileno() in self._selector.get_map():
            self._selector.unregister(source)

    def close(self, source: socket.socket) -> None:
        """Stop watching `source`, and close it."""
        if source.fileno() >= 0:
            self.forget(source)
            source.close()

    def at(self, when: float, work: Callable[[], None]) -> Timer:
        """Call `work` once, at `when` on the scale of `now`."""
        timer = Timer(work)
        heapq.heappush(self._timers, (when, next(self._order), timer))
        return timer

    def stop(self) -> None:
        self._running = False

    def run(self) -> None:
        self._running = True
        while self._running:
            for key, events in self._selector.select(self._patience()):
                # An earlier callback of this very batch may have closed the socket, or another taken its number.
                current = self._selector.get_map().get(key.fd)
                if current is not None and current.data is key.data:
                    _guarded(key.data, events)
            self._ring()

    def finish(self) -> None:
        """After the last `run`: let go of the selector."""
        self._selector.close()

    def _patience(self) -> float | None:
        while self._timers and self._timers[0][2].work is None:
            heapq.heappop(self._timers)
        return max(0.0, self._timers[0][0] - self.now()) if self._timers else None

    def _ring(self) -> None:
        now = self.now()
        while self._timers and self._timers[0][0] <= now:
            timer = heapq.heappop(self._timers)[2]
            if timer.work is not None:
                _guarded(timer.work)


def _guarded(work: Callable[..., None], *args: int) -> None:
    try:
        work(*args)
    except Exception:  # see the head of the module
        traceback.print_exc()
