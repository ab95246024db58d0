"""Waiting for containers to end. A waiter is registered before whatever it waits for can happen; nobody polls."""

from __future__ import annotations

import threading
from typing import Literal

Condition = Literal["not-running", "next-exit", "removed"]
Result = tuple[int, str]


class Waiter:
    """A promise of (exit code, error text)."""

    def __init__(self, registry: Waiters, container_id: str) -> None:
        self._registry = registry
        self._id = container_id
        self._done = threading.Event()
        self._result: Result = (0, "")

    def result(self, timeout: float | None = None) -> Result:
        """Block until it is known. TimeoutError after `timeout` seconds."""
        if not self._done.wait(timeout):
            raise TimeoutError(f"container {self._id} has not ended within {timeout} seconds")
        return self._result

    @property
    def done(self) -> bool:
        return self._done.is_set()

    def settle(self, result: Result) -> None:
        """The answer is known: wake whoever blocks."""
        self._result = result
        self._done.set()

    def close(self) -> None:
        """No longer interested."""
        self._registry.forget(self._id, self)


class Waiters:
    """All who wait, by container."""

    def __init__(self) -> None:
        self._lock = threading.Lock()
        self._exit: dict[str, list[Waiter]] = {}
        self._removal: dict[str, list[Waiter]] = {}

    def register(self, container_id: str, condition: Condition) -> Waiter:
        """Wait for the next exit, or for the removal, of a container."""
        waiter = Waiter(self, container_id)
        waiting = self._removal if condition == "removed" else self._exit
        with self._lock:
            waiting.setdefault(container_id, []).append(waiter)
        return waiter

    def settled(self, container_id: str, result: Result) -> Waiter:
        """A waiter whose answer is there already."""
        waiter = Waiter(self, container_id)
        waiter.settle(result)
        return waiter

    def exited(self, container_id: str, result: Result) -> None:
        """Tell those who wait for an exit."""
        with self._lock:
            waiters = self._exit.pop(container_id, [])
        for waiter in waiters:
            waiter.settle(result)

    def removed(self, container_id: str, result: Result) -> None:
        """Tell everybody: there will be nothing more of this container."""
        with self._lock:
            waiters = self._exit.pop(container_id, []) + self._removal.pop(container_id, [])
        for waiter in waiters:
            waiter.settle(result)

    def forget(self, container_id: str, waiter: Waiter) -> None:
        with self._lock:
            for waiting in (self._exit, self._removal):
                if waiter in waiting.get(container_id, []):
                    waiting[container_id].remove(waiter)
                    if not waiting[container_id]:
                        del waiting[container_id]
