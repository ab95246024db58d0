"""A little of the churn that `scripts/torture churn` makes much of: what must be there is there, and nothing else."""

from __future__ import annotations

import pytest

from scripts.tortures import churn
from scripts.tortures.churn_model import follow, lane, last_steps, next_step
from scripts.tortures.tally import Tally

pytestmark = pytest.mark.root
BACKENDS = ("nftables",)


def test_a_lane_is_laid_out_by_its_seed() -> None:
    def steps(seed: int) -> list[object]:
        made, taken = lane(0, seed, 4), list[object]()
        for _ in range(500):
            taken.append(next_step(made))
            follow(made, taken[-1])  # pyright: ignore[reportArgumentType]
        for step in last_steps(made):
            follow(made, step)
        assert not made.boxes and not made.networks and len(made.ports) == 400
        return taken

    assert steps(1) == steps(1) != steps(2)


def test_a_churn_leaves_nothing(backend: str) -> None:
    tally = Tally(part="churn")
    churn.churn(backend, 7, churn.TEST, tally)
    assert tally.findings == []
    assert tally.counts["containers"] >= churn.TEST.containers and tally.counts["answers checked"] > 50
