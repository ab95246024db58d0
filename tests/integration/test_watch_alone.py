"""The watch by itself: when it looks, when it waits, and what its sources of news make of what they hear."""

from __future__ import annotations

import subprocess
import threading
from pathlib import Path

import pytest

from netpy.kernel import netns
from netpy.kernel.watch.news import News
from netpy.kernel.watch.sightings import Sightings
from netpy.kernel.watch.watch import Timing, Watch

pytestmark = pytest.mark.root
INSTANCE = "netpy-test"
PATIENCE = 10.0


def link(path: str, *command: str) -> None:
    subprocess.run(["nsenter", f"--net={path}", "ip", "link", *command], check=True)


@pytest.mark.parametrize(("lines", "damped"), [(("the same",) * 6, True), (tuple("abcdef"), False)])
def test_only_the_same_over_and_over_is_left_for_longer(
    namespace: str, lines: tuple[str, ...], damped: bool, caplog: pytest.LogCaptureFixture
) -> None:
    """Many things at once are somebody at work; the same again and again is somebody who wants it otherwise."""
    link(namespace, "add", "ours", "type", "bridge")
    link(namespace, "set", "ours", "alias", f"{INSTANCE}/x")
    rest = list(lines)
    looked = threading.Semaphore(0)

    def mend(
        links: frozenset[str] | None = None, inside: frozenset[str] = frozenset(), *, wait: bool = True
    ) -> list[str]:
        del links, inside, wait
        looked.release()
        return [rest.pop(0)]

    def begin() -> Watch:
        made = Watch(
            INSTANCE, mend, lambda: bool(rest), Timing(settle=0.01, pause=0.01, poll=0.01, often=5, respite=0.1)
        )
        made.start()
        return made

    watch = netns.run_in(namespace, begin)
    try:
        for _ in lines:
            assert looked.acquire(timeout=PATIENCE)
    finally:
        watch.close()
    assert ("it keeps happening" in caplog.text) == damped


def test_it_waits_for_others_but_not_for_ever(namespace: str) -> None:
    link(namespace, "add", "ours", "type", "bridge")
    link(namespace, "set", "ours", "alias", f"{INSTANCE}/x")
    asked: list[tuple[frozenset[str] | None, bool]] = []
    done = threading.Event()

    def mend(
        links: frozenset[str] | None = None, inside: frozenset[str] = frozenset(), *, wait: bool = True
    ) -> list[str] | None:
        del inside
        asked.append((links, wait))
        if len(asked) == 1:
            raise OSError("it must not end for that")
        if wait:
            done.set()
            return []
        return None

    def begin() -> Watch:
        made = Watch(INSTANCE, mend, lambda: False, Timing(settle=0.01, pause=0.01, respite=0.01, tries=4))
        made.start()
        return made

    watch = netns.run_in(namespace, begin)
    try:
        link(namespace, "delete", "ours")
        assert done.wait(PATIENCE)
    finally:
        watch.close()
    assert asked == [(frozenset({"ours"}), False)] * 3 + [(frozenset({"ours"}), True)]


def test_a_bridge_that_tells_its_time_is_no_news(namespace: str) -> None:
    """Each message of the kernel's about a bridge has its timers in it, and one comes for every port that wakes up."""
    link(namespace, "add", "ours", "type", "bridge")
    link(namespace, "set", "ours", "up", "alias", f"{INSTANCE}/x")
    with netns.run_in(namespace, lambda: Sightings(INSTANCE)) as sightings:
        for flag in ("on", "off", "on"):
            link(namespace, "set", "ours", "promisc", flag)
        assert not netns.run_in(namespace, sightings.changed)


def test_lost_events_count_as_a_change_of_everything(namespace: str, tmp_path: Path) -> None:
    link(namespace, "add", "ours", "type", "bridge")
    link(namespace, "set", "ours", "up")
    batch = tmp_path / "batch"
    batch.write_text("".join(f"link set ours alias {INSTANCE}/{n}\n" for n in range(20000)))
    with netns.run_in(namespace, lambda: Sightings(INSTANCE)) as sightings:
        subprocess.run(["nsenter", f"--net={namespace}", "ip", "-batch", str(batch)], check=True)
        assert netns.run_in(namespace, sightings.changed).rules
        assert netns.run_in(namespace, sightings.changed) in (News(), News(links=frozenset({"ours"})))
        link(namespace, "delete", "ours")
        assert netns.run_in(namespace, sightings.changed) == News(links=frozenset({"ours"}))
