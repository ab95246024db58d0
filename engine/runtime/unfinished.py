"""A start that nobody waits for any more: the daemon that began it has died, its monitor and runtime go on.

Neither is a child of ours. Whether they have made a process, a control group, a record yet, nobody can say, until they
have gone; so they are ended, and what is there then is all there will be. A child of the runtime that bears another
name ends by itself when its parent has gone: it waits for the parent's word. Reads /proc, sends SIGKILL.
"""

from __future__ import annotations

import os
import select
import signal
from collections.abc import Callable, Iterator
from contextlib import suppress
from pathlib import Path

from engine.runtime.watcher import open_pidfd
from netpy.faults import point

_PATIENCE = 10_000  # milliseconds, for a process to die of SIGKILL


def abandon(container_id: str, records: Path) -> None:
    """End the monitor of a container, and the runtime that it has make it, whose records are in that directory."""

    def at_work(pid: int) -> bool:
        words = _words(pid)
        return container_id in words and (str(records) in words or f"--runtime-arg={records}" in words)

    point("before ending a start that was cut off")
    while found := [pid for pid in _processes() if at_work(pid)]:  # again, since the monitor may just have begun
        for pid in found:
            if not end(pid, lambda pid=pid: at_work(pid)):
                return  # it cannot be helped: what is there is removed, and more will be at the next start
    point("after ending a start that was cut off")


def end(pid: int, still_meant: Callable[[], bool]) -> bool:
    """Kill a process, unless its number means another one by now, and wait for its end; False if it does not die."""
    pidfd = open_pidfd(pid, still_meant)
    if pidfd is None:
        return True
    try:
        with suppress(ProcessLookupError):
            signal.pidfd_send_signal(pidfd, signal.SIGKILL)
        gone = select.poll()
        gone.register(pidfd, select.POLLIN)
        return bool(gone.poll(_PATIENCE))
    finally:
        os.close(pidfd)


def _processes() -> Iterator[int]:
    return (int(path.name) for path in Path("/proc").glob("[0-9]*"))


def _words(pid: int) -> list[str]:
    with suppress(OSError):
        return Path(f"/proc/{pid}/cmdline").read_bytes().decode(errors="replace").split("\0")
    return []
