"""Rotation of logs: a log that has grown to its limit becomes `NAME.1`, what was `NAME.1` becomes `NAME.2`, and so on.

How it works. conmon holds the log open, and can be told to begin a new file: it puts that in the place of the old one.
So the old one first gets its second name, `NAME.1`, by a link; nothing is lost, and a crash in between leaves
two names for one file, which readers take for one and the next rotation finishes. What a busy container has written
beyond the limit before it was noticed is cut into files of the right size afterwards. A log of a single file
(`files` 1) conmon starts over by itself, and for the others it has a bound far above the limit, so that a container
cannot fill the disk while no daemon runs.

One thread looks after all logs that have a limit; it sleeps until one of them is written to. Starts that thread, reads
and writes files.
"""

from __future__ import annotations

import gzip
import logging
import os
import shutil
import threading
from collections.abc import Iterator
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path

from engine.runtime import conmon
from engine.runtime.inotify import Watch
from engine.runtime.logfiles import hand_over, rotated

logger = logging.getLogger(__name__)
SAFETY = 64 << 20  # bytes that a log may grow to while no daemon rotates it, if its files are smaller together
_PACE = 0.01  # seconds between two looks at logs that are written to all the time
_ANSWER, _STEP = 2.0, 0.002  # seconds: how long conmon may take to begin a new file, and how often we look


@dataclass(frozen=True, slots=True, kw_only=True)
class Limit:
    """Bytes of one file of a log, how many files there may be, and whether those that are rotated are compressed."""

    size: int
    files: int = 1
    compress: bool = False

    @property
    def bound(self) -> int:
        """What conmon lets the present file grow to, in bytes, by itself."""
        return self.size if self.files == 1 else max(SAFETY, self.size * self.files)


@dataclass(frozen=True, slots=True, kw_only=True)
class Log:
    """A log that is rotated; `directory` is where conmon's control is."""

    path: Path
    directory: Path
    limit: Limit


class Rotation:
    """Keeps logs within their limits. Thread-safe."""

    def __init__(self) -> None:
        self._lock = threading.Lock()
        self._logs: dict[str, tuple[int, Log]] = {}
        self._stopping = threading.Event()
        self._watch: Watch | None = None
        self._wake = -1

    def follow(self, name: str, log: Log) -> None:
        """Look after the log of a running container."""
        if log.limit.files == 1:
            return
        with self._lock:
            watch = self._watch or self._start()
            number = watch.add(log.path.parent)
            if number < 0:
                logger.warning("the log of container %s cannot be watched: it will not be rotated", name[:12])
            self._logs[name] = (number, log)
        self._tend(name)

    def settle(self, name: str) -> None:
        """The container has ended: bring its log within its limit for good, and look after it no longer."""
        with self._lock:
            number, log = self._logs.pop(name, (-1, None))
            if log is None or self._watch is None:
                return
            self._watch.drop(number)
            with suppress(OSError):
                if log.path.stat().st_size > log.limit.size:
                    _settle(log)

    def close(self) -> None:
        """Stop looking."""
        self._stopping.set()
        with self._lock:
            if self._watch:
                os.write(self._wake, b"\0")

    def _start(self) -> Watch:
        watch = self._watch = Watch()
        reader, self._wake = os.pipe2(os.O_CLOEXEC | os.O_NONBLOCK)
        watch.also(reader)

        def run() -> None:
            while not self._stopping.wait(_PACE):
                for name in self._names(watch.wait(None)):
                    self._tend(name)
            with self._lock:
                self._watch = None
                watch.close()
                os.close(reader)
                os.close(self._wake)

        threading.Thread(target=run, name="rotation", daemon=True).start()
        return watch

    def _names(self, changed: set[int]) -> list[str]:
        with self._lock:
            return [name for name, (number, _) in self._logs.items() if number in changed]

    def _tend(self, name: str) -> None:
        with self._lock:
            _, log = self._logs.get(name, (-1, None))
            if log is None:
                return
            try:
                if log.path.stat().st_size >= log.limit.size:
                    _rotate(log)
            except FileNotFoundError:
                return
            except OSError as error:
                logger.warning("rotating the log of container %s: %s", name[:12], error)


def _rotate(log: Log) -> None:
    """Move the log away under a running container."""
    old = log.path.stat().st_ino
    if not _linked(log):
        _shift(log, 1)
        os.link(log.path, _name(log, 1))
    hand_over(log.path, log.path)
    if conmon.reopen_log(log.directory, lambda: log.path.stat().st_ino != old, _ANSWER, _STEP):
        _divide(log, 1)
        _tidy(log)
    # Else it has ended; `settle` does the rest.


def _settle(log: Log) -> None:
    """The same for a log that nobody writes to any more."""
    if _linked(log):
        _name(log, 1).unlink()
        for number, path in rotated(log.path):
            path.replace(_name(log, number - 1, _packed(path)))
    hand_over(log.path, log.path, last=True)
    _divide(log, 0)
    _tidy(log)


def _name(log: Log, number: int, suffix: str = "") -> Path:
    """`NAME.1.gz`; number 0 is the present file."""
    return log.path.with_name(f"{log.path.name}.{number}{suffix}") if number else log.path


def _linked(log: Log) -> bool:
    """Whether an earlier rotation got as far as the second name."""
    with suppress(FileNotFoundError):
        return _name(log, 1).stat().st_ino == log.path.stat().st_ino
    return False


def _shift(log: Log, by: int, first: int = 1) -> None:
    """Make room for `by` more files before the one numbered `first`, and drop those that are too many then."""
    for number, path in reversed(rotated(log.path)):
        if number + by >= log.limit.files:
            path.unlink()
        elif number >= first and by:
            path.replace(_name(log, number + by, _packed(path)))


def _packed(path: Path) -> str:
    return ".gz" if path.suffix == ".gz" else ""


def _divide(log: Log, number: int) -> None:
    """Cut a file that has outgrown the limit by far into files of the right size, the last of which takes its number.

    All of them are new files: whoever reads the old one has it open, and reads it to its end.
    """
    whole = _name(log, number)
    if whole.stat().st_size <= log.limit.size + number * log.limit.size // 4:
        return
    pieces = list(_pieces(whole, log.limit.size))[number - log.limit.files :]
    if len(pieces) == 1 and pieces[0][0] == 0:
        return
    parts = [whole.with_name(f"{log.path.name}.part{index}") for index in range(len(pieces))]
    for part, piece in zip(parts, reversed(pieces), strict=True):
        _copy(whole, piece, part)
    whole.unlink()
    _shift(log, len(pieces) - 1, number + 1)
    for index, part in enumerate(parts, number):
        part.replace(_name(log, index))


def _pieces(path: Path, size: int) -> Iterator[tuple[int, int]]:
    """Where a file is to be cut: each piece ends with the line that fills it."""
    begin, end = 0, path.stat().st_size
    with path.open("rb") as file:
        while begin < end:
            file.seek(min(begin + size - 1, end))
            file.readline()
            yield begin, file.tell()
            begin = file.tell()


def _copy(source: Path, piece: tuple[int, int], target: Path) -> None:
    begin, end = piece
    with source.open("rb") as old, open(os.open(target, os.O_CREAT | os.O_WRONLY | os.O_TRUNC, 0o640), "wb") as new:
        while begin < end and (sent := os.sendfile(new.fileno(), old.fileno(), begin, end - begin)):
            begin += sent


def _tidy(log: Log) -> None:
    """Drop files that are too many, compress those that are to be."""
    for number, path in rotated(log.path):
        if number >= log.limit.files:
            path.unlink()
        elif log.limit.compress and not _packed(path):
            partial = path.with_name(path.name + ".partial")
            with path.open("rb") as plain, gzip.open(partial, "wb", compresslevel=6) as packed:
                shutil.copyfileobj(plain, packed)
            partial.replace(path.with_name(path.name + ".gz"))
            path.unlink()
