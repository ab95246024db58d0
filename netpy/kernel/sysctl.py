"""Kernel settings below /proc/sys, read and written in the namespace that the calling thread is in.

The kernel tells nobody when most of them change, so those of the host that netpy relies on are read again from time
to time (`Kept`): a few microseconds each.
"""

from __future__ import annotations

import os
import threading
from pathlib import Path

from netpy.errors import KernelError
from netpy.faults import point

ROOT = Path("/proc/sys")


def read(name: str) -> str | None:
    """The value, or None where the kernel has no such setting. Equivalent: `sysctl -n NAME`."""
    try:
        descriptor = os.open(f"{ROOT}/{name}", os.O_RDONLY | os.O_CLOEXEC)  # a text file costs three times as much
    except OSError:
        return None
    try:
        return os.read(descriptor, 4096).decode().strip()
    except OSError:
        return None
    finally:
        os.close(descriptor)


def write(name: str, value: str) -> None:
    """Set it. `disable_ipv6` on a kernel without IPv6 is already so: that is no error. `sysctl -w NAME=VALUE`."""
    path = ROOT / name
    try:
        point("before a sysctl")
        path.write_text(value)
        point("after a sysctl")
    except FileNotFoundError:
        if not (ROOT / "net/ipv6").exists() and name.startswith("net/ipv6/") and value in ("0", "1"):
            return
        raise KernelError(f"sysctl {name}: no such setting") from None
    except OSError as error:
        raise KernelError(f"sysctl {name}={value}: {error.strerror}") from error


class Kept:
    """What the host's settings should be, as far as anybody has asked about them. Thread-safe."""

    def __init__(self) -> None:
        self._lock = threading.Lock()
        self._wanted: dict[str, str] = {}
        self._wrong: set[str] = set()

    def remember(self, name: str, value: str) -> None:
        with self._lock:
            self._wanted[name] = value

    def disturbed(self) -> bool:
        """Whether a setting is wrong that was right when this was last asked. One that is gone is forgotten."""
        with self._lock:
            found = {name: read(name) for name in self._wanted}
            for name in [name for name, value in found.items() if value is None]:
                del self._wanted[name]
            wrong = {name for name, value in self._wanted.items() if found[name] != value}
            news, self._wrong = wrong - self._wrong, wrong
            return bool(news)
