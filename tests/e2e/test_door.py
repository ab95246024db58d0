"""The door: who may come in, what lies open, what the name server could do. On a real daemon (`scripts/torture door`)."""

from __future__ import annotations

import pytest

from scripts.tortures import door

pytestmark = pytest.mark.root


def test_the_door_is_shut() -> None:
    with door.daemon("nftables") as netpy:
        assert [f"{name}: {wrong}" for name, wrong in door.looked_at(netpy) if wrong] == []
        assert [f"{name}: {wrong}" for name, wrong in door.refused(netpy) if wrong] == []
