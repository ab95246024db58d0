"""Sessions of the containers room: the end of a stream comes after the exit code."""

from __future__ import annotations

import threading
from concurrent.futures import Future

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
    ended: Future[None] = Future()
    told = threading.Event()
    session = AwaitedSession(Silent(), ended)
    reader = threading.Thread(target=lambda: (session.read(), told.set()))
    reader.start()
    assert not told.wait(0.05)
    ended.set_result(None)
    reader.join(5)
    assert told.is_set()


def test_who_leaves_an_exec_waits_for_nothing() -> None:
    session = AwaitedSession(Silent(), Future())
    reader = threading.Thread(target=session.read)
    reader.start()
    session.close()
    reader.join(5)
    assert not reader.is_alive()
    session.close()
