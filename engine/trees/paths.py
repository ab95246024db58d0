"""A path that a client names in a container: what it leads to, and how Docker describes that.

Reads below `/`, which is the container's root (see place.py). Texts of errors are Docker's.
"""

from __future__ import annotations

import os
import posixpath
import stat
from datetime import UTC, datetime
from typing import Any

Json = dict[str, Any]

_KINDS = {
    stat.S_IFDIR: 1 << 31,
    stat.S_IFLNK: 1 << 27,
    stat.S_IFBLK: 1 << 26,
    stat.S_IFCHR: 1 << 26 | 1 << 21,
    stat.S_IFIFO: 1 << 25,
    stat.S_IFSOCK: 1 << 24,
}
_SPECIAL = {stat.S_ISUID: 1 << 23, stat.S_ISGID: 1 << 22, stat.S_ISVTX: 1 << 20}


def absolute(path: str) -> str:
    """The path from the root, free of `..`, with the slash or `/.` at its end kept: they mean something."""
    clean = posixpath.normpath("/" + path.lstrip("/"))
    last = path.rpartition("/")[2]
    if last == ".":
        return clean.rstrip("/") + "/."
    return clean if last or clean == "/" else f"{clean}/"


def resolved(path: str) -> str:
    """Where an absolute path is, every link in it followed but one at its very end."""
    directory, _, base = path.rpartition("/")
    return posixpath.join(os.path.realpath(directory or "/"), base)


def base(path: str) -> str:
    """The last element of an absolute path, `/` for the root, `.` where it ends so."""
    return posixpath.basename(path.rstrip("/")) or "/"


def status(path: str) -> Json:
    """The document behind X-Docker-Container-Path-Stat of an absolute path. OSError when nothing is there."""
    found = os.lstat(resolved(path))
    target = os.path.realpath(path) if stat.S_ISLNK(found.st_mode) else ""
    return {
        "name": base(path),
        "size": found.st_size,
        "mode": go_mode(found.st_mode),
        "mtime": _time(found.st_mtime_ns),
        "linkTarget": target,
    }


def go_mode(mode: int) -> int:
    """A file's mode as Go's os.FileMode has it."""
    special = sum(bit for flag, bit in _SPECIAL.items() if mode & flag)
    return stat.S_IMODE(mode) & 0o777 | special | _KINDS.get(stat.S_IFMT(mode), 0)


def _time(nanoseconds: int) -> str:
    seconds, fraction = divmod(nanoseconds, 10**9)
    text = f".{fraction:09}".rstrip("0") if fraction else ""
    return datetime.fromtimestamp(seconds, UTC).strftime("%Y-%m-%dT%H:%M:%S") + text + "Z"
