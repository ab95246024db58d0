"""Progress as Docker reports it: one JSON object per step of one layer, with a bar already drawn in `progress`. Pure.

Also what a transfer is to those who read it: an iterator of such objects that can be told, from another thread, that
nobody wants it any more.
"""

from __future__ import annotations

import os
import threading
from collections.abc import Callable, Iterator
from typing import Any

from engine.images import records
from netpy.errors import NetpyError

Json = dict[str, Any]
_WIDTH = 50
_UNITS = ("B", "kB", "MB", "GB", "TB", "PB")


class Cancelled(NetpyError):
    """Whoever wanted this has gone."""


class Cancellation:
    """Set once, from any thread; `fileno` is readable from then on."""

    def __init__(self) -> None:
        self._event = os.eventfd(0, os.EFD_CLOEXEC | os.EFD_NONBLOCK)
        self._closed = False
        self._lock = threading.Lock()
        self.wanted = False

    def fileno(self) -> int:
        return self._event

    def set(self) -> None:
        self.wanted = True
        with self._lock:  # the number of a closed descriptor may be somebody else's by now
            if not self._closed:
                os.eventfd_write(self._event, 1)

    def check(self) -> None:
        """Raises Cancelled when it is set."""
        if self.wanted:
            raise Cancelled("context canceled")

    def close(self) -> None:
        with self._lock:
            if not self._closed:
                self._closed = True
                os.close(self._event)


class Transfer(Iterator[Json]):
    """A pull or push under way: its progress, as it comes. `cancel` may be called from another thread."""

    def __init__(self, work: Callable[[Cancellation], Iterator[Json]]) -> None:
        self._cancellation = Cancellation()
        self._events = work(self._cancellation)

    def __next__(self) -> Json:
        return next(self._events)

    def cancel(self) -> None:
        """Have it end at once; what was fetched so far is thrown away."""
        self._cancellation.set()

    def close(self) -> None:
        """Give it up, from the thread that reads it."""
        close = getattr(self._events, "close", None)
        if close is not None:
            close()
        self._cancellation.close()


def event(status: str, digest: str, current: int | None = None, total: int = 0) -> Json:
    """One step of the layer of that digest (its first twelve digits are shown); `current` and `total` in bytes."""
    detail: Json = {}
    more: Json = {}
    if current is not None:
        detail = {"current": min(current, total) if total else current, **({"total": total} if total else {})}
        more = {"progress": bar(detail["current"], total)}
    return {"status": status, "progressDetail": detail, **more, "id": records.short(digest)}


def bar(current: int, total: int) -> str:
    """`[=====>        ]  43.52kB/1.986MB`, as Docker draws it."""
    done = _size(current).rjust(8)
    if total <= 0:
        return done
    half = min(current * 100 // total // 2, _WIDTH)
    return f"[{'=' * half}>{' ' * (_WIDTH - half)}] {done}/{_size(total)}"


def _size(number: int) -> str:
    """Four significant digits in powers of 1000, as go-units' HumanSize."""
    value, unit = float(number), 0
    while value >= 1000 and unit < len(_UNITS) - 1:
        value, unit = value / 1000, unit + 1
    return f"{value:.4g}{_UNITS[unit]}"
