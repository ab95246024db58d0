"""Users and groups of a container: who `--user` means, by the image's own /etc/passwd and /etc/group.

The files belong to whoever made the image, so they are opened with every symbolic link resolved inside the rootfs
(openat2 with RESOLVE_IN_ROOT): `/etc/passwd -> ../../etc/shadow` reads the container's file, never the host's.
Reads those two files; the parsing is pure.
"""

from __future__ import annotations

import ctypes
import errno
import os
import stat
from collections.abc import Callable, Iterable
from pathlib import Path

from engine.oci.spec import User
from netpy.errors import InvalidArgument

_MAX_ID = 2**31 - 1
_MAX_FILE = 16 * 1024 * 1024
_SYS_OPENAT2 = 437
_RESOLVE_NO_MAGICLINKS, _RESOLVE_IN_ROOT = 0x02, 0x10


class _OpenHow(ctypes.Structure):
    _fields_ = (("flags", ctypes.c_uint64), ("mode", ctypes.c_uint64), ("resolve", ctypes.c_uint64))


_libc = ctypes.CDLL(None, use_errno=True)
_syscall: Callable[..., int] = _libc.syscall


def resolve(rootfs: Path, user: str, extra_groups: Iterable[str] = ()) -> User:
    """Who `user[:group]` is; names or numbers, empty for root. `extra_groups` is Docker's --group-add.

    Supplementary groups are those /etc/group lists the user in, unless a group was named. A number without an entry is
    used as it stands. Raises InvalidArgument: `unable to find user x: no matching entries in passwd file`.
    """
    return account(read_text(rootfs, "etc/passwd"), read_text(rootfs, "etc/group"), user, extra_groups)


def account(passwd: str, group: str, user: str, extra_groups: Iterable[str] = ()) -> User:
    """As `resolve`, from the texts of the two files."""
    name, _, group_name = user.partition(":")
    name = name or "0"
    entry = _user_entry(passwd, name)
    uid = int(entry[2]) if entry else _number(name)
    if uid is None:
        raise InvalidArgument(f"unable to find user {name}: no matching entries in passwd file")
    groups = _rows(group, 3)
    if group_name:
        gid = _group(groups, group_name)
        member_of: list[int] = []
    else:
        gid = int(entry[3]) if entry else 0
        member_of = [int(row[2]) for row in groups if entry and len(row) > 3 and entry[0] in row[3].split(",")]
    extra = [_group(groups, item) for item in extra_groups]
    return User(
        uid=uid,
        gid=gid,
        groups=tuple(dict.fromkeys([*member_of, *extra])),
        home=entry[5] if entry and len(entry) > 5 and entry[5] else "/",
    )


def _rows(text: str, columns: int) -> list[list[str]]:
    """Entries whose numbers are numbers; a broken line is skipped, as the C library does."""
    rows = [line.strip().split(":") for line in text.splitlines() if line.strip() and not line.startswith("#")]
    return [row for row in rows if len(row) >= columns and row[2].isdigit()]


def _user_entry(passwd: str, name: str) -> list[str] | None:
    rows = [row for row in _rows(passwd, 4) if row[3].isdigit()]
    number = _number(name)
    # A name wins over a number: a user may well be called "1000".
    by_name = next((row for row in rows if row[0] == name), None)
    return by_name or next((row for row in rows if number is not None and int(row[2]) == number), None)


def _group(groups: list[list[str]], name: str) -> int:
    found = next((int(row[2]) for row in groups if row[0] == name), None)
    gid = found if found is not None else _number(name)
    if gid is None:
        raise InvalidArgument(f"Unable to find group {name}: no matching entries in group file")
    return gid


def _number(text: str) -> int | None:
    if not (text.isascii() and text.isdigit()):
        return None
    if int(text) > _MAX_ID:
        raise InvalidArgument(f"uids and gids must be in range 0-{_MAX_ID}")
    return int(text)


def read_text(rootfs: Path, path: str) -> str:
    """A file of the container, by its path in there; empty where it is missing, no regular file, or unreadable."""
    root = os.open(rootfs, os.O_PATH | os.O_DIRECTORY | os.O_CLOEXEC)
    try:
        # Non-blocking, so that a FIFO in its place cannot hold us up.
        how = _OpenHow(os.O_RDONLY | os.O_CLOEXEC | os.O_NONBLOCK, 0, _RESOLVE_IN_ROOT | _RESOLVE_NO_MAGICLINKS)
        fd = _openat2(root, path, how)
    except OSError as error:
        if error.errno in (errno.ENOENT, errno.ENOTDIR, errno.ELOOP, errno.ENXIO, errno.EACCES):
            return ""
        raise
    finally:
        os.close(root)
    if not stat.S_ISREG(os.fstat(fd).st_mode):
        os.close(fd)
        return ""
    with open(fd, "rb") as file:
        return file.read(_MAX_FILE).decode(errors="replace")


def _openat2(root: int, path: str, how: _OpenHow) -> int:
    while True:
        fd = _syscall(
            ctypes.c_long(_SYS_OPENAT2),
            ctypes.c_long(root),
            ctypes.c_char_p(os.fsencode(path)),
            ctypes.byref(how),
            ctypes.c_size_t(ctypes.sizeof(how)),
        )
        if fd >= 0:
            return fd
        number = ctypes.get_errno()
        if number != errno.EAGAIN:  # somebody renamed something on the way: look again
            raise OSError(number, os.strerror(number), path)
