"""Sessions over pipes, with processes of this machine in the place of a container's."""

from __future__ import annotations

import os
import subprocess
import threading
from collections.abc import Callable, Iterator

import pytest

from engine.runtime.pipes import CAPACITY, PipeSession
from engine.streams import STDERR, STDOUT, Frame

Start = Callable[[str], PipeSession]


@pytest.fixture
def start() -> Iterator[Start]:
    """Runs a shell's command; what it still is when the test ends is killed."""
    children: list[subprocess.Popen[bytes]] = []

    def begin(command: str) -> PipeSession:
        ends = [os.pipe() for _ in range(3)]
        (read, feed), (out, stdout), (err, stderr) = ends
        line = ["sh", "-c", command]
        child = subprocess.Popen(line, stdin=read, stdout=stdout, stderr=stderr, start_new_session=True)
        for fd in (read, stdout, stderr):
            os.close(fd)
        children.append(child)
        return PipeSession(os.pidfd_open(child.pid), feed, out, err)

    yield begin
    for child in children:
        child.kill()
        child.wait()


def frames(session: PipeSession) -> list[Frame]:
    return list(iter(session.read, None))


def joined(found: list[Frame], stream: int) -> bytes:
    return b"".join(frame.data for frame in found if frame.stream == stream)


def test_what_is_written_is_read_to_its_end(start: Start) -> None:
    session = start("head -c 300000 /dev/zero; echo err >&2; exit 3")
    found = frames(session)
    assert (len(joined(found, STDOUT)), joined(found, STDERR)) == (300_000, b"err\n")
    assert session.read() is None
    session.close()
    assert session.read() is None


def test_what_was_in_the_pipes_at_the_end_is_not_lost(start: Start) -> None:
    session = start("head -c 60000 /dev/zero; echo last >&2")
    ended = session._ended  # pyright: ignore[reportPrivateUsage]
    os.waitid(os.P_PIDFD, ended, os.WEXITED | os.WNOWAIT)
    found = frames(session)
    assert (len(joined(found, STDOUT)), joined(found, STDERR)) == (60_000, b"last\n")
    session.close()


def test_it_ends_with_the_process_though_another_holds_its_output(start: Start) -> None:
    session = start("echo first; yes & exit 0")
    assert joined(frames(session), STDOUT).startswith(b"first\n")
    session.close()  # and nobody reads any more: the next write ends the other


def test_input_comes_behind_what_is_being_written(start: Start) -> None:
    session = start("sleep 0.05; wc -c")
    size = 20 * CAPACITY
    writer = threading.Thread(target=session.write, args=(b"x" * size,))
    writer.start()
    writer.join(0.01)
    session.close_input()
    assert joined(frames(session), STDOUT).strip() == str(size).encode()
    writer.join()
    session.write(b"more")
    session.close()


def test_a_process_that_does_not_read_holds_nobody_up(start: Start) -> None:
    session = start("exec sleep 600")
    writer = threading.Thread(target=session.write, args=(b"x" * (4 * CAPACITY),))
    reader = threading.Thread(target=frames, args=(session,))
    for thread in (writer, reader):
        thread.start()
    session.close()
    for thread in (writer, reader):
        thread.join(10)
        assert not thread.is_alive()
    session.close()


def test_input_that_was_closed_is_dropped(start: Start) -> None:
    session = start("exec <&-; echo closed; sleep 600")
    assert session.read() == Frame(STDOUT, b"closed\n")
    session.write(b"x" * (4 * CAPACITY))
    session.close()


def test_nothing_stays_open(start: Start) -> None:
    before = len(os.listdir("/proc/self/fd"))
    for _ in range(3):
        session = start("cat")
        session.write(b"fed")
        session.close_input()
        assert joined(frames(session), STDOUT) == b"fed"
        session.close()
        session.close_input()
    assert len(os.listdir("/proc/self/fd")) == before
