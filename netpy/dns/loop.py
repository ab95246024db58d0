"""One thread that waits for many sockets and for the clock, and sees that nobody has it for long.

How turns are shared out. Whatever is ready gets one call in each turn, and is expected to do a bounded piece of work.
That is fair to askers with one socket each; but one that makes us hold hundreds (connections, queries forwarded for it)
would be called hundreds of times. So all those live in a `Lane` of its own: an epoll inside the epoll, which takes a
single place in the queue, and `SLICE` of time when its turn comes. What is left waits for the next turn.

A callback that raises is written to the log and the loop goes on: a fault in one conversation may not silence the
names of every other container. I/O: epoll and the clock; what is said over the sockets is others' business.
"""

from __future__ import annotations

import heapq
import itertools
import select
import socket
import time
import traceback
from collections import deque
from collections.abc import Callable, Iterator

READ = select.EPOLLIN
WRITE = select.EPOLLOUT
SLICE = 0.0003  # seconds of a turn that one lane's work may take before the others get theirs
_AT_ONCE = 256  # ready sources that are asked for in one go

Ready = Callable[[int], None]  # is given the events that are possible
Work = Callable[[], None]


class Timer:
    """A callback to come. `cancel` may be called at any time, and more than once."""

    __slots__ = ("work",)

    def __init__(self, work: Work) -> None:
        self.work: Work | None = work

    def cancel(self) -> None:
        self.work = None


class _Sources:
    """Descriptors with an event mask and a callback each, on an epoll."""

    def __init__(self) -> None:
        self.epoll = select.epoll()
        self._callbacks: dict[int, Ready] = {}
        self._masks: dict[int, int] = {}
        self._gone: set[int] = set()  # since the last look: their numbers may already belong to others

    def watch(self, fd: int, events: int, ready: Ready) -> None:
        known = self._masks.get(fd)
        if known is None:
            self.epoll.register(fd, events)
        elif known != events:
            self.epoll.modify(fd, events)
        self._masks[fd] = events
        self._callbacks[fd] = ready

    def forget(self, fd: int) -> None:
        if self._masks.pop(fd, None) is not None:
            del self._callbacks[fd]
            self._gone.add(fd)
            self.epoll.unregister(fd)

    def ready(self, patience: float | None, most: int) -> Iterator[tuple[Ready, int]]:
        """What is ready, `most` at a time; an error or the other side's end makes everything possible."""
        self._gone.clear()
        for fd, events in self.epoll.poll(patience, most):
            if fd not in self._gone:
                yield self._callbacks[fd], events if not events & ~(READ | WRITE) else READ | WRITE


class Loop:
    """`run` returns after `stop`. Not thread-safe: all calls come from its own callbacks, or before `run`."""

    def __init__(self) -> None:
        self._sources = _Sources()
        self._soon: deque[Work] = deque()
        self._timers: list[tuple[float, int, Timer]] = []
        self._order = itertools.count()
        self._running = False

    @staticmethod
    def now() -> float:
        """Seconds, monotonic."""
        return time.monotonic()

    def watch(self, source: socket.socket | select.epoll, events: int, ready: Ready) -> None:
        """Call `ready` whenever one of `events` (READ, WRITE) is possible on `source`; again to change it."""
        self._sources.watch(source.fileno(), events, ready)

    def forget(self, source: socket.socket | select.epoll) -> None:
        """Stop watching `source`, which must not be closed yet. Succeeds where it is not watched."""
        self._sources.forget(source.fileno())

    def close(self, source: socket.socket) -> None:
        """Stop watching `source`, and close it."""
        if source.fileno() >= 0:
            self.forget(source)
            source.close()

    def soon(self, work: Work) -> None:
        """Call `work` once, when everything that is ready now has had its turn."""
        self._soon.append(work)

    def at(self, when: float, work: Work) -> Timer:
        """Call `work` once, at `when` on the scale of `now`."""
        timer = Timer(work)
        heapq.heappush(self._timers, (when, next(self._order), timer))
        return timer

    def stop(self) -> None:
        self._running = False

    def run(self) -> None:
        self._running = True
        while self._running:
            for ready, events in self._sources.ready(self._patience(), _AT_ONCE):
                _guarded(ready, events)
            for _ in range(len(self._soon)):
                _guarded(self._soon.popleft())
            self._ring()

    def finish(self) -> None:
        """After the last `run`: let go of the epoll."""
        self._sources.epoll.close()

    def _patience(self) -> float | None:
        if self._soon:
            return 0
        while self._timers and self._timers[0][2].work is None:
            heapq.heappop(self._timers)
        return max(0.0, self._timers[0][0] - self.now()) if self._timers else None

    def _ring(self) -> None:
        """What is due; no more of it than fits into a slice, as a flood of queries makes a flood of timers."""
        now = begun = self.now()
        while self._timers and self._timers[0][0] <= begun and now - begun < SLICE:
            timer = heapq.heappop(self._timers)[2]
            if timer.work is not None:
                _guarded(timer.work)
                now = self.now()


class Lane:
    """One asker's place in the loop, for all of its sources and for work that it has to wait for."""

    def __init__(self, loop: Loop) -> None:
        self.loop = loop
        self._sources: _Sources | None = None  # a descriptor that most sandboxes never need
        self._work: deque[Work] = deque()
        self._called = False  # the loop knows that there is work

    @property
    def waiting(self) -> int:
        """How much work waits for its turn."""
        return len(self._work)

    def watch(self, source: socket.socket, events: int, ready: Ready) -> None:
        """As `Loop.watch`."""
        if self._sources is None:
            self._sources = _Sources()
            self.loop.watch(self._sources.epoll, READ, lambda _: self._turn())
        self._sources.watch(source.fileno(), events, ready)

    def forget(self, source: socket.socket) -> None:
        """As `Loop.forget`."""
        if self._sources is not None:
            self._sources.forget(source.fileno())

    def close(self, source: socket.socket) -> None:
        """As `Loop.close`."""
        if source.fileno() >= 0:
            self.forget(source)
            source.close()

    def soon(self, work: Work) -> None:
        """Call `work` once, in this turn or a later one: after what was handed in before it."""
        self._work.append(work)
        self._call()

    def end(self) -> None:
        """Give the place up. Sources that are still watched are no longer."""
        self._work.clear()
        if self._sources is not None:
            self.loop.forget(self._sources.epoll)
            self._sources.epoll.close()
            self._sources = None

    def _turn(self) -> None:
        until = self.loop.now() + SLICE
        while self._sources is not None and self.loop.now() < until:
            ready = next(self._sources.ready(0, 1), None)  # one by one: level-triggered, the next is another
            if ready is None:
                return
            _guarded(ready[0], ready[1])

    def _call(self) -> None:
        if self._work and not self._called:
            self._called = True
            self.loop.soon(self._go_on)

    def _go_on(self) -> None:
        until = self.loop.now() + SLICE
        self._called = False
        while self._work:
            _guarded(self._work.popleft())
            if self.loop.now() >= until:
                break
        self._call()


def _guarded(work: Callable[..., None], *args: int) -> None:
    try:
        work(*args)
    except Exception:  # see the head of the module
        traceback.print_exc()
