"""Fifty clients at once for ten seconds; `scripts/crowd` does it for longer."""

from __future__ import annotations

from collections.abc import Callable

import pytest

from tests.e2e import crowd
from tests.e2e.world import Daemon

pytestmark = pytest.mark.root


def test_fifty_clients_at_once(new_daemon: Callable[..., Daemon]) -> None:
    tally = crowd.trial(new_daemon("crowd"), seconds=10, clients=50)
    assert tally.visits >= 50 and tally.verbs["exec-start"] >= 50
