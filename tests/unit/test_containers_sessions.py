"""Sessions of the containers room: the end of a stream comes after the exit code."""

from __future__ import annotations

import threading

from engine.containers.sessions import AwaitedSession
from engine.streams import Frame


class Silent:
    """A process that has closed its output."""

    tty = False

    def read(self) -> Frame | None:
        return None

    def write(self, data: bytes) -> None: ...

    def close_input(self) -> None: ...

    def close(self) -> None: ...


def test_the_end_of_an_exec_is_told_when_its_exit_code_is_known() -> None:
    ended, told = threading.Event(), threading.Event()
    session = AwaitedSession(Silent(), ended)
    reader = threading.Thread(target=lambda: (session.read(), told.set()))
    reader.start()
    assert not told.wait(0.05)
    ended.set()
    reader.join(5)
    assert told.is_set()
