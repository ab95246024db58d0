"""Reading conmon's log: pieces, times, the tail, and following."""

from __future__ import annotations

import threading
from collections.abc import Iterable
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from engine.runtime import logs
from engine.runtime.timestamps import nanoseconds, parse, rfc3339
from engine.streams import STDERR, STDOUT, Frame
from netpy.errors import InvalidArgument

BASE = 1_795_255_362
SECOND = 1_000_000_000


def record(text: str, *, at: float = 0, stream: str = "stdout", tag: str = "F") -> str:
    stamp = rfc3339(int((BASE + at) * SECOND)).replace("Z", "+00:00")
    return f"{stamp} {stream} {tag} {text}\n"


def log(tmp_path: Path, *records: str) -> Path:
    path = tmp_path / "log"
    path.write_text("".join(records))
    return path


def text(frames: Iterable[Frame]) -> bytes:
    return b"".join(frame.data for frame in frames)


def test_pieces_are_put_together(tmp_path: Path) -> None:
    path = log(tmp_path, record("ab", tag="P"), record("cd"), record("", stream="stderr"), record("end", tag="P"))
    assert list(logs.read(path)) == [
        Frame(STDOUT, b"ab"),
        Frame(STDOUT, b"cd\n"),
        Frame(STDERR, b"\n"),
        Frame(STDOUT, b"end"),
    ]


def test_streams_are_chosen(tmp_path: Path) -> None:
    path = log(tmp_path, record("out"), record("err", stream="stderr"))
    assert text(logs.read(path, stdout=False)) == b"err\n"
    assert text(logs.read(path, stderr=False)) == b"out\n"


def test_times_stand_in_front_of_lines_not_of_pieces(tmp_path: Path) -> None:
    path = log(tmp_path, record("ab", tag="P"), record("e", stream="stderr"), record("cd"), record("x", at=1.5))
    stamp = rfc3339(BASE * SECOND).encode()
    later = rfc3339(int((BASE + 1.5) * SECOND)).encode()
    expected = stamp + b" ab" + stamp + b" e\n" + b"cd\n" + later + b" x\n"
    assert text(logs.read(path, timestamps=True)) == expected


@pytest.mark.parametrize(
    ("tail", "expected"),
    [(0, b""), (1, b"3\n"), (2, b"2a2b\n3\n"), (3, b"1\n2a2b\n3\n"), (9, b"1\n2a2b\n3\n"), (None, b"1\n2a2b\n3\n")],
)
def test_tail(tmp_path: Path, tail: int | None, expected: bytes) -> None:
    path = log(tmp_path, record("1"), record("2a", tag="P"), record("2b"), record("3"))
    assert text(logs.read(path, tail=tail)) == expected


def test_an_unended_line_counts_as_one(tmp_path: Path) -> None:
    path = log(tmp_path, record("1"), record("2"), record("3", tag="P"))
    assert text(logs.read(path, tail=1)) == b"3"
    assert text(logs.read(path, tail=2)) == b"2\n3"


@given(lines=st.lists(st.text("abc", max_size=30_000), max_size=12), tail=st.integers(0, 14))
def test_the_tail_is_the_end_of_the_whole(
    tmp_path_factory: pytest.TempPathFactory, lines: list[str], tail: int
) -> None:
    path = log(tmp_path_factory.mktemp("log"), *(record(line) for line in lines))
    expected = "".join(line + "\n" for line in (lines[-tail:] if tail else []))
    assert text(logs.read(path, tail=tail)) == expected.encode()


def test_since_and_until(tmp_path: Path) -> None:
    path = log(tmp_path, *(record(str(n), at=n) for n in range(5)))
    assert text(logs.read(path, since=BASE + 1, until=BASE + 3)) == b"1\n2\n3\n"
    assert text(logs.read(path, since=BASE + 9)) == b""


def test_a_broken_line_is_passed_over(tmp_path: Path) -> None:
    path = log(tmp_path, "garbage\n", record("ok"), "2026 stdout F x\n", record("cut")[:-5])
    assert text(logs.read(path)) == b"ok\n"


def test_no_log_is_no_output(tmp_path: Path) -> None:
    assert list(logs.read(tmp_path / "none")) == []


def test_following_reads_what_comes_and_ends_with_the_container(tmp_path: Path) -> None:
    path = log(tmp_path, record("first"))
    ended = threading.Event()
    frames = logs.read(path, follow=True, stopped=ended.is_set)
    assert next(frames).data == b"first\n"
    with path.open("a") as file:
        file.write(record("second")[:20])
        file.flush()
        file.write(record("second")[20:])
    assert next(frames).data == b"second\n"
    with path.open("a") as file:
        file.write(record("last words"))
    ended.set()
    assert text(frames) == b"last words\n"


def test_following_waits_for_a_log_that_is_not_there_yet(tmp_path: Path) -> None:
    path = tmp_path / "log"
    frames = logs.read(path, follow=True, stopped=lambda: False)
    writer = threading.Thread(target=lambda: log(tmp_path, record("late")))
    writer.start()
    assert next(frames).data == b"late\n"
    frames.close()
    writer.join()


def test_another_thread_ends_the_following(tmp_path: Path) -> None:
    frames = logs.read(log(tmp_path), follow=True, stopped=lambda: False)
    closer = threading.Thread(target=frames.close)
    closer.start()
    assert list(frames) == []
    closer.join()


def test_following_ends_at_until(tmp_path: Path) -> None:
    path = log(tmp_path, record("x"))
    assert text(logs.read(path, follow=True, until=BASE - 10**6, stopped=lambda: False)) == b""


def test_moments() -> None:
    assert nanoseconds("2026-11-21T10:02:42.246529466Z") == 1_795_255_362_246_529_466
    assert nanoseconds("2026-11-21T12:02:42.5+02:00") == 1_795_255_362_500_000_000
    assert rfc3339(1_795_255_362_246_529_466) == "2026-11-21T10:02:42.246529466Z"
    with pytest.raises(InvalidArgument, match="invalid time: soon"):
        nanoseconds("soon")
    with pytest.raises(InvalidArgument, match="invalid time"):
        nanoseconds("2026-13-41T10:02:42Z")


@pytest.mark.parametrize(
    ("written", "seconds"),
    [
        ("1795255362", BASE),
        ("1795255362.25", BASE + 0.25),
        ("2026-11-21T10:02:42Z", BASE),
        ("2026-11-21", BASE - 36_162),
        ("2026-11-21T10:02", BASE - 42),
        ("10m", BASE - 600),
        ("1h30m1.5s", BASE - 5401.5),
    ],
)
def test_what_a_user_may_write(written: str, seconds: float) -> None:
    assert parse(written, BASE * SECOND) == round((seconds - BASE) * SECOND) + BASE * SECOND


@pytest.mark.parametrize("written", ["", "10 minutes", "m10", "yesterday", "10m5"])
def test_what_a_user_may_not_write(written: str) -> None:
    with pytest.raises(InvalidArgument):
        parse(written, BASE * SECOND)


@given(st.integers(0, 2**62))
def test_a_moment_survives_being_written(moment: int) -> None:
    assert nanoseconds(rfc3339(moment)) == moment
