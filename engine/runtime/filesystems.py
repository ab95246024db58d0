"""File systems on directories of the host: mount(2), unmounting, and how a mount spreads. Does I/O; decides nothing."""

from __future__ import annotations

import ctypes
import os
from pathlib import Path

from engine.runtime import rootfs

QUIET = 2 | 4 | 8  # nosuid, nodev, noexec
_libc = ctypes.CDLL(None, use_errno=True)


def mount(device: str, target: Path, kind: str, flags: int, data: str) -> None:
    """Like mount(2), with its numbers. Raises OSError."""
    arguments = (os.fsencode(device), os.fsencode(target), os.fsencode(kind), ctypes.c_ulong(flags), os.fsencode(data))
    if _libc.mount(*arguments) != 0:
        number = ctypes.get_errno()
        raise OSError(number, os.strerror(number))


def unmount(target: Path) -> None:
    """Like `umount --lazy TARGET`. Idempotent. Raises KernelError."""
    rootfs.unmount(target)


def is_mounted(target: Path) -> bool:
    """Whether something is mounted there, be it a directory of the same file system."""
    return propagation(str(target))[0] == str(target.resolve())


def propagation(path: str) -> tuple[str, str]:
    """The mount point that a path lies on, and how it spreads: `shared`, `slave` or nothing."""
    real = os.path.realpath(path)
    found, spread = "/", ""
    for line in Path("/proc/self/mountinfo").read_text().splitlines():
        fields = line.split(" ")
        point = fields[4].encode().decode("unicode_escape")
        inside = real == point or real.startswith(point.rstrip("/") + "/")
        if inside and len(point) >= len(found):
            optional = fields[6 : fields.index("-")]
            found = point
            spread = "shared" if any(text.startswith("shared:") for text in optional) else ""
            spread = spread or ("slave" if any(text.startswith("master:") for text in optional) else "")
    return found, spread
