"""Files copied from one tree into another: what COPY and ADD put into an image.

The target is `/`: its caller has changed root to the image's tree (see program.py), so that no link in it leads out.
The sources lie outside and are reached through open descriptors alone; links in them are copied, never followed. The
rules are Docker's: what is copied into a directory that exists is merged with it, a directory that exists keeps its
mode and owner, missing ones above the destination are made, and whatever is in the way of an entry of another kind
goes.
"""

# ruff: noqa: PTH101, PTH102, PTH108, PTH112, PTH211
# Plain os functions: they take descriptors, and there are several calls per file.
from __future__ import annotations

import errno
import os
import posixpath
import shutil
import stat
from collections.abc import Mapping
from typing import Any

_CHUNK = 1 << 20
_NO_ATTRIBUTES = (errno.ENOTSUP, errno.EPERM, errno.ENODATA, errno.EINVAL)


class Planter:
    """Copies with one rule for owners and modes: `owner` None keeps the source's, `mode` None too.

    With `overlay`, what speaks to overlayfs in the source is obeyed: its whiteouts remove, its opaque directories hide.
    """

    def __init__(self, owner: tuple[int, int] | None, mode: int | None, *, overlay: bool = False) -> None:
        self._owner = owner
        self._mode = mode
        self._overlay = overlay
        self._links: dict[tuple[int, int], str] = {}

    def plant(self, source: int, name: str, destination: str, *, into: bool) -> None:
        """Copy what the descriptor stands for. A directory gives what is in it. `into` asks for a directory, in which
        a file then bears `name`."""
        status = os.fstat(source)
        place = os.path.realpath(destination)
        self._links.clear()  # hard links are kept within a source: from one to the next, names may be replaced
        if stat.S_ISDIR(status.st_mode):
            self._make_parents(place)
            self._tree(source, place)
            return
        if into or os.path.isdir(place):
            place = os.path.realpath(posixpath.join(place, name))
        self._make_parents(posixpath.dirname(place))
        self._file(source, status, place)

    def _make_parents(self, path: str) -> None:
        """The directory and those above it, the new ones owned as what is copied is."""
        if os.path.isdir(path):
            return
        self._make_parents(posixpath.dirname(path))
        os.mkdir(path, 0o755)
        os.chown(path, *(self._owner or (0, 0)))

    def _tree(self, source: int, place: str) -> None:
        for name in sorted(os.listdir(source)):
            status = os.stat(name, dir_fd=source, follow_symlinks=False)
            self._entry(source, name, status, posixpath.join(place, name))

    def _entry(self, parent: int, name: str, status: os.stat_result, place: str) -> None:
        mode = status.st_mode
        if stat.S_ISDIR(mode):
            self._directory(parent, name, status, place)
        elif stat.S_ISREG(mode):
            opened = os.open(name, os.O_RDONLY | os.O_NOFOLLOW | os.O_CLOEXEC, dir_fd=parent)
            try:
                self._file(opened, os.fstat(opened), place)
            finally:
                os.close(opened)
        elif self._overlay and stat.S_ISCHR(mode) and status.st_rdev == 0:
            _clear(place)
        elif not stat.S_ISSOCK(mode):
            _clear(place)
            if stat.S_ISLNK(mode):
                os.symlink(os.readlink(name, dir_fd=parent), place)
            else:
                os.mknod(place, stat.S_IFMT(mode) | 0o600, status.st_rdev)
            self._describe(place, status)

    def _directory(self, parent: int, name: str, status: os.stat_result, place: str) -> None:
        opened = os.open(name, os.O_RDONLY | os.O_DIRECTORY | os.O_NOFOLLOW | os.O_CLOEXEC, dir_fd=parent)
        try:
            if not _is_directory(place) or (self._overlay and _is_opaque(opened)):
                _clear(place)
                os.mkdir(place)
            self._tree(opened, place)
            _copy_attributes(opened, place)
        finally:
            os.close(opened)
        self._describe(place, status)

    def _file(self, source: int, status: os.stat_result, place: str) -> None:
        _clear(place)
        key = (status.st_dev, status.st_ino)
        if key in self._links:
            os.link(self._links[key], place, follow_symlinks=False)
            return
        if status.st_nlink > 1:
            self._links[key] = place
        target = os.open(place, os.O_WRONLY | os.O_CREAT | os.O_EXCL | os.O_NOFOLLOW | os.O_CLOEXEC, 0o600)
        try:
            _copy_content(source, target, status.st_size)
        finally:
            os.close(target)
        self._describe(place, status)
        _copy_attributes(source, place)
        os.utime(place, ns=(status.st_mtime_ns, status.st_mtime_ns))

    def _describe(self, place: str, status: os.stat_result) -> None:
        """Owner before mode: chown clears set-id bits."""
        os.lchown(place, *(self._owner or (status.st_uid, status.st_gid)))
        if not stat.S_ISLNK(status.st_mode):
            os.chmod(place, stat.S_IMODE(status.st_mode) if self._mode is None else self._mode)
        os.utime(place, ns=(status.st_mtime_ns, status.st_mtime_ns), follow_symlinks=False)


def plant(order: Mapping[str, Any]) -> None:
    """Carry out an order: `sources` are `[path below the descriptor tree, name]`, their paths free of links;
    `destination` is an absolute path, with `into`, `owner`, `mode`."""
    owner: list[int] | None = order["owner"]
    overlay = bool(order.get("overlay"))
    planter = Planter((owner[0], owner[1]) if owner else None, order["mode"], overlay=overlay)
    for path, name in order["sources"]:
        source = os.open(path or ".", os.O_RDONLY | os.O_NOFOLLOW | os.O_NONBLOCK | os.O_CLOEXEC, dir_fd=order["tree"])
        try:
            planter.plant(source, name, order["destination"], into=order["into"])
        finally:
            os.close(source)


def _is_directory(path: str) -> bool:
    try:
        return stat.S_ISDIR(os.lstat(path).st_mode)
    except FileNotFoundError:
        return False


def _is_opaque(source: int) -> bool:
    try:
        return os.getxattr(source, "trusted.overlay.opaque") == b"y"
    except OSError:
        return False


def _clear(path: str) -> None:
    """Make room for another kind of thing."""
    try:
        found = os.lstat(path)
    except FileNotFoundError:
        return
    if stat.S_ISDIR(found.st_mode):
        shutil.rmtree(path)
    else:
        os.unlink(path)


def _copy_content(source: int, target: int, size: int) -> None:
    """Within one file system the kernel may share the blocks; holes stay holes where it does."""
    offset = 0
    while offset < size:
        try:
            done = os.copy_file_range(source, target, min(size - offset, 1 << 30), offset)
        except OSError as failure:
            if failure.errno not in (errno.EXDEV, errno.EINVAL, errno.ENOSYS, errno.EOPNOTSUPP):
                raise
            piece = os.pread(source, _CHUNK, offset)
            done = os.write(target, piece)
        if not done:
            return
        offset += done


def _copy_attributes(source: int, place: str) -> None:
    """Extended attributes, capabilities among them, but not what speaks to overlayfs or of the host's labels."""
    for name in os.listxattr(source):
        if name.startswith("trusted.overlay.") or name == "security.selinux":
            continue
        try:
            os.setxattr(place, name, os.getxattr(source, name), follow_symlinks=False)
        except OSError as failure:
            if failure.errno not in _NO_ATTRIBUTES:
                raise
