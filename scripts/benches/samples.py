"""Collects samples while a group runs: by row and contender; a failure of one is noted and does not end the run."""

from __future__ import annotations

import sys
from collections import defaultdict
from collections.abc import Callable
from dataclasses import replace

from scripts.benches.contenders import Contender
from scripts.benches.rows import Clause, Row


class Samples:
    """Samples by row and contender. What has failed once is not tried again."""

    def __init__(self) -> None:
        self.values: dict[str, dict[str, list[float]]] = defaultdict(lambda: defaultdict(list))
        self.failed: dict[str, dict[str, str]] = defaultdict(dict)

    def take(self, row: str, contender: Contender, measured: Callable[[], float]) -> float | None:
        """Add what `measured` returns; None, and the reason kept, when it fails."""
        if contender.name in self.failed[row]:
            return None
        try:
            value = measured()
        except (RuntimeError, OSError, ValueError) as problem:
            self.fail(row, contender, str(problem))
            return None
        self.values[row][contender.name].append(value)
        return value

    def fail(self, row: str, contender: Contender, reason: str) -> None:
        print(f"{row}: {contender.name}: {reason}", file=sys.stderr)
        self.failed[row].setdefault(contender.name, reason)

    def curve(self, name: str, at: tuple[float, ...], axis: str, unit: str = "ms") -> Row:
        """The samples of that name as a curve: the nth of each contender lies at the nth of `at`."""
        return replace(self.row(name, unit=unit), at=at, axis=axis)

    def row(self, name: str, goal: tuple[Clause, ...] = (), unit: str = "ms", notes: tuple[str, ...] = ()) -> Row:
        """The row of that name, where less is better."""
        values = {contender: list(samples) for contender, samples in self.values[name].items()}
        return Row(name, goal, values, unit, notes=notes, failed=dict(self.failed[name]))
