"""Kernel settings below /proc/sys, read and written in the namespace that the calling thread is in."""

from __future__ import annotations

import os
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
