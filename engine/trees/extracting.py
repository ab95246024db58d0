"""A tar written into a tree that is in use: the other half of `cp`, and a builder's COPY and ADD.

Unlike a layer (images/unpack.py), it meets files that are there, and treats them as Docker does: what is replaced is
removed first, directories are merged. It runs where `/` is all there is (see place.py), so that a symbolic link, a
hard link or a race with whoever lives in the tree leads nowhere else; names that point out of the destination are
refused all the same, because no sane archive has them. When it fails, what was written before stays, as with tar.
"""

# ruff: noqa: PTH101, PTH102, PTH211 - several calls per entry, in a process whose start is waited for
# pyright: reportAttributeAccessIssue=false, reportUnknownMemberType=false, reportUnknownArgumentType=false
# tarfile keeps members and sparse maps out of its type declarations.
from __future__ import annotations

import contextlib
import errno
import os
import posixpath
import shutil
import stat
import tarfile
from collections.abc import Iterator
from typing import BinaryIO, NamedTuple, cast

from engine.trees.compression import Malformed, chunks

LARGEST_HEADER = 4 << 20
XATTR = "SCHILY.xattr."


class Options(NamedTuple):
    """`owner` (uid, gid) takes the place of the owners in the archive. With `keep_kinds` a directory is never replaced
    by something else, nor the other way round. Without `chown` everything belongs to whoever extracts. `rename` is
    what the entries' names begin with, and what they shall begin with. Where `/` is not all there is, `confined` is
    False: then links that are found on the way are not followed out of the destination.

    (A named tuple, since importing dataclasses takes a sixth of the time that the process needs to start.)
    """

    owner: tuple[int, int] | None = None
    keep_kinds: bool = False
    chown: bool = True
    rename: tuple[str, str] | None = None
    confined: bool = True


class Refused(Exception):
    """The archive says something that must not be done."""


def make_directories(path: str, owner: tuple[int, int] | None) -> None:
    """Make a directory and those above it, where they are missing, for `owner` or for root."""
    if os.path.lexists(path):
        return
    make_directories(posixpath.dirname(path), owner)
    os.mkdir(path, 0o755)
    if owner:
        os.lchown(path, *owner)


class Forward:
    """What tarfile reads from: it goes forward only, and remembers the last header, which tells a sound end."""

    def __init__(self, source: BinaryIO) -> None:
        self._chunks = chunks(source)
        self._chunk = memoryview(b"")
        self._ends_seen = 0
        self.position = 0
        self.last = b""

    def has_more(self) -> bool:
        """Whether there is anything left to read."""
        while not self._chunk:
            data = next(self._chunks, None)
            if data is None:
                return False
            self._chunk = memoryview(data)
        return True

    def tell(self) -> int:
        return self.position

    def read(self, size: int) -> bytes:
        """Exactly `size` bytes of header, fewer only at the end."""
        if size > LARGEST_HEADER:
            raise Malformed(f"a header of {size} bytes is too large")
        pieces: list[memoryview] = []
        while size > 0 and (piece := self.next(size)):
            pieces.append(piece)
            size -= len(piece)
        self.last = b"".join(pieces)
        # tarfile's reader of sparse maps asks for ever at the end of a truncated file.
        self._ends_seen += not self.last
        if self._ends_seen > 2:
            raise Malformed("unexpected EOF")
        return self.last

    def seek(self, position: int) -> None:
        if position < self.position:
            raise Malformed("entry sizes contradict each other")
        while self.position < position and self.next(position - self.position):
            pass

    def drain(self) -> None:
        """Read what follows the archive, so that whoever writes it comes to the end."""
        while self.next(1 << 30):
            pass

    def next(self, size: int) -> memoryview:
        """At most `size` bytes, none only at the end."""
        if not self.has_more():
            return memoryview(b"")
        piece, self._chunk = self._chunk[:size], self._chunk[size:]
        self.position += len(piece)
        return piece

    def content(self, size: int) -> Iterator[memoryview]:
        """The next `size` bytes."""
        while size:
            piece = self.next(size)
            if not piece:
                raise Malformed("unexpected EOF")
            size -= len(piece)
            yield piece


def extract(source: BinaryIO, destination: str, options: Options) -> None:
    """Write a tar, plain or compressed, into the directory `destination`, which exists.

    Malformed when it is no tar or breaks off, Refused when it is a trap, OSError when the tree does not take it.
    """
    feed = Forward(source)
    if not feed.has_more():
        return  # nothing is a valid archive for Docker
    try:
        _extract(feed, destination, options)
    except tarfile.ReadError as failure:
        cut = str(failure).startswith(("truncated", "unexpected end"))
        raise Malformed("unexpected EOF" if cut else f"invalid tar header: {failure}") from None


def _extract(feed: Forward, destination: str, options: Options) -> None:
    archive = tarfile.TarFile(fileobj=cast(BinaryIO, feed), mode="r", encoding="utf-8", errors="surrogateescape")
    tree = _Tree(feed, destination, options)
    while info := archive.next():
        archive.members.clear()
        tree.add(info)
    # tarfile takes a damaged header after the first entry for the end of the archive.
    if feed.last.strip(b"\0") or len(feed.last) not in (0, tarfile.BLOCKSIZE):
        raise Malformed("invalid tar header")
    feed.drain()
    tree.finish()


class _Tree:
    def __init__(self, feed: Forward, destination: str, options: Options) -> None:
        self._feed = feed
        self._destination = posixpath.normpath(destination)
        self._options = options
        self._times: list[tuple[str, int]] = []

    def add(self, info: tarfile.TarInfo) -> None:
        if self._options.rename:
            self._rename(info, *self._options.rename)
        name = posixpath.normpath(info.name or ".")
        if name.split("/")[0] == "..":
            raise Refused(f'"{info.name}" is outside of "{self._destination}"')
        path = self._path(name)
        if name not in (".", "/"):
            if not self._options.confined:
                self._check_parent(posixpath.dirname(path), info.name)
            make_directories(posixpath.dirname(path), self._options.owner)
        if self._make_room(path, name, info):
            self._create(path, info)
            if not info.islnk():
                self._describe(path, info)

    def finish(self) -> None:
        """The times of directories, which everything put into them has changed."""
        for path, when in reversed(self._times):
            with contextlib.suppress(OSError):
                os.utime(path, ns=(when, when), follow_symlinks=False)

    def _path(self, name: str) -> str:
        return posixpath.normpath(posixpath.join(self._destination, name.lstrip("/")))

    def _rename(self, info: tarfile.TarInfo, old: str, new: str) -> None:
        info.name = info.name.replace(old, new, 1)
        if info.islnk():
            info.linkname = info.linkname.replace(old, new, 1)

    def _check_parent(self, path: str, name: str) -> None:
        real = os.path.realpath(path)
        top = os.path.realpath(self._destination)
        if real != top and not real.startswith(top.rstrip("/") + "/"):
            raise Refused(f'"{name}" is outside of "{self._destination}"')

    def _make_room(self, path: str, name: str, info: tarfile.TarInfo) -> bool:
        """Clear the place of an entry; False when there is nothing to be made."""
        try:
            found = os.lstat(path)
        except FileNotFoundError:
            return True
        there, wanted = stat.S_ISDIR(found.st_mode), info.isdir()
        if self._options.keep_kinds and there and not wanted:
            raise Refused(f'cannot overwrite directory "{path}" with non-directory "{self._destination}"')
        if self._options.keep_kinds and wanted and not there:
            raise Refused(f'cannot overwrite non-directory "{path}" with directory "{self._destination}"')
        if there and name in (".", "/"):
            return False
        if there and not wanted:
            shutil.rmtree(path)
        elif not there:
            os.unlink(path)  # noqa: PTH108
        return True

    def _create(self, path: str, info: tarfile.TarInfo) -> None:
        if info.isreg():
            self._write(path, info)
        elif info.isdir():
            with contextlib.suppress(FileExistsError):
                os.mkdir(path)
        elif info.issym():
            self._check_inside(
                posixpath.join(posixpath.dirname(path), info.linkname.lstrip("/")), "symlink", path, info
            )
            os.symlink(info.linkname, path)
        elif info.islnk():
            target = posixpath.join(self._destination, info.linkname.lstrip("/"))
            self._check_inside(target, "hardlink", posixpath.normpath(target), info)
            try:
                os.link(posixpath.normpath(target), path, follow_symlinks=False)
            except FileNotFoundError:
                raise Refused(f'invalid hardlink "{path}" -> "{info.linkname}": no such file') from None
        elif info.isfifo():
            os.mkfifo(path)
        elif info.isdev():
            kind = stat.S_IFCHR if info.ischr() else stat.S_IFBLK
            os.mknod(path, kind, os.makedev(info.devmajor, info.devminor))
        else:
            raise Refused(f"unhandled tar header type {ord(info.type)}")

    def _check_inside(self, target: str, kind: str, shown: str, info: tarfile.TarInfo) -> None:
        top = self._destination.rstrip("/")
        resolved = posixpath.normpath(target)
        # From `/` there is no way out: its parent is itself.
        if top and resolved != top and not resolved.startswith(f"{top}/"):
            raise Refused(f'invalid {kind} "{shown}" -> "{info.linkname}"')

    def _write(self, path: str, info: tarfile.TarInfo) -> None:
        target = os.open(path, os.O_WRONLY | os.O_CREAT | os.O_EXCL | os.O_NOFOLLOW | os.O_CLOEXEC, 0o600)
        try:
            if info.sparse is None:
                self._fill(target, info.size)
            else:
                for offset, size in cast("list[tuple[int, int]]", info.sparse):
                    os.lseek(target, offset, os.SEEK_SET)
                    self._fill(target, size)
                os.ftruncate(target, info.size)
        finally:
            os.close(target)

    def _fill(self, target: int, size: int) -> None:
        for piece in self._feed.content(size):
            rest = piece
            while rest:
                rest = rest[os.write(target, rest) :]

    def _describe(self, path: str, info: tarfile.TarInfo) -> None:
        """Owner first, then mode, then attributes: chown clears set-id bits and capabilities."""
        if self._options.chown:
            os.lchown(path, *(self._options.owner or (info.uid, info.gid)))
        if not info.issym():
            os.chmod(path, info.mode & 0o7777)
        for key, value in info.pax_headers.items():
            name = key.removeprefix(XATTR)
            if name != key and not name.startswith("trusted."):
                _set_attribute(path, name, value.encode("utf-8", "surrogateescape"))
        when = int(info.mtime * 10**9)
        if info.isdir():
            self._times.append((path, when))
        else:
            os.utime(path, ns=(when, when), follow_symlinks=False)


def _set_attribute(path: str, name: str, value: bytes) -> None:
    try:
        os.setxattr(path, name, value, follow_symlinks=False)
    except OSError as failure:
        # The file system, or the kind of file, knows no such attribute.
        if failure.errno not in (errno.ENOTSUP, errno.EPERM):
            raise
