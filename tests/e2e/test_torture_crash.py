"""A few crashes of the matrix, and a few shortages, as `scripts/torture crash scarcity` tries them by the hundred."""

from __future__ import annotations

import sys
from pathlib import Path

import pytest

pytestmark = pytest.mark.root
sys.path.append(str(Path(__file__).resolve().parents[2] / "scripts"))


def test_a_daemon_that_dies_anywhere_leaves_whole_things() -> None:
    from tortures import crash
    from tortures.tally import Options

    tally = crash.run(Options(seed=7, brief=True, backends=("nftables",)))
    assert tally.findings == []
    assert tally.counts["faults injected"] > 0


def test_what_runs_out_is_said_and_comes_back() -> None:
    from tortures import scarcity
    from tortures.tally import Options

    tally = scarcity.run(Options(seed=7, brief=True, backends=("nftables",)))
    assert tally.findings == []
    assert tally.counts["scarcities tried"] > 0
