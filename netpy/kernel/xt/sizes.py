"""Tells whether somebody else changed the legacy tables, which raise no events: by their sizes.

One system call for each table that is there, without a copy of the table (IPT_SO_GET_INFO): how many rules it has, how
many bytes, and where its chains begin. Looking never makes a table. Our own writing passes through here, so that it is
not taken for somebody else's.

Rules that were exchanged for as many of the same size do not show in that. But whoever runs iptables opens
/run/xtables.lock, which inotify tells: then, and only then, the tables are read as they are, without their counters
(`netpy.kernel.xt.digests`), and compared with what they were.
"""

from __future__ import annotations

import ctypes
import os
import socket
import threading
from collections.abc import Callable, Generator
from contextlib import contextmanager
from pathlib import Path

from netpy.kernel.xt.digests import Opened, contents

Found = dict[tuple[int, str], bytes]

_FAMILIES = ((4, socket.AF_INET, 0, "ip_tables_names"), (6, socket.AF_INET6, 41, "ip6_tables_names"))
_GET_INFO, _LENGTH = 64, 84
LOCK = Path(os.environ.get("XTABLES_LOCKFILE", "/run/xtables.lock"))
_libc = ctypes.CDLL(None, use_errno=True)


class Sizes:
    """The sizes at the last look, in the namespace that `enter` takes its work to. Thread-safe."""

    def __init__(self, enter: Callable[[Callable[[], Found]], Found]) -> None:
        self._enter = enter
        self._lock = threading.Lock()
        self._sockets: dict[socket.AddressFamily, socket.socket] = {}
        self._foreign = False
        self._opened = Opened(LOCK)
        self._last = self._now()
        self._contents: Found | None = None  # of nobody's interest until somebody asks again and again

    @contextmanager
    def writing(self) -> Generator[None]:
        """While this is held the tables change because of us."""
        with self._lock:
            self._foreign = self._foreign or self._now() != self._last
            try:
                yield
            finally:
                self._last = self._now()
                if self._contents is not None:
                    self._opened.lately()
                    self._contents = self._enter(self._all_contents)

    def knows(self, version: int, table: str) -> bool:
        """Whether the table was there at the last look: reading one that is not makes it."""
        return any(number == version and name == table for number, name in self._last)

    def disturbed(self) -> bool:
        """Whether any table is of another size than we left it, is new or gone; asked again, only since then."""
        with self._lock:
            before, self._last = self._last, self._now()
            foreign, self._foreign = self._foreign or self._last != before, False
            before = self._contents
            if self._opened.lately() or foreign or before is None:
                self._contents = self._enter(self._all_contents)
                foreign = foreign or (before is not None and self._contents != before)
            return foreign

    def close(self) -> None:
        self._opened.close()
        for each in self._sockets.values():
            each.close()

    def _now(self) -> Found:
        return self._enter(self._all)

    def _all(self) -> Found:
        found: Found = {}
        for version, family, level, listed in _FAMILIES:
            try:
                names = Path("/proc/thread-self/net", listed).read_text().split()
            except OSError:
                continue
            for name in names:
                found[version, name] = self._size(family, level, name)
        return found

    def _all_contents(self) -> Found:
        found: Found = {}
        for (version, table), size in self._last.items():
            _, family, level, _ = next(each for each in _FAMILIES if each[0] == version)
            self._size(family, level, table)  # opens the socket
            found[version, table] = contents(self._sockets[family].fileno(), level, table, size)
        return found

    def _size(self, family: socket.AddressFamily, level: int, table: str) -> bytes:
        if family not in self._sockets:
            self._sockets[family] = socket.socket(family, socket.SOCK_RAW | socket.SOCK_CLOEXEC, socket.IPPROTO_RAW)
        answer = ctypes.create_string_buffer(table.encode(), _LENGTH)
        length = ctypes.c_uint32(_LENGTH)
        _libc.getsockopt(self._sockets[family].fileno(), level, _GET_INFO, answer, ctypes.byref(length))
        return answer.raw
