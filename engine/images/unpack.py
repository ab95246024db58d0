"""The unpacker: one layer's tar from standard input into a directory, in a process that cannot see anything else.

It is a program, not a library: `python -I -S unpack.py DIRECTORY < layer`. Whatever an archive contains (`..`, absolute
names, symbolic links in place of directories, hard links to anywhere), the process has changed its root to
`DIRECTORY/diff` before it reads the first header, so that the worst entry lands inside. For that reason everything it
needs is imported at the top: after chroot there is no library to import from.

What it writes
  diff/        the layer's tree, with owners, modes, set-id bits, devices, extended attributes, times and hard links.
               Whiteouts become overlayfs's own: `.wh.x` a character device 0:0, `.wh..wh..opq` an attribute.
  headers.gz   every byte of the tar that is not the content of a file in diff, in order.
  payloads.gz  one JSON list `[bytes of headers before it, size, path]` for each file's content, in order.
  kept/        the content of files that a later entry of the same layer replaced.
From these `recipe.py` writes the very same tar again, bit for bit, though its content is on disk but once.

It prints a JSON object: `{"diff_id", "tar_size", "size"}`, or `{"error", "machine"}`: whether it is the disk's fault.
"""

# pyright: basic, reportAttributeAccessIssue=false, reportArgumentType=false, reportGeneralTypeIssues=false
# tarfile keeps half of what is needed here (members, sparse maps) out of its type declarations.
# ruff: noqa: PTH101, PTH102, PTH103, PTH106, PTH211, SIM115
# Plain os functions: there are several calls per entry, and pathlib doubles their cost.
from __future__ import annotations

import contextlib
import errno
import hashlib
import json
import os
import posixpath
import queue
import stat
import sys
import tarfile
import threading
import zlib
from pathlib import Path
from typing import Any, BinaryIO

sys.path.insert(0, os.path.dirname(os.path.dirname(os.path.dirname(os.path.abspath(__file__)))))  # noqa: PTH100, PTH120

from engine.trees.compression import PLAIN_CHUNK, Malformed, chunks

QUEUED = 4
LARGEST_HEADER = 4 << 20
WHITEOUT, OPAQUE = ".wh.", ".wh..wh..opq"
XATTR = "SCHILY.xattr."
MACHINE_ERRORS = (errno.ENOSPC, errno.EDQUOT, errno.EIO, errno.EPERM, errno.EACCES, errno.EROFS)


class Feed:
    """What tarfile reads from: a stream that goes forward only and hands all but payloads to the journal.

    Reading, decompressing and hashing happen in a thread of their own, which zlib and hashlib let run beside us.
    """

    def __init__(self, source: BinaryIO, journal: Journal) -> None:
        self.digest = hashlib.sha256()
        self.position = 0
        self.last = b""
        self._journal = journal
        self._chunk = memoryview(b"")
        self._ended = False
        self._ends_seen = 0
        self._queue: queue.Queue[bytes | Exception] = queue.Queue(QUEUED)
        threading.Thread(target=self._produce, args=(source,), daemon=True).start()

    def _produce(self, source: BinaryIO) -> None:
        try:
            for chunk in chunks(source):
                if chunk:
                    self.digest.update(chunk)
                    self._queue.put(chunk)
            self._queue.put(b"")
        except Exception as failure:
            self._queue.put(failure)

    def _next(self, size: int) -> memoryview:
        """At most `size` bytes, none only at the end."""
        if not self._chunk and not self._ended:
            item = self._queue.get()
            if isinstance(item, Exception):
                raise item
            self._chunk, self._ended = memoryview(item), not item
        piece, self._chunk = self._chunk[:size], self._chunk[size:]
        self.position += len(piece)
        return piece

    def tell(self) -> int:
        return self.position

    def read(self, size: int) -> bytes:
        """Exactly `size` bytes of header, fewer only at the end of the stream."""
        if size > LARGEST_HEADER:
            raise Malformed(f"a header of {size} bytes is too large")
        pieces: list[memoryview] = []
        while size > 0 and (piece := self._next(size)):
            pieces.append(piece)
            size -= len(piece)
        self.last = b"".join(pieces)
        self._journal.header(self.last)
        # tarfile's reader of sparse maps asks for ever at the end of a truncated file.
        self._ends_seen += not self.last
        if self._ends_seen > 2:
            raise Malformed("unexpected end of archive")
        return self.last

    def seek(self, position: int) -> None:
        """Go forward; what is passed over is kept as if it were header."""
        if position < self.position:
            raise Malformed("entry sizes contradict each other")
        while self.position < position and (piece := self._next(position - self.position)):
            self._journal.header(piece)

    def copy(self, size: int, target: int) -> None:
        """The next `size` bytes, as payload, into a file descriptor."""
        while size:
            piece = self._next(size)
            if not piece:
                raise Malformed("unexpected end of archive")
            size -= len(piece)
            while piece:
                piece = piece[os.write(target, piece) :]


class Journal:
    """What is needed to write the same tar again. Opened before chroot, written after."""

    def __init__(self, directory: Path) -> None:
        (directory / "kept").mkdir()
        self._kept = os.open(directory / "kept", os.O_RDONLY | os.O_DIRECTORY)
        self._headers = open(directory / "headers.gz", "wb")
        self._payloads = open(directory / "payloads.gz", "wb")
        self._packer = zlib.compressobj(1, wbits=31)
        self._written = 0
        self._entries: list[tuple[int, int, str]] = []
        self._owners: dict[int, int] = {}

    def header(self, data: bytes | memoryview) -> None:
        self._headers.write(self._packer.compress(data))
        self._written += len(data)

    def payload(self, path: str, size: int, inode: int) -> None:
        """`size` bytes of payload went to the file at `path`."""
        self._owners[inode] = len(self._entries)
        self._entries.append((self._written, size, f"diff{path}"))

    def unlink(self, path: str, inode: int) -> None:
        """Remove a file from diff, keeping its content when the recipe needs it."""
        index = self._owners.pop(inode, None)
        if index is None:
            Path(path).unlink()
            return
        written, size, _ = self._entries[index]
        os.rename(path, str(index), dst_dir_fd=self._kept)
        self._entries[index] = (written, size, f"kept/{index}")

    @property
    def content(self) -> int:
        """Bytes of all payloads."""
        return sum(size for _, size, _ in self._entries)

    def close(self) -> None:
        self._headers.write(self._packer.flush())
        packer = zlib.compressobj(1, wbits=31)
        for entry in self._entries:
            self._payloads.write(packer.compress(json.dumps(entry).encode() + b"\n"))
        self._payloads.write(packer.flush())
        self._headers.close()
        self._payloads.close()
        os.close(self._kept)


class Tree:
    """The layer's tree, from within: `/` is the layer's root. Paths are absolute and free of symbolic links."""

    def __init__(self, feed: Feed, journal: Journal) -> None:
        self._feed = feed
        self._journal = journal
        self._resolved: dict[str, str] = {}
        self._times: list[tuple[str, int]] = []
        self.entry = ""

    def unpack(self) -> None:
        archive = tarfile.TarFile(fileobj=self._feed, mode="r", encoding="utf-8", errors="surrogateescape")
        while info := archive.next():
            archive.members.clear()
            self.entry = info.name
            self._add(info)
        # tarfile takes a damaged header after the first entry for the end of the archive.
        if self._feed.last.strip(b"\0") or len(self._feed.last) not in (0, tarfile.BLOCKSIZE):
            raise Malformed("damaged header")
        self._feed.seek(sys.maxsize)  # The digest counts what follows the last entry too.
        for path, when in reversed(self._times):
            with contextlib.suppress(FileNotFoundError, NotADirectoryError):
                os.utime(path, ns=(when, when), follow_symlinks=False)

    def _add(self, info: tarfile.TarInfo) -> None:
        parent, name = posixpath.split(posixpath.normpath("/" + info.name.lstrip("/")))
        # The root keeps its mode: `tar -C $(mktemp -d) .` must not lock everybody out. `.wh..wh.` is aufs's own.
        if not name or "/.wh..wh." in parent:
            return
        directory = self._directory(parent)
        if name.startswith(WHITEOUT):
            self._whiteout(directory, name)
            return
        path = posixpath.join(directory, name)
        opaque = self._clear(path, info.isdir())
        self._create(path, info)
        if opaque:
            os.setxattr(path, "trusted.overlay.opaque", b"y")
        if not info.islnk():
            self._describe(path, info)

    def _directory(self, path: str) -> str:
        """The real path of a parent directory, which is made when it is missing."""
        known = self._resolved.get(path)
        if known is None:
            known = self._resolved[path] = os.path.realpath(path)
            os.makedirs(known, 0o755, exist_ok=True)
        return known

    def _whiteout(self, directory: str, name: str) -> None:
        hidden = name[len(WHITEOUT) :]
        if name == OPAQUE:
            os.setxattr(directory, "trusted.overlay.opaque", b"y")
        elif hidden in ("", ".", ".."):
            raise Malformed("a whiteout must name a file")
        elif not hidden.startswith(WHITEOUT):
            self._hide(posixpath.join(directory, hidden))

    def _hide(self, path: str) -> None:
        """A whiteout speaks of the layers below: what this layer itself has at `path` stays."""
        try:
            os.mknod(path, stat.S_IFCHR, os.makedev(0, 0))
        except FileExistsError:
            if stat.S_ISDIR(os.lstat(path).st_mode):
                os.setxattr(path, "trusted.overlay.opaque", b"y")

    def _clear(self, path: str, for_directory: bool) -> bool:
        """Make room for an entry. True when a directory takes the place of a whiteout: it must stay opaque."""
        try:
            found = os.lstat(path)
        except FileNotFoundError:
            return False
        if stat.S_ISDIR(found.st_mode):
            if not for_directory:
                self._remove_tree(path)
            return False
        self._resolved.clear()
        self._journal.unlink(path, found.st_ino)
        return for_directory and stat.S_ISCHR(found.st_mode) and found.st_rdev == 0

    def _remove_tree(self, path: str) -> None:
        self._resolved.clear()
        for folder, directories, files in os.walk(path, topdown=False):
            for name in files + directories:
                inner = posixpath.join(folder, name)
                found = os.lstat(inner)
                if stat.S_ISDIR(found.st_mode):
                    os.rmdir(inner)
                else:
                    self._journal.unlink(inner, found.st_ino)
        os.rmdir(path)

    def _create(self, path: str, info: tarfile.TarInfo) -> None:
        if info.isreg():
            self._write(path, info)
        elif info.isdir():
            with contextlib.suppress(FileExistsError):
                os.mkdir(path)
        elif info.issym():
            os.symlink(info.linkname, path)
        elif info.islnk():
            source = posixpath.normpath("/" + info.linkname.lstrip("/"))
            parent, name = posixpath.split(source)
            os.link(posixpath.join(self._directory(parent), name), path, follow_symlinks=False)
        elif info.isfifo():
            os.mkfifo(path)
        elif info.isdev():
            kind = stat.S_IFCHR if info.ischr() else stat.S_IFBLK
            os.mknod(path, kind, os.makedev(info.devmajor, info.devminor))
        else:
            raise Malformed(f"unhandled entry type {info.type!r}")

    def _write(self, path: str, info: tarfile.TarInfo) -> None:
        target = os.open(path, os.O_WRONLY | os.O_CREAT | os.O_EXCL | os.O_NOFOLLOW)
        try:
            if info.sparse is not None:
                self._write_sparse(target, info)
            elif info.size:
                self._journal.payload(path, info.size, os.fstat(target).st_ino)
                self._feed.copy(info.size, target)
        finally:
            os.close(target)

    def _write_sparse(self, target: int, info: tarfile.TarInfo) -> None:
        """The content counts as header in the recipe: these are too rare to deserve better."""
        for offset, size in info.sparse or ():
            os.lseek(target, offset, os.SEEK_SET)
            while size > 0:
                data = self._feed.read(min(size, PLAIN_CHUNK))
                os.write(target, data)
                size -= len(data)
        os.ftruncate(target, info.size)

    def _describe(self, path: str, info: tarfile.TarInfo) -> None:
        """Owner first, then mode, then attributes: chown clears set-id bits and capabilities."""
        os.lchown(path, info.uid, info.gid)
        if not info.issym():
            os.chmod(path, info.mode & 0o7777)
        for key, value in info.pax_headers.items():
            name = key.removeprefix(XATTR)
            # The tar must not speak to overlayfs in its own tongue, only through whiteouts.
            if name != key and not name.startswith("trusted.overlay."):
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
        if failure.errno != errno.ENOTSUP and not (failure.errno == errno.EPERM and name.startswith("user.")):
            raise


def main(directory: Path) -> dict[str, Any]:
    """Unpack standard input into `directory`, which exists and is empty; the report."""
    root = directory / "diff"
    root.mkdir()
    root.chmod(0o755)
    journal = Journal(directory)
    os.umask(0)
    os.chroot(root)
    os.chdir("/")
    feed = Feed(sys.stdin.buffer, journal)
    tree = Tree(feed, journal)
    try:
        tree.unpack()
        journal.close()
    except Exception as failure:
        where = f"archive entry {tree.entry!r}: " if tree.entry else ""
        reason = getattr(failure, "strerror", "") or str(failure) or type(failure).__name__
        return {"error": where + reason, "machine": getattr(failure, "errno", 0) in MACHINE_ERRORS}
    return {"diff_id": f"sha256:{feed.digest.hexdigest()}", "tar_size": feed.position, "size": journal.content}


if __name__ == "__main__":
    print(json.dumps(main(Path(sys.argv[1]))), flush=True)
    os._exit(0)  # The reading thread may be waiting for a writer that waits for us: do not join it.
