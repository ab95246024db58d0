"""A program behind a read-only mount of its own: crun, which would otherwise start itself anew each time.

What enters a container can be read through /proc/PID/exe and, by a program that is root in there, be written to
(CVE-2019-5736). crun looks at what it was started from: unless that lies on a file system that is read-only, it makes
such a mount of itself, attached nowhere, and starts once more from there, which is half of its time (3 ms instead of
1.5 to say its version). So it is given that mount at once. It is named by our own descriptor, since monitors, which
inherit nothing, start the program too.

Does I/O: a mount of one file, attached nowhere, for as long as this lives.
"""

from __future__ import annotations

import logging
import os
import threading
from contextlib import ExitStack
from pathlib import Path

from engine.runtime import rootfs

logger = logging.getLogger(__name__)
Identity = tuple[int, int, int, int]


class Sealed:
    """The mount of one program, made when first asked for, and anew when that was replaced. Thread-safe."""

    def __init__(self, binary: str) -> None:
        self._binary = binary
        self._lock = threading.Lock()
        self._opened = ExitStack()
        self._made_of: Identity | None = None
        self._path = binary

    def path(self) -> str:
        """Where to start the program from: its mount, or itself where there is none to be had."""
        with self._lock:
            try:
                found = os.stat(self._binary)  # noqa: PTH116 - as cheap as it can be: it stands before every start
            except OSError:
                return self._binary  # whoever starts it says what is wrong
            identity = found.st_dev, found.st_ino, found.st_size, found.st_mtime_ns
            if identity != self._made_of:
                self._made_of, self._path = identity, self._mounted()
            return self._path

    def close(self) -> None:
        """Let go of the mounts. What runs from them goes on."""
        with self._lock:
            self._opened.close()
            self._made_of = None

    def _mounted(self) -> str:
        try:
            descriptor = rootfs.copy(Path(self._binary))
            self._opened.callback(os.close, descriptor)  # the former one as well: somebody may be about to start it
            rootfs.protect(descriptor)
            return f"/proc/{os.readlink('/proc/self')}/fd/{descriptor}"  # noqa: PTH115
        except OSError as error:  # a kernel before 5.12
            logger.debug("%s makes its own read-only mount: %s", self._binary, error)
            return self._binary
