"""Reading the log of a container, as conmon writes it (`k8s-file`).

A record is one line: `STAMP stdout|stderr P|F TEXT`. F ends a line of output; P is a piece of one that was too long,
or that waited too long for its end, or has none. The pieces put together are exactly what was written.

`tail` is found from the end, without reading the rest; which files a log has, and how they are followed, is the
business of `engine.runtime.logfiles`. Reads files only.
"""

from __future__ import annotations

import threading
import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import TypedDict, Unpack

from engine.runtime.logfiles import Course
from engine.runtime.logfiles import records as lines_of
from engine.runtime.timestamps import nanoseconds, rfc3339
from engine.streams import STDERR, STDOUT, Frame
from netpy.errors import InvalidArgument

_SECOND = 1_000_000_000


class Options(TypedDict, total=False):
    """What of the log is wanted. Times are seconds since the epoch; `tail` counts lines, None means all.

    `stopped` tells whether the container has ended, which is when following ends. `details` are put in front of each
    line, behind its time.
    """

    since: float | None
    until: float | None
    tail: int | None
    follow: bool
    timestamps: bool
    stdout: bool
    stderr: bool
    details: bytes
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
        asked: Options = {**options, "stopped": lambda: self._closed.is_set() or stopped()}
        self._frames = frames_of(_selected(path, asked), asked)

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


def frames_of(records: Iterator[Record], options: Options) -> Iterator[Frame]:
    """The records that are wanted, each line with what is to stand in front of it."""
    wanted = {STDOUT: options.get("stdout", True), STDERR: options.get("stderr", True)}
    fresh = {STDOUT: True, STDERR: True}
    details = options.get("details", b"")
    for record in records:
        at_start, fresh[record.stream] = fresh[record.stream], record.ends_line
        if wanted[record.stream]:
            stamped = options.get("timestamps", False) and at_start
            lead = (rfc3339(record.moment).encode() + b" " if stamped else b"") + (details if at_start else b"")
            yield Frame(record.stream, lead + record.text)


def _selected(path: Path, options: Options) -> Iterator[Record]:
    since, until = (_moment(options.get(name)) for name in ("since", "until"))
    stopped = options.get("stopped", lambda: True)
    course = Course(
        lines=options.get("tail"),
        follow=options.get("follow", False),
        over=lambda: stopped() or (until is not None and time.time_ns() > until),
    )
    for line in lines_of(path, course):
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
