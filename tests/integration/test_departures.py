"""A link that was deleted is out of sight at once, and its name is free; what cannot be deleted says so."""

from __future__ import annotations

import os
import threading
from pathlib import Path

import pytest

from netpy.kernel import departures, links, netns
from netpy.kernel.rtnetlink import Channel
from netpy.objects import Veth

pytestmark = pytest.mark.root


@pytest.fixture
def spaces(tmp_path: Path):
    near, far = str(tmp_path / "near"), str(tmp_path / "far")
    for path in (near, far):
        netns.create(path)
    yield near, far
    for path in (near, far):
        netns.delete(path)


def plug(near: str, far: str, name: str) -> None:
    descriptor = os.open(far, os.O_RDONLY)
    veth = Veth(
        name=name, netns="", peer_netns=far, ifname="eth0", mac="02:42:0a:00:00:02", mtu=1500, mark="t/x", bridge=""
    )

    def make() -> None:
        with Channel() as channel:
            links.request(channel, links.new_veth(veth, descriptor))

    netns.run_in(near, make)
    os.close(descriptor)


def test_both_ends_are_gone_and_their_names_free(spaces: tuple[str, str]):
    near, far = spaces
    for _ in range(5):
        plug(near, far, "va")  # fails with EEXIST when an end of the last round is still there
        netns.run_in(near, lambda: departures.delete("va"))
        assert netns.run_in(near, lambda: links.index_of("va")) == 0
        assert netns.run_in(far, lambda: links.index_of("eth0")) == 0


def test_what_is_not_there_is_gone(spaces: tuple[str, str]):
    netns.run_in(spaces[0], lambda: departures.delete("nothing"))


def test_a_refusal_is_raised(spaces: tuple[str, str]):
    with pytest.raises(OSError):
        netns.run_in(spaces[0], lambda: departures.delete("lo"))


def test_nothing_is_left_open(spaces: tuple[str, str]):
    near, far = spaces

    def descriptors() -> int:
        for thread in threading.enumerate():
            if thread.name == "link-departure":
                thread.join()
        return len(os.listdir("/proc/self/fd"))

    before = descriptors()
    for number in range(10):
        plug(near, far, f"v{number}")
        netns.run_in(near, lambda name=f"v{number}": departures.delete(name))
    assert descriptors() == before
