"""Calls foreign code that may block, for so long and no longer, and names it when it fails.

Each call has a thread of its own. When it takes too long the caller is told so and goes on; the thread stays behind,
since nobody can stop it. If it comes back with an answer after all, `late` is given that answer, to undo it. A driver
that leaves many calls unanswered is not asked any more until one returns, so that it cannot eat up the process.
"""

from __future__ import annotations

import logging
import threading
from collections import Counter
from collections.abc import Callable
from typing import Generic, TypeVar

from netpy.drivers.answers import BadAnswer
from netpy.errors import (
    ApplyError,
    Conflict,
    DriverError,
    Exhausted,
    Forbidden,
    InvalidArgument,
    KernelError,
    NetpyError,
    NotFound,
    Unsupported,
)
from netpy.threads import started

T = TypeVar("T")
UNANSWERED = 8
_KINDS = (Conflict, Exhausted, Forbidden, InvalidArgument, KernelError, NotFound, Unsupported)
logger = logging.getLogger(__name__)


class _Call(Generic[T]):
    """One call: done with an answer or an error, or given up; never both."""

    def __init__(self, work: Callable[[], T], late: Callable[[T], object] | None) -> None:
        self._work = work
        self._late = late
        self._lock = threading.Lock()
        self._given_up = False
        self.done = threading.Event()
        self.answer: list[T] = []
        self.error: BaseException | None = None

    def run(self, answered: Callable[[], None]) -> None:
        """Do it; `answered` is told before whoever waits is."""
        try:
            self.answer = [self._work()]
        except BaseException as error:  # foreign code: SystemExit must not end the thread unnoticed
            self.error = error
        answered()
        with self._lock:
            self.done.set()
            is_late = self._given_up
        if is_late and self.answer and self._late:
            try:
                self._late(self.answer[0])
            except BaseException as error:
                logger.warning("undoing what came too late: %s", error)

    def give_up(self) -> bool:
        """Nobody waits any more. False when it was done just now."""
        with self._lock:
            self._given_up = not self.done.is_set()
            return self._given_up


class Calls:
    """Calls by the name of whoever is called. Thread-safe."""

    def __init__(self) -> None:
        self._unanswered: Counter[str] = Counter()
        self._lock = threading.Lock()

    def ask(
        self, who: str, what: str, timeout: float, work: Callable[[], T], late: Callable[[T], object] | None = None
    ) -> T:
        """The result of `work`. DriverError, or an error of netpy's own kind, that begins with `who: what`."""
        with self._lock:
            if self._unanswered[who] >= UNANSWERED:
                raise DriverError(f"{who}: {what} is not tried: {UNANSWERED} earlier calls have not been answered yet")
        call = _Call(work, late)
        with self._lock:
            started(lambda: call.run(lambda: self._answered(who)), f"{who}: {what}")
            self._unanswered[who] += 1
        if not call.done.wait(timeout) and call.give_up():
            logger.warning("%s: %s has not answered within %g s", who, what, timeout)
            raise DriverError(f"{who}: {what} did not answer within {timeout:g} s")
        if call.error is not None:
            raise named(who, what, call.error) from call.error
        return call.answer[0]

    def _answered(self, who: str) -> None:
        with self._lock:
            self._unanswered[who] -= 1


def named(who: str, what: str, error: BaseException) -> NetpyError:
    """The error with who was asked for what in front of it. What is not of netpy's kinds becomes a DriverError."""
    if isinstance(error, NetpyError) and not isinstance(error, ApplyError):
        kind = next((kind for kind in _KINDS if isinstance(error, kind)), DriverError)
        return kind(f"{who}: {what}: {error}")
    if isinstance(error, BadAnswer):
        return DriverError(f"{who}: {what} {error}")
    said = str(error) if isinstance(error, NetpyError) else f"{type(error).__name__}: {error}"
    return DriverError(f"{who}: {what} failed: {said}")
