"""Reading the log of a container, as conmon writes it (`k8s-file`).

A record is one line: `STAMP stdout|stderr P|F TEXT`. F ends a line of output; P is a piece of one that was too long,
or that waited too long for its end, or has none. The pieces put together are exactly what was written.

`tail` is found from the end of the file, without reading the rest. `follow` waits for the file to change (inotify, by
way of the C library) and now and then asks whether the container still lives. Reads files only.
"""

from __future__ import annotations

import ctypes
import os
import select
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import ExitStack, suppress
from dataclasses import dataclass
from pathlib import Path
from typing import BinaryIO, TypedDict, Unpack

from engine.runtime.timestamps import nanoseconds, rfc3339
from engine.streams import STDERR, STDOUT, Frame
from netpy.errors import InvalidArgument

_BLOCK = 1 << 16
_GROWTH = 4
_PATIENCE = 200  # milliseconds between two questions whether the container still lives
_SECOND = 1_000_000_000
_IN_MODIFY, _IN_CLOSE_WRITE = 0x2, 0x8
_libc = ctypes.CDLL(None, use_errno=True)


class Options(TypedDict, total=False):
    """What of the log is wanted. Times are seconds since the epoch; `tail` counts lines, None means all.

    `stopped` tells whether the container has ended, which is when following ends.
    """

    since: float | None
    until: float | None
    tail: int | None
    follow: bool
    timestamps: bool
    stdout: bool
    stderr: bool
    stopped: Callable[[], bool]


@dataclass(frozen=True, slots=True)
class Record:
    """One line of the log file. `moment` is in nanoseconds since the epoch; `text` has its line end, if any."""

    moment: int
    stream: int
    text: bytes
    ends_line: bool


class Output:
    """Frames of a log, one by one. `close` ends a wait for more from another thread, within a fraction of a second."""

    def __init__(self, path: Path, options: Options) -> None:
        self._closed = threading.Event()
        stopped = options.get("stopped", lambda: True)
        self._frames = _frames(path, {**options, "stopped": lambda: self._closed.is_set() or stopped()})

    def __iter__(self) -> Output:
        return self

    def __next__(self) -> Frame:
        return next(self._frames)

    def close(self) -> None:
        """End the iteration. Idempotent; from any thread."""
        self._closed.set()


def read(path: Path, **options: Unpack[Options]) -> Output:
    """The output of a container, oldest first; nothing where there is no log. Like `docker logs`.

    `timestamps` puts an RFC 3339 time in front of each line. `tail` is taken before the times and streams are sorted
    out, as Docker does.
    """
    return Output(path, options)


def _frames(path: Path, options: Options) -> Iterator[Frame]:
    wanted = {STDOUT: options.get("stdout", True), STDERR: options.get("stderr", True)}
    fresh = {STDOUT: True, STDERR: True}
    for record in _selected(path, options):
        at_start, fresh[record.stream] = fresh[record.stream], record.ends_line
        if wanted[record.stream]:
            stamped = options.get("timestamps", False) and at_start
            yield Frame(record.stream, (rfc3339(record.moment).encode() + b" " if stamped else b"") + record.text)


def _selected(path: Path, options: Options) -> Iterator[Record]:
    since, until = (_moment(options.get(name)) for name in ("since", "until"))
    for line in _lines(path, options, until):
        record = parse(line)
        if record is None or (since is not None and record.moment < since):
            continue
        if until is not None and record.moment > until:
            return
        yield record


def _moment(seconds: float | None) -> int | None:
    return None if seconds is None else int(seconds * _SECOND)


def parse(line: bytes) -> Record | None:
    """One line of the file; None for one that is no record, as a crash may leave."""
    parts = line.split(b" ", 3)
    if len(parts) < 4:
        return None
    stamp, stream, tag, text = parts
    number = {b"stdout": STDOUT, b"stderr": STDERR}.get(stream)
    if number is None:
        return None
    ends_line = tag.startswith(b"F")
    try:
        return Record(nanoseconds(stamp.decode("ascii", "replace")), number, text + b"\n" * ends_line, ends_line)
    except InvalidArgument:
        return None


def _lines(path: Path, options: Options, until: int | None) -> Iterator[bytes]:
    """The lines of the file from where `tail` begins, without their ends; more as they come if following."""
    follow, stopped = options.get("follow", False), options.get("stopped", lambda: True)
    with ExitStack() as opened:
        changes = opened.enter_context(_Changes(path)) if follow else None
        file: BinaryIO | None = None
        rest = b""
        while True:
            # Asked before reading, so that what was said before the end is still read.
            last = changes is None or stopped() or (until is not None and time.time_ns() > until)
            if file is None and path.exists():
                file = opened.enter_context(path.open("rb"))
                file.seek(tail_offset(file, options.get("tail")))
            while file is not None and (block := file.read(_BLOCK)):
                *lines, rest = (rest + block).split(b"\n")
                yield from lines
            if last or changes is None:
                return
            changes.wait()


def tail_offset(file: BinaryIO, lines: int | None) -> int:
    """Where in the file the last `lines` lines begin; 0 for None. The position of the file moves."""
    if lines is None:
        return 0
    size = file.seek(0, os.SEEK_END)
    window = _BLOCK
    while True:
        start = max(0, size - window)
        file.seek(start)
        offset = _tail_in(file.read(size - start), lines, whole=start == 0)
        if offset is not None:
            return start + offset
        window *= _GROWTH


def _tail_in(data: bytes, lines: int, *, whole: bool) -> int | None:
    """The same in a piece of the file; None when it begins before the piece. The first record may be cut."""
    end = data.rfind(b"\n") + 1
    count, newest = 0, True
    while end > 0:
        begin = data.rfind(b"\n", 0, end - 1) + 1
        if begin == 0 and not whole:
            return None
        # The newest record is part of the last line, whether that has ended or not.
        count += newest or data[begin:end].split(b" ", 3)[2:3] == [b"F"]
        if count > lines:
            return end
        end, newest = begin, False
    return 0 if whole else None


class _Changes:
    """Waiting for a file to be written to, by inotify; for one that does not exist yet, by looking again."""

    def __init__(self, path: Path) -> None:
        self._path = os.fsencode(path)
        self._fd = _libc.inotify_init1(os.O_CLOEXEC | os.O_NONBLOCK)
        self._watching = False
        self._poll = select.poll()
        self._poll.register(self._fd, select.POLLIN)
        self._watch()

    def __enter__(self) -> _Changes:
        return self

    def __exit__(self, *_: object) -> None:
        os.close(self._fd)

    def wait(self) -> None:
        """Until something was written, or for a while."""
        if not self._watching and self._watch():
            return  # it may have been written to before we looked
        if self._poll.poll(_PATIENCE):
            with suppress(BlockingIOError):
                os.read(self._fd, _BLOCK)

    def _watch(self) -> bool:
        # The writer's close wakes us up, too: that is when the container has ended.
        self._watching = _libc.inotify_add_watch(self._fd, self._path, _IN_MODIFY | _IN_CLOSE_WRITE) >= 0
        return self._watching
