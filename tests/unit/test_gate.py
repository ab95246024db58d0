"""The gate of a created container: opened from outside as the runtimes' own `start` opens it, or left alone."""

from __future__ import annotations

import os
import subprocess
import threading
from collections.abc import Iterator
from pathlib import Path

import pytest

from engine.runtime import gate


@pytest.fixture
def fifo(tmp_path: Path) -> Path:
    path = tmp_path / gate.FIFO
    os.mkfifo(path)
    return path


@pytest.fixture
def process() -> Iterator[int]:
    """The pidfd of a process that lives as long as the test."""
    with subprocess.Popen(["sleep", "600"]) as running:
        pidfd = os.pidfd_open(running.pid)
        yield pidfd
        os.close(pidfd)
        running.kill()


@pytest.fixture
def ended() -> Iterator[int]:
    """The pidfd of a process that has ended."""
    with subprocess.Popen(["true"]) as running:
        pidfd = os.pidfd_open(running.pid)
    yield pidfd
    os.close(pidfd)


def test_a_process_that_waits_for_a_reader_goes_on(fifo: Path, process: int) -> None:
    waiting = threading.Thread(target=fifo.write_bytes, args=(b"0",))  # as runc's does
    waiting.start()
    assert gate.opened("runc", fifo.parent, process)
    waiting.join()
    assert not fifo.exists()


def test_a_process_that_waits_for_a_byte_goes_on(fifo: Path, process: int) -> None:
    reader = os.open(fifo, os.O_RDONLY | os.O_NONBLOCK)  # as crun's does
    assert gate.opened("crun", fifo.parent, process)
    assert os.read(reader, 2) == b"0"
    os.close(reader)
    assert not fifo.exists()


@pytest.mark.parametrize("runtime", ["runc", "crun"])
def test_one_that_has_ended_is_left_to_the_runtime(fifo: Path, ended: int, runtime: str) -> None:
    assert not gate.opened(runtime, fifo.parent, ended)
    assert fifo.exists()


@pytest.mark.parametrize("runtime", ["runc", "crun"])
def test_without_a_gate_the_runtime_is_asked(tmp_path: Path, process: int, runtime: str) -> None:
    assert not gate.opened(runtime, tmp_path, process)


def test_other_runtimes_are_asked(fifo: Path, process: int) -> None:
    assert not gate.opened("youki", fifo.parent, process)
    assert fifo.exists()
