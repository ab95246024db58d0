"""Waiting and timing: the two places where threads of this package meet."""

from __future__ import annotations

import threading

import pytest

from engine.containers.timing import Scheduler
from engine.containers.waiting import Waiters


def test_work_runs_when_it_is_due_and_in_order() -> None:
    scheduler, done, order = Scheduler(), threading.Event(), list[str]()
    scheduler.after(0.05, "late", lambda: (order.append("late"), done.set()))  # pyright: ignore[reportArgumentType]
    scheduler.after(0.0, "early", lambda: order.append("early"))
    assert done.wait(5)
    assert order == ["early", "late"]
    scheduler.close()


def test_what_is_cancelled_or_replaced_does_not_run() -> None:
    scheduler, done, ran = Scheduler(), threading.Event(), list[str]()
    scheduler.after(0.02, "a", lambda: ran.append("cancelled"))
    assert scheduler.cancel("a")
    assert not scheduler.cancel("a")
    scheduler.after(0.02, "b", lambda: ran.append("replaced"))
    scheduler.after(0.04, "b", done.set)
    assert done.wait(5)
    assert ran == []
    scheduler.close()


def test_work_that_fails_harms_no_other(caplog: pytest.LogCaptureFixture) -> None:
    scheduler, done = Scheduler(), threading.Event()

    def fails() -> None:
        raise ValueError("no")

    scheduler.after(0, "bad", fails)
    scheduler.after(0.01, "good", done.set)
    assert done.wait(5)
    scheduler.close()
    assert "scheduled work failed" in caplog.text


@pytest.mark.parametrize("delay", [0.0, 1000.0])
def test_close_waits_for_nothing(delay: float) -> None:
    for _ in range(20):
        scheduler = Scheduler()
        scheduler.after(delay, "x", lambda: None)
        closing = threading.Thread(target=scheduler.close)
        closing.start()
        closing.join(5)
        assert not closing.is_alive()
        scheduler.after(0, "y", pytest.fail)


def test_waiters_are_told_once_and_by_their_condition() -> None:
    waiters = Waiters()
    exit_, removal = waiters.register("c", "next-exit"), waiters.register("c", "removed")
    waiters.exited("c", (3, ""))
    assert exit_.result(0) == (3, "")
    with pytest.raises(TimeoutError, match="container c"):
        removal.result(0)
    waiters.removed("c", (4, "why"))
    assert removal.result(0) == (4, "why")
    assert exit_.result(0) == (3, "")


def test_removal_ends_every_wait_and_closed_ones_are_forgotten() -> None:
    waiters = Waiters()
    left, stays = waiters.register("c", "not-running"), waiters.register("c", "not-running")
    left.close()
    left.close()
    waiters.removed("c", (1, ""))
    assert stays.result(0) == (1, "")
    assert not left.done
