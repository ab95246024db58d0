"""Gives up what a process does not need, for good: capabilities, and the means to get others by running a program.

For processes of ours that read what strangers send, such as the name server. The daemon itself cannot: whatever it
gives up, it could no longer hand to a container that asks for it (`--cap-add`, `--privileged`), and `no_new_privs`
would spoil every set-user-id program in every container. `capset(2)`, `prctl(2)`; for the calling thread, so before
there are others.
"""

from __future__ import annotations

import ctypes
import os
import struct
from typing import Literal

from netpy.errors import KernelError

Capability = Literal["SYS_PTRACE", "SYS_ADMIN"]
_NUMBERS: dict[Capability, int] = {"SYS_PTRACE": 19, "SYS_ADMIN": 21}
_VERSION = 0x20080522
_SETS = struct.Struct("=6I")  # effective, permitted and inheritable: the low halves, then the high ones
_BOUNDING_DROP, _NO_NEW_PRIVILEGES, _AMBIENT, _AMBIENT_CLEAR = 24, 38, 47, 4
_libc = ctypes.CDLL(None, use_errno=True)


def keep(*names: Capability) -> None:
    """Of the capabilities that the calling thread has, these and no others, now and after any exec."""
    wanted = sum(1 << _NUMBERS[name] for name in names)
    for number in range(64):
        if not wanted >> number & 1 and _libc.prctl(_BOUNDING_DROP, number, 0, 0, 0):
            break  # beyond the last one that the kernel knows; or we may not, and have none anyway
    _libc.prctl(_AMBIENT, _AMBIENT_CLEAR, 0, 0, 0)
    header = ctypes.create_string_buffer(struct.pack("=Ii", _VERSION, 0))
    sets = ctypes.create_string_buffer(_SETS.size)
    _done(_libc.capget(header, sets), "reading capabilities")
    had = _SETS.unpack(sets.raw)
    low, high = had[1] & wanted, had[4] & wanted >> 32
    packed = ctypes.create_string_buffer(_SETS.pack(low, low, 0, high, high, 0))
    _done(_libc.capset(header, packed), "giving up capabilities")
    _done(_libc.prctl(_NO_NEW_PRIVILEGES, 1, 0, 0, 0), "giving up new privileges")


def _done(status: int, what: str) -> None:
    if status:
        raise KernelError(f"{what}: {os.strerror(ctypes.get_errno())}")
