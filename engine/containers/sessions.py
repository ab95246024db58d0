"""Sessions that begin before their process does, and sessions that show part of one.

`docker run` attaches before it starts, so that no output is lost. The session it gets waits; the start binds it to the
real one between the making of the process and its first instruction. What was written meanwhile is handed on.
"""

from __future__ import annotations

import threading
from collections.abc import Callable, Iterator
from concurrent.futures import FIRST_COMPLETED, Future, InvalidStateError, wait
from contextlib import suppress

from engine.streams import Frame, Session

BACKLOG = 32 << 10
"""Bytes of input that are kept for a process to come: as much as a pipe takes while nobody reads it."""
Connect = Callable[[bool], Session]
"""Makes a session with a process; the argument says whether standard input is wanted."""


class LateSession:
    """A session with a process that does not exist yet."""

    def __init__(self, tty: bool, stdin: bool) -> None:
        self.tty = tty
        self.stdin = stdin
        self._changed = threading.Condition()
        self._target: Session | None = None
        self._closed = False
        self._written: list[bytes] = []
        self._backlog = 0
        self._input_ended = False

    def bind(self, target: Session) -> None:
        """Here is the process."""
        with self._changed:
            if self._closed:
                target.close()
                return
            for data in self._written:
                target.write(data)
            if self._input_ended:
                target.close_input()
            self._target = target
            self._changed.notify_all()

    def read(self) -> Frame | None:
        with self._changed:
            self._changed.wait_for(lambda: self._target or self._closed)
            target = self._target
        return target.read() if target else None

    def write(self, data: bytes) -> None:
        with self._changed:
            self._changed.wait_for(lambda: self._target or self._closed or self._backlog < BACKLOG)
            target = self._target
            if target is None:
                self._backlog += len(data)
                self._written.append(data)
                return
        target.write(data)

    def close_input(self) -> None:
        with self._changed:
            self._input_ended = True
            target = self._target
        if target:
            target.close_input()

    def close(self) -> None:
        with self._changed:
            self._closed = True
            target = self._target
            self._changed.notify_all()
        if target:
            target.close()


class AwaitedSession:
    """A session whose output ends only when it is known how the process ended.

    A client asks for the exit code as soon as the stream has ended: it must not come too early. Whoever leaves the
    session waits for nothing: the process may go on for ever.
    """

    def __init__(self, live: Session, ended: Future[None]) -> None:
        self.tty = live.tty
        self._live = live
        self._ended = ended
        self._left: Future[None] = Future()

    def read(self) -> Frame | None:
        frame = self._live.read()
        if frame is None:
            wait((self._ended, self._left), return_when=FIRST_COMPLETED)
        return frame

    def write(self, data: bytes) -> None:
        self._live.write(data)

    def close_input(self) -> None:
        self._live.close_input()

    def close(self) -> None:
        self._live.close()
        with suppress(InvalidStateError):  # left already
            self._left.set_result(None)


class PartialSession:
    """A session of which only some streams are wanted, with what was logged before it put in front.

    `live` None shows the past alone.
    """

    def __init__(self, live: Session | None, past: Iterator[Frame], wanted: frozenset[int], *, tty: bool) -> None:
        self.tty = tty
        self._live = live
        self._past = past
        self._wanted = wanted

    def read(self) -> Frame | None:
        earlier = next(self._past, None)
        if earlier is not None:
            return earlier
        while self._live is not None:
            frame = self._live.read()
            if frame is None or frame.stream in self._wanted or self.tty:
                return frame
        return None

    def write(self, data: bytes) -> None:
        if self._live:
            self._live.write(data)

    def close_input(self) -> None:
        if self._live:
            self._live.close_input()

    def close(self) -> None:
        if self._live:
            self._live.close()


class Lobby:
    """The late sessions of containers that are about to start."""

    def __init__(self) -> None:
        self._lock = threading.Lock()
        self._waiting: dict[str, list[LateSession]] = {}

    def enter(self, container_id: str, session: LateSession) -> None:
        """Wait for the start of that container."""
        with self._lock:
            self._waiting.setdefault(container_id, []).append(session)

    def admit(self, container_id: str, connect: Connect) -> None:
        """The process is made: bind all who wait for it."""
        with self._lock:
            sessions = self._waiting.pop(container_id, [])
        for session in sessions:
            session.bind(connect(session.stdin))

    def dismiss(self, container_id: str) -> None:
        """There will be no process: end all who wait for it."""
        with self._lock:
            sessions = self._waiting.pop(container_id, [])
        for session in sessions:
            session.close()
