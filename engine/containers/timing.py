"""One thread that does things later: restarts after their back-off, probes of health, and their time limits.

It sleeps until the earliest is due. And how long it is between two moments that records have.
"""

from __future__ import annotations

import heapq
import itertools
import logging
import threading
import time
from collections.abc import Callable
from datetime import datetime
from functools import partial

from engine.model import NEVER
from netpy.threads import aside, started

logger = logging.getLogger(__name__)


class Scheduler:
    """Runs work after a delay, one piece per key. Work runs in a thread of its own, for it may take its time."""

    def __init__(self, clock: Callable[[], float] = time.monotonic) -> None:
        self._clock = clock
        self._changed = threading.Condition()
        self._heap: list[tuple[float, int, str]] = []
        self._work: dict[str, tuple[int, Callable[[], None]]] = {}
        self._numbers = itertools.count()
        self._thread: threading.Thread | None = None
        self._closed = False

    def after(self, delay: float, key: str, work: Callable[[], None]) -> None:
        """Run `work` in `delay` seconds. Replaces what was due under the same key."""
        with self._changed:
            if self._closed:
                return
            number = next(self._numbers)
            self._work[key] = (number, work)
            heapq.heappush(self._heap, (self._clock() + delay, number, key))
            if self._thread is None:
                self._thread = started(self._run, "scheduler")
            self._changed.notify()

    def cancel(self, key: str) -> bool:
        """Forget what is due under that key. False when there was nothing, or it has begun."""
        with self._changed:
            return self._work.pop(key, None) is not None

    def close(self) -> None:
        """Forget everything and end the thread."""
        with self._changed:
            self._closed = True
            self._work.clear()
            self._changed.notify()
        if self._thread is not None:
            self._thread.join()

    def _run(self) -> None:
        while True:
            with self._changed:
                if self._closed:
                    return
                work = self._next()
            if work is not None:
                aside(partial(_guarded, work), "scheduled")

    def _next(self) -> Callable[[], None] | None:
        """What is due now; sleeps when nothing is, and may return without anything."""
        if not self._heap:
            self._changed.wait()
            return None
        due, number, key = self._heap[0]
        left = due - self._clock()
        if left > 0:
            self._changed.wait(left)
            return None
        heapq.heappop(self._heap)
        if self._work.get(key, (None, None))[0] != number:
            return None
        return self._work.pop(key)[1]


def _guarded(work: Callable[[], None]) -> None:
    try:
        work()
    except Exception:
        logger.exception("scheduled work failed")


def seconds_between(start: str, end: str) -> float:
    """Between two RFC 3339 times with nanoseconds; 0 where one is not known."""
    if NEVER in (start, end):
        return 0.0
    first, last = (datetime.fromisoformat(text[:26].rstrip("Z") + "+00:00") for text in (start, end))
    return (last - first).total_seconds()
