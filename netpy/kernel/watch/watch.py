"""Has our links and rules mended when somebody else changes them.

Decides when it is worth a look, and how often; what is wrong and what to do about it is left to the caller. One thread,
and the sources of news that it reads, in the network namespace in which this is made:

* `transactions`: nf_tables, by its events;
* `sightings`: links and their addresses, by route netlink's;
* legacy x_tables have no events, and most settings (`net.ipv4.conf.BRIDGE.route_localnet`) have none either: several
  times a second `disturbed` is asked, which costs next to nothing (`netpy.kernel.xt.sizes`, `netpy.kernel.sysctl`).

Sockets are read only a moment after the first event, all at once, so that a container's start never waits for us and a
program that sets up its rules is through with most of it. Looks are at least `pause` apart, and rarer while somebody
keeps undoing the same that was mended. While operations are going on a look is put off, though not for ever.
"""

from __future__ import annotations

import logging
import select
import socket
import threading
import time
from collections import Counter, deque
from collections.abc import Callable
from contextlib import ExitStack
from dataclasses import dataclass
from typing import Protocol

from netpy.kernel.watch.news import News
from netpy.kernel.watch.sightings import Sightings
from netpy.kernel.watch.transactions import Transactions

logger = logging.getLogger(__name__)


class Mend(Protocol):
    """Puts right what is wrong and returns what that was; None when it may not wait and others are at work.

    `links` are those that something happened to; None says nothing of what it was. `inside`: the pairs in whose
    sandboxes something happened.
    """

    def __call__(
        self, links: frozenset[str] | None = None, inside: frozenset[str] = ..., *, wait: bool = True
    ) -> list[str] | None: ...


@dataclass(frozen=True, slots=True, kw_only=True)
class Timing:
    """In seconds: `settle` from event to reading it, `pause` between looks, `poll` between asking what has no events.

    What had to be mended `often` times within a minute is followed by pauses of `respite`. The last of `tries` looks
    waits its turn.
    """

    settle: float = 0.2
    pause: float = 0.7
    poll: float = 0.4
    often: int = 10
    respite: float = 15.0
    tries: int = 5


class Watch:
    """`start` it when everything stands; what happens from its making on counts. `close` waits for it to end."""

    def __init__(self, instance: str, mend: Mend, disturbed: Callable[[], bool], timing: Timing | None = None) -> None:
        self._mend = mend
        self._disturbed = disturbed
        self._timing = timing or Timing()
        self._thread: threading.Thread | None = None
        self._earliest = 0.0
        self._tried = self._failed = 0
        self._news = News()
        with ExitStack() as opened:
            self._transactions = opened.enter_context(Transactions(instance))
            self._sightings = opened.enter_context(Sightings(instance))
            self._sleeper, self._waker = (opened.enter_context(end) for end in socket.socketpair())
            self._opened = opened.pop_all()
        self._repairs: deque[tuple[float, list[str]]] = deque()
        self._heard(told=False, asked=True)  # what was before our time is no news

    def start(self) -> None:
        self._thread = threading.Thread(target=self._run, name="watch", daemon=True)
        self._thread.start()

    def close(self) -> None:
        self._waker.shutdown(socket.SHUT_RDWR)
        if self._thread is not None:
            self._thread.join()
        self._opened.close()

    def _run(self) -> None:
        poll = select.poll()
        for source in (self._sleeper, self._transactions, self._sightings):
            if source.fileno() >= 0:
                poll.register(source, select.POLLIN)
        tables_at = time.monotonic() + self._timing.poll
        while True:
            until = min(tables_at, self._earliest) if self._news else tables_at
            ready = {descriptor for descriptor, _ in poll.poll(max(0.0, until - time.monotonic()) * 1000)}
            if self._sleeper.fileno() in ready or (ready and self._rested()):
                return
            asked = time.monotonic() >= tables_at
            self._news |= self._heard(bool(ready), asked)
            if asked:
                tables_at = time.monotonic() + self._timing.poll
            if self._news and time.monotonic() >= self._earliest:
                self._look()

    def _heard(self, told: bool, asked: bool) -> News:
        """What is new. Where that cannot be found out, since memory or descriptors are short, anything may be."""
        news = News()
        try:
            if told:
                news |= self._sightings.changed() | News(rules=self._transactions.foreign())
            if asked:
                news |= News(rules=self._disturbed())
        except Exception as error:
            logger.warning("listening for changes: %s", error)
            self._earliest = time.monotonic() + self._timing.pause
            return news | News(rules=True)
        return news

    def _rested(self) -> bool:
        """Let what is going on settle. True if it is time to end."""
        poll = select.poll()  # select.select takes no descriptor above 1023
        poll.register(self._sleeper, select.POLLIN)
        return bool(poll.poll(self._timing.settle * 1000))

    def _look(self) -> None:
        timing = self._timing
        news = self._news
        self._tried += 1
        try:
            mended = self._mend(None if news.rules else news.links, news.inside, wait=self._tried >= timing.tries)
        except Exception as error:  # whatever it is: the next event must find somebody listening
            logger.warning("looking after somebody else's change: %s", error)
            self._failed += 1  # something was short for a moment, or it will go on failing
            self._earliest = time.monotonic() + min(timing.respite, timing.pause * 2**self._failed)
            return
        if mended is None:
            self._earliest = time.monotonic() + timing.settle
            return
        self._news, self._tried, self._failed = News(), 0, 0
        self._earliest = time.monotonic() + (self._after(mended) if mended else timing.pause)

    def _after(self, mended: list[str]) -> float:
        """Say what was mended; the pause that is due."""
        logger.warning("somebody else changed the host's network; mended: %s", "; ".join(mended))
        now, timing = time.monotonic(), self._timing
        self._repairs.append((now, mended))
        while now - self._repairs[0][0] > 60:
            self._repairs.popleft()
        (line, times), *_ = Counter(each for _, lines in self._repairs for each in lines).most_common(1)
        if times < timing.often:
            return timing.pause
        logger.warning("it keeps happening, looking every %g s only: %s", timing.respite, line)
        return timing.respite
