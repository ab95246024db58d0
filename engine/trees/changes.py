"""What a container changed: its writable directory compared with the layers below.

By Docker's rules: a directory has changed when something in it has, or its owner or mode; a file also when its time
or size differs; of a directory that was deleted only the directory is named. Parents come before children, and
siblings in order. Reads two trees; writes nothing.
"""

# ruff: noqa: PTH208 - the directory may be a descriptor
from __future__ import annotations

import os
import posixpath
import stat
from collections.abc import Iterator
from typing import Protocol

MODIFIED, ADDED, DELETED = 0, 1, 2
OPAQUE = "trusted.overlay.opaque"
CAPABILITY = "security.capability"
Change = tuple[int, str]


class Hidden(Protocol):
    def __call__(self, path: str, status: os.stat_result) -> bool: ...


class Comparison:
    """`upper` is a path, `lower` the descriptor of a directory. What `hidden` says yes to is passed over."""

    def __init__(self, upper: str, lower: int, hidden: Hidden) -> None:
        self._upper = upper
        self._lower = lower
        self._hidden = hidden

    def changes(self, path: str = "", *, below: bool = True) -> Iterator[Change]:
        """The changes within the directory `path` of both trees; `below` tells whether the lower one has it."""
        directory = posixpath.join(self._upper, path)
        names = set(_names(directory))
        lower = self._lower_names(path) if below and _attribute(directory, OPAQUE) == b"y" else set[str]()
        for name in sorted(names | lower, key=os.fsencode):
            inner = posixpath.join(path, name)
            if name in names:
                yield from self._change(inner, below=below)
            else:
                yield DELETED, f"/{inner}"

    def _change(self, path: str, *, below: bool) -> Iterator[Change]:
        real = posixpath.join(self._upper, path)
        try:
            new = os.lstat(real)
        except FileNotFoundError:
            return  # deleted meanwhile
        old = self._old(path) if below else None
        if self._hidden(path, new):
            return
        if stat.S_ISCHR(new.st_mode) and new.st_rdev == 0:
            if old:
                yield DELETED, f"/{path}"
            return
        both = old is not None and stat.S_ISDIR(old.st_mode)
        inner = self.changes(path, below=both) if stat.S_ISDIR(new.st_mode) else iter(())
        first = next(inner, None)
        if old is None:
            yield ADDED, f"/{path}"
        elif first is not None or self._differs(path, old, new):
            yield MODIFIED, f"/{path}"
        if first is not None:
            yield first
            yield from inner

    def _old(self, path: str) -> os.stat_result | None:
        try:
            return os.stat(path, dir_fd=self._lower, follow_symlinks=False)
        except (FileNotFoundError, NotADirectoryError):
            return None

    def _lower_names(self, path: str) -> set[str]:
        flags = os.O_RDONLY | os.O_DIRECTORY | os.O_NOFOLLOW | os.O_CLOEXEC
        try:
            descriptor = os.open(path or ".", flags, dir_fd=self._lower)
        except OSError:
            return set()
        try:
            return set(_names(descriptor))
        finally:
            os.close(descriptor)

    def _differs(self, path: str, old: os.stat_result, new: os.stat_result) -> bool:
        if (old.st_mode, old.st_uid, old.st_gid, old.st_rdev) != (new.st_mode, new.st_uid, new.st_gid, new.st_rdev):
            return True
        if stat.S_ISDIR(new.st_mode):
            return False
        if (old.st_mtime_ns, old.st_size) != (new.st_mtime_ns, new.st_size):
            return True
        return stat.S_ISREG(new.st_mode) and self._capability(path) != _attribute(
            posixpath.join(self._upper, path), CAPABILITY
        )

    def _capability(self, path: str) -> bytes:
        try:
            descriptor = os.open(path, os.O_RDONLY | os.O_NOFOLLOW | os.O_CLOEXEC, dir_fd=self._lower)
        except OSError:
            return b""
        try:
            return _attribute(descriptor, CAPABILITY)
        finally:
            os.close(descriptor)


def _names(directory: str | int) -> list[str]:
    try:
        return os.listdir(directory)
    except (FileNotFoundError, NotADirectoryError):
        return []


def _attribute(path: str | int, name: str) -> bytes:
    try:
        if isinstance(path, int):
            return os.getxattr(path, name)
        return os.getxattr(path, name, follow_symlinks=False)
    except OSError:
        return b""
