"""Logs of several files: read as one, followed through rotations, cut to size. A thread plays conmon where one is needed."""

from __future__ import annotations

import gzip
import os
import threading
from collections.abc import Iterator
from pathlib import Path

import pytest

from engine.runtime import conmon, logfiles, logs
from engine.runtime.rotation import Limit, Log, Rotation
from engine.runtime.timestamps import rfc3339
from tests.unit.container_lab import until

BASE = 1_795_255_362_000_000_000


def lines(first: int, last: int) -> bytes:
    """The records of a line for each number, a nanosecond apart, 50 bytes each."""
    stamps = (rfc3339(BASE + number).replace("Z", "+00:00") for number in range(first, last))
    return b"".join(f"{stamp} stdout F {n:06d}\n".encode() for stamp, n in zip(stamps, range(first, last), strict=True))


RECORD = len(lines(0, 1))


def numbers(path: Path, **options: object) -> list[int]:
    return [int(frame.data) for frame in logs.read(path, **options)]  # pyright: ignore[reportArgumentType]


class Monitor:
    """What conmon does with a log: writes, and begins a new file when told to."""

    def __init__(self, directory: Path) -> None:
        self.log = directory / "log"
        os.mkfifo(directory / conmon.CONTROL)
        self._control = os.open(directory / conmon.CONTROL, os.O_RDWR)
        self._file = self.log.open("ab", buffering=0)
        self._lock = threading.Lock()
        self._thread = threading.Thread(target=self._obey, daemon=True)
        self._thread.start()

    def _obey(self) -> None:
        while os.read(self._control, 64) == b"2 0 0\n":
            fresh = self.log.with_name("log.tmp")
            with self._lock:
                self._file.close()
                self._file = fresh.open("wb", buffering=0)
                fresh.replace(self.log)

    def write(self, data: bytes) -> None:
        with self._lock:
            self._file.write(data)

    def end(self) -> None:
        """It has ended: nobody hears a request any more."""
        if self._control >= 0:
            self.log.with_name(conmon.CONTROL).unlink()
            os.write(self._control, b"end")
            self._thread.join()
            os.close(self._control)
            self._file.close()
            self._control = -1


@pytest.fixture
def monitor(tmp_path: Path) -> Iterator[Monitor]:
    made = Monitor(tmp_path)
    yield made
    made.end()


@pytest.fixture
def rotation() -> Iterator[Rotation]:
    made = Rotation()
    yield made
    made.close()


def log(monitor: Monitor, size: int, files: int, *, compress: bool = False) -> Log:
    return Log(path=monitor.log, directory=monitor.log.parent, limit=Limit(size=size, files=files, compress=compress))


def test_all_files_are_read_oldest_first_and_the_tail_across_them(tmp_path: Path) -> None:
    path = tmp_path / "log"
    (tmp_path / "log.2.gz").write_bytes(gzip.compress(lines(0, 10)))
    (tmp_path / "log.1").write_bytes(lines(10, 20))
    path.write_bytes(lines(20, 25))
    assert numbers(path) == list(range(25))
    for tail in (0, 3, 5, 6, 15, 16, 30):
        assert numbers(path, tail=tail) == list(range(25))[25 - min(tail, 25) :]


def test_two_names_for_one_file_are_read_once(tmp_path: Path) -> None:
    path = tmp_path / "log"
    path.write_bytes(lines(0, 3))
    (tmp_path / "log.1").hardlink_to(path)
    assert numbers(path) == [0, 1, 2]


def test_a_log_at_its_limit_is_moved_away_while_it_is_written(monitor: Monitor, rotation: Rotation) -> None:
    rotation.follow("c", log(monitor, 5 * RECORD, 3))
    for start in range(0, 60, 5):
        monitor.write(lines(start, start + 5))
        until(lambda: monitor.log.stat().st_size == 0)
    monitor.write(lines(60, 62))
    assert numbers(monitor.log) == list(range(50, 62))
    assert [path.name for _, path in logfiles.rotated(monitor.log)] == ["log.1", "log.2"]


def test_what_came_too_fast_is_cut_into_pieces(monitor: Monitor, rotation: Rotation) -> None:
    monitor.write(lines(0, 98))
    rotation.follow("c", log(monitor, 10 * RECORD, 4, compress=True))
    assert numbers(monitor.log) == list(range(70, 98))
    assert [path.name for _, path in logfiles.rotated(monitor.log)] == ["log.1.gz", "log.2.gz", "log.3.gz"]


def test_following_goes_on_behind_rotations_and_cuts(monitor: Monitor, rotation: Rotation) -> None:
    ended = threading.Event()
    found: list[int] = []
    frames = logs.read(monitor.log, follow=True, stopped=ended.is_set)
    reader = threading.Thread(target=lambda: found.extend(int(frame.data) for frame in frames), daemon=True)
    monitor.write(lines(0, 20))
    reader.start()
    until(lambda: len(found) == 20)
    rotation.follow("c", log(monitor, 10 * RECORD, 3, compress=True))
    for start in range(20, 200, 6):
        monitor.write(lines(start, start + 6))
        until(lambda expected=start + 6: len(found) == expected)
    monitor.end()
    rotation.settle("c")
    ended.set()
    reader.join(10)
    assert found == list(range(200))


def test_an_ended_log_is_cut_and_keeps_its_last_piece(monitor: Monitor, rotation: Rotation) -> None:
    rotation.follow("c", log(monitor, 10 * RECORD, 3))
    monitor.end()
    monitor.log.write_bytes(lines(0, 47))
    rotation.settle("c")
    assert numbers(monitor.log) == list(range(20, 47))
    assert monitor.log.read_bytes() == lines(40, 47)


def test_an_end_in_the_midst_of_a_rotation_loses_nothing(monitor: Monitor, rotation: Rotation) -> None:
    monitor.write(lines(0, 10))
    rotation.follow("c", log(monitor, 10 * RECORD, 3))
    monitor.end()
    monitor.log.write_bytes(lines(10, 22))
    monitor.log.with_name("log.1").replace(monitor.log.with_name("log.2"))
    monitor.log.with_name("log.1").hardlink_to(monitor.log)
    rotation.settle("c")
    assert numbers(monitor.log) == list(range(22))
    assert [path.name for _, path in logfiles.rotated(monitor.log)] == ["log.1", "log.2"]


def test_a_rotation_that_was_cut_short_is_finished(monitor: Monitor, rotation: Rotation) -> None:
    monitor.write(lines(0, 12))
    monitor.log.with_name("log.1").hardlink_to(monitor.log)
    rotation.follow("c", log(monitor, 10 * RECORD, 2))
    monitor.write(lines(12, 14))
    assert numbers(monitor.log) == list(range(14))
