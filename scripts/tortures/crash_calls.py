"""Which system calls of a process leave something behind, and what such a call is named.

A call is named by what it is done to, so that it has the same name when an operation is done again: ids, addresses and
process numbers are left out of it. What only looks, waits, or touches the process's own memory has no name.
"""

from __future__ import annotations

import ctypes
import os
import re
import socket
import struct
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from pathlib import Path

Arguments = Sequence[int]

_AT_FDCWD = 0xFFFFFF9C
_CREATING = os.O_CREAT | os.O_TRUNC
_CLONE_THREAD, _CLONE_NEW = 0x10000, 0x7E020080
_PIDFD_GETFD = 438  # the same on all machines
_IPT_REPLACE = 64  # IPT_SO_SET_REPLACE, and IP6T_SO_SET_REPLACE
_ROUTE, _NETFILTER = 0, 12  # protocols of netlink
_BATCH, _CONNTRACK_DELETE = 0x10, 0x102  # messages of netfilter
_GROUPS = ("LINK", "ADDR", "ROUTE", "NEIGH", "RULE")
_PASSING = re.compile(r"/netpy-e2e[/-][0-9a-f]{6}|/tmp/\w{8}$|-[a-z0-9_]{8}(?=/|$)|/proc/\d+|[0-9a-f]{12,}|\d{3,}")
_PATHS: dict[str, tuple[int | None, int]] = {  # the arguments that hold a directory's descriptor and a path
    "mkdir": (None, 0), "mkdirat": (0, 1), "rmdir": (None, 0), "unlink": (None, 0), "unlinkat": (0, 1),
    "rename": (None, 1), "renameat": (2, 3), "renameat2": (2, 3), "link": (None, 1), "linkat": (2, 3),
    "symlink": (None, 1), "symlinkat": (1, 2), "mknod": (None, 0), "mknodat": (0, 1), "chmod": (None, 0),
    "fchmodat": (0, 1), "chown": (None, 0), "lchown": (None, 0), "fchownat": (0, 1), "truncate": (None, 0),
    "setxattr": (None, 0), "lsetxattr": (None, 0), "mount": (None, 1), "umount2": (None, 0), "move_mount": (2, 3),
    "open": (None, 0), "openat": (0, 1),
}  # fmt: skip
_FILES = {"write": 0, "writev": 0, "pwrite64": 0, "pwritev": 0, "pwritev2": 0, "ftruncate": 0, "fallocate": 0,
          "fchmod": 0, "fchown": 0, "fsetxattr": 0, "sendfile": 0, "copy_file_range": 2, "splice": 2}  # fmt: skip
_MAKING = ("mkdir", "mkdirat", "link", "linkat", "symlink", "symlinkat", "mknod", "mknodat")
_TAKING = ("unlink", "unlinkat", "rmdir", "umount2")
_SENDING = ("sendto", "sendmsg", "sendmmsg")
_QUIET = ("/log", "/faults.seen", "/dev/null")  # files that nobody reads again


@dataclass(slots=True)
class Process:
    """A process that is looked at from outside."""

    pid: int
    _handle: int = field(init=False)

    def __post_init__(self) -> None:
        self._handle = os.pidfd_open(self.pid)

    def memory(self, address: int, size: int) -> bytes:
        """Some of its memory; nothing where there is none."""
        try:
            memory = os.open(f"/proc/{self.pid}/mem", os.O_RDONLY)  # anew: it may have executed another program
        except OSError:
            return b""
        try:
            return os.pread(memory, size, address)
        except OSError:
            return b""
        finally:
            os.close(memory)

    def text(self, address: int) -> str:
        """A string of C's, which may lie at the very end of what is mapped."""
        page = 4096 - address % 4096
        found = self.memory(address, page)
        if b"\0" not in found:
            found += self.memory(address + page, 4096)
        return os.fsdecode(found.partition(b"\0")[0])

    def file(self, number: int) -> str:
        """What a descriptor leads to, as /proc says it."""
        try:
            return str(Path(f"/proc/{self.pid}/fd/{number}").readlink())
        except OSError:
            return ""

    def socket(self, number: int) -> tuple[int, int]:
        """The family and the protocol of a socket."""
        copy = ctypes.CDLL(None, use_errno=True).syscall(_PIDFD_GETFD, self._handle, number, 0)
        if copy < 0:
            return 0, 0
        with socket.socket(fileno=copy) as found:
            return found.family, found.proto


def name_of(process: Process, call: str, arguments: Arguments) -> str:
    """The name of a call that leaves something behind; empty for all others."""
    if call in _PATHS:
        return _on_path(process, call, arguments)
    if call in _FILES:
        return _on_file(process, call, arguments)
    if call in _SENDING:
        return _sending(process, call, arguments)
    return _OTHERS[call](process, arguments) if call in _OTHERS else ""


def plain(path: str) -> str:
    """A path without what is different each time."""
    return _PASSING.sub("*", path)


def _on_path(process: Process, call: str, arguments: Arguments) -> str:
    directory, place = _PATHS[call]
    flags = arguments[place + 1] if call.startswith("open") else _CREATING
    if not flags & _CREATING:
        return ""
    path = process.text(arguments[place])
    if directory is not None and not path.startswith("/") and arguments[directory] & 0xFFFFFFFF != _AT_FDCWD:
        path = f"{process.file(arguments[directory] & 0xFFFFFFFF)}/{path}"
    in_vain = path.endswith(_QUIET) or _changes_nothing(call, path, flags)
    return "" if in_vain else f"{call} {plain(path)}"


def _changes_nothing(call: str, path: str, flags: int) -> bool:
    """Whether it asks for what is there already, or is not there to be taken away."""
    try:
        found = os.lstat(path)
    except OSError:
        return call in _TAKING or not Path(path).parent.is_dir()
    kept = not flags & os.O_TRUNC or found.st_size == 0
    return call in _MAKING or (call.startswith("open") and kept)


def _on_file(process: Process, call: str, arguments: Arguments) -> str:
    path = process.file(arguments[_FILES[call]])
    if path.startswith("socket:"):
        return _sending(process, call, (arguments[_FILES[call]], 0, 0))
    if path.startswith("pipe:"):
        return f"{call} a pipe"
    return f"{call} {plain(path)}" if path.startswith("/") and not path.endswith(_QUIET) else ""


def _sending(process: Process, call: str, arguments: Arguments) -> str:
    family, protocol = process.socket(arguments[0])
    if family == socket.AF_UNIX:
        return f"{call} a local socket"
    if family != socket.AF_NETLINK:
        return ""
    at = arguments[1]
    if call != "sendto":  # the first part of the first message
        (vector,) = struct.unpack("=16xQ", process.memory(at, 24) or bytes(24))
        (at,) = struct.unpack("=Q", process.memory(vector, 8) or bytes(8))
    (kind,) = struct.unpack("=4xH", process.memory(at, 6) or bytes(6))
    return _netlink(call, protocol, kind)


def _netlink(call: str, protocol: int, kind: int) -> str:
    if protocol == _ROUTE:
        group = kind // 4 - 4
        verb = ("NEW", "DEL", "GET", "SET")[kind % 4]
        noun = _GROUPS[group] if 0 <= group < len(_GROUPS) else str(kind)
        return f"{call} {verb}{noun}" if verb != "GET" else ""
    if protocol == _NETFILTER and kind == _BATCH:  # rules change in batches alone
        return f"{call} a transaction of rules"
    return f"{call} a forgotten connection" if protocol == _NETFILTER and kind == _CONNTRACK_DELETE else ""


def _forking(call: str) -> Callable[[Process, Arguments], str]:
    def name(process: Process, arguments: Arguments) -> str:
        flags = arguments[0] if call == "clone" else 0
        if call == "clone3":
            (flags,) = struct.unpack("=Q", process.memory(arguments[0], 8) or bytes(8))
        return "" if flags & _CLONE_THREAD else call

    return name


def _unshare(process: Process, arguments: Arguments) -> str:
    del process
    return "unshare" if arguments[0] & _CLONE_NEW else ""


def _signal(at: int) -> Callable[[Process, Arguments], str]:
    def name(process: Process, arguments: Arguments) -> str:
        own = at < 2 and arguments[0] == process.pid
        return "" if own or not arguments[at] else f"signal {arguments[at]}"

    return name


def _setsockopt(process: Process, arguments: Arguments) -> str:
    del process
    replaces = arguments[1] in (socket.SOL_IP, socket.IPPROTO_IPV6) and arguments[2] == _IPT_REPLACE
    return "setsockopt IPT_SO_SET_REPLACE" if replaces else ""


def _bind(process: Process, arguments: Arguments) -> str:
    family, protocol = process.socket(arguments[0])
    if family == socket.AF_UNIX:
        return f"bind {plain(process.text(arguments[1] + 2))}"
    return f"bind a port of protocol {protocol}" if family in (socket.AF_INET, socket.AF_INET6) else ""


_OTHERS: dict[str, Callable[[Process, Arguments], str]] = {
    **{call: _forking(call) for call in ("fork", "vfork", "clone", "clone3")},
    "unshare": _unshare,
    "kill": _signal(1),
    "pidfd_send_signal": _signal(1),
    "tgkill": _signal(2),
    "setsockopt": _setsockopt,
    "bind": _bind,
}
NAMES = frozenset({*_PATHS, *_FILES, *_SENDING, *_OTHERS})
