"""Who waits for whom: locks by name, and a gate between single operations and those on everything.

Order, so that nothing ever waits in a circle: gate, sandbox, networks (sorted), and innermost the records' own lock,
under which nothing blocks. No I/O.
"""

from __future__ import annotations

import threading
from collections.abc import Generator
from contextlib import contextmanager


class Locks:
    """Locks that exist as long as somebody holds or awaits them, and the gate. Thread-safe."""

    def __init__(self) -> None:
        self._mutex = threading.Lock()
        self._named: dict[str, tuple[threading.Lock, int]] = {}
        self._gate = threading.Condition(self._mutex)
        self._inside = 0
        self._alone = False

    @contextmanager
    def holding(self, *names: str) -> Generator[None]:
        """Hold the locks of these names, taken in sorted order."""
        wanted = sorted(set(names))
        taken: list[threading.Lock] = []
        for name in wanted:
            with self._mutex:
                lock, users = self._named.get(name, (threading.Lock(), 0))
                self._named[name] = lock, users + 1
            lock.acquire()
            taken.append(lock)
        try:
            yield
        finally:
            for name, lock in zip(wanted, taken, strict=True):
                lock.release()
                with self._mutex:
                    _, users = self._named[name]
                    if users == 1:
                        del self._named[name]
                    else:
                        self._named[name] = lock, users - 1

    @contextmanager
    def one_of_many(self) -> Generator[None]:
        """Through the gate, together with others of this kind."""
        with self._gate:
            while self._alone:
                self._gate.wait()
            self._inside += 1
        try:
            yield
        finally:
            with self._gate:
                self._inside -= 1
                self._gate.notify_all()

    @contextmanager
    def alone(self) -> Generator[None]:
        """Through the gate when nobody is inside; nobody follows until this one is out."""
        with self._gate:
            while self._alone:
                self._gate.wait()
            self._alone = True
            while self._inside:
                self._gate.wait()
        try:
            yield
        finally:
            self._leave()

    @contextmanager
    def alone_at_once(self) -> Generator[bool]:
        """As `alone`, but without waiting: False when somebody is inside."""
        with self._gate:
            free = not self._alone and not self._inside
            self._alone = self._alone or free
        try:
            yield free
        finally:
            if free:
                self._leave()

    def _leave(self) -> None:
        with self._gate:
            self._alone = False
            self._gate.notify_all()
