"""What happens where there is no room for one more thread."""

from __future__ import annotations

import os
import threading

import pytest

from engine.containers.running import aside as future_of
from engine.containers.timing import Scheduler
from engine.runtime.watcher import Watcher
from netpy import threads
from netpy.errors import KernelError


@pytest.fixture
def crowded(monkeypatch: pytest.MonkeyPatch) -> None:
    def refuse(thread: threading.Thread) -> None:
        raise RuntimeError("can't start new thread")

    monkeypatch.setattr(threading.Thread, "start", refuse)


def test_with_room_it_is_done_elsewhere() -> None:
    where: list[threading.Thread] = []
    threads.started(lambda: where.append(threading.current_thread()), "worker").join()
    assert [thread.name for thread in where] == ["worker"]


@pytest.mark.usefixtures("crowded")
def test_without_room_it_is_refused_in_words_or_done_here() -> None:
    with pytest.raises(KernelError, match="no thread can be started for worker: out of processes"):
        threads.started(lambda: None, "worker")
    assert future_of(threading.current_thread).result(0) is threading.current_thread()


def test_an_end_is_told_although_there_is_no_room_for_a_thread(monkeypatch: pytest.MonkeyPatch) -> None:
    watcher, told = Watcher(), threading.Event()
    pid = os.posix_spawn("/bin/sleep", ["sleep", "0.2"], {})
    watcher.add(os.pidfd_open(pid), told.set)

    def refuse(thread: threading.Thread) -> None:
        raise RuntimeError("can't start new thread")

    monkeypatch.setattr(threading.Thread, "start", refuse)
    assert told.wait(30)
    os.waitpid(pid, 0)
    watcher.close()


@pytest.mark.usefixtures("crowded")
def test_what_could_not_begin_can_be_tried_again(monkeypatch: pytest.MonkeyPatch) -> None:
    watcher, scheduler, told = Watcher(), Scheduler(), threading.Event()
    pid = os.posix_spawn("/bin/sleep", ["sleep", "0.2"], {})
    with pytest.raises(KernelError):
        watcher.add(os.pidfd_open(pid), told.set)
    with pytest.raises(KernelError):
        scheduler.after(0, "key", told.set)
    monkeypatch.undo()
    watcher.add(os.pidfd_open(pid), told.set)
    assert told.wait(30)
    os.waitpid(pid, 0)
    told.clear()
    scheduler.after(0, "key", told.set)
    assert told.wait(30)
    watcher.close()
    scheduler.close()
