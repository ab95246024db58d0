"""The tracer of the crash matrix: it sees what a process changes, in all of its threads, and kills it in time."""

from __future__ import annotations

import platform
import signal
import subprocess
import sys
from pathlib import Path

import pytest

from scripts.tortures.crash_calls import plain

pytestmark = [
    pytest.mark.root,
    pytest.mark.skipif(platform.machine() != "x86_64", reason="elsewhere the same calls have other names"),
]
WORK = """
import os, socket, subprocess, sys, threading
from pathlib import Path
place = Path(sys.argv[1])
input()
(place / "first").mkdir()
(place / "first").mkdir(exist_ok=True)  # changes nothing
def more():
    with open(place / "first" / "file", "w") as file:
        file.write("x")
threads = [threading.Thread(target=more) for _ in range(2)]
for thread in threads:
    thread.start()
    thread.join()
subprocess.run(["true"])
with socket.socket(socket.AF_NETLINK, socket.SOCK_RAW, 0) as line:
    line.send(bytes((20, 0, 0, 0, 18, 0)) + bytes(14))  # RTM_GETLINK: only looks
    line.send(bytes((20, 0, 0, 0, 17, 0)) + bytes(14))  # RTM_DELLINK
(place / "first" / "file").unlink()
(place / "first").rmdir()
"""
SEEN = [
    "mkdir {0}/first #1",
    "openat {0}/first/file #1",
    "write {0}/first/file #1",
    "openat {0}/first/file #2",
    "write {0}/first/file #2",
    "vfork #1",
    "sendto DELLINK #1",
    "unlink {0}/first/file #1",
    "rmdir {0}/first #1",
]


def traced(folder: Path, wanted: str) -> tuple[int, list[str]]:
    """How the process ended, and what was seen of it."""
    seen = folder / "seen"
    work = subprocess.Popen([sys.executable, "-c", WORK, str(folder)], stdin=subprocess.PIPE, text=True)
    tracer = subprocess.Popen(
        [sys.executable, "-m", "scripts.tortures.crash_tracer", str(seen), wanted],
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        text=True,
    )
    assert tracer.stdin and tracer.stdout
    tracer.stdin.write(f"{work.pid}\n")
    tracer.stdin.flush()
    assert tracer.stdout.readline() == "ready\n"
    work.communicate("go\n", timeout=60)
    tracer.communicate(timeout=60)
    assert tracer.returncode == 0
    return work.returncode, seen.read_text().splitlines()


def test_it_sees_what_is_changed_and_nothing_else(tmp_path: Path) -> None:
    code, seen = traced(tmp_path, "-")
    assert code == 0
    assert [line.replace(plain(str(tmp_path)), "{0}") for line in seen] == SEEN


@pytest.mark.parametrize("number", range(len(SEEN)))
def test_it_kills_before_the_change(tmp_path: Path, number: int) -> None:
    code, seen = traced(tmp_path, SEEN[number].format(plain(str(tmp_path))))
    assert code == -signal.SIGKILL
    assert len(seen) == number + 1
    file = tmp_path / "first" / "file"
    assert (tmp_path / "first").exists() == (number > 0), "the directory is made first, and goes last"
    assert file.exists() == (1 < number < 8)
    assert not file.exists() or file.stat().st_size == (number in (3, 5, 6, 7)), "opened anew it is empty"
