"""Hostile containers: forged frames and intrusions, on both firewalls. None gets through, and all could (`believed`)."""

from __future__ import annotations

from collections.abc import Iterator

import pytest

from scripts.tortures import hostile
from scripts.tortures.arena import Arena, arena

pytestmark = pytest.mark.root


@pytest.fixture(scope="module")
def place(backend: str) -> Iterator[Arena]:
    with arena(backend) as made:
        yield made


def test_no_forgery_reaches_a_neighbour(place: Arena) -> None:
    assert [f"{name}: {what}" for name, what in hostile.forged(place) if what] == []


def test_no_intrusion_gets_anywhere(place: Arena) -> None:
    assert [f"{name}: {what}" for name, what in hostile.intruded(place) if what] == []
    assert place.netpy("network", "check") == ""


def test_where_nothing_is_checked_they_succeed(place: Arena) -> None:
    assert [name for name, through in hostile.believed(place) if not through] == []


def test_what_was_undone_is_noticed_and_mended(place: Arena) -> None:
    bob = place.party("bob")
    place.on_host("bridge", "link", "set", "dev", bob.port, "locked", "off", "learning", "on")
    place.on_host("bridge", "fdb", "del", bob.mac, "dev", bob.port, "master")
    lines = place.netpy.run("network", "check", "--repair", check=False).stdout + place.netpy.tail()
    assert f"veth {bob.port}: locked is off, should be on" in lines
    assert place.netpy("network", "check") == ""
