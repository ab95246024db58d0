"""The files of one log: the present one, and those that were rotated away, `NAME.1` the youngest of them.

They are read as one stream of records, oldest first, and followed through rotations. A rotated file may be compressed
(`NAME.2.gz`). What is known of a file while it is read is its inode: names move on while we look. Who follows a log is
handed each file that is rotated away, open, so that nothing is lost to one who reads slower than it is written.

Reads files only. What a record means is `engine.runtime.logs`'s business; who rotates, `engine.runtime.rotation`'s.
"""

from __future__ import annotations

import gzip
import os
import shutil
import tempfile
import threading
from collections.abc import Callable, Iterator, Sequence
from contextlib import ExitStack, suppress
from dataclasses import dataclass
from pathlib import Path
from typing import BinaryIO, cast

from engine.runtime.inotify import Watch

BLOCK = 1 << 16
_PATIENCE = 200  # milliseconds between two questions whether the container still lives
_TRIES = 64
_MOST_FILES, _MOST_BYTES = 256, 64 << 20  # what is kept of a log for one who follows it and does not keep up


@dataclass(frozen=True, slots=True)
class Piece:
    """An open file of the log."""

    inode: int
    file: BinaryIO


def rotated(path: Path) -> list[tuple[int, Path]]:
    """The files that were rotated away, with their numbers, the youngest (1) first."""
    found: list[tuple[int, Path]] = []
    with suppress(OSError):
        for file in path.parent.iterdir():
            name, _, number = file.name.removesuffix(".gz").rpartition(".")
            if name == path.name and number.isascii() and number.isdigit():
                found.append((int(number), file))
    return sorted(found)


def opened(path: Path) -> list[Piece]:
    """All files of the log, oldest first. Who rotates meanwhile makes us look again, so that none is missed."""
    for _ in range(_TRIES):
        names = [*(name for _, name in reversed(rotated(path))), path]
        seen = [_inode(name) for name in names]
        pieces = [piece for name in names if (piece := _open(name))]
        if seen == [_inode(name) for name in names]:
            return _once(pieces)
        for piece in pieces:
            piece.file.close()
    return [piece] if (piece := _open(path)) else []


def _once(pieces: Sequence[Piece]) -> list[Piece]:
    """Half-way through a rotation, two names stand for one file."""
    known = {piece.inode: piece for piece in reversed(pieces)}
    for piece in pieces:
        if known[piece.inode] is not piece:
            piece.file.close()
    return [piece for piece in pieces if known[piece.inode] is piece]


def _inode(path: Path) -> int:
    with suppress(OSError):
        return path.stat().st_ino
    return 0


def _open(path: Path) -> Piece | None:
    try:
        file = path.open("rb")
    except FileNotFoundError:
        return None
    inode = os.fstat(file.fileno()).st_ino
    if path.suffix != ".gz":
        return Piece(inode, file)
    plain = cast(BinaryIO, tempfile.TemporaryFile())  # noqa: SIM115 - whoever reads it closes it
    try:
        with file, gzip.open(file) as packed, suppress(EOFError, OSError):
            shutil.copyfileobj(packed, plain)
        plain.seek(0)
    except BaseException:
        plain.close()
        raise
    return Piece(inode, plain)


@dataclass(frozen=True, slots=True, kw_only=True)
class Course:
    """How a log is read. `lines`: how many to the end, None for all. `over` tells that no more will come."""

    lines: int | None = None
    follow: bool = False
    over: Callable[[], bool] = lambda: True


def records(path: Path, course: Course) -> Iterator[bytes]:
    """The records of the log without their line ends; more as they come if following."""
    with ExitStack() as resources:
        watch = resources.enter_context(Watch()) if course.follow else None
        if watch:
            watch.add(path.parent)
        reader = _Reader(path, following=course.follow)
        resources.callback(reader.close)
        reader.begin(course.lines)
        while True:
            # Asked before reading, so that what was said before the end is still read.
            last = watch is None or course.over()
            yield from reader.fresh()
            if last or watch is None:
                return
            watch.wait(_PATIENCE)


def hand_over(path: Path, file: Path, *, last: bool = False) -> None:
    """Tell those who follow the log at `path` that `file` is what was there; with `last`, that no more will come."""
    with _lock:
        for reader in _followers.get(path, ()):
            reader.take(_open(file), last=last)


_lock = threading.Lock()
_followers: dict[Path, list[_Reader]] = {}


class _Reader:
    """A place in the log that moves on: the rest of the open file, then the files after it."""

    def __init__(self, path: Path, *, following: bool) -> None:
        self._path = path
        self._pieces: list[Piece] = []
        self._rest = b""
        self._handed: list[Piece] = []
        self._ended = False
        if following:
            with _lock:
                _followers.setdefault(path, []).append(self)

    def begin(self, lines: int | None) -> None:
        """Open the files, and go to where the last `lines` lines begin."""
        self._pieces = opened(self._path)
        with _lock:
            self._forget(self._place(default=len(self._handed)))
        index, offset = tail_start([piece.file for piece in self._pieces], lines)
        _close(self._pieces[:index])
        self._pieces = self._pieces[index:]
        for piece in self._pieces:
            piece.file.seek(0 if piece is not self._pieces[0] else offset)

    def close(self) -> None:
        with _lock:
            readers = _followers.get(self._path, [])
            if self in readers:
                readers.remove(self)
            if not readers:
                _followers.pop(self._path, None)
        _close([*self._pieces, *self._handed])

    def take(self, piece: Piece | None, *, last: bool) -> None:
        """A file that was rotated away. Of a reader that does not read, not everything can be kept."""
        self._ended = last
        if piece and self._handed and self._handed[-1].inode == piece.inode:
            piece.file.close()
        elif piece:
            self._handed.append(piece)
        while len(self._handed) > 2 and (len(self._handed) > _MOST_FILES or _size(self._handed) > _MOST_BYTES):
            self._handed.pop(0).file.close()

    def fresh(self) -> Iterator[bytes]:
        """Every record there is by now."""
        while True:
            yield from self._read()
            if len(self._pieces) > 1:
                self._pieces.pop(0).file.close()
            elif not self._has_moved():
                return
            else:
                # Ours will not grow any more, but may have grown since we read it.
                yield from self._read()
                if not self._move():
                    return
            self._rest = b""

    def _read(self) -> Iterator[bytes]:
        while self._pieces and (block := self._pieces[0].file.read(BLOCK)):
            *lines, self._rest = (self._rest + block).split(b"\n")
            yield from lines

    def _has_moved(self) -> bool:
        """Whether another file stands at the log's name than the one that we read."""
        return not self._pieces or _inode(self._path) not in (0, self._pieces[0].inode) or self._ended

    def _move(self) -> bool:
        """To the file after the present one. Returns whether there is one."""
        ended = self._ended
        present = None if ended else _open(self._path)
        with _lock:
            self._forget(self._place(default=-1) + 1)
            following = self._handed.pop(0) if self._handed else None
        if following and present:
            present.file.close()
        following = following or present
        if following is None:
            return False
        if self._pieces and following.inode == self._pieces[0].inode:
            following.file.close()
            return False
        _close(self._pieces)
        self._pieces = [following]
        return True

    def _place(self, *, default: int) -> int:
        """Where the last file that we have open is among those that we were handed."""
        inodes = [piece.inode for piece in self._handed]
        return inodes.index(self._pieces[-1].inode) if self._pieces and self._pieces[-1].inode in inodes else default

    def _forget(self, count: int) -> None:
        _close(self._handed[:count])
        self._handed = self._handed[count:]


def _close(pieces: Sequence[Piece]) -> None:
    for piece in pieces:
        piece.file.close()


def _size(pieces: Sequence[Piece]) -> int:
    return sum(os.fstat(piece.file.fileno()).st_size for piece in pieces)


def tail_start(files: Sequence[BinaryIO], lines: int | None) -> tuple[int, int]:
    """In which of the files the last `lines` lines begin, and at which byte. (0, 0) for None, or when there are fewer.

    A line is all records up to one that ends it; the newest record belongs to the last line, ended or not.
    """
    if lines is None:
        return 0, 0
    count, newest = 0, True
    for index in reversed(range(len(files))):
        for end, record in _backwards(files[index]):
            count += newest or record.split(b" ", 3)[2:3] == [b"F"]
            newest = False
            if count > lines:
                return index, end
    return 0, 0


def _backwards(file: BinaryIO) -> Iterator[tuple[int, bytes]]:
    """The whole records of a file, the last first, each with the offset of its end. The position moves."""
    start, data = file.seek(0, os.SEEK_END), b""
    while start > 0 or data:
        while (begin := data.rfind(b"\n", 0, len(data) - 1)) >= 0 or (start == 0 and data):
            if data.endswith(b"\n"):
                yield start + len(data), data[begin + 1 : -1]
            data = data[: begin + 1]
        if start == 0:
            return
        size = min(BLOCK, start)
        start -= size
        file.seek(start)
        data = file.read(size) + data
