"""Waiting until something in a directory changes: inotify, by way of the C library.

Directories are watched rather than files, because a log changes its file when it is rotated. Does I/O; decides nothing.
"""

from __future__ import annotations

import ctypes
import os
import select
import struct
from contextlib import suppress
from pathlib import Path

_BLOCK = 1 << 16
_EVENT = struct.Struct("iIII")
_IN_MODIFY, _IN_CLOSE_WRITE, _IN_MOVED_TO = 0x2, 0x8, 0x80
_libc = ctypes.CDLL(None, use_errno=True)


class Watch:
    """Directories that are watched for files that are written to, closed, or put in another's place."""

    def __init__(self) -> None:
        self._fd = _libc.inotify_init1(os.O_CLOEXEC | os.O_NONBLOCK)
        self._poll = select.poll()
        self._poll.register(self._fd, select.POLLIN)

    def __enter__(self) -> Watch:
        return self

    def __exit__(self, *_: object) -> None:
        self.close()

    def close(self) -> None:
        """Stop watching. Idempotent."""
        fd, self._fd = self._fd, -1
        if fd >= 0:
            os.close(fd)

    def add(self, directory: Path) -> int:
        """Watch one more; the number that `wait` tells it by, or -1 when it cannot be watched (it does not exist)."""
        # The writer's close wakes us up, too: that is when the container has ended.
        kinds = _IN_MODIFY | _IN_CLOSE_WRITE | _IN_MOVED_TO
        return int(_libc.inotify_add_watch(self._fd, os.fsencode(directory), kinds))

    def drop(self, number: int) -> None:
        """Watch it no longer."""
        _libc.inotify_rm_watch(self._fd, number)

    def also(self, fd: int) -> None:
        """Have `wait` return when there is something to read from `fd`, too."""
        self._poll.register(fd, select.POLLIN)

    def wait(self, milliseconds: int | None) -> set[int]:
        """Until something changed, or for a while; the numbers of the directories."""
        self._poll.poll(milliseconds)
        data = b""
        with suppress(BlockingIOError):
            data = os.read(self._fd, _BLOCK)
        changed: set[int] = set()
        offset = 0
        while offset < len(data):
            number, _, _, length = _EVENT.unpack_from(data, offset)
            changed.add(number)
            offset += _EVENT.size + length
        return changed
