"""Where a tree is worked on: the way into a place from which nothing else of the machine can be seen.

There are two kinds. A plain directory is entered by chroot. A container's tree is put together in a mount namespace
of the process's own, of a root and of what is mounted into it, read-only where the container has it read-only;
so it looks the same whether the container runs or not, and nothing of it shows outside. After that the process
gives up what it does not need: without CAP_SYS_PTRACE the magic links of a /proc that somebody mounted into the
container lead no further than for the container itself, and without CAP_SYS_ADMIN nothing here can be mounted.

Runs in program.py's process, before anything that a stranger chose is read.
"""

# ruff: noqa: PTH103 - several of these take descriptors, which pathlib does not
from __future__ import annotations

import contextlib
import ctypes
import os
import stat
from collections.abc import Callable, Iterator
from typing import Any

Json = dict[str, Any]

_libc = ctypes.CDLL(None, use_errno=True)
_syscall: Callable[..., int] = _libc.syscall
_SYS_OPEN_TREE, _SYS_MOVE_MOUNT, _SYS_MOUNT_SETATTR = 428, 429, 442
_CLONE_NEWNS = 0x20000
_MS_REC, _MS_PRIVATE, _MS_REMOUNT, _MS_BIND, _MS_RDONLY = 0x4000, 1 << 18, 32, 4096, 1
_AT_FDCWD, _AT_EMPTY_PATH, _AT_RECURSIVE = -100, 0x1000, 0x8000
_OPEN_TREE_CLONE, _OPEN_TREE_CLOEXEC = 1, os.O_CLOEXEC
_MOVE_MOUNT_F_EMPTY_PATH = 4
_MOUNT_ATTR_RDONLY = 1
_CAPABILITY_VERSION_3 = 0x20080522
# What a program needs to read and write any file as it is: chown, dac_override, dac_read_search, fowner, fsetid,
# mknod, setfcap.
_KEPT = (1 << 0) | (1 << 1) | (1 << 2) | (1 << 3) | (1 << 4) | (1 << 27) | (1 << 31)


def enter_directory(path: str) -> None:
    """Make a directory the whole world."""
    os.umask(0)
    os.chroot(path)
    os.chdir("/")


def enter_view(view: Json) -> None:
    """Put a container's tree together and make it the whole world.

    `root` is the descriptor of a detached mount, `place` a directory to attach it to, which nobody else will see.
    `mounts` are objects of `source`, `destination` and `writable`; `tmpfs` are destinations in the mount namespace
    whose descriptor is `namespace`, -1 for none. With `writable` false the root is read-only. Raises OSError.
    """
    os.umask(0o022)
    home = os.open("/proc/self/ns/mnt", os.O_RDONLY | os.O_CLOEXEC)
    borrowed = list(_borrowed(view["namespace"], view["tmpfs"], home))
    _check(_libc.unshare(_CLONE_NEWNS))
    _check(_libc.mount(None, b"/", None, _MS_REC | _MS_PRIVATE, None))
    parts = [*_sources(view["mounts"]), *borrowed]
    _attach(view["root"], view["place"])
    os.chdir(view["place"])
    os.chroot(".")
    os.chdir("/")
    for destination, descriptor in sorted(parts, key=lambda part: part[0].count("/")):
        _attach(descriptor, _mount_point(destination, descriptor))
        os.close(descriptor)
    if not view["writable"]:
        _make_read_only(os.open("/", os.O_PATH | os.O_CLOEXEC), recursive=False)
    os.chdir("/")
    os.umask(0)


def surrender() -> None:
    """Give up every capability that reading and writing files does not need. There is no way back."""
    header = (ctypes.c_uint32 * 2)(_CAPABILITY_VERSION_3, 0)
    sets = (ctypes.c_uint32 * 6)(_KEPT, _KEPT, 0, 0, 0, 0)
    if _libc.capset(header, sets) != 0:
        # Some of these are not ours to keep, as in a container: then the same without them.
        held = (ctypes.c_uint32 * 6)()
        _check(_libc.capget(header, held))
        kept = _KEPT & held[1]
        _check(_libc.capset(header, (ctypes.c_uint32 * 6)(kept, kept, 0, 0, 0, 0)))


def _borrowed(namespace: int, destinations: list[str], home: int) -> Iterator[tuple[str, int]]:
    """What only a running container has: its tmpfs, copied as mounts out of its namespace."""
    if namespace < 0 or not destinations:
        return
    found: list[tuple[str, int]] = []
    _check(_libc.setns(namespace, _CLONE_NEWNS))
    try:
        for destination in destinations:
            with contextlib.suppress(OSError):
                found.append((destination, _tree(destination, recursive=False)))
    finally:
        _check(_libc.setns(home, _CLONE_NEWNS))
    yield from found


def _sources(mounts: list[Json]) -> Iterator[tuple[str, int]]:
    for mount in mounts:
        try:
            descriptor = _tree(mount["source"], recursive=True)
        except FileNotFoundError:
            continue  # a directory of the host that is no more, or not yet made: the container sees it empty
        if not mount["writable"]:
            _make_read_only(descriptor, recursive=True)
        yield mount["destination"], descriptor


def _tree(path: str, *, recursive: bool) -> int:
    """A copy of the mount at `path`, attached nowhere: `mount --bind` without a target."""
    flags = _OPEN_TREE_CLONE | _OPEN_TREE_CLOEXEC | (_AT_RECURSIVE if recursive else 0)
    return _call(_SYS_OPEN_TREE, _AT_FDCWD, os.fsencode(path), flags)


def _attach(descriptor: int, target: str) -> None:
    _call(_SYS_MOVE_MOUNT, descriptor, b"", _AT_FDCWD, os.fsencode(target), _MOVE_MOUNT_F_EMPTY_PATH)


def _mount_point(destination: str, descriptor: int) -> str:
    """Where a mount goes, links followed; made when it is missing, as it would be at the container's start."""
    path = os.path.realpath(destination)
    if os.path.lexists(path):
        return path
    if stat.S_ISDIR(os.fstat(descriptor).st_mode):
        os.makedirs(path, 0o755, exist_ok=True)
        return path
    os.makedirs(os.path.dirname(path), 0o755, exist_ok=True)  # noqa: PTH120
    os.close(os.open(path, os.O_CREAT | os.O_WRONLY | os.O_CLOEXEC, 0o644))
    return path


def _make_read_only(descriptor: int, *, recursive: bool) -> None:
    attributes = (ctypes.c_uint64 * 4)(_MOUNT_ATTR_RDONLY, 0, 0, 0)
    flags = _AT_EMPTY_PATH | (_AT_RECURSIVE if recursive else 0)
    size = ctypes.c_size_t(ctypes.sizeof(attributes))
    result = _syscall(
        ctypes.c_long(_SYS_MOUNT_SETATTR), descriptor, b"", ctypes.c_uint(flags), ctypes.byref(attributes), size
    )
    _check(result)


def _call(number: int, *arguments: int | bytes) -> int:
    converted = [ctypes.c_long(value) if isinstance(value, int) else ctypes.c_char_p(value) for value in arguments]
    return _check(_syscall(ctypes.c_long(number), *converted))


def _check(result: int) -> int:
    if result < 0:
        code = ctypes.get_errno()
        raise OSError(code, os.strerror(code))
    return result
