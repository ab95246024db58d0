"""A tree written as a tar: the layer of a commit, an export, or one path for `cp`.

The tar is a pure function of the tree: sorted, owners by number alone, times in whole seconds as Docker writes them.
Two dialects: `plain` leaves out what speaks to overlayfs; `layer` reads the writable directory of an overlay and
says the same in the words of OCI layers, `.wh.x` for what was deleted and `.wh..wh..opq` for what hides all below.

The tree may be changed under our hands. What vanishes is left out, a file that shrinks is filled up with zeros, one
that grows is cut: the tar stays well-formed. Reads files below the root that its caller has chosen (see place.py);
writes nothing.
"""

# ruff: noqa: PTH115, PTH208 - several calls per entry, in a process whose start is waited for: no pathlib
from __future__ import annotations

import errno
import os
import posixpath
import stat
import tarfile
from collections.abc import Callable, Iterator

from engine.trees.placeholders import Placeholders

CHUNK = 1 << 18
WHITEOUT, OPAQUE_FILE = ".wh.", ".wh..wh..opq"
OPAQUE = "trusted.overlay.opaque"
XATTR = "SCHILY.xattr."
_GONE = (errno.ENOENT, errno.ENOTDIR, errno.ELOOP, errno.ENXIO)
_KINDS = {
    stat.S_IFREG: tarfile.REGTYPE,
    stat.S_IFDIR: tarfile.DIRTYPE,
    stat.S_IFLNK: tarfile.SYMTYPE,
    stat.S_IFCHR: tarfile.CHRTYPE,
    stat.S_IFBLK: tarfile.BLKTYPE,
    stat.S_IFIFO: tarfile.FIFOTYPE,
}
NOTHING = Placeholders({})
END = bytes(2 * tarfile.BLOCKSIZE)


def layer(root: str, placeholders: Placeholders = NOTHING) -> Iterator[bytes]:
    """The tar of an overlay's writable directory as an OCI layer, in chunks. The root itself has no entry."""
    yield from Packer(_layer_entry, placeholders).children(root, "")
    yield END


def plain(path: str, name: str) -> Iterator[bytes]:
    """The tar of whatever is at `path`, called `name` in it; with an empty name, of what is in that directory.

    Raises OSError when there is nothing at `path`.
    """
    packer = Packer(_plain_entry)
    if name:
        yield from packer.entry(path, name, os.lstat(path))
    else:
        yield from packer.children(path, "")
    yield END


class Packer:
    """Goes through one tree, and knows which inodes it has met: the second name of one is a hard link."""

    def __init__(
        self,
        headers: Callable[[str, str, os.stat_result], Iterator[tarfile.TarInfo]],
        placeholders: Placeholders = NOTHING,
    ) -> None:
        self._headers = headers
        self._placeholders = placeholders
        self._names: dict[tuple[int, int], str] = {}

    def children(self, path: str, name: str) -> Iterator[bytes]:
        """What is in a directory, in the order of the names' bytes."""
        try:
            found = sorted(os.listdir(path), key=os.fsencode)
        except OSError as failure:
            if failure.errno not in _GONE:
                raise
            return
        for child in found:
            inner = posixpath.join(path, child)
            try:
                status = os.lstat(inner)
            except FileNotFoundError:
                continue
            yield from self.entry(inner, posixpath.join(name, child), status)

    def entry(self, path: str, name: str, status: os.stat_result) -> Iterator[bytes]:
        """One file, or a directory with all that is in it. Sockets have no place in a tar."""
        if self._placeholders(name, status):
            return
        if stat.S_ISREG(status.st_mode):
            yield from self._file(path, name)
            return
        try:
            found = list(self._headers(path, name, status)) if stat.S_IFMT(status.st_mode) in _KINDS else []
        except OSError as failure:
            if failure.errno not in _GONE:
                raise
            return
        inner = self.children(path, name) if stat.S_ISDIR(status.st_mode) else iter(())
        first = next(inner, b"")
        if not first and len(found) == 1 and self._placeholders.is_bare(name, status):
            return
        for info in found:
            yield _encoded(info)
        yield first
        yield from inner

    def _file(self, path: str, name: str) -> Iterator[bytes]:
        try:
            # Nothing is waited for: what was a file a moment ago may be a pipe now.
            source = os.open(path, os.O_RDONLY | os.O_NOFOLLOW | os.O_NONBLOCK | os.O_CLOEXEC)
        except OSError as failure:
            if failure.errno not in _GONE:
                raise
            return
        try:
            opened = os.fstat(source)
            if not stat.S_ISREG(opened.st_mode):
                return
            first = self._names.setdefault((opened.st_dev, opened.st_ino), name)
            for info in self._headers(path, name, opened):
                if first != name and opened.st_nlink > 1:
                    info.type, info.linkname, info.size = tarfile.LNKTYPE, first, 0
                yield _encoded(info)
                if info.isreg() and info.size:
                    yield from _content(source, info.size)
        finally:
            os.close(source)


def header(path: str, name: str, status: os.stat_result) -> tarfile.TarInfo:
    """The entry for what is at `path`, without its content."""
    info = tarfile.TarInfo(name)
    info.type = _KINDS[stat.S_IFMT(status.st_mode)]
    info.mode = stat.S_IMODE(status.st_mode)
    info.uid, info.gid, info.mtime = status.st_uid, status.st_gid, status.st_mtime_ns // 10**9
    if info.isreg():
        info.size = status.st_size
    elif info.issym():
        info.linkname = os.readlink(path)
    elif info.ischr() or info.isblk():
        info.devmajor, info.devminor = os.major(status.st_rdev), os.minor(status.st_rdev)
    return info


def _plain_entry(path: str, name: str, status: os.stat_result) -> Iterator[tarfile.TarInfo]:
    info = header(path, name, status)
    info.pax_headers = {XATTR + key: value for key, value in _attributes(path)}
    yield info


def _layer_entry(path: str, name: str, status: os.stat_result) -> Iterator[tarfile.TarInfo]:
    if stat.S_ISCHR(status.st_mode) and status.st_rdev == 0:
        parent, base = posixpath.split(name)
        yield _mark(posixpath.join(parent, WHITEOUT + base), status, 0o600)
        return
    info = header(path, name, status)
    info.pax_headers = {XATTR + key: value for key, value in _attributes(path)}
    yield info
    if info.isdir() and _is_opaque(path):
        yield _mark(posixpath.join(name, OPAQUE_FILE), status, info.mode & 0o777)


def _mark(name: str, status: os.stat_result, mode: int) -> tarfile.TarInfo:
    info = tarfile.TarInfo(name)
    info.mode, info.uid, info.gid, info.mtime = mode, status.st_uid, status.st_gid, status.st_mtime_ns // 10**9
    return info


def _is_opaque(path: str) -> bool:
    try:
        return os.getxattr(path, OPAQUE, follow_symlinks=False) == b"y"
    except OSError:
        return False


def _attributes(path: str) -> Iterator[tuple[str, str]]:
    """The extended attributes that belong to the file: not overlayfs's own, and not the host's labels."""
    try:
        names = sorted(os.listxattr(path, follow_symlinks=False))
    except OSError:
        return  # a file system without them
    for name in names:
        if name.startswith("trusted.overlay.") or name == "security.selinux":
            continue
        try:
            value = os.getxattr(path, name, follow_symlinks=False)
        except OSError:
            continue  # gone meanwhile
        yield name, value.decode("utf-8", "surrogateescape")


def _content(source: int, size: int) -> Iterator[bytes]:
    left = size
    while left and (piece := os.read(source, min(CHUNK, left))):
        left -= len(piece)
        yield piece
    while left:
        piece = bytes(min(CHUNK, left))
        left -= len(piece)
        yield piece
    yield bytes(-size % tarfile.BLOCKSIZE)


def _encoded(info: tarfile.TarInfo) -> bytes:
    return info.tobuf(tarfile.PAX_FORMAT, "utf-8", "surrogateescape")
