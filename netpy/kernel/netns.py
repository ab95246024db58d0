"""Network namespaces: made, entered, held and let go. The only file that calls setns.

A namespace is known by a path, which a bind mount of its /proc entry keeps alive. Entering one changes the calling
thread alone: it goes in, does its work and comes back, which costs 15 µs, where a thread of its own for each visit
costs up to a millisecond of waiting for the interpreter. A thread that did not come back would do its later work in
the wrong place, so if the way back fails the process ends, loudly. A socket that was opened inside belongs to that
namespace for good and can be used from anywhere.

Nothing forks. Equivalent: `ip netns add`, `nsenter --net=PATH`, `ip netns delete`.
"""

from __future__ import annotations

import contextlib
import ctypes
import errno
import fcntl
import logging
import os
import socket
import struct
import time
from collections.abc import Callable, Generator
from pathlib import Path
from typing import TypeVar

from netpy.errors import Conflict, KernelError, NotFound
from netpy.faults import point

T = TypeVar("T")
logger = logging.getLogger(__name__)
_CLONE_NEWNET = 0x40000000
_MS_BIND, _MNT_DETACH = 4096, 2
_TRIES, _BREATH = 50, 0.02  # seconds, to come back when memory is short
_SIOCGIFFLAGS, _SIOCSIFFLAGS, _IFF_UP = 0x8913, 0x8914, 1
_libc = ctypes.CDLL(None, use_errno=True)


def run_in(path: str, work: Callable[[], T]) -> T:
    """The result of `work`, run in the network namespace at `path`; an empty path is the present one.

    NotFound when there is no namespace at `path`; whatever `work` raises comes through.
    """
    if not path:
        return work()
    try:
        there = os.open(path, os.O_RDONLY | os.O_CLOEXEC)
    except OSError as error:
        raise NotFound(f"network namespace {path} does not exist: {error.strerror}") from error
    try:
        with _return_ticket():
            if _libc.setns(there, _CLONE_NEWNET) != 0:
                error = _error(f"entering network namespace {path}")
                if ctypes.get_errno() == errno.EINVAL:  # the file alone: a crash, or a reboot, came between the two
                    raise NotFound(f"network namespace {path} does not exist any more")
                raise error
            return work()
    finally:
        os.close(there)


def create(path: str) -> None:
    """A new namespace with loopback up, held by a bind mount at `path`. Conflict when `path` is taken."""
    target = Path(path)
    target.parent.mkdir(parents=True, exist_ok=True)
    try:
        target.touch(mode=0o600, exist_ok=False)
    except FileExistsError:
        raise Conflict(f"network namespace {path} already exists") from None
    point("before holding a namespace")
    try:
        with _return_ticket():
            _unshare_and_hold(path)
    except BaseException:
        target.unlink(missing_ok=True)
        raise
    point("after holding a namespace")


def delete(path: str) -> None:
    """Let go of the namespace at `path`; it ends with its last process. Succeeds when it is gone."""
    if _libc.umount2(path.encode(), _MNT_DETACH) != 0 and ctypes.get_errno() not in (errno.ENOENT, errno.EINVAL):
        raise _error(f"letting go of network namespace {path}")
    point("between letting go of a namespace and its file")
    with contextlib.suppress(FileNotFoundError):
        Path(path).unlink()


def exists(path: str) -> bool:
    """Whether there is a namespace at `path`: the file alone, left over from before a reboot, does not count."""
    try:
        descriptor = os.open(path, os.O_RDONLY | os.O_CLOEXEC)
    except OSError:
        return False
    try:
        fcntl.ioctl(descriptor, 0xB703)  # NS_GET_NSTYPE
    except OSError:
        return False
    finally:
        os.close(descriptor)
    return True


@contextlib.contextmanager
def _return_ticket() -> Generator[None, None, None]:
    """Remember the calling thread's namespace, and be back in it at the end, whatever happens in between."""
    here = os.open("/proc/thread-self/ns/net", os.O_RDONLY | os.O_CLOEXEC)
    try:
        yield
    finally:
        if not _entered(here):
            logger.critical("a thread cannot leave a foreign network namespace: %s", _error("setns"))
            os.abort()
        os.close(here)


def _entered(there: int) -> bool:
    """Whether the calling thread is in that namespace now. Memory may be short for a moment."""
    for _ in range(_TRIES):
        if _libc.setns(there, _CLONE_NEWNET) == 0:
            return True
        if ctypes.get_errno() != errno.ENOMEM:
            return False
        time.sleep(_BREATH)
    return False


def _unshare_and_hold(path: str) -> None:
    if _libc.unshare(_CLONE_NEWNET) != 0:
        raise _error("making a network namespace")
    with socket.socket(socket.AF_INET, socket.SOCK_DGRAM | socket.SOCK_CLOEXEC) as control:
        request = bytearray(struct.pack("16sH22x", b"lo", 0))
        fcntl.ioctl(control, _SIOCGIFFLAGS, request)
        flags = struct.unpack_from("H", request, 16)[0]
        struct.pack_into("H", request, 16, flags | _IFF_UP)
        fcntl.ioctl(control, _SIOCSIFFLAGS, request)
    if _libc.mount(b"/proc/thread-self/ns/net", path.encode(), None, _MS_BIND, None) != 0:
        raise _error(f"holding network namespace {path}")


def _error(what: str) -> KernelError:
    return KernelError(f"{what}: {os.strerror(ctypes.get_errno())}")
