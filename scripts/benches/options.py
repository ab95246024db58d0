"""How much is measured, as asked for on the command line."""

from __future__ import annotations

from dataclasses import dataclass


@dataclass(frozen=True)
class Options:
    """`rounds` are interleaved between the contenders; `size(full, quick)` picks between two amounts."""

    rounds: int = 10
    quick: bool = False

    def size(self, full: int, quick: int) -> int:
        return quick if self.quick else full
