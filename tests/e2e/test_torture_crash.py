"""A few crashes of the matrix, and a few shortages, as `scripts/torture crash scarcity` tries them by the hundred."""

from __future__ import annotations

import pytest

from scripts.tortures import crash, scarcity
from scripts.tortures.tally import Options

pytestmark = pytest.mark.root
BRIEF = Options(seed=7, brief=True, backends=("nftables",))


def test_a_daemon_that_dies_anywhere_leaves_whole_things() -> None:
    tally = crash.run(BRIEF)
    assert tally.findings == []
    assert tally.counts["points"] > 0
    assert tally.counts["system calls"] > 0
    assert tally.counts["faults injected"] > 0


def test_what_runs_out_is_said_and_comes_back() -> None:
    tally = scarcity.run(BRIEF)
    assert tally.findings == []
    assert tally.counts["scarcities tried"] > 0
