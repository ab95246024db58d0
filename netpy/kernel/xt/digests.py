"""What a legacy table holds, apart from its counters, and whether somebody was about to change it.

Reading a table copies it (IPT_SO_GET_ENTRIES), so it is done only after somebody has opened the lock that every
iptables takes. An entry begins with what it matches, then offsets; its counters stand at a place that is known. The
digest of the rest is the same as long as nobody changes a rule, in whatever way.
"""

from __future__ import annotations

import ctypes
import hashlib
import os
import struct
from contextlib import suppress
from pathlib import Path

_GET_ENTRIES, _IPV6_LEVEL = 65, 41
_HEAD, _SIZE_AT = 40, 80  # bytes of ipt_get_entries before the entries; where ipt_getinfo has the table's size
_OFFSETS = {False: (90, 92, 112), True: (142, 144, 168)}  # of next_offset, of what to leave out, and its end
_IN_OPEN = 0x20
_libc = ctypes.CDLL(None, use_errno=True)


def contents(descriptor: int, level: int, table: str, info: bytes) -> bytes:
    """A digest of the table's rules; `info` is what IPT_SO_GET_INFO said. Empty when it has changed since."""
    size = struct.unpack_from("=I", info, _SIZE_AT)[0]
    answer = ctypes.create_string_buffer(struct.pack("=32sI4x", table.encode(), size), _HEAD + size)
    length = ctypes.c_uint32(len(answer))
    if _libc.getsockopt(descriptor, level, _GET_ENTRIES, answer, ctypes.byref(length)) != 0:
        return b""
    entries = memoryview(answer.raw)[_HEAD:]
    digest = hashlib.blake2b(digest_size=16)
    next_at, begin, end = _OFFSETS[level == _IPV6_LEVEL]
    at = 0
    while at + end <= size:
        digest.update(entries[at : at + begin])
        step = struct.unpack_from("=H", entries, at + next_at)[0]
        digest.update(entries[at + end : at + step])
        at += max(step, end)
    return digest.digest()


class Opened:
    """Tells whether a file has been opened; before it exists, it has not."""

    def __init__(self, path: Path) -> None:
        self._path = os.fsencode(path)
        self._fd = _libc.inotify_init1(os.O_CLOEXEC | os.O_NONBLOCK)
        self._watched = self._watch()

    def lately(self) -> bool:
        """Whether somebody did since this was last asked."""
        seen = False
        if not self._watched:
            seen = self._watched = self._watch()
        with suppress(OSError):  # nothing more to read
            while os.read(self._fd, 1 << 16):
                seen = True
        return seen

    def close(self) -> None:
        if self._fd >= 0:
            os.close(self._fd)
        self._fd = -1

    def _watch(self) -> bool:
        return _libc.inotify_add_watch(self._fd, self._path, _IN_OPEN) >= 0
