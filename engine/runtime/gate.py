"""Where a created container waits, and how it is let go without running the runtime's `start`.

Both runtimes hold the program at a FIFO among their records, `<root>/<id>/exec.fifo`, and both tell a created container
from a running one by whether that file is still there. In runc the process writes a byte once somebody reads; in crun
it reads a byte that somebody writes. Their `start` does no more than this, since we ask for no hooks, but is a program
to be loaded and linked, 5 to 9 ms of processor time in the path of every container.

What does not look as described here is left as it is, and the answer is False: then `start` is to be run after all,
and it says best what is wrong.
"""

from __future__ import annotations

import os
import select
from collections.abc import Callable, Mapping
from contextlib import suppress
from pathlib import Path

from netpy.faults import point

FIFO = "exec.fifo"
_PATIENCE = 10_000  # milliseconds; the process has nothing left to do but to write


def opened(runtime: str, records: Path, pidfd: int) -> bool:
    """Let go of the container whose records these are; `pidfd` is its process. Whether it was done."""
    way = _WAYS.get(runtime)
    point("before letting go")
    done = way is not None and way(records / FIFO, pidfd)
    point("after letting go")
    return done


def _read(fifo: Path, pidfd: int) -> bool:
    try:
        fd = os.open(fifo, os.O_RDONLY | os.O_NONBLOCK | os.O_CLOEXEC)
    except OSError:
        return False
    try:
        ready = select.poll()
        for waited in (fd, pidfd):
            ready.register(waited, select.POLLIN)
        ready.poll(_PATIENCE)
        with suppress(BlockingIOError):
            return _passed(fifo, bool(os.read(fd, 1)))
        return False
    finally:
        os.close(fd)


def _write(fifo: Path, pidfd: int) -> bool:
    del pidfd  # without a reader the FIFO cannot be opened
    try:
        fd = os.open(fifo, os.O_WRONLY | os.O_NONBLOCK | os.O_CLOEXEC)
    except OSError:
        return False
    try:
        return _passed(fifo, os.write(fd, b"0") == 1)
    except BrokenPipeError:
        return False
    finally:
        os.close(fd)


def _passed(fifo: Path, passed: bool) -> bool:
    point("before the gate is taken away")
    if passed:
        fifo.unlink(missing_ok=True)
    return passed


_WAYS: Mapping[str, Callable[[Path, int], bool]] = {"runc": _read, "crun": _write}
